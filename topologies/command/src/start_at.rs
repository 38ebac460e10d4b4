//! Where `consume` begins in a partition.

use std::str::FromStr;

use topo_core::log::{Log, LogError, Offsets, TopicPartition};

/// A place in a partition, as `-o` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// The first record held.
    Start,
    /// Behind the last record.
    End,
    /// This very offset.
    Offset(i64),
    /// So many records behind the first one held.
    AfterStart(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
}

/// What `-o` does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is `start`, `end`, an offset, +N (N records after the start), -N (N before the end) or @TIME (milliseconds since 1970, or such as 2026-01-31T12:00:00Z)"
)]
pub(crate) struct NoStart;

impl FromStr for StartAt {
    type Err = NoStart;

    fn from_str(text: &str) -> Result<Self, NoStart> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().map_err(|_| NoStart) } else { Err(NoStart) }
        };
        match text {
            "start" => Ok(StartAt::Start),
            "end" => Ok(StartAt::End),
            _ => match text.split_at_checked(1) {
                Some(("+", digits)) => number(digits).map(StartAt::AfterStart),
                Some(("-", digits)) => number(digits).map(StartAt::BeforeEnd),
                Some(("@", time)) => at_time(time).map(StartAt::Time).map_err(|_| NoStart),
                _ => number(text).map(StartAt::Offset),
            },
        }
    }
}

/// What is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is milliseconds since 1970, or such as 2026-01-31T12:00:00Z")]
pub(crate) struct NoTime;

/// Milliseconds since 1970, written so or as RFC 3339 has it.
pub(crate) fn at_time(text: &str) -> Result<i64, NoTime> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| NoTime);
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| NoTime)
}

impl StartAt {
    /// The offset meant in partition `at` of `log`, which holds `held`.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] for an offset that is not held, or those of a look-up by time.
    pub(crate) async fn find(
        self,
        log: &dyn Log,
        at: &TopicPartition,
        held: Offsets,
    ) -> Result<i64, LogError> {
        match self {
            StartAt::Time(time) => Ok(log.offset_for_time(at, time).await?.unwrap_or(held.high_watermark)),
            place => place.offset(at, held),
        }
    }

    /// The same where no look-up is needed. Relative places end at the partition's bounds.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] for an offset that is not held.
    fn offset(self, at: &TopicPartition, held: Offsets) -> Result<i64, LogError> {
        let (start, end) = (held.log_start, held.high_watermark);
        match self {
            StartAt::Start => Ok(start),
            StartAt::End => Ok(end),
            StartAt::Offset(asked) if (start..=end).contains(&asked) => Ok(asked),
            StartAt::Offset(asked) => Err(LogError::OffsetOutOfRange { at: at.clone(), asked, held }),
            StartAt::Time(_) => Ok(end),
            StartAt::AfterStart(records) => Ok(start.saturating_add(records).min(end)),
            StartAt::BeforeEnd(records) => Ok(end.saturating_sub(records).max(start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELD: Offsets = Offsets { log_start: 10, high_watermark: 20, log_end: 25 };

    fn offset(text: &str) -> Result<i64, LogError> {
        text.parse::<StartAt>().unwrap().offset(&TopicPartition::new("t", 0), HELD)
    }

    #[test]
    fn every_form_finds_its_offset() {
        for (text, expected) in [
            ("start", 10),
            ("end", 20),
            ("10", 10),
            ("15", 15),
            ("20", 20),
            ("+0", 10),
            ("+3", 13),
            ("+99", 20),
            ("-0", 20),
            ("-3", 17),
            ("-99", 10),
            ("+9223372036854775807", 20),
            ("-9223372036854775807", 10),
        ] {
            assert_eq!(offset(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn offsets_not_held_are_refused() {
        for text in ["9", "21", "9223372036854775807"] {
            assert!(matches!(offset(text), Err(LogError::OffsetOutOfRange { .. })), "{text}");
        }
    }

    #[test]
    fn times_are_milliseconds_or_dates() {
        assert_eq!("@1700000000123".parse(), Ok(StartAt::Time(1_700_000_000_123)));
        assert_eq!("@2023-11-14T22:13:20.123Z".parse(), Ok(StartAt::Time(1_700_000_000_123)));
        assert_eq!("@2023-11-14T23:13:20+01:00".parse(), Ok(StartAt::Time(1_700_000_000_000)));
        for text in ["@", "@-1", "@soon", "@2023-11-14", "@9223372036854775808"] {
            assert_eq!(text.parse::<StartAt>(), Err(NoStart), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_understood() {
        for text in ["", "+", "-", "--1", "+-1", "1.5", "begin", "é", "9223372036854775808", " 1"] {
            assert_eq!(text.parse::<StartAt>(), Err(NoStart), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_held(text in "[+-]?[0-9]{1,19}|.{0,6}") {
            if let Ok(start) = text.parse::<StartAt>()
                && let Ok(offset) = start.offset(&TopicPartition::new("t", 0), HELD)
            {
                prop_assert!((HELD.log_start..=HELD.high_watermark).contains(&offset));
            }
        }
    }
}
