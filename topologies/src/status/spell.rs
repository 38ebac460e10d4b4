//! How numbers are spelled for people: times with a unit, counts with separators, uptime as Storm writes it.

use std::time::Duration;

/// A latency with three significant digits and the unit that suits it, such as `12.3 µs`.
pub(super) fn latency(time: Duration) -> String {
    let nanos = time.as_nanos();
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A count with a comma before every third digit from the right, such as `1,234,567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut spelled = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            spelled.push(',');
        }
        spelled.push(digit);
    }
    spelled
}

/// An uptime in Storm's way: whole units from the largest that is not zero down to seconds, such as `1d 0h 5m 9s`.
pub(super) fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds}s"),
        (0, _, _) => format!("{hours}h {minutes}m {seconds}s"),
        _ => format!("{days}d {hours}h {minutes}m {seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_three_digits() {
        let spelled = |nanos| latency(Duration::from_nanos(nanos));
        assert_eq!(spelled(0), "0 ns");
        assert_eq!(spelled(999), "999 ns");
        assert_eq!(spelled(1_234), "1.23 µs");
        assert_eq!(spelled(9_996), "10.0 µs");
        assert_eq!(spelled(12_345), "12.3 µs");
        assert_eq!(spelled(456_789), "457 µs");
        assert_eq!(spelled(7_890_000), "7.89 ms");
        assert_eq!(spelled(61_500_000_000), "61.5 s");
    }

    #[test]
    fn counts_are_separated() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567, u64::MAX].map(count),
            ["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"]
        );
    }

    #[test]
    fn uptimes_are_storms() {
        let spelled = |seconds| uptime(Duration::from_secs(seconds));
        assert_eq!(spelled(0), "0s");
        assert_eq!(spelled(365), "6m 5s");
        assert_eq!(spelled(10_800), "3h 0m 0s");
        assert_eq!(spelled(86_709), "1d 0h 5m 9s");
    }
}
