//! A step whose function awaits: so many values at once, in their order or as they come.
//!
//! Invariants: an input is held until its value was emitted for it, so that a value whose task dies is replayed; no execute
//! waits, so that what is done leaves whatever else is under way.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};

use crate::bolt::RichBolt;
use crate::fail::Fail;
use crate::runtime::{Emitter, Input};
use crate::spout::Fault;
use crate::time::Timed;
use crate::tuple::Tuple;

/// In which order results leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// In that of their values: a slow one holds back those behind it.
    #[default]
    Kept,
    /// As they come.
    AsTheyCome,
}

/// An input, and what its call came to.
type Done<T, U> = (Input<Timed<T>>, Result<U, Fail>);
type Work<T, U> = Pin<Box<dyn Future<Output = Done<T, U>> + Send>>;

/// Calls under way.
enum Calls<T, U> {
    Kept(FuturesOrdered<Work<T, U>>),
    AsTheyCome(FuturesUnordered<Work<T, U>>),
}

impl<T, U> Calls<T, U> {
    fn new(order: Order) -> Self {
        match order {
            Order::Kept => Self::Kept(FuturesOrdered::new()),
            Order::AsTheyCome => Self::AsTheyCome(FuturesUnordered::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Kept(calls) => calls.len(),
            Self::AsTheyCome(calls) => calls.len(),
        }
    }

    fn push(&mut self, work: Work<T, U>) {
        match self {
            Self::Kept(calls) => calls.push_back(work),
            Self::AsTheyCome(calls) => calls.push(work),
        }
    }

    /// The next that is done; pending for ever where none is under way.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done<T, U>> {
        let done = match self {
            Self::Kept(calls) => calls.poll_next_unpin(context),
            Self::AsTheyCome(calls) => calls.poll_next_unpin(context),
        };
        match done {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Awaits a function's futures, at most so many at once.
pub(super) struct MapAsync<T, U, F> {
    map: Arc<F>,
    at_once: usize,
    calls: Calls<T, U>,
    /// Done, and not emitted.
    done: Option<Done<T, U>>,
    types: PhantomData<fn(T) -> U>,
}

impl<T, U, F, Fut> MapAsync<T, U, F>
where
    T: Tuple,
    U: Tuple,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<U, Fail>> + Send + 'static,
{
    pub(super) fn new(map: Arc<F>, at_once: usize, order: Order) -> Self {
        Self { map, at_once: at_once.max(1), calls: Calls::new(order), done: None, types: PhantomData }
    }

    async fn next(&mut self) -> Done<T, U> {
        match self.done.take() {
            Some(done) => done,
            None => poll_fn(|context| self.calls.poll(context)).await,
        }
    }

    /// Emits what is done, without waiting.
    fn emit_done(&mut self, out: &mut Emitter<Timed<U>>) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        if let Some((input, outcome)) = self.done.take() {
            answer(input, outcome, out);
        }
        while let Poll::Ready((input, outcome)) = self.calls.poll(&mut context) {
            answer(input, outcome, out);
        }
    }
}

fn answer<T: Tuple, U: Tuple>(input: Input<Timed<T>>, outcome: Result<U, Fail>, out: &mut Emitter<Timed<U>>) {
    match outcome {
        Ok(value) => {
            out.emit_anchored(&[&input], input.with(value));
            input.ack();
        }
        Err(fail) => input.fail(fail),
    }
}

impl<T, U, F, Fut> RichBolt for MapAsync<T, U, F>
where
    T: Tuple,
    U: Tuple,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<U, Fail>> + Send + 'static,
{
    type In = Timed<T>;
    type Out = Timed<U>;

    async fn execute(&mut self, input: Input<Timed<T>>, _out: &mut Emitter<Timed<U>>) -> Result<(), Fault> {
        let call = (self.map)(input.value.clone());
        self.calls.push(Box::pin(async move { (input, call.await) }));
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.calls.len() + usize::from(self.done.is_some()) < self.at_once
    }

    async fn idle(&mut self, out: &mut Emitter<Timed<U>>) -> Result<(), Fault> {
        self.emit_done(out);
        Ok(())
    }

    async fn ready(&mut self) {
        if self.done.is_none() {
            let done = self.next().await;
            self.done = Some(done);
        }
    }

    async fn finish(&mut self, out: &mut Emitter<Timed<U>>) -> Result<(), Fault> {
        while self.done.is_some() || self.calls.len() > 0 {
            let (input, outcome) = self.next().await;
            answer(input, outcome, out);
        }
        Ok(())
    }
}
