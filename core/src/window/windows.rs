//! Which windows a record belongs to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a keyed stream is cut into windows: made by [`tumbling`], [`sliding`], [`session`], [`count`], [`count_sliding`] or
/// [`global`].
///
/// Lengths are whole milliseconds. Windows by time are aligned to 1970 on either side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows(Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Shape {
    Time { size: Duration, every: Duration },
    Session { gap: Duration },
    Count { size: u64, every: u64 },
    Global,
}

impl Windows {
    /// How long they are, of windows that have a length in time.
    pub fn length(&self) -> Option<Duration> {
        match self.0 {
            Shape::Time { size, .. } => Some(size),
            _ => None,
        }
    }
}

/// Windows of length `size`, one behind the other.
pub fn tumbling(size: Duration) -> Windows {
    sliding(size, size)
}

/// Windows of length `size`, one beginning at each multiple of `every`; a record belongs to all that cover it. `every` is
/// not longer than `size`.
pub fn sliding(size: Duration, every: Duration) -> Windows {
    Windows(Shape::Time { size, every })
}

/// Windows that last as long as records of the key are less than `gap` apart, and end one `gap` behind the last.
pub fn session(gap: Duration) -> Windows {
    Windows(Shape::Session { gap })
}

/// Windows of `n` records of a key, in the order of arrival. Event time neither fires them nor makes a record late.
pub fn count(n: u64) -> Windows {
    count_sliding(n, n)
}

/// The last `n` records of a key, after each `every` of them; the first windows, before there are `n`, hold what there is.
/// `every` is not larger than `n`. The last records of a key are kept for as long as the topology is.
pub fn count_sliding(n: u64, every: u64) -> Windows {
    Windows(Shape::Count { size: n, every })
}

/// One window for all of time, which only its [`Trigger`](super::Trigger) fires. A key stays for as long as the topology.
pub fn global() -> Windows {
    Windows(Shape::Global)
}

/// Windows that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    /// A length of time that is 0, not in whole milliseconds, or too long.
    #[error("{what} of {given:?} cannot be: give it whole milliseconds, from 1 ms to 73 million years")]
    Length {
        /// Which length.
        what: &'static str,
        /// What was given.
        given: Duration,
    },
    /// Windows that begin further apart than they are long, which leaves records without a window.
    #[error("sliding windows would leave records out: make `every` at most as long as the window")]
    Gaps,
    /// A count of 0, or one beyond what can be counted.
    #[error("{0} cannot be that many records: give it a number from 1 to 2^62")]
    Records(&'static str),
    /// Windows by count, aggregated in part before a shuffle.
    #[error("windows by count cannot be aggregated in part: they need their records one by one")]
    NotPartial,
}

/// The longest length in milliseconds; sums of a time and a few of these stay within an `i64`.
const LONGEST: i64 = 1 << 61;
/// Times beyond this, on either side of 1970, count as it (146 million years).
const LIMIT: i64 = (1 << 62) - 1;

/// A time that arithmetic with lengths cannot bring to overflow.
#[inline]
pub(super) fn within(at: i64) -> i64 {
    at.clamp(-LIMIT, LIMIT)
}

/// A length as milliseconds, `what` being its name in an error.
pub(super) fn millis(what: &'static str, given: Duration) -> Result<i64, WindowError> {
    match i64::try_from(given.as_millis()) {
        Ok(ms @ 1..=LONGEST) if given.subsec_nanos().is_multiple_of(1_000_000) => Ok(ms),
        _ => Err(WindowError::Length { what, given }),
    }
}

/// Windows that were checked, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Assigner {
    Time(Cuts),
    Session { gap: i64 },
    Count { size: u64, every: u64 },
    Global,
}

impl Assigner {
    pub(super) fn new(windows: Windows) -> Result<Self, WindowError> {
        match windows.0 {
            Shape::Time { size, every } => {
                let (size, every) = (millis("a window", size)?, millis("a slide", every)?);
                if every > size {
                    return Err(WindowError::Gaps);
                }
                Ok(Self::Time(Cuts { size, every, cut: size % every }))
            }
            Shape::Session { gap } => Ok(Self::Session { gap: millis("a session's gap", gap)? }),
            Shape::Count { size, every } => {
                let most = LIMIT.unsigned_abs();
                if !(1..=most).contains(&size) {
                    return Err(WindowError::Records("a window"));
                }
                if !(1..=most).contains(&every) {
                    return Err(WindowError::Records("a slide"));
                }
                if every > size {
                    return Err(WindowError::Gaps);
                }
                Ok(Self::Count { size, every })
            }
            Shape::Global => Ok(Self::Global),
        }
    }

