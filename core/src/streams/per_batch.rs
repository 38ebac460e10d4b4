//! Aggregates that are given once per batch: each key that changed in a micro-transaction, with what it is at its end.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::key::KeySelector;
use super::rolling::unprepared;
use crate::bolt::Bolt;
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::runtime::Emitter;
use crate::spout::Fault;
use crate::state::State;
use crate::time::Timed;
use crate::tuple::Tuple;

/// How many results are emitted before those behind get the time to take them.
const RESULTS_AT_ONCE: usize = 1_024;

/// A step that changes a key's value `A` with each `T`, and emits, as a batch ends, each key that was changed and what came of
/// that.
///
/// What it has gathered is of the batch in work alone: where that is taken back, so is the instance.
pub(super) struct PerBatch<T, S: KeySelector<T>, A, R, F> {
    key: S,
    step: Arc<F>,
    state: Option<State<S::Key, A>>,
    /// In the order in which they were changed first.
    changed: Vec<Timed<(S::Key, R)>>,
    places: HashMap<S::Key, usize, RandomState>,
    values: PhantomData<fn(T)>,
}

impl<T, S: KeySelector<T>, A, R, F> PerBatch<T, S, A, R, F> {
    pub(super) fn new(key: S, step: Arc<F>) -> Self {
        let (changed, places) = Default::default();
        Self { key, step, state: None, changed, places, values: PhantomData }
    }
}

impl<T, S, A, R, F> Bolt for PerBatch<T, S, A, R, F>
where
    T: Tuple,
    S: KeySelector<T>,
    A: Tuple,
    R: Tuple,
    F: Fn(&mut Option<A>, T) -> R + Send + Sync + 'static,
{
    type In = Timed<T>;
    type Out = Timed<(S::Key, R)>;
    const ENDS_BATCHES: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.state = Some(task.state(task.component()).await?);
        Ok(())
    }

    async fn execute(&mut self, timed: Timed<T>, _out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
        let state = self.state.as_mut().ok_or_else(unprepared)?;
        let key = self.key.key(&timed.value, Clone::clone);
        // Made here, and not as the batch ends: where that panics, the record in hand is to blame, and no batch stands still.
        let result = state.modify(&key, |acc| (self.step)(acc, timed.value))?;
        match self.places.get(&key).and_then(|place| self.changed.get_mut(*place)) {
            Some(Timed { at, value }) => (*at, value.1) = ((*at).max(timed.at), result),
            None => {
                self.places.insert(key.clone(), self.changed.len());
                self.changed.push(Timed { at: timed.at, value: (key, result) });
            }
        }
        Ok(())
    }

    async fn end_batch(&mut self, out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
        self.places.clear();
        for (number, changed) in self.changed.drain(..).enumerate() {
            if number % RESULTS_AT_ONCE == RESULTS_AT_ONCE - 1 {
                out.ready().await;
            }
            out.emit(changed);
        }
        Ok(())
    }
}
