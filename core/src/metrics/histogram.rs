//! Distributions of times with one writer and no lock.
//!
//! Buckets are log-linear, as those of HdrHistogram (Gil Tene): each power of two is cut into [`PARTS`] of equal width, so
//! that a time is known to about 1.6% whatever its magnitude. A writer loads and stores, which costs no fence. A reader
//! copies only the buckets between the lowest and the highest that were ever hit: a page that shows hundreds of tasks once
//! a second pays for what there is to see, and holds up no writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many parts a power of two is cut into.
const PARTS: usize = 32;
/// Binary digits of that.
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Longest time that is told apart: an hour, in nanoseconds.
pub(super) const LONGEST_NANOS: u64 = 3_600_000_000_000;
/// How many buckets there are.
const BUCKETS: usize = bucket_of(LONGEST_NANOS) + 1;

/// Which bucket a time is in. Below [`PARTS`] each nanosecond has its own.
const fn bucket_of(nanos: u64) -> usize {
    if nanos < PARTS as u64 {
        return nanos as usize;
    }
    let exponent = nanos.ilog2();
    let part = (nanos >> (exponent - PART_BITS)) as usize - PARTS;
    (exponent - PART_BITS + 1) as usize * PARTS + part
}

/// The first and the last time of a bucket.
const fn bounds_of(bucket: usize) -> (u64, u64) {
    if bucket < PARTS {
        return (bucket as u64, bucket as u64);
    }
    let shift = (bucket / PARTS - 1) as u32;
    let first = ((PARTS + bucket % PARTS) as u64) << shift;
    (first, first + (1 << shift) - 1)
}

/// A distribution that one executor writes and anyone reads.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Box<[AtomicU64]>,
    /// The lowest bucket that was hit, and the highest; the other way round where none was.
    lowest: AtomicU64,
    highest: AtomicU64,
    sum: AtomicU64,
    longest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            lowest: AtomicU64::new(BUCKETS as u64),
            highest: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Records `time` for `count` events; times beyond an hour count as an hour, and none is shorter than a nanosecond.
    /// Only the executor of the task may call it.
    pub(crate) fn record(&self, time: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_NANOS);
        let bucket = bucket_of(nanos);
        let add = |to: &AtomicU64, by: u64| to.store(to.load(Relaxed).wrapping_add(by), Relaxed);
        add(&self.counts[bucket], count);
        add(&self.sum, nanos.wrapping_mul(count));
        if nanos > self.longest.load(Relaxed) {
            self.longest.store(nanos, Relaxed);
        }
        if (bucket as u64) < self.lowest.load(Relaxed) {
            self.lowest.store(bucket as u64, Relaxed);
        }
        if bucket as u64 > self.highest.load(Relaxed) {
            self.highest.store(bucket as u64, Relaxed);
        }
    }

    /// What was recorded so far.
    pub(crate) fn snapshot(&self) -> Latency {
        let (lowest, highest) = (self.lowest.load(Relaxed) as usize, self.highest.load(Relaxed) as usize);
        if lowest > highest {
            return Latency::default();
        }
        let counts: Vec<u64> =
            self.counts[lowest..=highest].iter().map(|count| count.load(Relaxed)).collect();
        Latency {
            first: lowest,
            count: counts.iter().sum(),
            counts,
            sum: self.sum.load(Relaxed),
            longest: self.longest.load(Relaxed),
        }
    }
}

/// A distribution of times, to about 1.6%.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency {
    /// The bucket of the first of `counts`.
    first: usize,
    counts: Vec<u64>,
    /// The sum over `counts`.
    count: u64,
    /// Nanoseconds.
    sum: u64,
    longest: u64,
}

