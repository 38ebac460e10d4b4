//! Decodes the records of a batch.
//!
//! Invariant: keys and values are slices of one buffer, the batch itself or what it decompressed to; nothing is copied.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::attributes::TimestampType;
use super::codec;
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_BYTES, check};
use crate::varint::Cursor;

/// A record as decoded from a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedRecord {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; the batch's maximum under `LogAppendTime`.
    pub timestamp_ms: i64,
    /// The key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// The value; `None` is Kafka's null.
    pub value: Option<Bytes>,
    /// Headers in the order written.
    pub headers: Vec<RecordHeader>,
}

/// A record's bytes, split where they depend on the batch that holds them.
#[derive(Debug)]
pub(super) struct RawRecord {
    pub(super) attributes: u8,
    /// Milliseconds since the batch's base timestamp.
    pub(super) timestamp_delta: i64,
    /// Offset, key, value and headers, as stored.
    pub(super) rest: Bytes,
}

/// A header as decoded from a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// The header's name; what is not UTF-8 in it is replaced, as Kafka's own clients do.
    pub key: Arc<str>,
    /// Its value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// Checks `batch`, one whole batch, and decodes its records, decompressed to at most `max_decompressed` bytes.
///
/// The markers in a control batch are decoded like records; see [`Records::header`].
///
/// # Errors
/// What [`check`] finds, or the [`BatchError`] of the codec. Malformed records are found as they are reached.
pub fn records(batch: Bytes, max_decompressed: usize) -> Result<Records, BatchError> {
    let header = check(&batch)?;
    let compression = header.attributes.compression()?;
    let buffer = codec::decompress(compression, &batch.slice(HEADER_BYTES..), max_decompressed)?;
    Ok(Records { header, buffer, position: 0, decoded: 0, least_delta: 0, failed: false })
}

/// The records of one batch in order; ends after the first that is malformed.
#[derive(Debug, Clone)]
pub struct Records {
    header: BatchHeader,
    buffer: Bytes,
    position: usize,
    decoded: i32,
    /// Invariant: larger than the offset delta of every record so far.
    least_delta: i32,
    failed: bool,
}

impl Records {
    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn decode(&mut self) -> Result<DecodedRecord, BatchError> {
        self.decode_raw().map(|(record, _)| record)
    }

    /// The next record, and its bytes as they are stored.
    pub(super) fn next_raw(&mut self) -> Option<Result<(DecodedRecord, RawRecord), BatchError>> {
        if self.failed || self.decoded >= self.header.record_count {
            // What is malformed behind the last record is told as for those who do not want the bytes.
            return self.next().map(|end| end.and(Err(BatchError::Empty)));
        }
        let decoded = self.decode_raw();
        self.failed = decoded.is_err();
        Some(decoded)
    }

    fn decode_raw(&mut self) -> Result<(DecodedRecord, RawRecord), BatchError> {
        let layout = Layout::decode(&self.buffer, self.position)
            .and_then(|layout| self.in_order(layout))
            .map_err(|reason| BatchError::Record { index: self.decoded as usize, reason })?;
        self.position = layout.end;
        self.decoded += 1;
        self.least_delta = layout.offset_delta.saturating_add(1);
        let slice = |range: Range<usize>| self.buffer.slice(range);
        let raw = RawRecord {
            attributes: layout.attributes,
            timestamp_delta: layout.timestamp_delta,
            rest: slice(layout.offset_from..layout.end),
        };
        let record = DecodedRecord {
            offset: self.header.base_offset + i64::from(layout.offset_delta),
            timestamp_ms: match self.header.attributes.timestamp_type() {
                TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(layout.timestamp_delta),
                TimestampType::LogAppendTime => self.header.max_timestamp,
            },
            key: layout.key.map(slice),
            value: layout.value.map(slice),
            headers: layout.headers.into_iter().map(|h| h.decode(&self.buffer)).collect(),
        };
        Ok((record, raw))
    }

