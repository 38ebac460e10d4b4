//! A keyed stream cut into windows.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::combining::{ByPartKey, Combining};
use super::data_stream::DataStream;
use super::intake::{Parts, Values};
use super::key::KeySelector;
use super::windowing::{Plan, Windowing};
use crate::state::Key;
use crate::time::Timed;
use crate::topology::BuildError;
use crate::tuple::Tuple;
use crate::window::aggregate::{self, Aggregate, Number};
use crate::window::{Fired, Partials, Trigger, Windows, sliding, tumbling};

impl From<Duration> for Windows {
    /// Windows of this length, one behind the other.
    fn from(size: Duration) -> Self {
        tumbling(size)
    }
}

/// A keyed stream cut into windows: what is computed over it is given once for each key and window that had a value, as the
/// watermark passes the window's end (Flink's `WindowedStream`, Kafka Streams' `TimeWindowedKStream`).
///
/// A result is a tree of its own: its window's state goes once everything that came of the result is done, and no input
/// waits for its window. Windows, results under way and the watermark are state, and outlive the process.
///
/// ```
#[doc = include_str!("example/begin.md")]
/// # let words = stream::<String>(&topology, "words");
/// let counts = words.key_by(|word| word).window(Duration::from_secs(5)).every(Duration::from_secs(1)).count();
/// counts.for_each(|fired| println!("{} {}: {}", fired.window, fired.key, fired.value));
/// counts.late().for_each(|word| println!("{word} came too late"));
#[doc = include_str!("example/end.md")]
/// ```
#[derive(Clone)]
pub struct WindowedStream<T, S> {
    stream: DataStream<T>,
    key: S,
    plan: Plan,
    in_part: bool,
}