    /// How many windows a record is in, at most; rounded up.
    pub(super) fn overlap(&self) -> u64 {
        match *self {
            Self::Time(cuts) => cuts.size.unsigned_abs().div_ceil(cuts.every.unsigned_abs()),
            Self::Count { size, every } => size.div_ceil(every),
            Self::Session { .. } | Self::Global => 1,
        }
    }
}

/// Where sliding windows by time begin and end, and so where slices are cut: at every multiple of `every`, and `cut`
/// behind it. Two slices per slide at most, whatever the lengths (the paired windows of Krishnamurthy et al., "On-the-Fly
/// Sharing for Streamed Aggregation", SIGMOD 2006).
#[derive(Debug, Clone, Copy)]
pub(super) struct Cuts {
    pub(super) size: i64,
    pub(super) every: i64,
    /// How far behind a multiple of `every` windows end.
    cut: i64,
}

/// Where a record stands among the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Where its slice begins.
    pub(super) slice: i64,
    /// The end of the first window that covers it.
    pub(super) first_end: i64,
    /// The end of the last window that does; others lie `every` apart in between.
    pub(super) last_end: i64,
}

impl Cuts {
    /// The place of time `at`; all times of a slice have the same, its beginning too. One division.
    #[inline]
    pub(super) fn place(&self, at: i64) -> Place {
        // Floors, so it is right before 1970 as well.
        let period = at - at.rem_euclid(self.every);
        let cut = period + self.cut;
        let last_end = period + self.size;
        if at < cut {
            Place { slice: period, first_end: cut, last_end }
        } else {
            Place { slice: cut, first_end: cut + self.every, last_end }
        }
    }

    /// Whether a window is one slice.
    pub(super) fn is_tumbling(&self) -> bool {
        self.size == self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(size: i64, every: i64) -> Cuts {
        Cuts { size, every, cut: size % every }
    }

    #[test]
    fn a_place_is_what_counting_out_the_windows_gives() {
        for (size, every) in [(1, 1), (10, 10), (10, 5), (10, 3), (7, 7), (7, 2), (5, 4), (100, 1)] {
            let cuts = cuts(size, every);
            for at in -150..150 {
                let ends: Vec<i64> = (-400..400)
                    .map(|k| k * every + size)
                    .filter(|end| end - size <= at && at < *end)
                    .collect();
                let place = cuts.place(at);
                assert_eq!(
                    (place.first_end, place.last_end),
                    (ends[0], ends[ends.len() - 1]),
                    "{size}/{every} {at}"
                );
                assert_eq!(ends.len() as i64, (place.last_end - place.first_end) / every + 1);
                assert_eq!(cuts.place(place.slice), place, "{size}/{every} {at}");
                assert!(place.slice <= at);
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_what_can_be_written_overflow_nothing() {
        for (size, every) in [(1, 1), (LONGEST, 1), (LONGEST, LONGEST), (LONGEST, LONGEST - 1)] {
            for at in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                let place = cuts(size, every).place(within(at));
                assert!(place.last_end.checked_add(LONGEST).is_some());
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_with_what_to_do() {
        let refused = |windows| Assigner::new(windows).unwrap_err().to_string();
        assert!(refused(tumbling(Duration::ZERO)).contains("whole milliseconds"));
        assert!(refused(tumbling(Duration::from_micros(1_500))).contains("1.5ms"));
        assert!(refused(session(Duration::MAX)).contains("73 million years"));
        assert!(refused(sliding(Duration::from_secs(1), Duration::from_secs(2))).contains("at most as long"));
        assert!(refused(count(0)).contains("from 1"));
        assert!(refused(count_sliding(2, 3)).contains("at most as long"));
        assert!(Assigner::new(sliding(Duration::from_secs(60), Duration::from_secs(1))).is_ok());
    }
}
