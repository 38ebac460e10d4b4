//! Rebuilds a batch with some of its records, for compaction: what is kept keeps its offset, time, bytes and codec.
//!
//! Invariant: what is rebuilt covers the offsets of the batch it was made from, and its producer's sequence numbers, so
//! that a log whose batches follow each other without a gap stays one. Offsets that nothing is left of are covered by
//! a [`placeholder`].

use bytes::{BufMut, Bytes, BytesMut};

use super::attributes::{Attributes, Compression, TimestampType};
use super::codec;
use super::error::BatchError;
use super::header::{
    ATTRIBUTES, BASE_TIMESTAMP, BatchHeader, HEADER_BYTES, LENGTH, LENGTH_END, MAGIC, MAX_TIMESTAMP,
    RECORD_COUNT, seal,
};
use super::reader::records;
use crate::varint;

/// What becomes of a batch besides losing records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuild {
    /// From when on its deletions may be removed, in milliseconds since 1970; `None` leaves it as it is.
    pub delete_horizon_ms: Option<i64>,
    /// Whether it is taken out of its transaction, which must be over.
    pub without_transaction: bool,
}

/// The batch with those of its records whose offset `keep` wants, perhaps none, decompressed to at most
/// `max_decompressed` bytes meanwhile.
///
/// Its base and last offset, producer and sequence number stay. Its largest timestamp becomes that of the records left,
/// unless their time is the log's, or none are left.
///
/// # Errors
/// What [`check`](super::check) finds, or the [`BatchError`] of a codec or a malformed record.
///
/// ```
/// use topo_protocol::batch::{self, BatchBuilder, Compression, NewRecord, Rebuild, Room};
///
/// let mut builder = BatchBuilder::new(16 << 10);
/// for value in ["a", "b", "c"] {
///     let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
///     assert_eq!(builder.append(&record)?, Room::Taken);
/// }
/// let batch = builder.finish(Compression::Zstd)?.freeze();
/// let rebuilt = batch::rebuild(&batch, 1 << 20, &Rebuild::default(), |offset| offset == 1)?;
///
/// assert_eq!(batch::check(&rebuilt)?.next_offset(), 3);
/// let left: Vec<_> = batch::records(rebuilt.freeze(), 1 << 20)?.collect::<Result<_, _>>()?;
/// assert_eq!((left.len(), left[0].offset, left[0].value.as_deref()), (1, 1, Some(&b"b"[..])));
/// # Ok::<(), batch::BatchError>(())
/// ```
pub fn rebuild(
    batch: &Bytes,
    max_decompressed: usize,
    change: &Rebuild,
    mut keep: impl FnMut(i64) -> bool,
) -> Result<BytesMut, BatchError> {
    let mut records = records(batch.clone(), max_decompressed)?;
    let header = *records.header();
    let base_timestamp = change.delete_horizon_ms.unwrap_or(header.base_timestamp);
    let (mut kept, mut count, mut max_timestamp) = (BytesMut::new(), 0, None);
    while let Some(record) = records.next_raw() {
        let (record, raw) = record?;
        if !keep(record.offset) {
            continue;
        }
        let timestamp = header.base_timestamp.wrapping_add(raw.timestamp_delta);
        let delta = timestamp.wrapping_sub(base_timestamp);
        varint::put(&mut kept, (1 + varint::len(delta) + raw.rest.len()) as i64);
        kept.put_u8(raw.attributes);
        varint::put(&mut kept, delta);
        kept.put_slice(&raw.rest);
        count += 1;
        max_timestamp = max_timestamp.max(Some(timestamp));
    }
    let mut attributes = header.attributes;
    if change.without_transaction {
        attributes = attributes.without_transaction();
    }
    if change.delete_horizon_ms.is_some() {
        attributes = attributes.with_delete_horizon();
    }
    let compression = if count == 0 { Compression::None } else { attributes.compression()? };
    let attributes = attributes.with_compression(compression);
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        max_timestamp = None;
    }
    let mut rebuilt = BytesMut::from(&batch[..HEADER_BYTES]);
    codec::compress(compression, &kept, &mut rebuilt)?;
    rebuilt[ATTRIBUTES].copy_from_slice(&attributes.bits().to_be_bytes());
    rebuilt[BASE_TIMESTAMP].copy_from_slice(&base_timestamp.to_be_bytes());
    rebuilt[MAX_TIMESTAMP].copy_from_slice(&max_timestamp.unwrap_or(header.max_timestamp).to_be_bytes());
    rebuilt[RECORD_COUNT].copy_from_slice(&i32::to_be_bytes(count));
    close(&mut rebuilt)?;
    Ok(rebuilt)
}

