//! A batch's attribute bits: codec, kind of timestamp, transactional and control flags.

use std::fmt;
use std::str::FromStr;

use super::error::BatchError;

/// The attribute bits of a batch, as stored; unknown bits are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(i16);

impl Attributes {
    const CODEC_MASK: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// The attributes with the given bits.
    pub const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// The bits as stored.
    pub const fn bits(self) -> i16 {
        self.0
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for a number that Kafka does not define.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        match self.0 & Self::CODEC_MASK {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            codec => Err(BatchError::UnknownCodec(codec)),
        }
    }

    /// The same flags with another codec.
    pub const fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::CODEC_MASK | compression as i16)
    }

    /// Whose clock the timestamps are from.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The same flags with timestamps of another clock.
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same flags, of a batch in a transaction or not.
    pub const fn with_transactional(self, is_transactional: bool) -> Self {
        self.with(Self::TRANSACTIONAL, is_transactional)
    }

    /// The same flags, of a control batch or not.
    pub const fn with_control(self, is_control: bool) -> Self {
        self.with(Self::CONTROL, is_control)
    }

    const fn with(self, flag: i16, is_set: bool) -> Self {
        if is_set { Self(self.0 | flag) } else { Self(self.0 & !flag) }
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// The same flags, of a batch that belongs to no transaction.
    pub(super) const fn without_transaction(self) -> Self {
        Self(self.0 & !Self::TRANSACTIONAL)
    }

    /// Whether the batch holds a marker that ends a transaction instead of records.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the batch's base timestamp says from when on compaction may remove its deletions.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same flags, of a batch whose base timestamp is a delete horizon.
    pub(super) const fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }
}

impl From<Compression> for Attributes {
    fn from(compression: Compression) -> Self {
        Self::default().with_compression(compression)
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#06x})", self.0)
    }
}

/// Whose clock a batch's timestamps are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer's, one per record.
    #[default]
    CreateTime,
    /// The log's: every record carries the batch's maximum timestamp.
    LogAppendTime,
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        })
    }
}

/// How a batch's records are compressed, with Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i16)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks in the Java library's framing; a bare block is read as well.
    Snappy = 2,
    /// The LZ4 frame format, independent blocks of at most 64 KiB.
    Lz4 = 3,
    /// Zstandard frames.
    Zstd = 4,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A codec name that Kafka does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression; use none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.to_string() == name)
            .ok_or_else(|| UnknownCompression(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_keep_kafkas_numbers_and_names() {
        for (bits, name) in [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")] {
            let codec = Attributes::from_bits(bits).compression().unwrap();
            assert_eq!((Attributes::from(codec).bits(), codec.to_string().as_str()), (bits, name));
            assert_eq!(name.parse(), Ok(codec));
        }
        for bits in 5..8 {
            assert_eq!(Attributes::from_bits(bits).compression(), Err(BatchError::UnknownCodec(bits)));
        }
        assert!("brotli".parse::<Compression>().is_err());
    }

    #[test]
    fn flags_are_bits_three_to_five() {
        assert_eq!(Attributes::from_bits(0b1000).timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(Attributes::from_bits(0b11_0111).timestamp_type(), TimestampType::CreateTime);
        assert!(Attributes::from_bits(0b1_0000).is_transactional());
        assert!(!Attributes::from_bits(0b10_1111).is_transactional());
        assert!(Attributes::from_bits(0b10_0000).is_control());
        assert!(!Attributes::from_bits(0b01_1111).is_control());
        let flagged = Attributes::from(Compression::Zstd).with_transactional(true).with_control(true);
        assert_eq!(flagged.bits(), 0b11_0100);
        assert_eq!(flagged.with_transactional(false).with_control(false).bits(), 0b100);
    }
}
