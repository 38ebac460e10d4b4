//! What tests of bolts need: a spout of given tuples, and a bolt that remembers what it sees.
//!
//! Both run on any scheduler; on the seeded one a whole topology runs in a test's own thread, in an order that a seed
//! decides.
//!
//! ```
//! use topo::prelude::*;
//! use topo::testing::{Seen, given};
//!
//! struct Double;
//!
//! impl Bolt for Double {
//!     type In = u64;
//!     type Out = u64;
//!
//!     async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
//!         out.emit(2 * number);
//!         Ok(())
//!     }
//! }
//!
//! let seen = Seen::<u64>::default();
//! let topology = Topology::new("test");
//! let numbers = topology.spout("numbers", given([1_u64, 2, 3]));
//! let doubles = topology.bolt("double", || Double).shuffle(&numbers);
//! topology.bolt("seen", seen.bolt()).global(&doubles);
//!
//! let scheduler = Seeded::new(42);
//! scheduler.block_on(async {
//!     let running = topology.launch(scheduler.clone(), Config::default()).await.unwrap();
//!     running.finished().await;
//! });
//! assert_eq!(seen.tuples(), [2, 4, 6]);
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use topo_core::{
    Bolt, Emitter, EventTime, Fail, FailKind, Failure, Fault, Next, Spout, SpoutEmitter, Timed, Tuple,
    Watermark,
};

/// A factory of spouts that emit `tuples` in order and are then finished. A tuple that fails is emitted again, unless a
/// bolt rejected it.
pub fn given<T: Tuple>(tuples: impl Into<Vec<T>>) -> impl Fn() -> Given<T> + Send + Sync + 'static {
    let tuples: Arc<[T]> = tuples.into().into();
    move || Given {
        due: (0..tuples.len()).map(|index| (index, 1)).collect(),
        open: 0,
        tuples: Arc::clone(&tuples),
    }
}

/// A spout of given tuples; see [`given`].
#[derive(Debug)]
pub struct Given<T> {
    tuples: Arc<[T]>,
    /// What is to be emitted: indexes into the tuples, and the attempt that each is at, from 1.
    due: VecDeque<(usize, u32)>,
    /// How many tuples are emitted and not answered.
    open: usize,
}

impl<T: Tuple> Spout for Given<T> {
    type Out = T;
    type Id = usize;

    fn next(&mut self, out: &mut SpoutEmitter<T, usize>) -> Result<Next, Fault> {
        let Some((index, attempt)) = self.due.pop_front() else {
            return Ok(if self.open == 0 { Next::Finished } else { Next::Idle });
        };
        self.open += 1;
        out.replay(index, attempt, self.tuples[index].clone())?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, _index: usize) {
        self.open -= 1;
    }

    fn fail(&mut self, index: usize, failure: &Failure) {
        self.open -= 1;
        if failure.kind == FailKind::Retry {
            self.due.push_back((index, failure.attempt + 1));
        }
    }

    fn describe(&self, index: &usize) -> Option<String> {
        Some(format!("tuple {index}"))
    }
}

