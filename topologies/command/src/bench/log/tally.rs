//! What a measurement gave: how much, in what time, and how long each answer took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The most that one measurement writes, so that none fills the disk.
const MOST_BYTES: u64 = 2 << 30;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    begun: Instant,
    length: Duration,
}

impl Span {
    /// From now on, for `length`.
    pub(super) fn begin(length: Duration) -> Self {
        Self { begun: Instant::now(), length }
    }

    /// Whether its time is over.
    pub(super) fn is_past(&self) -> bool {
        self.begun.elapsed() >= self.length
    }

    /// Whether a measurement ends that has written so much so far.
    pub(super) fn is_over(&self, tally: &Tally) -> bool {
        self.is_past() || tally.bytes >= MOST_BYTES
    }

    /// What was measured, over the time that it took.
    pub(super) fn end(self, tally: Tally) -> Tally {
        Tally { seconds: self.begun.elapsed().as_secs_f64(), ..tally }
    }
}

/// Records and bytes that were moved.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// Of the whole process, while this was measured.
    pub(super) cpu_seconds: f64,
    /// How long each answer took, in nanoseconds.
    latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        // Three digits never fail to be kept.
        let latency = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are permitted"));
        Self { records: 0, bytes: 0, seconds: 0.0, cpu_seconds: 0.0, latency }
    }
}

impl Tally {
    /// Counts what was answered after so long.
    pub(super) fn add(&mut self, records: u64, bytes: usize, took: Duration) {
        self.records += records;
        self.bytes += bytes as u64;
        // It grows as it must; what took longer than it can hold took longer than any measurement.
        let _ = self.latency.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in what was measured at the same time.
    pub(super) fn join(&mut self, other: &Self) {
        self.absorb(other);
        self.seconds = self.seconds.max(other.seconds);
        self.cpu_seconds = self.cpu_seconds.max(other.cpu_seconds);
    }

    /// Takes in what was measured behind it.
    pub(super) fn extend(&mut self, other: &Self) {
        self.absorb(other);
        self.seconds += other.seconds;
        self.cpu_seconds += other.cpu_seconds;
    }

    fn absorb(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        // Both grow as they must.
        let _ = self.latency.add(&other.latency);
    }

    /// 10⁶ bytes per second.
    pub(super) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }

    pub(super) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// Processor time per 10⁹ bytes: what a busy machine does not change.
    pub(super) fn cpu_seconds_per_gigabyte(&self) -> f64 {
        self.cpu_seconds / (self.bytes as f64 / 1e9)
    }

    /// In microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_together_takes_the_longer_time_and_what_follows_adds_up() {
        let tally = |records, seconds| {
            let mut tally = Tally { seconds, ..Tally::default() };
            tally.add(records, 1_000_000, Duration::from_micros(records));
            tally
        };
        let mut joined = tally(10, 1.0);
        joined.join(&tally(30, 2.0));
        assert_eq!((joined.records_per_second(), joined.megabytes_per_second()), (20.0, 1.0));
        assert_eq!(joined.quantile_us(0.5).round(), 10.0);
        let mut extended = tally(10, 1.0);
        extended.extend(&tally(30, 3.0));
        assert_eq!((extended.records_per_second(), extended.megabytes_per_second()), (10.0, 0.5));
        assert_eq!(extended.quantile_us(0.999).round(), 30.0);
    }
}
