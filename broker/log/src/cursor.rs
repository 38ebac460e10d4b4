//! Walks the batches of a segment's file, one behind the other.
//!
//! Invariant: each batch handed out starts where the one before it ended and carries the offset that follows; anything
//! else is a [`Flaw`]. Never reserves more than the file still holds.

use std::io;

use topo_protocol::{BatchHeader, HEADER_BYTES, check};

use crate::storage::StorageFile;

/// Where a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes from the file's start.
    pub(crate) position: u64,
    /// The offset that the batch there must start with.
    pub(crate) offset: i64,
}

/// A place where a batch should be and is not.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) at: Place,
    pub(crate) reason: String,
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    Flaw(Flaw),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A batch that was checked.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
    pub(crate) bytes: &'a [u8],
}

pub(crate) struct Cursor<'a> {
    file: &'a dyn StorageFile,
    /// The batch that comes next.
    at: Place,
    /// Where the walk ends, in bytes.
    end: u64,
    /// The highest epoch that a batch may carry: the field is not covered by the batch's checksum.
    leader_epoch: i32,
    /// Bytes to read at least at a time.
    chunk: usize,
    /// Bytes of the file from `buffered_from` on.
    buffer: Vec<u8>,
    buffered_from: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        file: &'a dyn StorageFile,
        from: Place,
        end: u64,
        leader_epoch: i32,
        chunk: usize,
    ) -> Self {
        Self { file, at: from, end, leader_epoch, chunk, buffer: Vec::new(), buffered_from: 0 }
    }

    /// Where the next batch is expected.
    pub(crate) fn place(&self) -> Place {
        self.at
    }

    /// The next batch's place and header, its checksum unchecked; `None` at the end.
    pub(crate) fn next_header(&mut self) -> Result<Option<(Place, BatchHeader)>, Stop> {
        if self.at.position == self.end {
            return Ok(None);
        }
        let (at, leader_epoch) = (self.at, self.leader_epoch);
        let header = header_at(at, self.fill(HEADER_BYTES)?, leader_epoch).map_err(Stop::Flaw)?;
        if self.end - self.at.position < header.total_bytes() as u64 {
            let (needed, there) = (header.total_bytes(), self.end - self.at.position);
            return Err(self.flaw(format!("the batch there has {needed} bytes, the file only {there}")));
        }
        let place = self.at;
        self.advance(&header);
        Ok(Some((place, header)))
    }

    /// The next batch, checked; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Checked<'_>>, Stop> {
        let Some((place, header)) = self.next_header()? else { return Ok(None) };
        let next = std::mem::replace(&mut self.at, place);
        let bytes = self.fill(header.total_bytes())?;
        if let Err(error) = header.verify(bytes) {
            return Err(self.flaw(error.to_string()));
        }
        self.at = next;
        let from = (place.position - self.buffered_from) as usize;
        let bytes = &self.buffer[from..from + header.total_bytes()];
        Ok(Some(Checked { position: place.position, header, bytes }))
    }

    fn advance(&mut self, header: &BatchHeader) {
        self.at.position += header.total_bytes() as u64;
        self.at.offset = header.next_offset();
    }

    fn flaw(&self, reason: String) -> Stop {
        Stop::Flaw(Flaw { at: self.at, reason })
    }

    /// Up to `wanted` bytes from the current place on; fewer only at the end.
    fn fill(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end - self.at.position).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let buffered_to = self.buffered_from + self.buffer.len() as u64;
        if self.at.position < self.buffered_from || self.at.position + wanted as u64 > buffered_to {
            self.buffer.resize(wanted.max(self.chunk).min(left), 0);
            self.file.read_exact_at(&mut self.buffer, self.at.position)?;
            self.buffered_from = self.at.position;
        }
        let from = (self.at.position - self.buffered_from) as usize;
        Ok(&self.buffer[from..from + wanted])
    }
}

/// Reads the header at the front of `bytes` and checks that it belongs at `at`.
pub(crate) fn header_at(at: Place, bytes: &[u8], leader_epoch: i32) -> Result<BatchHeader, Flaw> {
    let flaw = |reason| Flaw { at, reason };
    let header = BatchHeader::parse(bytes).map_err(|error| flaw(error.to_string()))?;
    if header.base_offset != at.offset {
        return Err(flaw(format!("the batch there starts at offset {}", header.base_offset)));
    }
    if !(0..=leader_epoch).contains(&header.partition_leader_epoch) {
        return Err(flaw(format!("the batch there is of leader epoch {}", header.partition_leader_epoch)));
    }
    Ok(header)
}

/// Where the whole, sound batches below `up_to` end that are at the front of `buffer`, whose first batch is at `from`.
///
/// Only a flaw in the first one is an error: what is sound is served, and the next read meets the flaw.
pub(crate) fn sound_prefix(buffer: &[u8], from: Place, up_to: i64, leader_epoch: i32) -> Result<Place, Flaw> {
    let (mut at, mut rest) = (from, buffer);
    // Of what is fetched nothing takes longer where batches are small; so no reason is given here.
    while let Some((bytes, next_offset)) = sound_batch(at, rest, leader_epoch)
        && next_offset <= up_to
    {
        (at, rest) = (Place { position: at.position + bytes as u64, offset: next_offset }, &rest[bytes..]);
    }
    if at == from
        && rest.len() >= HEADER_BYTES
        && let Some(batch) = rest.get(..header_at(at, rest, leader_epoch)?.total_bytes())
    {
        check(batch).map_err(|error| Flaw { at, reason: error.to_string() })?;
    }
    Ok(at)
}

/// Bytes of the batch at the front of `buffer`, and where the next one starts; `None` where it is not whole, not sound, or
/// none that belongs at `at`.
fn sound_batch(at: Place, buffer: &[u8], leader_epoch: i32) -> Option<(usize, i64)> {
    let header = BatchHeader::parse(buffer).ok()?;
    let is_here =
        header.base_offset == at.offset && (0..=leader_epoch).contains(&header.partition_leader_epoch);
    let batch = buffer.get(..header.total_bytes())?;
    (is_here && header.verify(batch).is_ok()).then(|| (batch.len(), header.next_offset()))
}
