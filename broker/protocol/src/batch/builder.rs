//! Builds batches from records, up to a size.
//!
//! Invariant: the buffer always holds room for a header, followed by exactly `record_count` encoded records.

use bytes::{BufMut, BytesMut};

use super::attributes::{Attributes, Compression};
use super::codec;
use super::error::BatchError;
use super::header::{HEADER_BYTES, LENGTH_END, MAGIC, seal};
use crate::varint;

/// A record to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a [NewHeader<'a>],
}

/// A header of a record to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewHeader<'a> {
    /// The header's name; names may repeat.
    pub key: &'a str,
    /// Its value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchProducer {
    /// The producer's id; -1 for none.
    pub id: i64,
    /// Its epoch; -1 for none.
    pub epoch: i16,
    /// Its sequence number of the first record; -1 for none.
    pub base_sequence: i32,
    /// Whether the batch is part of its transaction.
    pub is_transactional: bool,
}

impl BatchProducer {
    /// Of nobody in particular.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1, is_transactional: false };
}

/// Whether a batch had room for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Room {
    /// The record is in the batch.
    Taken,
    /// It is not: finish this batch and append it to the next.
    Full,
}

/// Collects records into one batch after another, reusing its buffer.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: BytesMut,
    max_bytes: usize,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A builder of batches of up to `max_bytes` before compression, header included.
    ///
    /// A single record larger than that makes a batch of its own.
    pub fn new(max_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), max_bytes, record_count: 0, base_timestamp: 0, max_timestamp: 0 }
    }

    /// Records in the batch so far.
    pub fn record_count(&self) -> usize {
        self.record_count as usize
    }

    /// Whether the batch has no records yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Appends `record`, unless the batch is too full for it.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] where no batch can hold the record: sizes are 32-bit in the format.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<Room, BatchError> {
        if self.is_empty() {
            self.begin(record.timestamp_ms);
        }
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        let body_bytes = body_bytes(record, timestamp_delta, self.record_count);
        let bytes = self.buffer.len() + varint::len(body_bytes as i64) + body_bytes;
        if !self.is_empty() && (bytes > self.max_bytes || self.record_count == i32::MAX) {
            return Ok(Room::Full);
        }
        if bytes > i32::MAX as usize {
            return Err(BatchError::TooLarge { bytes: body_bytes });
        }
        self.buffer.reserve(bytes - self.buffer.len());
        varint::put(&mut self.buffer, body_bytes as i64);
        put_body(&mut self.buffer, record, timestamp_delta, self.record_count);
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        Ok(Room::Taken)
    }

    /// The batch of the records appended since the last one, at base offset 0; the builder is empty afterwards.
    ///
    /// # Errors
    /// [`BatchError::Empty`] without records; [`BatchError::Compress`] where the codec fails, and the records are dropped
    /// with the error.
    pub fn finish(&mut self, compression: Compression) -> Result<BytesMut, BatchError> {
        self.finish_as(compression, &BatchProducer::NONE)
    }

    /// [`BatchBuilder::finish`], as a producer's batch.
    ///
    /// # Errors
    /// As [`BatchBuilder::finish`].
    pub fn finish_as(
        &mut self,
        compression: Compression,
        producer: &BatchProducer,
    ) -> Result<BytesMut, BatchError> {
        self.finish_with(Attributes::from(compression), compression, producer)
    }

    /// The batch as a control batch, of one record.
    pub(super) fn finish_control(&mut self, producer: &BatchProducer) -> Result<BytesMut, BatchError> {
        self.finish_with(Attributes::default().with_control(true), Compression::None, producer)
    }

    fn finish_with(
        &mut self,
        attributes: Attributes,
        compression: Compression,
        producer: &BatchProducer,
    ) -> Result<BytesMut, BatchError> {
        if self.is_empty() {
            return Err(BatchError::Empty);
        }
        let mut batch = if compression == Compression::None {
            self.buffer.split()
        } else {
            let mut compressed = BytesMut::with_capacity(HEADER_BYTES + self.buffer.len() / 2);
            compressed.put_bytes(0, HEADER_BYTES);
            let outcome = codec::compress(compression, &self.buffer[HEADER_BYTES..], &mut compressed);
            self.buffer.clear();
            outcome.inspect_err(|_| self.record_count = 0)?;
            compressed
        };
        let attributes = attributes.with_transactional(producer.is_transactional);
        let header = self.header(attributes, producer, batch.len());
        self.record_count = 0;
        batch[..HEADER_BYTES].copy_from_slice(&header?);
        seal(&mut batch);
        Ok(batch)
    }

    fn begin(&mut self, base_timestamp: i64) {
        self.buffer.clear();
        // The usual batch is filled, so its whole size is taken at once; an oversized limit is not.
        self.buffer.reserve(self.max_bytes.clamp(HEADER_BYTES, 1 << 20));
        self.buffer.put_bytes(0, HEADER_BYTES);
        self.base_timestamp = base_timestamp;
        self.max_timestamp = base_timestamp;
    }

    /// The header of a batch of `bytes` bytes, its checksum still 0.
    fn header(
        &self,
        attributes: Attributes,
        producer: &BatchProducer,
        bytes: usize,
    ) -> Result<[u8; HEADER_BYTES], BatchError> {
        let batch_length = i32::try_from(bytes - LENGTH_END).map_err(|_| BatchError::TooLarge { bytes })?;
        let mut header = [0; HEADER_BYTES];
        let mut out = &mut header[..];
        out.put_i64(0); // base offset
        out.put_i32(batch_length);
        out.put_i32(-1); // leader epoch: set where the batch is placed
        out.put_i8(MAGIC);
        out.put_u32(0); // checksum
        out.put_i16(attributes.bits());
        out.put_i32(self.record_count - 1);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(producer.id);
        out.put_i16(producer.epoch);
        out.put_i32(producer.base_sequence);
        out.put_i32(self.record_count);
        Ok(header)
    }
}

/// Bytes of a record behind its length.
fn body_bytes(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) -> usize {
    let nullable = |bytes: Option<&[u8]>| bytes.map_or(1, |b| varint::len(b.len() as i64) + b.len());
    let header = |h: &NewHeader<'_>| nullable(Some(h.key.as_bytes())) + nullable(h.value);
    1 + varint::len(timestamp_delta)
        + varint::len(i64::from(offset_delta))
        + nullable(record.key)
        + nullable(record.value)
        + varint::len(record.headers.len() as i64)
        + record.headers.iter().map(header).sum::<usize>()
}

fn put_body(out: &mut BytesMut, record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) {
    out.put_u8(0); // attributes, of which none is defined
    varint::put(out, timestamp_delta);
    varint::put(out, i64::from(offset_delta));
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put(out, record.headers.len() as i64);
    for header in record.headers {
        put_nullable(out, Some(header.key.as_bytes()));
        put_nullable(out, header.value);
    }
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.put_slice(bytes);
        }
    }
}
