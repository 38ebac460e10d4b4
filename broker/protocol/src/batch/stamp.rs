//! Makes a batch a producer's, for producers that number batches which somebody else has built.

use super::builder::BatchProducer;
use super::error::BatchError;
use super::header::{ATTRIBUTES, BASE_SEQUENCE, BatchHeader, PRODUCER_EPOCH, PRODUCER_ID, check, seal};

/// Says in a batch whose it is, and rebuilds its checksum; returns the header of before. The records stay as they are.
///
/// # Errors
/// What [`check`] finds.
pub fn stamp_producer(batch: &mut [u8], producer: &BatchProducer) -> Result<BatchHeader, BatchError> {
    // Never sealed anew unless it was sound.
    let header = check(batch)?;
    let attributes = header.attributes.with_transactional(producer.is_transactional);
    batch[ATTRIBUTES].copy_from_slice(&attributes.bits().to_be_bytes());
    batch[PRODUCER_ID].copy_from_slice(&producer.id.to_be_bytes());
    batch[PRODUCER_EPOCH].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[BASE_SEQUENCE].copy_from_slice(&producer.base_sequence.to_be_bytes());
    seal(batch);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, NewRecord, Room};

    #[test]
    fn it_is_the_batch_that_its_producer_would_have_built() {
        let producer = BatchProducer { id: 1 << 40, epoch: 7, base_sequence: 77, is_transactional: true };
        for compression in [Compression::None, Compression::Lz4] {
            let build = |producer: &BatchProducer| {
                let mut builder = BatchBuilder::new(1 << 10);
                for timestamp_ms in [5, 90] {
                    let record = NewRecord { timestamp_ms, value: Some(b"v"), ..NewRecord::default() };
                    assert_eq!(builder.append(&record), Ok(Room::Taken));
                }
                builder.finish_as(compression, producer).unwrap()
            };
            let mut batch = build(&BatchProducer::NONE);
            let before = stamp_producer(&mut batch, &producer).unwrap();
            assert_eq!((before.producer_id, before.last_offset_delta), (-1, 1));
            assert_eq!(batch, build(&producer));
            *batch.last_mut().unwrap() ^= 1;
            let damaged = batch.clone();
            assert!(stamp_producer(&mut batch, &BatchProducer::NONE).is_err());
            assert_eq!(batch, damaged, "what is damaged is not made to look sound");
        }
    }
}
