//! When an append is acknowledged, and when the disk is made to keep it.
//!
//! Invariant: under [`Durability::Fsync`] nothing is acknowledged, or read, that a power loss could take back; the
//! others give that up by name.

use std::fmt;
use std::time::Duration;

/// How durable a record is when its append returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Synced: it survives a power loss. Appends that wait share a sync. `flush.ms=0`.
    #[default]
    Fsync,
    /// Written: it survives the process, and a power loss once it is synced, so much later at most. `flush.ms=D`.
    Interval(Duration),
    /// Written, and synced by the operating system when it pleases; by topo only where a segment is rolled and where
    /// the log is closed. `flush.ms=9223372036854775807`, Kafka's default.
    Os,
}

impl Durability {
    /// The setting that `flush.ms` names in Kafka's words: how long a record may stay unsynced.
    pub(crate) fn from_flush_ms(flush_ms: i64) -> Option<Self> {
        match flush_ms {
            ..0 => None,
            0 => Some(Self::Fsync),
            i64::MAX => Some(Self::Os),
            millis => Some(Self::Interval(Duration::from_millis(millis.unsigned_abs()))),
        }
    }

    /// What `flush.ms` calls it.
    pub(crate) fn flush_ms(self) -> i64 {
        match self {
            Self::Fsync => 0,
            Self::Interval(every) => i64::try_from(every.as_millis()).unwrap_or(i64::MAX),
            Self::Os => i64::MAX,
        }
    }

    /// What it promises, in a sentence without an end.
    pub fn promise(self) -> String {
        match self {
            Self::Fsync => "every record is synced to disk before it is acknowledged".to_owned(),
            Self::Interval(every) => {
                format!("records are acknowledged when written and synced to disk within {every:?}")
            }
            Self::Os => "records are acknowledged when written; the operating system syncs them".to_owned(),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fsync => f.write_str("fsync"),
            Self::Interval(every) => write!(f, "interval({every:?})"),
            Self::Os => f.write_str("os"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_ms_names_each_setting() {
        let shown = |flush_ms| Durability::from_flush_ms(flush_ms).map(|durability| durability.to_string());
        assert_eq!(shown(0).as_deref(), Some("fsync"));
        assert_eq!(shown(1_500).as_deref(), Some("interval(1.5s)"));
        assert_eq!(shown(i64::MAX).as_deref(), Some("os"));
        assert_eq!(shown(-1), None);
        assert!(Durability::Interval(Duration::from_millis(20)).promise().ends_with("within 20ms"));
    }
}
