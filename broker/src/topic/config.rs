//! A topic's configuration, by Kafka's keys and defaults.
//!
//! Invariant: a [`TopicConfig`] holds only values that were accepted; keys that are not known are refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use topo_log::{CompactionConfig, Retention};
use topo_protocol::{Compression, TimestampType};

use super::setting::Key;
use crate::durability::Durability;
use crate::error::{BrokerError, shown};

/// Below this a segment would hold hardly more than one batch header.
const SEGMENT_BYTES_RANGE: RangeInclusive<u32> = 1024..=i32::MAX as u32;
/// All of something, in millionths.
const WHOLE_PPM: u32 = 1_000_000;
const MAX_MESSAGE_BYTES_RANGE: RangeInclusive<u32> = 0..=i32::MAX as u32;

/// The settings of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    /// `segment.bytes`: a segment that would outgrow this is closed and a new one begun. 1 GiB by default.
    pub segment_bytes: u32,
    /// `max.message.bytes`: the largest batch that is accepted, as sent. 1 MiB and 12 bytes by default.
    pub max_message_bytes: u32,
    /// `compression.type`: how batches are stored.
    pub compression_type: CompressionType,
    /// `flush.ms`: how long an acknowledged record may stay unsynced. 0 by default, unlike Kafka's: synced first.
    pub durability: Durability,
    /// `message.timestamp.type`: whose clock records' timestamps are from. The producer's, `CreateTime`, by default.
    pub timestamp_type: TimestampType,
    /// `retention.ms`, 7 days by default, `retention.bytes`, unlimited by default, and `segment.ms`, 7 days by default:
    /// how long records are kept.
    pub retention: Retention,
    /// `cleanup.policy`: what becomes of old records. They are deleted by default.
    pub cleanup: CleanupPolicy,
    /// `min.cleanable.dirty.ratio`, 0.5 by default, `delete.retention.ms`, 24 hours, `min.compaction.lag.ms`, 0, and
    /// `max.compaction.lag.ms`, unlimited: when and how the topic is compacted, where its policy says so.
    pub compaction: CompactionConfig,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            max_message_bytes: (1 << 20) + 12,
            compression_type: CompressionType::Producer,
            durability: Durability::Fsync,
            timestamp_type: TimestampType::CreateTime,
            retention: Retention::default(),
            cleanup: CleanupPolicy::Delete,
            compaction: CompactionConfig::default(),
        }
    }
}

impl TopicConfig {
    /// These settings, with those of `overrides` in their place.
    ///
    /// # Errors
    /// [`BrokerError::UnknownConfig`], [`BrokerError::UnsupportedConfig`] for a key that Kafka has and topo has not, or
    /// [`BrokerError::InvalidConfig`].
    pub fn with_overrides(mut self, overrides: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        for (key, value) in overrides {
            self.set(Key::named(key)?, value)?;
        }
        Ok(self)
    }

    /// What a topic of these settings is said to set where it sets `overrides`: the same, in the fewest characters.
    pub(super) fn canonical(&self, overrides: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let canonical = |(name, value): (String, String)| {
            let value = Key::named(&name).map_or(value, |key| self.get(key));
            (name, value)
        };
        overrides.into_iter().map(canonical).collect()
    }

    fn set(&mut self, key: Key, value: &str) -> Result<(), BrokerError> {
        match key {
            Key::CleanupPolicy => self.cleanup = parsed(key, value)?,
            Key::DeleteRetentionMs => self.compaction.delete_retention = millis(key, value)?,
            Key::MaxCompactionLagMs => self.compaction.max_lag = max_lag(key, value)?,
            Key::MinCleanableDirtyRatio => self.compaction.min_dirty_ppm = ratio(key, value)?,
            Key::MinCompactionLagMs => self.compaction.min_lag = millis(key, value)?,
            Key::CompressionType => self.compression_type = parsed(key, value)?,
            Key::FlushMs => self.durability = flush_ms(key, value)?,
            Key::MaxMessageBytes => self.max_message_bytes = bytes(key, value, MAX_MESSAGE_BYTES_RANGE)?,
            Key::MessageTimestampType => self.timestamp_type = timestamp_type(key, value)?,
            Key::RetentionBytes => self.retention.max_bytes = limit(key, value)?,
            Key::RetentionMs => self.retention.max_age = limit(key, value)?.map(Duration::from_millis),
            Key::SegmentBytes => self.segment_bytes = bytes(key, value, SEGMENT_BYTES_RANGE)?,
            Key::SegmentMs => self.retention.roll_after = segment_ms(key, value)?,
        }
        Ok(())
    }