impl Latency {
    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time below which the share `quantile` (0 to 1) of all lie; `None` where none was recorded.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                let (first, last) = bounds_of(self.first + index);
                return Some(Duration::from_nanos((first + (last - first) / 2).min(self.longest)));
            }
        }
        Some(Duration::from_nanos(self.longest))
    }

    /// The mean; `None` where nothing was recorded.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count).map(Duration::from_nanos)
    }

    /// The longest; `None` where nothing was recorded.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.longest))
    }

    /// All times added up.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// How many times were at most `limit`; exact where `limit` is one nanosecond short of a power of two, else to
    /// about 3% of `limit`.
    pub fn count_at_most(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).min(LONGEST_NANOS);
        let last = bucket_of(limit);
        self.counts.iter().take((last + 1).saturating_sub(self.first)).sum()
    }

    /// Joins the distributions of several tasks.
    pub fn merge<'a>(all: impl IntoIterator<Item = &'a Latency>) -> Latency {
        let mut merged = Latency::default();
        all.into_iter().for_each(|one| merged.add(one));
        merged
    }

    fn add(&mut self, other: &Latency) {
        if other.count == 0 {
            return;
        }
        if self.counts.is_empty() {
            return self.clone_from(other);
        }
        let end = (self.first + self.counts.len()).max(other.first + other.counts.len());
        let first = self.first.min(other.first);
        if first < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - first));
            self.first = first;
        }
        self.counts.resize(end - first, 0);
        for (index, count) in other.counts.iter().enumerate() {
            self.counts[other.first - first + index] += count;
        }
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.longest = self.longest.max(other.longest);
    }

    /// What was recorded since `earlier`, a snapshot of the same. Its longest is known to the width of a bucket.
    #[must_use]
    pub fn since(&self, earlier: &Latency) -> Latency {
        let before = |bucket: usize| {
            let index = bucket.checked_sub(earlier.first)?;
            earlier.counts.get(index).copied()
        };
        let counts: Vec<u64> = (self.counts.iter().enumerate())
            .map(|(index, count)| count.saturating_sub(before(self.first + index).unwrap_or(0)))
            .collect();
        let (Some(low), Some(high)) =
            (counts.iter().position(|count| *count > 0), counts.iter().rposition(|count| *count > 0))
        else {
            return Latency::default();
        };
        let longest = bounds_of(self.first + high).1.min(self.longest);
        let counts = counts[low..=high].to_vec();
        Latency {
            first: self.first + low,
            count: counts.iter().sum(),
            counts,
            sum: self.sum.saturating_sub(earlier.sum),
            longest,
        }
    }
}

/// The distribution of the given times, each at least one nanosecond and at most an hour.
impl FromIterator<Duration> for Latency {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let histogram = Histogram::default();
        times.into_iter().for_each(|time| histogram.record(time, 1));
        histogram.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(times: impl IntoIterator<Item = u64>) -> Latency {
        times.into_iter().map(Duration::from_nanos).collect()
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = bounds_of(bucket);
            assert_eq!((first, bucket_of(first), bucket_of(last)), (next, bucket, bucket));
            next = last + 1;
        }
        assert!(next > LONGEST_NANOS);
    }

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        for exponent in 6..35 {
            let edge = 1_u64 << exponent;
            let latency = nanos([edge - 1, edge, edge + 1]);
            assert_eq!(latency.count_at_most(Duration::from_nanos(edge - 1)), 1, "2^{exponent}");
        }
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        let empty = Latency::merge([]);
        assert_eq!((empty.count(), empty.sum(), empty.quantile(0.5)), (0, Duration::ZERO, None));
        assert_eq!(Histogram::default().snapshot(), empty);
    }

    #[test]
    fn a_time_of_nothing_and_one_of_days_are_counted() {
        let latency: Latency = [Duration::ZERO, Duration::from_secs(1 << 20)].into_iter().collect();
        assert_eq!((latency.count(), latency.max()), (2, Some(Duration::from_secs(3_600))));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_exact_ones(mut times in prop::collection::vec(1..LONGEST_NANOS, 1..200), q in 0.0..=1.0) {
            let told = nanos(times.iter().copied()).quantile(q).unwrap().as_nanos() as f64;
            times.sort_unstable();
            let rank = ((q * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let exact = times[rank - 1] as f64;
            prop_assert!((told - exact).abs() <= exact * 0.017 + 1.0, "{told} for {exact}");
        }

        #[test]
        fn joined_and_taken_apart_again_it_is_what_it_was(
            before in prop::collection::vec(1_u64..1 << 40, 0..50),
            after in prop::collection::vec(1_u64..1 << 40, 0..50),
        ) {
            let histogram = Histogram::default();
            let record = |times: &[u64]| times.iter().for_each(|time| histogram.record(Duration::from_nanos(*time), 1));
            record(&before);
            let earlier = histogram.snapshot();
            record(&after);
            let newer = histogram.snapshot().since(&earlier);
            prop_assert_eq!((newer.count(), newer.sum()), (after.len() as u64, Duration::from_nanos(after.iter().sum())));
            let alone = nanos(after.iter().copied());
            let median = |of: &Latency| of.quantile(0.5).map_or(0.0, |time| time.as_nanos() as f64);
            // What is the longest of the newer ones is known to the width of a bucket only.
            prop_assert!((median(&newer) - median(&alone)).abs() <= median(&alone) / PARTS as f64 + 1.0);
            prop_assert_eq!(Latency::merge([&earlier, &newer]).count(), (before.len() + after.len()) as u64);
            let mut all = before;
            all.extend(after);
            prop_assert_eq!(histogram.snapshot(), nanos(all.iter().copied()));
            prop_assert_eq!(Latency::merge([&earlier, &alone]), nanos(all));
        }
    }
}
