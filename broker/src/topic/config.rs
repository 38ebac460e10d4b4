//! A topic's configuration, by Kafka's keys and defaults.
//!
//! Invariant: a [`TopicConfig`] holds only values that were accepted; unknown keys are refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use topo_log::Retention;
use topo_protocol::Compression;

use crate::durability::Durability;
use crate::error::{BrokerError, shown};

const COMPRESSION_TYPE: &str = "compression.type";
const FLUSH_MS: &str = "flush.ms";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const RETENTION_BYTES: &str = "retention.bytes";
const RETENTION_MS: &str = "retention.ms";
const SEGMENT_BYTES: &str = "segment.bytes";
const SEGMENT_MS: &str = "segment.ms";
/// Every key, for whoever asked for another.
pub(crate) const KEYS: &str = "compression.type, flush.ms, max.message.bytes, retention.bytes, retention.ms, \
                               segment.bytes and segment.ms";

/// Below this a segment would hold hardly more than one batch header.
const SEGMENT_BYTES_RANGE: RangeInclusive<u32> = 1024..=i32::MAX as u32;
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
    /// `retention.ms`, 7 days by default, `retention.bytes`, unlimited by default, and `segment.ms`, 7 days by default:
    /// how long records are kept.
    pub retention: Retention,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            max_message_bytes: (1 << 20) + 12,
            compression_type: CompressionType::Producer,
            durability: Durability::Fsync,
            retention: Retention::default(),
        }
    }
}

impl TopicConfig {
    /// These settings, with those of `overrides` in their place.
    ///
    /// # Errors
    /// [`BrokerError::UnknownConfig`] or [`BrokerError::InvalidConfig`].
    pub fn with_overrides(mut self, overrides: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        for (key, value) in overrides {
            match key.as_str() {
                COMPRESSION_TYPE => self.compression_type = compression_type(value)?,
                FLUSH_MS => self.durability = flush_ms(value)?,
                MAX_MESSAGE_BYTES => {
                    self.max_message_bytes = bytes(MAX_MESSAGE_BYTES, value, MAX_MESSAGE_BYTES_RANGE)?;
                }
                RETENTION_BYTES => self.retention.max_bytes = limit(RETENTION_BYTES, value)?,
                RETENTION_MS => {
                    self.retention.max_age = limit(RETENTION_MS, value)?.map(Duration::from_millis);
                }
                SEGMENT_MS => self.retention.roll_after = segment_ms(value)?,
                SEGMENT_BYTES => self.segment_bytes = bytes(SEGMENT_BYTES, value, SEGMENT_BYTES_RANGE)?,
                _ => return Err(BrokerError::UnknownConfig(shown(key))),
            }
        }
        Ok(self)
    }
}

/// One setting as it is shown: its key, and its value as it could be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigEntry {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) kind: ConfigKind,
}

/// What a setting's value is, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ConfigKind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
}

impl TopicConfig {
    /// Every setting, such that [`TopicConfig::with_overrides`] would take them back.
    pub(crate) fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key, value: String, kind| ConfigEntry { key, value, kind };
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX).to_string();
        let or_unlimited = |limit: Option<String>| limit.unwrap_or_else(|| "-1".to_owned());
        let Retention { max_age, max_bytes, roll_after } = self.retention;
        vec![
            entry(COMPRESSION_TYPE, self.compression_type.to_string(), ConfigKind::String),
            entry(FLUSH_MS, self.durability.flush_ms().to_string(), ConfigKind::Long),
            entry(MAX_MESSAGE_BYTES, self.max_message_bytes.to_string(), ConfigKind::Int),
            entry(RETENTION_BYTES, or_unlimited(max_bytes.map(|max| max.to_string())), ConfigKind::Long),
            entry(RETENTION_MS, or_unlimited(max_age.map(millis)), ConfigKind::Long),
            entry(SEGMENT_BYTES, self.segment_bytes.to_string(), ConfigKind::Int),
            entry(SEGMENT_MS, millis(roll_after), ConfigKind::Long),
        ]
    }
}

fn bytes(key: &'static str, value: &str, range: RangeInclusive<u32>) -> Result<u32, BrokerError> {
    value.parse().ok().filter(|bytes| range.contains(bytes)).ok_or_else(|| BrokerError::InvalidConfig {
        key,
        value: shown(value),
        expected: format!("a number of bytes from {} to {}", range.start(), range.end()),
    })
}

/// A number from 0 on, or -1 for no limit.
fn limit(key: &'static str, value: &str) -> Result<Option<u64>, BrokerError> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number @ 0..) => Ok(Some(number.unsigned_abs())),
        _ => Err(BrokerError::InvalidConfig {
            key,
            value: shown(value),
            expected: "a number from 0 on, or -1 for no limit".to_owned(),
        }),
    }
}