    /// A setting's value, as it would be set.
    pub(super) fn get(&self, key: Key) -> String {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).to_string();
        let limited = |limit: Option<String>| limit.unwrap_or_else(|| "-1".to_owned());
        match key {
            Key::CleanupPolicy => self.cleanup.to_string(),
            Key::DeleteRetentionMs => millis(self.compaction.delete_retention),
            Key::MaxCompactionLagMs => millis(self.compaction.max_lag.unwrap_or(Duration::MAX)),
            Key::MinCleanableDirtyRatio => {
                (f64::from(self.compaction.min_dirty_ppm) / f64::from(WHOLE_PPM)).to_string()
            }
            Key::MinCompactionLagMs => millis(self.compaction.min_lag),
            Key::CompressionType => self.compression_type.to_string(),
            Key::FlushMs => self.durability.flush_ms().to_string(),
            Key::MaxMessageBytes => self.max_message_bytes.to_string(),
            Key::MessageTimestampType => self.timestamp_type.to_string(),
            Key::RetentionBytes => limited(self.retention.max_bytes.map(|bytes| bytes.to_string())),
            Key::RetentionMs => limited(self.retention.max_age.map(millis)),
            Key::SegmentBytes => self.segment_bytes.to_string(),
            Key::SegmentMs => millis(self.retention.roll_after),
        }
    }
}

/// The error for a value that its key does not take.
fn invalid(key: Key, value: &str, expected: impl Into<String>) -> BrokerError {
    BrokerError::InvalidConfig { key: key.name(), value: shown(value), expected: expected.into() }
}

fn bytes(key: Key, value: &str, range: RangeInclusive<u32>) -> Result<u32, BrokerError> {
    let expected = || format!("a number of bytes from {} to {}", range.start(), range.end());
    value.parse().ok().filter(|bytes| range.contains(bytes)).ok_or_else(|| invalid(key, value, expected()))
}

/// A number from 0 on, or -1 for no limit.
fn limit(key: Key, value: &str) -> Result<Option<u64>, BrokerError> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number @ 0..) => Ok(Some(number.unsigned_abs())),
        _ => Err(invalid(key, value, "a number from 0 on, or -1 for no limit")),
    }
}

fn millis(key: Key, value: &str) -> Result<Duration, BrokerError> {
    let millis = value.parse::<i64>().ok().filter(|millis| *millis >= 0);
    let millis = millis.ok_or_else(|| invalid(key, value, "a number of milliseconds from 0 on"))?;
    Ok(Duration::from_millis(millis.unsigned_abs()))
}

/// The largest number stands for no limit, as in Kafka.
fn max_lag(key: Key, value: &str) -> Result<Option<Duration>, BrokerError> {
    let lag = segment_ms(key, value)?;
    Ok((lag.as_millis() < i64::MAX as u128).then_some(lag))
}

/// A part of the whole, in millionths.
fn ratio(key: Key, value: &str) -> Result<u32, BrokerError> {
    let ratio = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    let ratio = ratio.ok_or_else(|| invalid(key, value, "a number from 0 to 1"))?;
    Ok((ratio * f64::from(WHOLE_PPM)).round() as u32)
}

fn segment_ms(key: Key, value: &str) -> Result<Duration, BrokerError> {
    let millis = value.parse::<i64>().ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| invalid(key, value, "a number of milliseconds from 1 on"))?;
    Ok(Duration::from_millis(millis.unsigned_abs()))
}

fn flush_ms(key: Key, value: &str) -> Result<Durability, BrokerError> {
    let expected =
        || format!("0 to sync first, a number of milliseconds, or {} to leave it to the system", i64::MAX);
    let durability = value.parse().ok().and_then(Durability::from_flush_ms);
    durability.ok_or_else(|| invalid(key, value, expected()))
}

