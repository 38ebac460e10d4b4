//! How far a log spout has come in event time.
//!
//! A partition has come as far as its latest record says, less the disorder that is allowed for, and no further than its
//! earliest record that is not done: open, to be replayed, or given up with its dead letter not yet durable. The spout is as
//! far as the last of its partitions that are not idle.
//!
//! Invariant: what is told never passes the time of a record that may still be emitted again.

use std::collections::VecDeque;
use std::time::Duration;

use topo_core::log::Consumed;
use topo_core::schedule::Moment;
use topo_core::{EventTime, Fail, Timed, Watermark};

use super::partition::Partition;

/// How often the clock is looked at where event time follows it.
const CLOCK_LOOK: Duration = Duration::from_millis(100);

/// How a [`LogSpout`](super::LogSpout) tells event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimeConfig {
    /// How much earlier than the latest record of its partition a record may be and not be late.
    pub disorder: Duration,
    /// How long a partition that is read to its end may get no record before nobody waits for it. A log that cannot be
    /// reached makes nothing idle.
    pub idle_after: Duration,
    /// Whether the time of a partition that is idle goes on with the wall clock: for records that carry the time at which they
    /// came into the log. What comes next is then later than that by itself, so windows need no further record to end.
    pub follows_clock: bool,
    /// How far the spout had come in an earlier run: it tells nothing earlier.
    pub floor: Watermark,
}

impl EventTimeConfig {
    /// Allows for so much disorder; a partition is idle after a second.
    pub const fn new(disorder: Duration) -> Self {
        let idle_after = Duration::from_secs(1);
        Self { disorder, idle_after, follows_clock: false, floor: Watermark::MIN }
    }
}

/// A record's own timestamp, for [`timed`].
///
/// # Errors
/// Rejects a record that carries none.
pub fn record_time<T>(record: &Consumed, _value: &T) -> Result<i64, Fail> {
    // Kafka's mark for a record without.
    if record.timestamp_ms == -1 {
        return Err(Fail::reject("the record carries no timestamp; take its time from its value"));
    }
    Ok(record.timestamp_ms)
}

/// A decoder of records into values and when they happened, in milliseconds since 1970.
///
/// ```
/// use topo_connectors::{record_time, timed};
/// # use topo_core::{Fail, Timed, log::Consumed};
///
/// let decode = timed(|record: &Consumed| Ok(record.offset), record_time);
/// # let record = Consumed { offset: 7, timestamp_ms: 1_000, key: None, value: None, headers: Vec::new() };
/// assert_eq!(decode(&record), Ok(Timed { at: 1_000, value: 7 }));
/// ```
pub fn timed<T>(
    decode: impl Fn(&Consumed) -> Result<T, Fail> + Clone,
    time: impl Fn(&Consumed, &T) -> Result<i64, Fail> + Clone,
) -> impl Fn(&Consumed) -> Result<Timed<T>, Fail> + Clone {
    move |record| {
        let value = decode(record)?;
        let at = time(record, &value)?;
        Ok(Timed { at, value })
    }
}

/// How a spout of `T` tells event time.
#[derive(Debug)]
pub(super) struct Times<T> {
    pub(super) config: EventTimeConfig,
    pub(super) at: fn(&T) -> i64,
}

