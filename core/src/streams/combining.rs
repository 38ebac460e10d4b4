//! The step before the shuffle of windows that are aggregated in part (Storm Trident's combiner).
//!
//! Invariant: an input is held until what was gathered of it is emitted, anchored to it and to all others it was gathered
//! of, and to no input else; so what fails behind is replayed value by value, and only that.
//!
//! Invariant: event time does not overtake what is held. What was in time as it came here is emitted before the watermark
//! that would make it late is passed on.

use std::collections::HashMap;
use std::fmt;

use foldhash::quality::RandomState;

use super::intake::Gathered;
use super::key::KeySelector;
use super::rolling::unprepared;
use crate::bolt::RichBolt;
use crate::context::TaskContext;
use crate::grouping::{Grouping, Targets};
use crate::runtime::{Emitter, Input};
use crate::spout::Fault;
use crate::state::{Key, key_group, task_of_group};
use crate::time::{Timed, Watermark};
use crate::tuple::Tuple;
use crate::window::aggregate::Aggregate;
use crate::window::{Partials, Windows};

/// Values that are gathered before what came of them is handed on, where they come without a pause.
const MOST: u64 = 1_024;

/// What it emits.
type Out<T, S, A> = Timed<Gathered<<S as KeySelector<T>>::Key, <A as Aggregate>::Acc, T>>;

/// Takes what was gathered to the task that has its key's state.
#[derive(Debug, Clone)]
pub(super) struct ByPartKey;

impl<K: Key, S: Tuple, T: Tuple> Grouping<Timed<Gathered<K, S, T>>> for ByPartKey {
    fn pick(&mut self, gathered: &Timed<Gathered<K, S, T>>, tasks: usize) -> Targets {
        Targets::One(task_of_group(key_group(&gathered.value.partial.key), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// A value that was gathered.
struct Held<T> {
    /// How many of its key came before it.
    number: usize,
    value: Timed<T>,
    input: Input<()>,
}

/// Gathers values per key and slice until nothing more waits, or [`MOST`] came.
pub(super) struct Combining<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> {
    selector: S,
    windows: Windows,
    aggregate: A,
    partials: Option<Partials<S::Key, A>>,
    /// What was gathered, by key.
    held: HashMap<S::Key, Vec<Held<T>>, RandomState>,
    /// The earliest time of it.
    earliest: i64,
}

impl<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> Combining<T, S, A> {
    pub(super) fn new(selector: S, windows: Windows, aggregate: A) -> Self {
        Self { selector, windows, aggregate, partials: None, held: HashMap::default(), earliest: i64::MAX }
    }

    fn hand_on(&mut self, out: &mut Emitter<Out<T, S, A>>) {
        let Some(partials) = &mut self.partials else { return };
        for held in self.held.values_mut() {
            // Backwards, since they are taken off the end.
            held.sort_by_key(|one| std::cmp::Reverse(one.value.at));
        }
        // A key's partials come in the order of time, each of the next so many values.
        for partial in partials.drain() {
            let Some(held) = self.held.get_mut(&partial.key) else { continue };
            let first = held.len().saturating_sub(usize::try_from(partial.records).unwrap_or(usize::MAX));
            let mut of = held.split_off(first);
            of.sort_by_key(|one| one.number);
            let (values, inputs): (Vec<_>, Vec<_>) = of.into_iter().map(|one| (one.value, one.input)).unzip();
            let anchors: Vec<&Input<()>> = inputs.iter().collect();
            out.emit_anchored(&anchors, Timed { at: partial.last, value: Gathered { partial, values } });
            inputs.into_iter().for_each(Input::ack);
        }
        self.held.clear();
        self.earliest = i64::MAX;
    }
}

impl<T, S, A> RichBolt for Combining<T, S, A>
where
    T: Tuple,
    S: KeySelector<T>,
    A: Aggregate<In = T> + Clone + Sync,
{
    type In = Timed<T>;
    type Out = Out<T, S, A>;

    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        self.partials = Some(Partials::new(self.windows, self.aggregate.clone())?);
        Ok(())
    }

    async fn execute(
        &mut self,
        input: Input<Timed<T>>,
        out: &mut Emitter<Out<T, S, A>>,
    ) -> Result<(), Fault> {
        let Some(partials) = &mut self.partials else {
            input.fail(unprepared());
            return Ok(());
        };
        let key = self.selector.key(&input.value, Clone::clone);
        partials.add(&key, input.at, input.value.clone());
        let (value, input) = input.split();
        self.earliest = self.earliest.min(value.at);
        let held = self.held.entry(key).or_default();
        held.push(Held { number: held.len(), value, input });
        if partials.records() >= MOST {
            self.hand_on(out);
        }
        Ok(())
    }

    async fn on_watermark(&mut self, at: Watermark, out: &mut Emitter<Out<T, S, A>>) -> Result<(), Fault> {
        // Where values have trees, their source's watermark waits for them. Not all have: not at most once, nor those that
        // a bolt emits as it hears of the time.
        if self.earliest < at.0 {
            self.hand_on(out);
        }
        Ok(())
    }

    async fn idle(&mut self, out: &mut Emitter<Out<T, S, A>>) -> Result<(), Fault> {
        self.hand_on(out);
        Ok(())
    }

    async fn finish(&mut self, out: &mut Emitter<Out<T, S, A>>) -> Result<(), Fault> {
        self.hand_on(out);
        Ok(())
    }
}

impl<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> fmt::Debug for Combining<T, S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combining").field("windows", &self.windows).finish_non_exhaustive()
    }
}