fn parsed<T: FromStr<Err = &'static str>>(key: Key, value: &str) -> Result<T, BrokerError> {
    value.parse().map_err(|expected| invalid(key, value, expected))
}

fn timestamp_type(key: Key, value: &str) -> Result<TimestampType, BrokerError> {
    let kinds = [TimestampType::CreateTime, TimestampType::LogAppendTime];
    let kind = kinds.into_iter().find(|kind| kind.to_string() == value);
    kind.ok_or_else(|| invalid(key, value, "CreateTime or LogAppendTime"))
}

/// What becomes of a topic's old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CleanupPolicy {
    /// They are given up by age and size.
    #[default]
    Delete,
    /// Of each key the last one stays, however old.
    Compact,
    /// Of each key the last one stays, until that is given up by age or size.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// Whether of each key only the last record is kept.
    pub fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }

    /// Whether records are given up by age and size.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }
}

impl fmt::Display for CleanupPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactAndDelete => "compact,delete",
        })
    }
}

impl FromStr for CleanupPolicy {
    /// What is accepted instead.
    type Err = &'static str;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let (mut compacts, mut deletes) = (false, false);
        for word in words.split(',').map(str::trim) {
            match word {
                "compact" => compacts = true,
                "delete" => deletes = true,
                _ => return Err("delete, compact, or both with a comma between them"),
            }
        }
        Ok(match (compacts, deletes) {
            (true, true) => Self::CompactAndDelete,
            (true, false) => Self::Compact,
            (false, _) => Self::Delete,
        })
    }
}

/// How a topic's batches are compressed where they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionType {
    /// As their producer compressed them.
    #[default]
    Producer,
    /// With this codec, whatever their producer chose; `uncompressed` for none.
    As(Compression),
}

impl fmt::Display for CompressionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer => f.write_str("producer"),
            Self::As(Compression::None) => f.write_str("uncompressed"),
            Self::As(codec) => codec.fmt(f),
        }
    }
}

