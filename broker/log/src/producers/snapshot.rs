//! The producers of a partition in a file, named by the offset up to which they were followed.
//!
//! The file is closed by its checksum and names the checksum of the last batch it covers. It is never synced: one that is
//! torn, or of another log, is found out when it is read, and costs the way from the one before.
//!
//! Invariant: what [`decode`] accepts is what [`encode`] wrote for that offset.

use std::io;
use std::path::{Path, PathBuf};

use bytes::BufMut;

use super::{MAX_PRODUCERS, Producer, Producers, RECENT, Sequenced};
use crate::aborted::Digest;
use crate::storage::{Storage, read_full};

/// What the names end in.
pub(crate) const SUFFIX: &str = ".snapshot";
/// The version of the format.
const VERSION: u16 = 2;
/// The version before, which knows of no transactions: there were none.
const WITHOUT_TRANSACTIONS: u16 = 1;
/// Checksum, version, count of producers, offset, the tip behind a flag, and the digest of the index of aborted transactions
/// of the segment that holds the offset.
const HEADER_BYTES: usize = 4 + 2 + 4 + 8 + 1 + 4 + 4 + 4;
/// Id, epoch, timestamp, next offset, coordinator's epoch, first offset of the open transaction, and count of batches.
const PRODUCER_BYTES: usize = 8 + 2 + 8 + 8 + 4 + 8 + 1;
/// The first offset of no transaction.
const NOT_OPEN: i64 = -1;
/// Sequence number, offset and length.
const BATCH_BYTES: usize = 4 + 8 + 4;

/// `DIR/00000000000000000042.snapshot`.
pub(crate) fn path(dir: &Path, offset: i64) -> PathBuf {
    dir.join(format!("{offset:020}{SUFFIX}"))
}

/// Writes a snapshot, in place of a leftover one.
pub(super) fn write(
    storage: &dyn Storage,
    dir: &Path,
    offset: i64,
    producers: &Producers,
    digest: Digest,
) -> io::Result<()> {
    let path = path(dir, offset);
    let file = match storage.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = storage.open(&path)?;
            file.truncate(0)?;
            file
        }
        file => file?,
    };
    file.write_all_at(&encode(offset, producers, digest), 0)
}

/// Reads a snapshot; `None` where it is not whole.
pub(super) fn read(storage: &dyn Storage, dir: &Path, offset: i64) -> Option<(Producers, Digest)> {
    const MAX_BYTES: usize = HEADER_BYTES + MAX_PRODUCERS * (PRODUCER_BYTES + RECENT * BATCH_BYTES);
    let file = storage.open(&path(dir, offset)).ok()?;
    let length = usize::try_from(file.length().ok()?).ok().filter(|length| *length <= MAX_BYTES)?;
    let mut bytes = vec![0; length];
    let read = read_full(&*file, &mut bytes, 0).ok()?;
    decode(&bytes[..read], offset)
}

