//! Gives a batch the time at which it was appended, for topics whose timestamps are the log's.

use super::attributes::TimestampType;
use super::error::BatchError;
use super::header::{ATTRIBUTES, BatchHeader, MAX_TIMESTAMP, check, seal};

/// Makes every record of a batch one of `now_ms`, in milliseconds since 1970: the header says that the maximum timestamp
/// is that of all, and is rebuilt with its checksum. The records, and what their producer says of them, stay as they are.
///
/// # Errors
/// What [`check`] finds.
pub fn stamp_append_time(batch: &mut [u8], now_ms: i64) -> Result<(), BatchError> {
    // Never sealed anew unless it was sound.
    let BatchHeader { attributes, .. } = check(batch)?;
    let attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
    batch[ATTRIBUTES].copy_from_slice(&attributes.bits().to_be_bytes());
    batch[MAX_TIMESTAMP].copy_from_slice(&now_ms.to_be_bytes());
    seal(batch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, NewRecord, Room, records};

    #[test]
    fn every_record_is_of_the_time_given_and_otherwise_as_it_was() {
        for compression in [Compression::None, Compression::Zstd] {
            let mut builder = BatchBuilder::new(1 << 10);
            for timestamp_ms in [5, 90, 7] {
                let record = NewRecord { timestamp_ms, value: Some(b"v"), ..NewRecord::default() };
                assert_eq!(builder.append(&record), Ok(Room::Taken));
            }
            let mut batch = builder.finish(compression).unwrap();
            let before = check(&batch).unwrap();
            stamp_append_time(&mut batch, 42).unwrap();
            let after = check(&batch).unwrap();
            assert_eq!(after.attributes.timestamp_type(), TimestampType::LogAppendTime);
            let unchanged =
                BatchHeader { attributes: before.attributes, max_timestamp: 90, crc: before.crc, ..after };
            assert_eq!(unchanged, before);
            let times = records(batch.clone().freeze(), 1 << 10).unwrap().map(|r| r.unwrap().timestamp_ms);
            assert_eq!(times.collect::<Vec<_>>(), [42; 3]);
            *batch.last_mut().unwrap() ^= 1;
            let damaged = batch.clone();
            assert!(stamp_append_time(&mut batch, 43).is_err());
            assert_eq!(batch, damaged, "what is damaged is not made to look sound");
        }
    }
}