    fn in_order(&self, layout: Layout) -> Result<Layout, &'static str> {
        let deltas = self.least_delta..=self.header.last_offset_delta;
        if deltas.contains(&layout.offset_delta) { Ok(layout) } else { Err("its offset is out of order") }
    }
}

impl Iterator for Records {
    type Item = Result<DecodedRecord, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = if self.decoded < self.header.record_count {
            self.decode()
        } else if self.position < self.buffer.len() {
            let extra = self.buffer.len() - self.position;
            Err(BatchError::ExtraRecordBytes { record_count: self.header.record_count, extra })
        } else {
            return None;
        };
        self.failed = item.is_err();
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.failed {
            return (0, Some(0));
        }
        // The count is only what the header claims: a record takes at least 7 bytes, and one item more may be an error.
        let claimed = (self.header.record_count - self.decoded) as usize;
        (0, Some(claimed.min((self.buffer.len() - self.position) / MIN_RECORD_BYTES) + 1))
    }
}

impl std::iter::FusedIterator for Records {}

/// Length, attributes, timestamp, offset, key, value and header count, one byte each.
const MIN_RECORD_BYTES: usize = 7;
/// Lengths of a name and a value, one byte each.
const MIN_HEADER_BYTES: usize = 2;

/// Where the parts of a record lie in its buffer.
struct Layout {
    end: usize,
    attributes: u8,
    /// Where its offset stands, behind the timestamp; everything from there on says nothing of the batch's base timestamp.
    offset_from: usize,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<HeaderLayout>,
}

struct HeaderLayout {
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl Layout {
    fn decode(buffer: &[u8], position: usize) -> Result<Self, &'static str> {
        let mut cursor = Cursor::at(buffer, position);
        let length = cursor.varint().ok_or("it has no length")?;
        let length = usize::try_from(length).map_err(|_| "its length is negative")?;
        let body = cursor.take(length).ok_or("it is longer than the batch")?;
        let mut cursor = Cursor::at(&buffer[..body.end], body.start);

        let attributes = cursor.byte().ok_or("it ends within its attributes")?;
        let timestamp_delta = cursor.varlong().ok_or("its timestamp is no varint")?;
        let offset_from = body.end - cursor.remaining();
        let offset_delta = cursor.varint().ok_or("its offset is no varint")?;
        let key = nullable(&mut cursor, "its key is longer than the record")?;
        let value = nullable(&mut cursor, "its value is longer than the record")?;
        let headers = headers(&mut cursor)?;
        if cursor.remaining() > 0 {
            return Err("it is shorter than its length");
        }
        Ok(Self {
            end: body.end,
            attributes,
            offset_from,
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers,
        })
    }
}

fn headers(cursor: &mut Cursor<'_>) -> Result<Vec<HeaderLayout>, &'static str> {
    let count = cursor.varint().ok_or("its header count is no varint")?;
    let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
    if count > cursor.remaining() / MIN_HEADER_BYTES {
        return Err("it claims more headers than it has bytes for");
    }
    (0..count)
        .map(|_| {
            let key = nullable(cursor, "a header's name is longer than the record")?;
            let key = key.ok_or("a header has no name")?;
            let value = nullable(cursor, "a header's value is longer than the record")?;
            Ok(HeaderLayout { key, value })
        })
        .collect()
}

impl HeaderLayout {
    fn decode(self, buffer: &Bytes) -> RecordHeader {
        RecordHeader {
            key: String::from_utf8_lossy(&buffer[self.key]).into(),
            value: self.value.map(|range| buffer.slice(range)),
        }
    }
}

/// A length, -1 for null, and that many bytes.
fn nullable(cursor: &mut Cursor<'_>, too_long: &'static str) -> Result<Option<Range<usize>>, &'static str> {
    match cursor.varint() {
        None => Err("a length in it is no varint"),
        Some(-1) => Ok(None),
        Some(length) => {
            let length = usize::try_from(length).map_err(|_| "a length in it is negative")?;
            cursor.take(length).map(Some).ok_or(too_long)
        }
    }
}