fn encode(offset: i64, producers: &Producers, digest: Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32(0);
    bytes.put_u16(VERSION);
    bytes.put_u32(producers.by_id.len() as u32);
    bytes.put_i64(offset);
    bytes.put_u8(u8::from(producers.tip.is_some()));
    bytes.put_u32(producers.tip.unwrap_or(0));
    bytes.put_u32(digest.entries);
    bytes.put_u32(digest.crc);
    for (id, producer) in &producers.by_id {
        bytes.put_i64(*id);
        bytes.put_i16(producer.epoch);
        bytes.put_i64(producer.last_timestamp);
        bytes.put_i64(producer.next_offset);
        bytes.put_i32(producer.coordinator_epoch);
        bytes.put_i64(producer.open.unwrap_or(NOT_OPEN));
        bytes.put_u8(producer.recent.len() as u8);
        for batch in &producer.recent {
            bytes.put_i32(batch.base_sequence);
            bytes.put_i64(batch.base_offset);
            bytes.put_i32(batch.last_offset_delta);
        }
    }
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8], offset: i64) -> Option<(Producers, Digest)> {
    let mut rest = Fields(bytes);
    if u32::from_be_bytes(rest.take()?) != crc32c::crc32c(rest.0) {
        return None;
    }
    let version = u16::from_be_bytes(rest.take()?);
    if ![WITHOUT_TRANSACTIONS, VERSION].contains(&version) {
        return None;
    }
    let count = u32::from_be_bytes(rest.take()?);
    if i64::from_be_bytes(rest.take()?) != offset {
        return None;
    }
    let [has_tip] = rest.take()?;
    let tip = u32::from_be_bytes(rest.take()?);
    let mut producers = Producers { tip: (has_tip == 1).then_some(tip), ..Producers::default() };
    let mut digest = Digest::default();
    if version >= VERSION {
        digest.entries = u32::from_be_bytes(rest.take()?);
        digest.crc = u32::from_be_bytes(rest.take()?);
    }
    for _ in 0..count {
        let id = i64::from_be_bytes(rest.take()?);
        let producer = rest.producer(version)?;
        producers.open.extend(producer.open.map(|first| (first, id)));
        producers.by_id.insert(id, producer);
    }
    rest.0.is_empty().then_some((producers, digest))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn producer(&mut self, version: u16) -> Option<Producer> {
        let epoch = i16::from_be_bytes(self.take()?);
        let last_timestamp = i64::from_be_bytes(self.take()?);
        let next_offset = i64::from_be_bytes(self.take()?);
        let (mut coordinator_epoch, mut open) = (-1, None);
        if version >= VERSION {
            coordinator_epoch = i32::from_be_bytes(self.take()?);
            open = Some(i64::from_be_bytes(self.take()?)).filter(|first| *first != NOT_OPEN);
        }
        let [batches] = self.take()?;
        let recent = (0..batches).map(|_| {
            Some(Sequenced {
                base_sequence: i32::from_be_bytes(self.take()?),
                base_offset: i64::from_be_bytes(self.take()?),
                last_offset_delta: i32::from_be_bytes(self.take()?),
            })
        });
        let recent = recent.collect::<Option<_>>()?;
        Some(Producer { epoch, last_timestamp, next_offset, coordinator_epoch, open, recent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest { entries: 3, crc: 0x1234 };

    fn some() -> Producers {
        let batch = |n| Sequenced { base_sequence: n, base_offset: i64::from(n) * 3, last_offset_delta: 2 };
        let producer = |n: i32, open| Producer {
            epoch: 4,
            last_timestamp: 1_000,
            next_offset: 99,
            coordinator_epoch: n - 1,
            open,
            recent: (0..n).map(batch).collect(),
        };
        Producers {
            by_id: [(7, producer(5, None)), (9, producer(0, Some(40)))].into(),
            tip: Some(0xABCD),
            open: [(40, 9)].into(),
            ..Producers::default()
        }
    }

    #[test]
    fn what_is_written_is_read_for_that_offset_alone() {
        for producers in [Producers::default(), some()] {
            let bytes = encode(42, &producers, DIGEST);
            assert_eq!(decode(&bytes, 42), Some((producers, DIGEST)));
            assert_eq!(decode(&bytes, 43), None);
        }
    }

    #[test]
    fn one_of_before_there_were_transactions_is_read() {
        let mut old = Vec::new();
        old.put_u16(WITHOUT_TRANSACTIONS);
        old.put_u32(1);
        old.put_i64(42);
        old.put_u8(1);
        old.put_u32(0xABCD);
        // Producer 7 of epoch 4, with one batch.
        old.put_i64(7);
        old.put_i16(4);
        old.put_i64(1_000);
        old.put_i64(99);
        old.put_u8(1);
        old.put_i32(0);
        old.put_i64(96);
        old.put_i32(2);
        let mut bytes = crc32c::crc32c(&old).to_be_bytes().to_vec();
        bytes.extend(old);
        let batch = Sequenced { base_sequence: 0, base_offset: 96, last_offset_delta: 2 };
        let producer = Producer {
            epoch: 4,
            last_timestamp: 1_000,
            next_offset: 99,
            coordinator_epoch: -1,
            open: None,
            recent: [batch].into(),
        };
        let producers =
            Producers { by_id: [(7, producer)].into(), tip: Some(0xABCD), ..Producers::default() };
        assert_eq!(decode(&bytes, 42), Some((producers, Digest::default())));
    }

    #[test]
    fn every_truncation_and_flipped_bit_is_found() {
        let bytes = encode(42, &some(), DIGEST);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], 42), None, "{end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, 42), None, "{bit}");
        }
    }
}
