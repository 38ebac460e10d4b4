//! The keys of a topic's configuration: what each is called, of what kind it is, and what it does.

use crate::error::{BrokerError, shown};

/// A setting of a topic, as `DescribeConfigs` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's key.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The value of a topic that does not set it.
    pub default: String,
    /// Whether the topic sets it, be it to the default.
    pub is_set: bool,
    /// Of what kind its values are.
    pub kind: SettingKind,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

/// Of what kind a setting's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// One of a few words.
    String,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Words, with commas between them.
    List,
}

/// A key that topics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    CleanupPolicy,
    CompressionType,
    DeleteRetentionMs,
    FlushMs,
    MaxCompactionLagMs,
    MaxMessageBytes,
    MessageTimestampType,
    MinCleanableDirtyRatio,
    MinCompactionLagMs,
    RetentionBytes,
    RetentionMs,
    SegmentBytes,
    SegmentMs,
}

impl Key {
    /// All of them, by name.
    pub(crate) const ALL: [Self; 13] = [
        Self::CleanupPolicy,
        Self::CompressionType,
        Self::DeleteRetentionMs,
        Self::FlushMs,
        Self::MaxCompactionLagMs,
        Self::MaxMessageBytes,
        Self::MessageTimestampType,
        Self::MinCleanableDirtyRatio,
        Self::MinCompactionLagMs,
        Self::RetentionBytes,
        Self::RetentionMs,
        Self::SegmentBytes,
        Self::SegmentMs,
    ];

    /// The key of that name.
    ///
    /// # Errors
    /// [`BrokerError::UnsupportedConfig`] where Kafka has it, [`BrokerError::UnknownConfig`] where nobody does.
    pub(crate) fn named(name: &str) -> Result<Self, BrokerError> {
        if let Some(key) = Self::ALL.into_iter().find(|key| key.name() == name) {
            return Ok(key);
        }
        Err(match KAFKAS.iter().find(|kafkas| **kafkas == name) {
            Some(kafkas) => BrokerError::UnsupportedConfig(kafkas),
            None => BrokerError::UnknownConfig(shown(name)),
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CleanupPolicy => "cleanup.policy",
            Self::CompressionType => "compression.type",
            Self::DeleteRetentionMs => "delete.retention.ms",
            Self::FlushMs => "flush.ms",
            Self::MaxCompactionLagMs => "max.compaction.lag.ms",
            Self::MaxMessageBytes => "max.message.bytes",
            Self::MessageTimestampType => "message.timestamp.type",
            Self::MinCleanableDirtyRatio => "min.cleanable.dirty.ratio",
            Self::MinCompactionLagMs => "min.compaction.lag.ms",
            Self::RetentionBytes => "retention.bytes",
            Self::RetentionMs => "retention.ms",
            Self::SegmentBytes => "segment.bytes",
            Self::SegmentMs => "segment.ms",
        }
    }

    pub(crate) fn kind(self) -> SettingKind {
        match self {
            Self::CleanupPolicy => SettingKind::List,
            Self::CompressionType | Self::MessageTimestampType => SettingKind::String,
            Self::MinCleanableDirtyRatio => SettingKind::Double,
            Self::MaxMessageBytes | Self::SegmentBytes => SettingKind::Int,
            Self::DeleteRetentionMs
            | Self::FlushMs
            | Self::MaxCompactionLagMs
            | Self::MinCompactionLagMs
            | Self::RetentionBytes
            | Self::RetentionMs
            | Self::SegmentMs => SettingKind::Long,
        }
    }

    pub(crate) fn doc(self) -> &'static str {
        match self {
            Self::CleanupPolicy => {
                "What becomes of old records: delete gives them up by age and size, compact keeps the last of each key; or \
                 both: compact,delete."
            }
            Self::CompressionType => {
                "How batches are stored: producer for as they came, uncompressed, or a codec: gzip, snappy, lz4, zstd."
            }
            Self::DeleteRetentionMs => {
                "How long a compacted topic keeps a deletion once what it deletes has gone, in milliseconds."
            }
            Self::FlushMs => {
                "How long an acknowledged record may stay unsynced, in milliseconds: 0 syncs before acknowledging, \
                 9223372036854775807 leaves it to the operating system."
            }
            Self::MaxCompactionLagMs => {
                "How long a record of a compacted topic may be left as it is at most, in milliseconds."
            }
            Self::MaxMessageBytes => "The largest batch that is accepted, in bytes, as sent.",
            Self::MessageTimestampType => {
                "Whose clock records' timestamps are from: the producer's (CreateTime) or the broker's (LogAppendTime)."
            }
            Self::MinCleanableDirtyRatio => {
                "How much of a partition has to be new, from 0 to 1, for a compacted topic to be compacted again."
            }
            Self::MinCompactionLagMs => {
                "How long a record of a compacted topic is left as it is at least, in milliseconds."
            }
            Self::RetentionBytes => {
                "The oldest segments of a partition go while the others hold so many bytes; -1 for no limit."
            }
            Self::RetentionMs => {
                "Segments go once all of their records are older, in milliseconds; -1 for never."
            }
            Self::SegmentBytes => {
                "A segment that would grow beyond so many bytes is closed and another begun."
            }
            Self::SegmentMs => {
                "A segment whose first record is older, in milliseconds, is closed, so that it can be given up."
            }
        }
    }
}

/// Every key, for whoever asked for another.
pub(crate) const KEYS: &str = "cleanup.policy, compression.type, delete.retention.ms, flush.ms, max.compaction.lag.ms, \
                               max.message.bytes, message.timestamp.type, min.cleanable.dirty.ratio, \
                               min.compaction.lag.ms, retention.bytes, retention.ms, segment.bytes and segment.ms";

/// The other keys that Kafka's topics have.
const KAFKAS: [&str; 23] = [
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "file.delete.delay.ms",
    "flush.messages",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "segment.index.bytes",
    "segment.jitter.ms",
    "unclean.leader.election.enable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_every_key_and_no_key_is_both_had_and_not() {
        let names = Key::ALL.map(Key::name);
        let (last, others) = names.split_last().unwrap();
        assert_eq!(KEYS, format!("{} and {last}", others.join(", ")));
        assert!(names.is_sorted() && KAFKAS.is_sorted());
        assert!(names.iter().all(|name| !KAFKAS.contains(name)));
        assert!(Key::ALL.iter().all(|key| key.doc().ends_with('.') && !key.doc().contains("  ")));
    }
}
