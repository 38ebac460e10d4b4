//! A keyed stream: aggregates that are given anew with each value, and what leads to windows.

use std::fmt;
use std::sync::Arc;

use super::data_stream::DataStream;
use super::key::KeySelector;
use super::process::Process;
use super::processing::Processing;
use super::rolling::{First, Rolling};
use super::windowed::WindowedStream;
use crate::tuple::Tuple;
use crate::window::Windows;
use crate::window::aggregate::{self, Aggregate, Number};

/// A stream whose values have keys: those of a key are handled by one task, in the order in which they come (Flink's
/// `KeyedStream`, Kafka Streams' `KGroupedStream`).
///
/// Its aggregates roll: each value gives the key's newest result. They are state, named as the step is, so that they outlive
/// the process; give the step a [`name`](DataStream::name) of its own where the topology may change before it.
///
/// ```
/// # use topo_core::{DataStream, Topology};
/// # fn of(words: &DataStream<String>) {
/// let counts = words.key_by(|word| word).count().name("counts").tasks(4);
/// counts.for_each(|(word, count)| println!("{word}: {count}"));
/// # }
/// ```
#[derive(Clone)]
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    key: S,
}

impl<T, S> fmt::Debug for KeyedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<T: Tuple, S: KeySelector<T>> KeyedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S) -> Self {
        Self { stream, key }
    }

    /// How many values each key has had, this one among them.
    pub fn count(&self) -> DataStream<(S::Key, u64)> {
        self.rolling("count", aggregate::count())
    }

    /// The sum of a number of each value.
    pub fn sum<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, N)> {
        self.rolling("sum", aggregate::sum(number))
    }

    /// The smallest of what `of` finds in each value.
    pub fn min<V: Tuple + Ord>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, V)> {
        self.rolling("min", aggregate::min(of))
    }

    /// The largest of what `of` finds in each value.
    pub fn max<V: Tuple + Ord>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, V)> {
        self.rolling("max", aggregate::max(of))
    }

    /// The mean of a number of each value.
    pub fn average<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, f64)> {
        self.rolling("average", aggregate::average(number))
    }

    /// The values of each key so far, made into one, two by two.
    pub fn reduce(
        &self,
        reduce: impl Fn(T, T) -> T + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, T)> {
        self.rolling("reduce", aggregate::reduce(reduce))
    }

    /// What `fold` makes of the values of each key so far, from `start` on. For windows, which need to merge what was folded,
    /// see [`aggregate::fold`].
    pub fn fold<A: Tuple>(
        &self,
        start: A,
        fold: impl Fn(&mut A, T) + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, A)> {
        self.keyed("fold", move |acc: &mut Option<A>, value| {
            let acc = acc.get_or_insert_with(|| start.clone());
            fold(acc, value);
            acc.clone()
        })
    }

    /// Any [`Aggregate`] of the values of each key so far.
    pub fn aggregate<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        aggregate: A,
    ) -> DataStream<(S::Key, A::Out)> {
        self.rolling("aggregate", aggregate)
    }

    /// The first value of each key.
    pub fn distinct(&self) -> DataStream<T> {
        let key = self.key.clone();
        let step =
            self.stream.topology().bolt(&self.stream.step_name("distinct"), move || First::new(key.clone()));
        DataStream::of(&self.stream.subscribe_keyed(step, &self.key))
    }

    /// Cuts the stream into windows of each key: by [`tumbling`](crate::window::tumbling), [`sliding`](crate::window::sliding),
    /// [`session`](crate::window::session), [`count`](crate::window::count) and others; a `Duration` is a tumbling window.
    pub fn window(&self, windows: impl Into<Windows>) -> WindowedStream<T, S> {
        WindowedStream::new(self.stream.clone(), self.key.clone(), windows.into())
    }

    /// Runs a function of your own over the values, which may set timers and keep state: see [`Process`].
    pub fn process<P>(&self, factory: impl Fn() -> P + Send + Sync + 'static) -> DataStream<P::Out>
    where
        P: Process<Key = S::Key, In = T>,
    {
        let key = self.key.clone();
        let operator = move || Processing::new(key.clone(), factory());
        let step = self.stream.topology().operator(&self.stream.step_name("process"), operator);
        DataStream::of(&self.stream.subscribe_keyed(step, &self.key))
    }

    fn rolling<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        kind: &str,
        aggregate: A,
    ) -> DataStream<(S::Key, A::Out)> {
        self.keyed(kind, move |acc: &mut Option<A::Acc>, value| {
            let acc = match acc.take() {
                Some(mut gathered) => {
                    aggregate.add(&mut gathered, value);
                    acc.insert(gathered)
                }
                None => acc.insert(aggregate.start(value)),
            };
            aggregate.result(acc)
        })
    }

    fn keyed<A: Tuple, R: Tuple>(
        &self,
        kind: &str,
        step: impl Fn(&mut Option<A>, T) -> R + Send + Sync + 'static,
    ) -> DataStream<(S::Key, R)> {
        let (key, step) = (self.key.clone(), Arc::new(step));
        let bolt = move || Rolling::new(key.clone(), Arc::clone(&step));
        let step = self.stream.topology().bolt(&self.stream.step_name(kind), bolt);
        DataStream::of(&self.stream.subscribe_keyed(step, &self.key))
    }
}
