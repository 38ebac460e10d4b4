//! The step before the shuffle of windows that are aggregated in part (Storm Trident's combiner).
//!
//! Invariant: an input is held until what was gathered of it is emitted, anchored to it and to all others it was gathered
//! of, and to no input else; so what fails behind is replayed value by value, and only that.

use std::collections::HashMap;
use std::fmt;

use foldhash::quality::RandomState;

use super::key::KeySelector;
use super::rolling::unprepared;
use crate::bolt::RichBolt;
use crate::context::TaskContext;
use crate::grouping::{Grouping, Targets};
use crate::runtime::{Emitter, Input};
use crate::spout::Fault;
use crate::state::{Key, key_group, task_of_group};
use crate::time::Timed;
use crate::tuple::Tuple;
use crate::window::aggregate::Aggregate;
use crate::window::{Partial, Partials, Windows};

/// Values that are gathered before what came of them is handed on, where they come without a pause.
const MOST: u64 = 1_024;

/// Takes each partial to the task that has its key's state.
#[derive(Debug, Clone)]
pub(super) struct ByPartKey;

impl<K: Key, S: Tuple> Grouping<Timed<Partial<K, S>>> for ByPartKey {
    fn pick(&mut self, partial: &Timed<Partial<K, S>>, tasks: usize) -> Targets {
        Targets::One(task_of_group(key_group(&partial.value.key), tasks))
    }

    fn is_total(&self) -> bool {
        true
    }
}

/// Gathers values per key and slice until nothing more waits, or [`MOST`] came.
pub(super) struct Combining<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> {
    selector: S,
    windows: Windows,
    aggregate: A,
    partials: Option<Partials<S::Key, A>>,
    /// What was gathered, by key.
    held: HashMap<S::Key, Vec<Input<Timed<T>>>, RandomState>,
}

impl<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> Combining<T, S, A> {
    pub(super) fn new(selector: S, windows: Windows, aggregate: A) -> Self {
        Self { selector, windows, aggregate, partials: None, held: HashMap::default() }
    }

    fn hand_on(&mut self, out: &mut Emitter<Timed<Partial<S::Key, A::Acc>>>) {
        let Some(partials) = &mut self.partials else { return };
        for inputs in self.held.values_mut() {
            // Backwards, since they are taken off the end.
            inputs.sort_by_key(|input| std::cmp::Reverse(input.at));
        }
        // A key's partials come in the order of time, each of the next so many inputs.
        for partial in partials.drain() {
            let Some(inputs) = self.held.get_mut(&partial.key) else { continue };
            let first = inputs.len().saturating_sub(usize::try_from(partial.records).unwrap_or(usize::MAX));
            let of: Vec<Input<Timed<T>>> = inputs.split_off(first);
            let anchors: Vec<&Input<Timed<T>>> = of.iter().collect();
            out.emit_anchored(&anchors, Timed { at: partial.last, value: partial });
            of.into_iter().for_each(Input::ack);
        }
        self.held.clear();
    }
}

impl<T, S, A> RichBolt for Combining<T, S, A>
where
    T: Tuple,
    S: KeySelector<T>,
    A: Aggregate<In = T> + Clone + Sync,
{
    type In = Timed<T>;
    type Out = Timed<Partial<S::Key, A::Acc>>;

    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        self.partials = Some(Partials::new(self.windows, self.aggregate.clone())?);
        Ok(())
    }

    async fn execute(
        &mut self,
        input: Input<Timed<T>>,
        out: &mut Emitter<Timed<Partial<S::Key, A::Acc>>>,
    ) -> Result<(), Fault> {
        let Some(partials) = &mut self.partials else {
            input.fail(unprepared());
            return Ok(());
        };
        let key = self.selector.key(&input.value, Clone::clone);
        partials.add(&key, input.at, input.value.clone());
        self.held.entry(key).or_default().push(input);
        if partials.records() >= MOST {
            self.hand_on(out);
        }
        Ok(())
    }

    async fn idle(&mut self, out: &mut Emitter<Timed<Partial<S::Key, A::Acc>>>) -> Result<(), Fault> {
        self.hand_on(out);
        Ok(())
    }

    async fn finish(&mut self, out: &mut Emitter<Timed<Partial<S::Key, A::Acc>>>) -> Result<(), Fault> {
        self.hand_on(out);
        Ok(())
    }
}

impl<T: Tuple, S: KeySelector<T>, A: Aggregate<In = T>> fmt::Debug for Combining<T, S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combining").field("windows", &self.windows).finish_non_exhaustive()
    }
}