impl FromStr for CompressionType {
    /// What is accepted instead.
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let codecs =
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let mut accepted = codecs.map(Self::As).into_iter().chain([Self::Producer]);
        accepted
            .find(|kind| kind.to_string() == name)
            .ok_or("one of producer, uncompressed, gzip, snappy, lz4 and zstd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<TopicConfig, BrokerError> {
        TopicConfig::default().with_overrides(&[(key.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn known_keys_are_taken() {
        assert_eq!(with("segment.bytes", "4096").unwrap().segment_bytes, 4096);
        assert_eq!(with("max.message.bytes", "100").unwrap().max_message_bytes, 100);
        let interval = Durability::Interval(Duration::from_millis(5));
        assert_eq!(with("flush.ms", "5").unwrap().durability, interval);
        let age = |value| with("retention.ms", value).unwrap().retention.max_age;
        assert_eq!((age("-1"), age("3")), (None, Some(Duration::from_millis(3))));
        assert_eq!(with("retention.bytes", "7").unwrap().retention.max_bytes, Some(7));
        assert_eq!(with("segment.ms", "7").unwrap().retention.roll_after, Duration::from_millis(7));
        let kind = |value| with("message.timestamp.type", value).map(|config| config.timestamp_type);
        assert_eq!(kind("LogAppendTime").unwrap(), TimestampType::LogAppendTime);
        assert_eq!(kind("CreateTime").unwrap(), TimestampType::CreateTime);
        assert!(kind("createTime").is_err());
        assert!(with("segment.ms", "0").is_err() && with("retention.ms", "-2").is_err());
        for (value, kind) in [
            ("producer", CompressionType::Producer),
            ("uncompressed", CompressionType::As(Compression::None)),
            ("gzip", CompressionType::As(Compression::Gzip)),
            ("snappy", CompressionType::As(Compression::Snappy)),
            ("lz4", CompressionType::As(Compression::Lz4)),
            ("zstd", CompressionType::As(Compression::Zstd)),
        ] {
            assert_eq!(with("compression.type", value).unwrap().compression_type, kind);
        }
    }

    #[test]
    fn compaction_is_set_by_kafkas_keys() {
        let policy = |value| with("cleanup.policy", value).unwrap().cleanup;
        assert_eq!((policy("delete"), policy("compact")), (CleanupPolicy::Delete, CleanupPolicy::Compact));
        assert_eq!(policy("delete, compact"), CleanupPolicy::CompactAndDelete);
        assert_eq!(policy("compact,compact"), CleanupPolicy::Compact);
        let compaction = |key, value| with(key, value).unwrap().compaction;
        assert_eq!(compaction("min.cleanable.dirty.ratio", "0.01").min_dirty_ppm, 10_000);
        assert_eq!(compaction("delete.retention.ms", "7").delete_retention, Duration::from_millis(7));
        assert_eq!(compaction("min.compaction.lag.ms", "7").min_lag, Duration::from_millis(7));
        assert_eq!(compaction("max.compaction.lag.ms", "7").max_lag, Some(Duration::from_millis(7)));
        assert_eq!(compaction("max.compaction.lag.ms", "9223372036854775807").max_lag, None);
    }

    #[test]
    fn unknown_keys_and_values_are_refused_in_a_sentence() {
        let sentence = |key, value| with(key, value).unwrap_err().to_string();
        assert_eq!(
            sentence("segment.byte", "1"),
            "`segment.byte` is no topic setting that topo has; it has cleanup.policy, compression.type, delete.retention.ms, \
             flush.ms, max.compaction.lag.ms, max.message.bytes, message.timestamp.type, min.cleanable.dirty.ratio, \
             min.compaction.lag.ms, retention.bytes, retention.ms, segment.bytes and segment.ms"
        );
        assert_eq!(
            sentence("segment.bytes", "1k"),
            "`segment.bytes` cannot be `1k`; it takes a number of bytes from 1024 to 2147483647"
        );
        assert_eq!(
            sentence("compression.type", "brotli"),
            "`compression.type` cannot be `brotli`; it takes one of producer, uncompressed, gzip, snappy, lz4 and zstd"
        );
        assert_eq!(
            sentence("flush.messages", "1"),
            "`flush.messages` is a topic setting of Kafka that topo does not have; leave it out"
        );
        assert_eq!(
            sentence("cleanup.policy", "compacted"),
            "`cleanup.policy` cannot be `compacted`; it takes delete, compact, or both with a comma between them"
        );
        for ratio in ["", "-0.1", "1.01", "NaN", "half"] {
            assert!(with("min.cleanable.dirty.ratio", ratio).is_err(), "{ratio}");
        }
        assert!(with("delete.retention.ms", "-1").is_err() && with("max.compaction.lag.ms", "0").is_err());
        for value in ["", "-1", "1023", "2147483648", "99999999999999999999"] {
            assert!(with("segment.bytes", value).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_shown_of_a_setting_sets_it() {
        let set = [
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "zstd"),
            ("delete.retention.ms", "60"),
            ("flush.ms", "50"),
            ("max.compaction.lag.ms", "70"),
            ("max.message.bytes", "7"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.cleanable.dirty.ratio", "0.25"),
            ("min.compaction.lag.ms", "3"),
            ("retention.bytes", "-1"),
            ("retention.ms", "9"),
            ("segment.bytes", "2048"),
            ("segment.ms", "11"),
        ];
        let config = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = TopicConfig::default().with_overrides(&config).unwrap();
        assert_eq!(set.map(|(key, _)| key), Key::ALL.map(Key::name), "every key");
        for (key, value) in set {
            assert_eq!(config.get(Key::named(key).unwrap()), value);
        }
        let defaults = TopicConfig::default();
        let shown = Key::ALL.map(|key| (key.name().to_owned(), defaults.get(key))).into();
        assert_eq!(defaults.with_overrides(&shown).unwrap(), defaults);
        let shown = Key::ALL.map(|key| (key.name().to_owned(), config.get(key))).into();
        assert_eq!(defaults.with_overrides(&shown).unwrap(), config);
    }
}