impl<T> Times<T> {
    /// How far the spout has come that has these partitions.
    pub(super) fn merge<'a>(
        &self,
        partitions: impl Iterator<Item = &'a Partition> + Clone,
        (now, wall_ms): (Moment, i64),
    ) -> EventTime {
        let at = |one: &Partition| one.clock.watermark(self.config.disorder, one.window.first());
        if self.config.follows_clock {
            let by_clock = |one: &Partition| match one.is_idle(now, self.config.idle_after) {
                true => at(one).max(self.by_clock(wall_ms)),
                false => at(one),
            };
            let least = partitions.map(by_clock).min().unwrap_or_else(|| self.by_clock(wall_ms));
            return EventTime::at(least.max(self.config.floor));
        }
        let active = partitions.clone().filter(|one| !one.is_idle(now, self.config.idle_after));
        let time = match active.map(at).min() {
            Some(at) => EventTime::at(at),
            // Who fell silent first does not matter.
            None => EventTime::idle(partitions.map(at).max().unwrap_or_default()),
        };
        EventTime { at: time.at.max(self.config.floor), ..time }
    }

    /// How far a partition has come from which nothing has come for a while: a record that came into the log before was read.
    fn by_clock(&self, wall_ms: i64) -> Watermark {
        let behind = self.config.disorder.saturating_add(self.config.idle_after).as_millis();
        Watermark(wall_ms.saturating_sub(i64::try_from(behind).unwrap_or(i64::MAX)))
    }

    /// When the next partition will have been quiet for long enough to be idle.
    pub(super) fn idle_due<'a>(
        &self,
        partitions: impl Iterator<Item = &'a Partition>,
        now: Moment,
    ) -> Option<Moment> {
        if self.config.follows_clock {
            return Some(now.after(CLOCK_LOOK));
        }
        partitions.filter_map(|one| one.idle_at(self.config.idle_after)).filter(|at| *at > now).min()
    }
}

/// The times of one partition's records.
#[derive(Debug, Default)]
pub(super) struct PartitionClock {
    latest: Option<i64>,
    /// Of the records that are not done, and those between them: each that is earlier than all behind it, with its offset.
    /// What is done behind one that is not counts as not done: it is the price for no search.
    least: VecDeque<(i64, i64)>,
}

impl PartitionClock {
    /// A record was emitted; `first` is the first that is not done.
    pub(super) fn note(&mut self, offset: i64, at: i64, first: Option<i64>) {
        while self.least.front().is_some_and(|(least, _)| first.is_none_or(|first| *least < first)) {
            self.least.pop_front();
        }
        while self.least.back().is_some_and(|(_, later)| *later >= at) {
            self.least.pop_back();
        }
        self.least.push_back((offset, at));
        self.latest = self.latest.max(Some(at));
    }

    /// How far the partition has come where `first` is the first record that is not done.
    fn watermark(&self, disorder: Duration, first: Option<i64>) -> Watermark {
        let Some(latest) = self.latest else { return Watermark::MIN };
        let disorder = i64::try_from(disorder.as_millis()).unwrap_or(i64::MAX);
        let undone = first.and_then(|first| {
            let place = self.least.partition_point(|(offset, _)| *offset < first);
            self.least.get(place).map(|(_, at)| *at)
        });
        Watermark(undone.into_iter().fold(latest.saturating_sub(disorder), i64::min))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn consumed(timestamp_ms: i64) -> Consumed {
        Consumed { offset: 0, timestamp_ms, key: None, value: None, headers: Vec::new() }
    }

    #[test]
    fn a_record_without_a_timestamp_is_refused_and_one_before_1970_is_not() {
        let decode = timed(|_: &Consumed| Ok(()), record_time);
        assert!(matches!(decode(&consumed(-1)), Err(Fail::Reject(_))));
        assert_eq!(decode(&consumed(-2)), Ok(Timed { at: -2, value: () }));
    }

    proptest! {
        /// Against a map of every record from the first that is not done.
        #[test]
        fn a_partition_has_come_as_far_as_its_earliest_record_and_its_disorder_let_it(
            steps in prop::collection::vec((any::<bool>(), -50i64..50, 1i64..3), 1..150),
            disorder in 0u64..20,
        ) {
            let (mut clock, mut model) = (PartitionClock::default(), BTreeMap::new());
            let (mut next, mut latest) = (0, i64::MIN);
            for (emit, at, gap) in steps {
                if emit {
                    clock.note(next, at, model.keys().next().copied());
                    model.insert(next, at);
                    (next, latest) = (next + gap, latest.max(at));
                } else {
                    model.pop_first();
                }
                let first = model.keys().next().copied();
                let watermark = clock.watermark(Duration::from_millis(disorder), first);
                let least = model.values().copied().chain([latest.saturating_sub(disorder as i64)]).min();
                prop_assert_eq!(watermark, Watermark(least.unwrap()));
            }
        }
    }
}