impl<T, S> fmt::Debug for WindowedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedStream").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl<T: Tuple, S: KeySelector<T>> WindowedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S, windows: Windows) -> Self {
        Self { stream, key, plan: Plan::new(windows), in_part: false }
    }

    /// Has a window of the same length begin every so often, at most as long as the windows are: they overlap then.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// // The last minute, every ten seconds.
    /// let minutes = words.key_by(|word| word).window(Duration::from_secs(60)).every(Duration::from_secs(10)).count();
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        match self.plan.windows.length() {
            Some(size) => self.plan.windows = sliding(size, every),
            None => self.stream.refuse(BuildError::Refused {
                reason: "`every` is for windows of a length in time: leave it out".into(),
            }),
        }
        self
    }

    /// What is given before a window is complete.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// // The count so far after every thousandth word of a key, then that of the hour.
    /// let hours = words
    ///     .key_by(|word| word)
    ///     .window(Duration::from_secs(3_600))
    ///     .trigger(Trigger::watermark().early_count(1_000))
    ///     .count();
    /// hours.for_each(|fired| println!("{} {}: {} ({:?})", fired.window, fired.key, fired.value, fired.kind));
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.plan.trigger = trigger;
        self
    }

    /// Has windows take values for so long after they were complete; each gives another result then.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words
    ///     .key_by(|word| word)
    ///     .window(Duration::from_secs(60))
    ///     .allowed_lateness(Duration::from_secs(30))
    ///     .count();
    /// counts.for_each(|fired| println!("{} {}: {}, revision {}", fired.window, fired.key, fired.value, fired.revision));
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.plan.lateness = lateness;
        self
    }

    /// Aggregates in part before the shuffle: a step before the windows, with as many tasks as the stream has, gathers the
    /// values that wait for it, up to 1,024, and hands on one partial aggregate for each key and slice of time. It pays where
    /// keys are few and values many: what the tasks of frequent keys do is that much less.
    ///
    /// Windows give the same results, and the same values come too late: [`late`](WindowResults::late) has them one by one.
    /// For that, values travel with what was gathered of them, since only the windows know what is late, and are acknowledged
    /// once the windows have taken it. Windows by count need their values one by one and refuse this.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words.key_by(|word| word).window(Duration::from_secs(5)).partial().count();
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn partial(self) -> Self {
        Self { in_part: true, ..self }
    }

    /// How many values there are.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words.key_by(|word| word).window(Duration::from_secs(60)).count().name("counts");
    /// counts.for_each(|fired| println!("{} {}: {}", fired.window, fired.key, fired.value));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn count(&self) -> WindowResults<T, S::Key, u64> {
        self.add("window-count", aggregate::count())
    }

    /// The sum of a number of each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let turnover = payments.key_by(|(account, _)| account).window(Duration::from_secs(60)).sum(|(_, cents)| *cents);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn sum<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, N> {
        self.add("window-sum", aggregate::sum(number))
    }

    /// The smallest of what `of` finds in each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let readings = stream::<(String, f64)>(&topology, "readings");
    /// let coldest = readings.key_by(|(sensor, _)| sensor).window(Duration::from_secs(60)).min(|(_, degrees)| *degrees);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn min<V: Tuple + PartialOrd>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, V> {
        self.add("window-min", aggregate::min(of))
    }

    /// The largest of what `of` finds in each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let readings = stream::<(String, f64)>(&topology, "readings");
    /// let warmest = readings.key_by(|(sensor, _)| sensor).window(Duration::from_secs(60)).max(|(_, degrees)| *degrees);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn max<V: Tuple + PartialOrd>(
        &self,
        of: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, V> {
        self.add("window-max", aggregate::max(of))
    }

    /// The mean of a number of each value.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let readings = stream::<(String, f64)>(&topology, "readings");
    /// let means = readings.key_by(|(sensor, _)| sensor).window(Duration::from_secs(60)).average(|(_, degrees)| *degrees);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn average<N: Number>(
        &self,
        number: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, f64> {
        self.add("window-average", aggregate::average(number))
    }

    /// The values made into one, two by two; `two` is associative.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// // The largest payment, whole; of equals the first.
    /// let largest = payments
    ///     .key_by(|(account, _)| account)
    ///     .window(Duration::from_secs(60))
    ///     .reduce(|a, b| if b.1 > a.1 { b } else { a });
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn reduce(
        &self,
        two: impl Fn(T, T) -> T + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, T> {
        self.add("window-reduce", aggregate::reduce(two))
    }

    /// What `fold` makes of the values, from `start` on; `merge` adds what another fold, also from `start`, has come to, for
    /// windows that overlap or are merged.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// // The characters of all words, without keeping the words.
    /// let characters = words.key_by(|word| word).window(Duration::from_secs(60)).fold(
    ///     0,
    ///     |characters: &mut usize, word: String| *characters += word.chars().count(),
    ///     |characters, others| *characters += others,
    /// );
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn fold<V: Tuple>(
        &self,
        start: V,
        fold: impl Fn(&mut V, T) + Clone + Send + Sync + 'static,
        merge: impl Fn(&mut V, &V) + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, V> {
        self.add("window-fold", aggregate::fold(start, fold, merge))
    }

    /// Each different thing that `of` finds in the values, in order.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let visits = stream::<(String, u64)>(&topology, "visits");
    /// let visitors = visits.key_by(|(page, _)| page).window(Duration::from_secs(60)).distinct(|(_, user)| user);
    /// visitors.for_each(|fired| println!("{}: {} visitors", fired.key, fired.value.len()));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn distinct<V: Tuple + Ord>(
        &self,
        of: impl Fn(T) -> V + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, BTreeSet<V>> {
        self.add("window-distinct", aggregate::distinct(of))
    }

    /// The `n` values of which `by` is largest, the largest first; of equals, those that came first.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let largest = payments.key_by(|(account, _)| account).window(Duration::from_secs(60)).top(3, |(_, cents)| *cents);
    /// largest.for_each(|fired| println!("{}: {:?}", fired.key, fired.value));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn top<V: Ord + 'static>(
        &self,
        n: usize,
        by: impl Fn(&T) -> V + Clone + Send + Sync + 'static,
    ) -> WindowResults<T, S::Key, Vec<T>> {
        self.add("window-top", aggregate::top(n, by))
    }

    /// Any [`Aggregate`] of the values, such as those of [`aggregate`].
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// use topo_core::window::aggregate::{count, fold};
    ///
    /// // Number and spread, in one step; what was folded of parts of a window is merged.
    /// let figures = payments.key_by(|(account, _)| account).window(Duration::from_secs(60)).aggregate((
    ///     count(),
    ///     fold(
    ///         (i64::MAX, i64::MIN),
    ///         |range: &mut (i64, i64), (_, cents): (String, i64)| *range = (range.0.min(cents), range.1.max(cents)),
    ///         |range: &mut (i64, i64), other: &(i64, i64)| *range = (range.0.min(other.0), range.1.max(other.1)),
    ///     ),
    /// ));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn aggregate<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        aggregate: A,
    ) -> WindowResults<T, S::Key, A::Out> {
        self.add("window", aggregate)
    }

    fn add<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        kind: &str,
        aggregate: A,
    ) -> WindowResults<T, S::Key, A::Out> {
        if let Err(error) = self.plan.engine::<S::Key, A>(aggregate.clone()) {
            self.stream.refuse(BuildError::Refused { reason: error.to_string().into() });
        }
        let (name, plan, key) = (self.stream.step_name(kind), self.plan.clone(), self.key.clone());
        if self.in_part {
            return self.add_in_part(&name, aggregate);
        }
        let operator = move || Windowing::new(Values::new(key.clone()), plan.clone(), aggregate.clone());
        let step = self.stream.topology().operator(&name, operator);
        let step = self.stream.subscribe_keyed(step, &self.key);
        WindowResults { results: DataStream::of(&step.results), late: DataStream::of(&step.late) }
    }

    fn add_in_part<A: Aggregate<In = T> + Clone + Sync>(
        &self,
        name: &str,
        aggregate: A,
    ) -> WindowResults<T, S::Key, A::Out> {
        let (stream, plan, key) = (&self.stream, self.plan.clone(), self.key.clone());
        if let Err(error) = Partials::<S::Key, A>::new(plan.windows, aggregate.clone()) {
            stream.refuse(BuildError::Refused { reason: error.to_string().into() });
        }
        let (windows, of) = (plan.windows, aggregate.clone());
        let combining = move || Combining::new(key.clone(), windows, of.clone());
        let parts = stream.topology().rich_bolt(&stream.step_name("partial"), combining);
        let parts = DataStream::of(&stream.subscribe(parts));
        let operator = move || Windowing::new(Parts::<S::Key>::new(), plan.clone(), aggregate.clone());
        let step = parts.as_many_tasks(stream.topology().operator(name, operator));
        let step = parts.streams().iter().fold(step, |step, parts| {
            step.subscribe(parts, "key-groups", ByPartKey, |partial: Timed<_>| partial)
        });
        WindowResults { results: DataStream::of(&step.results), late: DataStream::of(&step.late) }
    }
}

/// What windows give; dereferences to the stream of results.
#[derive(Debug, Clone)]
pub struct WindowResults<T, K, V> {
    results: DataStream<Fired<K, V>>,
    late: DataStream<T>,
}

impl<T: Tuple, K: Key, V: Tuple> WindowResults<T, K, V> {
    /// What came too late for its windows, as it came. What nobody reads of it is counted on the page all the same.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let counts = words.key_by(|word| word).window(Duration::from_secs(60)).count();
    /// counts.late().for_each(|word| println!("{word} came too late"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn late(&self) -> &DataStream<T> {
        &self.late
    }

    /// Names the step.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { results: self.results.name(name), late: self.late }
    }

    /// Gives the step so many tasks.
    #[must_use]
    pub fn tasks(self, tasks: usize) -> Self {
        Self { results: self.results.tasks(tasks), late: self.late }
    }
}

impl<T, K, V> Deref for WindowResults<T, K, V> {
    type Target = DataStream<Fired<K, V>>;

    fn deref(&self) -> &Self::Target {
        &self.results
    }
}
