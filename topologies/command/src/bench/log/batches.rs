//! The batches that are produced: records of one size, as many as a producer of that batch size would send at a time.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use topo_protocol::{BatchBuilder, BatchError, Compression, NewRecord, Room};

/// The most bytes of one batch, Kafka's default for a topic.
const MOST_BYTES: usize = 1 << 20;

/// How full a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// So many records.
    Records(usize),
    /// As many records as so many bytes hold.
    Bytes(usize),
}

/// Text that says no [`Fill`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of records from 1 on, such as 100, or a size up to 1024KiB, such as 64KiB")]
pub(super) struct NoFill;

impl FromStr for Fill {
    type Err = NoFill;

    fn from_str(text: &str) -> Result<Self, NoFill> {
        let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0).ok_or(NoFill);
        match text.strip_suffix("KiB") {
            Some(digits) => {
                let kibibytes: usize = number(digits)?;
                let bytes = kibibytes.checked_mul(1 << 10).filter(|bytes| *bytes <= MOST_BYTES);
                bytes.map(Self::Bytes).ok_or(NoFill)
            }
            None => number(text).map(Self::Records),
        }
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(records) => write!(f, "{records}"),
            Self::Bytes(bytes) => write!(f, "{}KiB", bytes >> 10),
        }
    }
}

/// What is produced, again and again.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// As a producer sends it.
    pub(super) bytes: Bytes,
    /// How many records it has.
    pub(super) records: u64,
    /// Bytes of a record's value.
    pub(super) record_bytes: usize,
    pub(super) fill: Fill,
}

impl Batch {
    /// A batch of records whose values have `record_bytes` bytes that no codec makes smaller.
    ///
    /// # Errors
    /// [`BatchError`] for more than a batch can hold.
    pub(super) fn new(record_bytes: usize, fill: Fill) -> Result<Self, BatchError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let (most, bytes) = match fill {
            Fill::Records(records) => (records, MOST_BYTES),
            Fill::Bytes(bytes) => (usize::MAX, bytes),
        };
        let mut builder = BatchBuilder::new(bytes);
        let (mut noise, mut value) = (1_u64, vec![0; record_bytes]);
        while builder.record_count() < most {
            value.fill_with(|| {
                // Knuth's multiplier: noise enough.
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            });
            let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
            if builder.append(&record)? == Room::Full {
                break;
            }
        }
        let records = builder.record_count() as u64;
        Ok(Self { bytes: builder.finish(Compression::None)?.freeze(), records, record_bytes, fill })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use topo_protocol::check;

    #[test]
    fn fills_are_read_as_they_are_shown() {
        for text in ["1", "100", "64KiB", "1024KiB"] {
            assert_eq!(text.parse::<Fill>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "0KiB", "64kb", "1025KiB", "18446744073709551615KiB"] {
            assert_eq!(text.parse::<Fill>(), Err(NoFill), "{text}");
        }
    }

    #[test]
    fn batches_are_sound_and_as_full_as_they_should_be() {
        let hundred = Batch::new(100, Fill::Records(100)).unwrap();
        assert_eq!((check(&hundred.bytes).unwrap().record_count, hundred.records), (100, 100));
        let full = Batch::new(1_024, Fill::Bytes(64 << 10)).unwrap();
        let most = (64 << 10) - 1_100..=64 << 10;
        assert!(check(&full.bytes).is_ok() && most.contains(&full.bytes.len()), "{}", full.bytes.len());
    }
}