/// A batch without records and of no producer that covers `base_offset` to `last_offset_delta` behind it, where nothing
/// is left of what was there.
pub fn placeholder(base_offset: i64, last_offset_delta: i32, leader_epoch: i32) -> [u8; HEADER_BYTES] {
    let mut batch = [0; HEADER_BYTES];
    let mut out = &mut batch[..];
    out.put_i64(base_offset);
    out.put_i32((HEADER_BYTES - LENGTH_END) as i32);
    out.put_i32(leader_epoch);
    out.put_i8(MAGIC);
    out.put_u32(0); // checksum
    out.put_i16(Attributes::default().bits());
    out.put_i32(last_offset_delta);
    out.put_i64(-1); // base timestamp
    out.put_i64(-1); // largest timestamp
    out.put_i64(-1); // producer id
    out.put_i16(-1); // producer epoch
    out.put_i32(-1); // base sequence
    out.put_i32(0);
    seal(&mut batch);
    batch
}

/// Writes length and checksum of a batch that is complete otherwise.
fn close(batch: &mut BytesMut) -> Result<(), BatchError> {
    let bytes = batch.len();
    let length = i32::try_from(bytes - LENGTH_END).map_err(|_| BatchError::TooLarge { bytes })?;
    batch[LENGTH].copy_from_slice(&length.to_be_bytes());
    seal(batch);
    Ok(())
}

impl BatchHeader {
    /// Whether it is a [`placeholder`]'s: nothing is lost with it but the offsets that it covers.
    pub fn is_placeholder(&self) -> bool {
        self.record_count == 0 && self.producer_id < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, NewHeader, NewRecord, Room, check, place, stamp_append_time};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn batch(compression: Compression) -> BytesMut {
        let mut builder = BatchBuilder::new(1 << 10);
        let headers = [NewHeader { key: "h", value: None }];
        for (at, timestamp_ms) in [500, 90, 900, 7].into_iter().enumerate() {
            let key = [at as u8];
            let value = (at != 2).then_some(&b"some value"[..]);
            let record = NewRecord { timestamp_ms, key: Some(&key), value, headers: &headers };
            assert_eq!(builder.append(&record), Ok(Room::Taken));
        }
        let mut batch = builder.finish(compression).unwrap();
        place(&mut batch, 40, 0).unwrap();
        batch
    }

    #[test]
    fn what_is_kept_is_as_it_was_in_every_codec_whatever_is_left() {
        for compression in CODECS {
            let before = batch(compression).freeze();
            let all: Vec<_> = records(before.clone(), 1 << 10).unwrap().map(Result::unwrap).collect();
            for (set, horizon) in
                (0..16_u8).flat_map(|set| [(set, None), (set, Some(1_000)), (set, Some(i64::MAX))])
            {
                let keep = |offset: i64| set >> (offset - 40) & 1 == 1;
                let change = Rebuild { delete_horizon_ms: horizon, without_transaction: false };
                let after = rebuild(&before, 1 << 10, &change, keep).unwrap().freeze();
                let header = check(&after).unwrap();
                assert_eq!((header.base_offset, header.next_offset()), (40, 44));
                assert_eq!(header.delete_horizon_ms(), horizon);
                assert_eq!(header.is_compacted(), set != 15 || horizon.is_some());
                let left: Vec<_> =
                    records(after, 1 << 10).map_or(Vec::new(), |all| all.map(Result::unwrap).collect());
                let expected: Vec<_> = all.iter().filter(|record| keep(record.offset)).cloned().collect();
                let latest = expected.iter().map(|record| record.timestamp_ms).max().unwrap_or(900);
                assert_eq!(
                    (left, header.max_timestamp),
                    (expected, latest),
                    "{compression} {set:b} {horizon:?}"
                );
            }
            assert_eq!(rebuild(&before, 1 << 10, &Rebuild::default(), |_| true).unwrap().len(), before.len());
        }
    }

    #[test]
    fn the_logs_time_stays_that_of_every_record() {
        let mut before = batch(Compression::None);
        stamp_append_time(&mut before, 4_000).unwrap();
        let change = Rebuild { delete_horizon_ms: Some(9_000), without_transaction: false };
        let after = rebuild(&before.freeze(), 1 << 10, &change, |offset| offset == 41).unwrap().freeze();
        let times = records(after, 1 << 10).unwrap().map(|record| record.unwrap().timestamp_ms);
        assert_eq!(times.collect::<Vec<_>>(), [4_000]);
    }

    #[test]
    fn nothing_damaged_is_made_to_look_sound() {
        let mut damaged = batch(Compression::None);
        *damaged.last_mut().unwrap() ^= 1;
        assert!(rebuild(&damaged.freeze(), 1 << 10, &Rebuild::default(), |_| true).is_err());
        let bomb = batch(Compression::Zstd).freeze();
        assert_eq!(
            rebuild(&bomb, 10, &Rebuild::default(), |_| true),
            Err(BatchError::DecompressedTooLarge { max: 10 })
        );
    }

    #[test]
    fn a_placeholder_is_a_batch_of_nothing() {
        let batch = placeholder(7, 12, 3);
        let header = check(&batch).unwrap();
        assert_eq!((header.base_offset, header.next_offset(), header.partition_leader_epoch), (7, 20, 3));
        assert!(header.is_placeholder() && header.is_compacted());
        assert_eq!(records(Bytes::copy_from_slice(&batch), 10).unwrap().count(), 0);
    }
}
