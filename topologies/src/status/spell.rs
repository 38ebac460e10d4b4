//! How Storm spells what is no number.

use std::time::Duration;

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
    fn uptimes_are_storms() {
        let spelled = |seconds| uptime(Duration::from_secs(seconds));
        assert_eq!(spelled(0), "0s");
        assert_eq!(spelled(365), "6m 5s");
        assert_eq!(spelled(10_800), "3h 0m 0s");
        assert_eq!(spelled(86_709), "1d 0h 5m 9s");
    }
}
