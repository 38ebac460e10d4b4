//! Aggregates that roll: each value changes its key's, and gives the new one.

use std::marker::PhantomData;
use std::sync::Arc;

use super::key::KeySelector;
use crate::bolt::Bolt;
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::runtime::Emitter;
use crate::spout::Fault;
use crate::state::State;
use crate::time::Timed;
use crate::tuple::Tuple;

/// A step that changes a key's value `A` with each `T`, and emits the key and what came of that.
pub(super) struct Rolling<T, S: KeySelector<T>, A, F> {
    key: S,
    step: Arc<F>,
    state: Option<State<S::Key, A>>,
    values: PhantomData<fn(T)>,
}

impl<T, S: KeySelector<T>, A, F> Rolling<T, S, A, F> {
    pub(super) fn new(key: S, step: Arc<F>) -> Self {
        Self { key, step, state: None, values: PhantomData }
    }
}

impl<T, S, A, R, F> Bolt for Rolling<T, S, A, F>
where
    T: Tuple,
    S: KeySelector<T>,
    A: Tuple,
    R: Tuple,
    F: Fn(&mut Option<A>, T) -> R + Send + Sync + 'static,
{
    type In = Timed<T>;
    type Out = Timed<(S::Key, R)>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.state = Some(task.state(task.component()).await?);
        Ok(())
    }

    async fn execute(&mut self, timed: Timed<T>, out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
        let state = self.state.as_mut().ok_or_else(unprepared)?;
        let key = self.key.key(&timed.value, Clone::clone);
        let result = state.modify(&key, |acc| (self.step)(acc, timed.value))?;
        out.emit(Timed { at: timed.at, value: (key, result) });
        Ok(())
    }
}

/// What no step says, since it is prepared before its first input.
pub(super) fn unprepared() -> Fail {
    Fail::retry("the step is not prepared")
}
