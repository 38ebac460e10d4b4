//! Control batches: the markers that end a producer's transaction in a partition.
//!
//! Kafka's form: a batch of one record with the transactional and the control flag and without sequence number. The
//! record's key is a version and the kind of marker, its value a version and the epoch of the coordinator that wrote it;
//! later versions may say more behind that.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::builder::{BatchBuilder, BatchProducer, NewRecord};
use super::error::BatchError;
use super::header::BatchHeader;
use super::reader::records;

/// The version of key and value that is written.
const VERSION: i16 = 0;
/// Kinds of markers, as keys say them.
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// Far more than a marker takes: nobody compresses one, and none that is may grow.
const MAX_BYTES: usize = 1 << 10;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// What it appended does not count.
    Abort,
    /// What it appended counts.
    Commit,
}

/// Ends a producer's transaction in one partition.
///
/// ```
/// use topo_protocol::{EndTransactionMarker, TransactionResult, check};
///
/// let marker = EndTransactionMarker {
///     producer_id: 7,
///     producer_epoch: 0,
///     coordinator_epoch: 0,
///     result: TransactionResult::Commit,
/// };
/// let batch = marker.encode(1_000)?;
/// assert!(check(&batch)?.attributes.is_control());
/// assert_eq!(EndTransactionMarker::decode(batch.freeze())?, Some(marker));
/// # Ok::<(), topo_protocol::BatchError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Whose transaction it ends.
    pub producer_id: i64,
    /// The producer's epoch; one above that of its batches fences it.
    pub producer_epoch: i16,
    /// The epoch of the coordinator that says so.
    pub coordinator_epoch: i32,
    /// How it ends.
    pub result: TransactionResult,
}

impl EndTransactionMarker {
    /// The control batch, at base offset 0, of a marker written at `timestamp_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// None that a marker can cause; those of [`BatchBuilder`].
    pub fn encode(&self, timestamp_ms: i64) -> Result<BytesMut, BatchError> {
        let mut key = [0; 4];
        let kind = match self.result {
            TransactionResult::Abort => ABORT,
            TransactionResult::Commit => COMMIT,
        };
        let mut out = &mut key[..];
        out.put_i16(VERSION);
        out.put_i16(kind);
        let mut value = [0; 6];
        let mut out = &mut value[..];
        out.put_i16(VERSION);
        out.put_i32(self.coordinator_epoch);
        let record = NewRecord { timestamp_ms, key: Some(&key), value: Some(&value), headers: &[] };
        let mut builder = BatchBuilder::new(MAX_BYTES);
        // An empty batch takes any record.
        let _ = builder.append(&record)?;
        let producer = BatchProducer {
            id: self.producer_id,
            epoch: self.producer_epoch,
            base_sequence: -1,
            is_transactional: true,
        };
        builder.finish_control(&producer)
    }

    /// The marker in a batch, which is checked; `None` where the batch is no control batch, or one of a kind that ends no
    /// transaction.
    ///
    /// # Errors
    /// What [`check`](super::check) finds, or [`BatchError::Marker`] for a control batch that is no marker.
    pub fn decode(batch: Bytes) -> Result<Option<Self>, BatchError> {
        let control = BatchHeader::parse(&batch)?.attributes.is_control();
        if !control {
            return super::check(&batch).map(|_| None);
        }
        let mut all = records(batch, MAX_BYTES)?;
        let header = *all.header();
        let malformed = |reason| BatchError::Marker { reason };
        let record = all.next().ok_or_else(|| malformed("it holds no record"))??;
        let mut key = record.key.ok_or_else(|| malformed("it has no key"))?;
        let kind = version(&mut key).and_then(|()| key.try_get_i16().ok());
        let result = match kind.ok_or_else(|| malformed("its key is malformed"))? {
            ABORT => TransactionResult::Abort,
            COMMIT => TransactionResult::Commit,
            _ => return Ok(None),
        };
        let is_sound = header.attributes.is_transactional() && header.record_count == 1;
        if !is_sound || header.producer_id < 0 || header.producer_epoch < 0 {
            return Err(malformed("it ends no transaction of a producer"));
        }
        let mut value = record.value.ok_or_else(|| malformed("it has no value"))?;
        let coordinator_epoch = version(&mut value).and_then(|()| value.try_get_i32().ok());
        Ok(Some(Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: coordinator_epoch.ok_or_else(|| malformed("its value is malformed"))?,
            result,
        }))
    }
}

/// Takes a version that can be: later ones begin as this one does.
fn version(bytes: &mut Bytes) -> Option<()> {
    (bytes.try_get_i16().ok()? >= VERSION).then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::header::seal;
    use super::*;
    use crate::batch::check;

    const MARKER: EndTransactionMarker = EndTransactionMarker {
        producer_id: 0x0102_0304,
        producer_epoch: 5,
        coordinator_epoch: 0x0607_0809,
        result: TransactionResult::Commit,
    };

    fn decode(batch: &[u8]) -> Result<Option<EndTransactionMarker>, BatchError> {
        EndTransactionMarker::decode(Bytes::copy_from_slice(batch))
    }

    #[test]
    fn a_marker_has_kafkas_bytes_and_is_read_again() {
        for (result, kind) in [(TransactionResult::Abort, 0), (TransactionResult::Commit, 1)] {
            let marker = EndTransactionMarker { result, ..MARKER };
            let batch = marker.encode(77).unwrap();
            let header = check(&batch).unwrap();
            assert_eq!(header.attributes.bits(), 0b11_0000);
            assert_eq!(
                (header.producer_id, header.producer_epoch, header.base_sequence),
                (0x0102_0304, 5, -1)
            );
            assert_eq!((header.record_count, header.last_offset_delta), (1, 0));
            assert_eq!((header.base_timestamp, header.max_timestamp), (77, 77));
            // Length 16, attributes, timestamp and offset deltas, a key of 4, a value of 6, no headers.
            let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 6, 7, 8, 9, 0];
            assert_eq!(&batch[61..], record);
            assert_eq!(decode(&batch), Ok(Some(marker)));
        }
    }

    #[test]
    fn what_is_no_marker_is_refused_or_none() {
        let batch = MARKER.encode(0).unwrap();
        for end in 0..batch.len() {
            assert!(decode(&batch[..end]).is_err(), "{end}");
        }
        for at in 61..batch.len() {
            for mask in [1, 0x80, 0xff] {
                let mut changed = batch.to_vec();
                changed[at] ^= mask;
                assert!(decode(&changed).is_err(), "the checksum at {at}");
                seal(&mut changed);
                // Sealed again it may be another marker, but it never panics.
                let _ = decode(&changed);
            }
        }
        let sealed = |change: &dyn Fn(&mut [u8])| {
            let mut changed = batch.to_vec();
            change(&mut changed);
            seal(&mut changed);
            decode(&changed)
        };
        assert_eq!(sealed(&|batch| batch[69] = 2), Ok(None), "of another kind");
        assert_eq!(sealed(&|batch| batch[22] = 0b01_0000), Ok(None), "records");
        for (what, change) in [
            ("not transactional", &(|batch: &mut [u8]| batch[22] = 0b10_0000) as &dyn Fn(&mut [u8])),
            ("of no producer", &|batch: &mut [u8]| batch[43..51].fill(0xff)),
            ("of no epoch", &|batch: &mut [u8]| batch[51..53].fill(0xff)),
            ("of a negative version", &|batch: &mut [u8]| batch[66] = 0xff),
        ] {
            assert!(matches!(sealed(change), Err(BatchError::Marker { .. })), "{what}");
        }
    }
}