/// As [`given`], by spouts that tell event time as a topic's source does: it has come as far as the latest value emitted,
/// less `disorder`, and no further than the earliest that is not done. A spout that is done with its values is idle.
///
/// Windows that are not complete by then give what they have once event time is brought to its end, by
/// [`Running::end_time`](topo_core::Running::end_time).
///
/// ```
/// use topo::prelude::*;
/// use topo::testing::{Seen, given_in_time};
///
/// let words = [(1_000, "to"), (3_000, "be"), (2_000, "to"), (12_000, "be")];
/// let words = words.map(|(at, word)| Timed { at, value: word.to_owned() });
/// let topology = Topology::new("test");
/// let source = topology.spout("words", given_in_time(words, Duration::from_secs(1)));
/// let counts = DataStream::of(&source).key_by(|word| word).window(Duration::from_secs(10)).count();
/// let seen = Seen::<Timed<Fired<String, u64>>>::default();
/// counts.bolt("seen", seen.bolt()).tasks(1);
///
/// let scheduler = Seeded::new(42);
/// scheduler.block_on(async {
///     let running = topology.launch(scheduler.clone(), Config::default()).await.unwrap();
///     running.finished().await;
///     running.end_time().await;
/// });
/// let counts = seen.tuples().into_iter().map(|fired| (fired.window.start, fired.key.clone(), fired.value.value));
/// let mut counts: Vec<_> = counts.collect();
/// counts.sort();
/// let count = |start, word: &str, count| (start, word.to_owned(), count);
/// assert_eq!(counts, [count(0, "be", 1), count(0, "to", 2), count(10_000, "be", 1)]);
/// ```
pub fn given_in_time<T: Tuple>(
    values: impl Into<Vec<Timed<T>>>,
    disorder: Duration,
) -> impl Fn() -> GivenInTime<T> + Send + Sync + 'static {
    let given = given(values);
    let disorder = i64::try_from(disorder.as_millis()).unwrap_or(i64::MAX);
    move || GivenInTime { given: given(), disorder, latest: i64::MIN, undone: BTreeMap::new() }
}

/// A spout of given values that tells event time; see [`given_in_time`].
#[derive(Debug)]
pub struct GivenInTime<T> {
    given: Given<Timed<T>>,
    /// In milliseconds.
    disorder: i64,
    /// The latest time that was emitted.
    latest: i64,
    /// How many values of each time were emitted and are not done.
    undone: BTreeMap<i64, usize>,
}

impl<T: Tuple> GivenInTime<T> {
    fn done(&mut self, index: usize) {
        let at = self.given.tuples[index].at;
        if let Some(count) = self.undone.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.undone.remove(&at);
            }
        }
    }
}

impl<T: Tuple> Spout for GivenInTime<T> {
    type Out = Timed<T>;
    type Id = usize;

    fn next(&mut self, out: &mut SpoutEmitter<Timed<T>, usize>) -> Result<Next, Fault> {
        let due = self.given.due.front().copied();
        let next = self.given.next(out)?;
        if let (Next::Emitted, Some((index, attempt))) = (next, due) {
            let at = self.given.tuples[index].at;
            self.latest = self.latest.max(at);
            if attempt == 1 {
                *self.undone.entry(at).or_default() += 1;
            }
        }
        Ok(next)
    }

    fn ack(&mut self, index: usize) {
        self.done(index);
        self.given.ack(index);
    }

    fn fail(&mut self, index: usize, failure: &Failure) {
        if failure.kind == FailKind::Reject {
            self.done(index);
        }
        self.given.fail(index, failure);
    }

    fn watermark(&self) -> Option<EventTime> {
        let come = self.latest.saturating_sub(self.disorder);
        let at = Watermark(self.undone.first_key_value().map_or(come, |(undone, _)| come.min(*undone)));
        let is_over = self.undone.is_empty() && self.given.due.is_empty();
        Some(if is_over { EventTime::idle(at) } else { EventTime::at(at) })
    }
}

/// All the tuples that the bolts made by its [`bolt`](Self::bolt) have seen. Clones share them.
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T: Tuple> Seen<T> {
    /// A factory of bolts that remember here what they see.
    pub fn bolt(&self) -> impl Fn() -> Remember<T> + Send + Sync + 'static {
        let seen = self.clone();
        move || Remember(seen.clone())
    }

    /// What was seen so far, in that order.
    pub fn tuples(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Seen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// A bolt that remembers what it sees; see [`Seen`].
#[derive(Debug)]
pub struct Remember<T>(Seen<T>);

impl<T: Tuple> Bolt for Remember<T> {
    type In = T;
    type Out = ();

    async fn execute(&mut self, tuple: T, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(tuple);
        Ok(())
    }
}
