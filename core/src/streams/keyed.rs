//! A keyed stream: aggregates that are given anew with each value, and what leads to windows.

use std::fmt;
use std::sync::Arc;

use super::data_stream::DataStream;
use super::first::First;
use super::key::KeySelector;
use super::per_batch::PerBatch;
use super::process::Process;
use super::processing::Processing;
use super::rolling::Rolling;
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
#[doc = include_str!("example/begin.md")]
/// # let words = stream::<String>(&topology, "words");
/// let counts = words.key_by(|word| word).count().name("counts").tasks(4);
/// counts.for_each(|(word, count)| println!("{word}: {count}"));
#[doc = include_str!("example/end.md")]
/// ```
#[derive(Clone)]
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    key: S,
    /// Whether results are given at the end of each batch, and not with each value.
    per_batch: bool,
}

impl<T, S> fmt::Debug for KeyedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<T: Tuple, S: KeySelector<T>> KeyedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S) -> Self {
        Self { stream, key, per_batch: false }
    }

    /// Has its aggregates give their results at the end of each micro-transaction, and not with each value: each key that was
    /// changed in it, once (Trident's `persistentAggregate`). The topology is then to run exactly once, since nothing else
    /// has batches. Windows, [`distinct`](Self::distinct) and [`process`](Self::process) are not changed by it.
    ///
    /// A result has the time of the key's latest value. Event time may have passed that by then: windows behind need as much
    /// allowed lateness as a batch spans.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words.key_by(|word| word).per_batch().count().name("counts");
    /// counts.for_each(|(word, count)| println!("{word}: {count}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn per_batch(&self) -> Self {
        Self { per_batch: true, ..self.clone() }
    }

    /// How many values each key has had, this one among them.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words.key_by(|word| word).count().name("counts");
    /// counts.for_each(|(word, count)| println!("{word}: {count}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn count(&self) -> DataStream<(S::Key, u64)> {
        self.rolling("count", aggregate::count())
    }

    /// The sum of a number of each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let balances = payments.key_by(|(account, _)| account).sum(|(_, cents)| *cents).name("balances");
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn sum<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, N)> {
        self.rolling("sum", aggregate::sum(number))
    }

    /// The smallest of what `of` finds in each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let smallest = payments.key_by(|(account, _)| account).min(|(_, cents)| *cents);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn min<V: Tuple + PartialOrd>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, V)> {
        self.rolling("min", aggregate::min(of))
    }

    /// The largest of what `of` finds in each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let largest = payments.key_by(|(account, _)| account).max(|(_, cents)| *cents);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn max<V: Tuple + PartialOrd>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, V)> {
        self.rolling("max", aggregate::max(of))
    }

    /// The mean of a number of each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let readings = stream::<(String, f64)>(&topology, "readings");
    /// let means = readings.key_by(|(sensor, _)| sensor).average(|(_, degrees)| *degrees);
    /// means.for_each(|(sensor, mean)| println!("{sensor}: {mean:.1}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn average<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, f64)> {
        self.rolling("average", aggregate::average(number))
    }

    /// The values of each key so far, made into one, two by two.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// // The longest word of each initial; of equals the first.
    /// let longest = words
    ///     .key_by_value(|word| word.chars().next())
    ///     .reduce(|longest, word| if word.len() > longest.len() { word } else { longest });
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn reduce(
        &self,
        reduce: impl Fn(T, T) -> T + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, T)> {
        self.rolling("reduce", aggregate::reduce(reduce))
    }

    /// What `fold` makes of the values of each key so far, from `start` on. For windows, which need to merge what was folded,
    /// see [`aggregate::fold`].
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let histories = payments
    ///     .key_by(|(account, _)| account)
    ///     .fold(Vec::new(), |history: &mut Vec<i64>, (_, cents)| history.push(cents));
    #[doc = include_str!("example/end.md")]
    /// ```
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

    /// The `n` values of each key so far of which `by` is largest, the largest first; of equals, those that came first.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let largest = payments.key_by(|(account, _)| account).top(3, |(_, cents)| *cents);
    /// largest.for_each(|(account, payments)| println!("{account}: {payments:?}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn top<V: Ord + 'static>(
        &self,
        n: usize,
        by: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, Vec<T>)> {
        self.rolling("top", aggregate::top(n, by))
    }

    /// Any [`Aggregate`] of the values of each key so far.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// use topo_core::window::aggregate::{average, count, max};
    ///
    /// // Number, mean and largest, in one step.
    /// let figures = payments.key_by(|(account, _)| account).aggregate((
    ///     count(),
    ///     average(|(_, cents): &(String, i64)| *cents),
    ///     max(|(_, cents): &(String, i64)| *cents),
    /// ));
    /// figures.for_each(|(account, (count, mean, max))| println!("{account}: {count}, {mean}, {max}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn aggregate<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        aggregate: A,
    ) -> DataStream<(S::Key, A::Out)> {
        self.rolling("aggregate", aggregate)
    }

    /// The first value of each key. It is emitted until all that comes of it is done, as a window's result is, whatever fails
    /// behind; keys are known for as long as the topology's state is.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let vocabulary = words.key_by(|word| word).distinct().name("vocabulary");
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn distinct(&self) -> DataStream<T> {
        let key = self.key.clone();
        let step = self
            .stream
            .topology()
            .operator(&self.stream.step_name("distinct"), move || First::new(key.clone()));
        DataStream::of(&self.stream.subscribe_keyed(step, &self.key))
    }

    /// Cuts the stream into windows of each key: by [`tumbling`](crate::window::tumbling), [`sliding`](crate::window::sliding),
    /// [`session`](crate::window::session), [`count`](crate::window::count) and others; a `Duration` is a tumbling window.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let words = words.key_by(|word| word);
    /// let by_minute = words.window(Duration::from_secs(60)).count();
    /// let by_visit = words.window(window::session(Duration::from_secs(600))).count();
    /// let by_hundred = words.window(window::count(100)).count();
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn window(&self, windows: impl Into<Windows>) -> WindowedStream<T, S> {
        WindowedStream::new(self.stream.clone(), self.key.clone(), windows.into())
    }

    /// Runs a function of your own over the values, which may set timers and keep state: see [`Process`].
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// /// Gives each word again a second later.
    /// struct Echo;
    ///
    /// impl Process for Echo {
    ///     type Key = String;
    ///     type In = String;
    ///     type Out = String;
    ///
    ///     fn process(&mut self, _: Timed<String>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
    ///         context.set_timer(window::Clock::Event, context.at() + 1_000);
    ///         Ok(())
    ///     }
    ///
    ///     fn on_timer(&mut self, _: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
    ///         context.emit(context.key().clone());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let echo = words.key_by(|word| word).process(|| Echo).name("echo");
    #[doc = include_str!("example/end.md")]
    /// ```
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
        let (topology, name) = (self.stream.topology(), self.stream.step_name(kind));
        let step = if self.per_batch {
            topology.bolt(&name, move || PerBatch::new(key.clone(), Arc::clone(&step)))
        } else {
            topology.bolt(&name, move || Rolling::new(key.clone(), Arc::clone(&step)))
        };
        DataStream::of(&self.stream.subscribe_keyed(step, &self.key))
    }
}