fn segment_ms(value: &str) -> Result<Duration, BrokerError> {
    let millis = value.parse::<i64>().ok().filter(|millis| *millis > 0);
    millis.map(|millis| Duration::from_millis(millis.unsigned_abs())).ok_or_else(|| {
        BrokerError::InvalidConfig {
            key: SEGMENT_MS,
            value: shown(value),
            expected: "a number of milliseconds from 1 on".to_owned(),
        }
    })
}

fn flush_ms(value: &str) -> Result<Durability, BrokerError> {
    value.parse().ok().and_then(Durability::from_flush_ms).ok_or_else(|| BrokerError::InvalidConfig {
        key: FLUSH_MS,
        value: shown(value),
        expected: format!(
            "0 to sync first, a number of milliseconds, or {} to leave it to the system",
            i64::MAX
        ),
    })
}

fn compression_type(value: &str) -> Result<CompressionType, BrokerError> {
    value.parse().map_err(|expected: &str| BrokerError::InvalidConfig {
        key: COMPRESSION_TYPE,
        value: shown(value),
        expected: expected.to_owned(),
    })
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
        assert_eq!(with(SEGMENT_BYTES, "4096").unwrap().segment_bytes, 4096);
        assert_eq!(with(MAX_MESSAGE_BYTES, "100").unwrap().max_message_bytes, 100);
        let interval = Durability::Interval(Duration::from_millis(5));
        assert_eq!(with(FLUSH_MS, "5").unwrap().durability, interval);
        let age = |value| with(RETENTION_MS, value).unwrap().retention.max_age;
        assert_eq!((age("-1"), age("3")), (None, Some(Duration::from_millis(3))));
        assert_eq!(with(RETENTION_BYTES, "7").unwrap().retention.max_bytes, Some(7));
        assert_eq!(with(SEGMENT_MS, "7").unwrap().retention.roll_after, Duration::from_millis(7));
        assert!(with(SEGMENT_MS, "0").is_err() && with(RETENTION_MS, "-2").is_err());
        for (value, kind) in [
            ("producer", CompressionType::Producer),
            ("uncompressed", CompressionType::As(Compression::None)),
            ("gzip", CompressionType::As(Compression::Gzip)),
            ("snappy", CompressionType::As(Compression::Snappy)),
            ("lz4", CompressionType::As(Compression::Lz4)),
            ("zstd", CompressionType::As(Compression::Zstd)),
        ] {
            assert_eq!(with(COMPRESSION_TYPE, value).unwrap().compression_type, kind);
        }
    }

    #[test]
    fn what_is_shown_can_be_set_and_is_every_key() {
        let odd = [
            (COMPRESSION_TYPE, "zstd"),
            (FLUSH_MS, "20"),
            (MAX_MESSAGE_BYTES, "7"),
            (RETENTION_BYTES, "8"),
            (RETENTION_MS, "-1"),
            (SEGMENT_BYTES, "4096"),
            (SEGMENT_MS, "9"),
        ];
        let odd = odd.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for config in [TopicConfig::default(), TopicConfig::default().with_overrides(&odd).unwrap()] {
            let entries = config.entries();
            assert!(entries.iter().all(|entry| KEYS.contains(entry.key)));
            assert_eq!(entries.len(), KEYS.split([',', ' ']).filter(|word| word.contains('.')).count());
            let shown = entries.into_iter().map(|entry| (entry.key.to_owned(), entry.value)).collect();
            assert_eq!(TopicConfig::default().with_overrides(&shown).unwrap(), config);
        }
    }

    #[test]
    fn unknown_keys_and_values_are_refused_in_a_sentence() {
        let sentence = |key, value| with(key, value).unwrap_err().to_string();
        assert_eq!(
            sentence("segment.byte", "1"),
            "`segment.byte` is no topic setting that topo has; it has compression.type, flush.ms, max.message.bytes, \
             retention.bytes, retention.ms, segment.bytes and segment.ms"
        );
        assert_eq!(
            sentence(SEGMENT_BYTES, "1k"),
            "`segment.bytes` cannot be `1k`; it takes a number of bytes from 1024 to 2147483647"
        );
        assert_eq!(
            sentence(COMPRESSION_TYPE, "brotli"),
            "`compression.type` cannot be `brotli`; it takes one of producer, uncompressed, gzip, snappy, lz4 and zstd"
        );
        for value in ["", "-1", "1023", "2147483648", "99999999999999999999"] {
            assert!(with(SEGMENT_BYTES, value).is_err(), "{value}");
        }
    }
}
