//! How long what failed waits before it is tried again.

use std::time::Duration;

use crate::schedule::Moment;

/// Waits that double from one attempt to the next, with jitter, up to the longest.
///
/// ```
/// use std::time::Duration;
/// use topo_core::{Backoff, schedule::Moment};
///
/// let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };
/// let due = backoff.due(2, Moment::from_nanos(0), 7);
/// assert!((50_000_000..=100_000_000).contains(&due.as_nanos()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second attempt.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// When attempt number `attempt`, from 2, is due after a failure at `now`. `salt` keeps what failed together apart.
    pub fn due(&self, attempt: u32, now: Moment, salt: u64) -> Moment {
        now.after(self.wait_before(attempt, jitter(now.as_nanos() ^ salt.rotate_left(32))))
    }

    /// The wait before attempt number `attempt`: between half and all of what doubling gives. `jitter` is 0 to 1.
    fn wait_before(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled =
            self.first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(2)).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number from 0 to 1 that looks random (SplitMix64's finalizer): what fails at the same time is not retried at the
/// same time, and the same run of a seeded test waits the same.
fn jitter(of: u64) -> f64 {
    let mut mixed = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_takes_off_at_most_half() {
        assert_eq!(BACKOFF.wait_before(2, 1.0), Duration::from_millis(100));
        assert_eq!(BACKOFF.wait_before(4, 1.0), Duration::from_millis(400));
        assert_eq!(BACKOFF.wait_before(4, 0.0), Duration::from_millis(200));
        assert_eq!(BACKOFF.wait_before(200, 1.0), BACKOFF.longest);
    }

    #[test]
    fn jitter_spreads_what_failed_at_the_same_time() {
        let due = |salt| BACKOFF.due(2, Moment::from_nanos(7), salt);
        let mut dues: Vec<Moment> = (0..1_000).map(due).collect();
        let bounds = (Moment::from_nanos(50_000_007), Moment::from_nanos(100_000_007));
        assert!(dues.iter().all(|due| (bounds.0..=bounds.1).contains(due)));
        dues.sort();
        // Ten equal parts of the range hold about a tenth each.
        for part in 0..10_u64 {
            let from = Moment::from_nanos(50_000_007 + part * 5_000_000);
            let within =
                dues.iter().filter(|due| (from..from.after(Duration::from_millis(5))).contains(*due));
            assert!((60..=140).contains(&within.count()), "part {part}");
        }
    }
}
