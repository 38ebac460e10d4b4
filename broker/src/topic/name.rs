//! Which names and partition counts a topic may have.

use crate::error::{BrokerError, shown};

/// The topic that holds committed offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that holds where transactional ids stand.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Names that the broker keeps for itself.
const INTERNAL: [&str; 2] = [OFFSETS_TOPIC, TRANSACTIONS_TOPIC];

/// The longest name, such that `name-partition` is still a file name everywhere.
const MAX_NAME_BYTES: usize = 249;
/// The most partitions of one topic; each keeps files open.
pub const MAX_PARTITIONS: u32 = 1024;

/// Whether the broker keeps topics of this name for itself.
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Kafka's rule: 1 to 249 of `[A-Za-z0-9._-]`, and neither `.` nor `..`.
pub(crate) fn validate(name: &str) -> Result<(), BrokerError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    if fits && name.bytes().all(legal) && name != "." && name != ".." {
        return Ok(());
    }
    Err(BrokerError::InvalidTopicName(shown(name)))
}

/// From 1 to [`MAX_PARTITIONS`].
pub(crate) fn validate_partitions(partitions: u32) -> Result<(), BrokerError> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        Ok(())
    } else {
        Err(BrokerError::InvalidPartitionCount(partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for good in ["a", "lines", "A-b_c.9", "...", OFFSETS_TOPIC, &"x".repeat(249)] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "../x", "é", "a\n", "a\0", &"x".repeat(250)] {
            assert!(matches!(validate(bad), Err(BrokerError::InvalidTopicName(_))), "{bad}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_escaped_and_cut() {
        let error = validate(&"\u{1b}".repeat(100_000)).unwrap_err().to_string();
        assert!(error.len() < 3000 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn partition_counts_are_bounded() {
        assert!(validate_partitions(1).is_ok() && validate_partitions(MAX_PARTITIONS).is_ok());
        assert!(validate_partitions(0).is_err() && validate_partitions(MAX_PARTITIONS + 1).is_err());
    }
}
