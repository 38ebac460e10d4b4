//! A bolt that is one function: every step that needs no state.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::bolt::Bolt;
use crate::fail::Fail;
use crate::stream::Output;
use crate::time::Timed;
use crate::tuple::Tuple;

/// A step over each value.
pub(super) struct Each<T, O, F> {
    step: Arc<F>,
    types: PhantomData<fn(T) -> O>,
}

impl<T, O, F> Each<T, O, F>
where
    T: Tuple,
    O: Output,
    F: Fn(Timed<T>, &mut O::Emitter) -> Result<(), Fail> + Send + Sync + 'static,
{
    /// Makes a bolt per task; they share the function.
    pub(super) fn factory(step: F) -> impl Fn() -> Self + Send + Sync + 'static {
        let step = Arc::new(step);
        move || Self { step: Arc::clone(&step), types: PhantomData }
    }
}

impl<T, O, F> Bolt for Each<T, O, F>
where
    T: Tuple,
    O: Output,
    F: Fn(Timed<T>, &mut O::Emitter) -> Result<(), Fail> + Send + Sync + 'static,
{
    type In = Timed<T>;
    type Out = O;

    async fn execute(&mut self, timed: Timed<T>, out: &mut O::Emitter) -> Result<(), Fail> {
        (self.step)(timed, out)
    }
}
