//! The recovery point on disk: an offset below which everything was synced when it was written.
//!
//! The file has three slots, each with its own CRC, each on a page of its own. Two are anchors: written in turn, and
//! synced each time, so that a power loss can spoil one of them at most. The third is written after every sync of the
//! log and never synced itself; after a kill it is exact, after a power loss it is there or not. What counts is the
//! highest valid slot.
//!
//! Invariant: a slot is written only after everything below its offset is durable, so whichever slots survive tell the
//! truth. The file is created whole under another name, so one without a valid anchor was damaged, not interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::storage::{Storage, StorageFile, read_full};

const NAME: &str = "checkpoint";
const SLOT_BYTES: usize = 12;
const SLOT_DISTANCE: u64 = 4096;
/// The slot that is not synced; 0 and 1 are the anchors.
const NOTE: usize = 2;

/// What a partition's checkpoint says when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecoveryPoint {
    /// There is no file: the partition is new, or somebody asked for what can be salvaged.
    Missing,
    /// There is a file and nothing in it can be believed.
    Damaged,
    /// Everything below was synced.
    At(i64),
}

#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: Arc<dyn StorageFile>,
    anchored: i64,
    next_anchor: usize,
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

impl Checkpoint {
    /// Reads the checkpoint of the partition in `dir`; there is none to write to where it is missing.
    pub(crate) fn open(storage: &dyn Storage, dir: &Path) -> Result<(Option<Self>, RecoveryPoint), LogError> {
        let path = path(dir);
        let file = match storage.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((None, RecoveryPoint::Missing));
            }
            file => file.map_err(LogError::storage("open", &path))?,
        };
        let mut slots = [None; 3];
        for (number, slot) in slots.iter_mut().enumerate() {
            *slot = read(&*file, number).map_err(LogError::storage("read", &path))?;
        }
        let point = slots.into_iter().flatten().max().map_or(RecoveryPoint::Damaged, RecoveryPoint::At);
        // The next anchor takes the place of the lower one; a damaged one is lower than any.
        let next_anchor = usize::from(slots[1] < slots[0]);
        let anchored = slots[0].max(slots[1]).unwrap_or(-1);
        Ok((Some(Self { file, anchored, next_anchor }), point))
    }

    /// Creates the checkpoint of the partition in `dir`, durably.
    pub(crate) fn create(storage: &dyn Storage, dir: &Path, offset: i64) -> Result<Self, LogError> {
        let (path, unfinished) = (path(dir), dir.join("checkpoint.tmp"));
        match storage.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LogError::storage("remove", &unfinished)(error));
            }
            _ => {}
        }
        let file = storage.create(&unfinished).map_err(LogError::storage("create", &unfinished))?;
        let mut checkpoint = Self { file, anchored: -1, next_anchor: 0 };
        checkpoint.anchor(offset).map_err(LogError::storage("write", &unfinished))?;
        storage.rename(&unfinished, &path).map_err(LogError::storage("rename", &unfinished))?;
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
        Ok(checkpoint)
    }

    /// Writes `offset`, durably, unless an anchor says it already.
    pub(crate) fn anchor(&mut self, offset: i64) -> io::Result<()> {
        if self.anchored == offset {
            return Ok(());
        }
        write(&*self.file, self.next_anchor, offset)?;
        self.file.sync()?;
        self.anchored = offset;
        self.next_anchor ^= 1;
        Ok(())
    }

    /// Writes `offset` without a sync.
    pub(crate) fn note(&self, offset: i64) -> io::Result<()> {
        write(&*self.file, NOTE, offset)
    }
}

fn read(file: &dyn StorageFile, number: usize) -> io::Result<Option<i64>> {
    let mut slot = [0; SLOT_BYTES];
    let read = read_full(file, &mut slot, number as u64 * SLOT_DISTANCE)?;
    let offset = i64::from_be_bytes(std::array::from_fn(|at| slot[at]));
    Ok((read == SLOT_BYTES && offset >= 0 && slot == encode(number, offset)).then_some(offset))
}

fn write(file: &dyn StorageFile, number: usize, offset: i64) -> io::Result<()> {
    file.write_all_at(&encode(number, offset), number as u64 * SLOT_DISTANCE)
}

/// The offset and a checksum over it and the slot's number.
fn encode(number: usize, offset: i64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&offset.to_be_bytes());
    let crc = crc32c::crc32c_append(number as u32, &slot[..8]);
    slot[8..].copy_from_slice(&crc.to_be_bytes());
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage, SimulatedDisk};

    fn point(storage: &dyn Storage) -> RecoveryPoint {
        Checkpoint::open(storage, Path::new("/")).unwrap().1
    }

    #[test]
    fn the_highest_slot_counts() {
        let storage = MemoryStorage::new();
        assert_eq!(point(&storage), RecoveryPoint::Missing);
        let mut checkpoint = Checkpoint::create(&storage, Path::new("/"), 0).unwrap();
        assert_eq!(point(&storage), RecoveryPoint::At(0));
        for offset in 1..10 {
            checkpoint.note(offset * 10).unwrap();
            assert_eq!(point(&storage), RecoveryPoint::At(offset * 10));
            checkpoint.anchor(offset * 10 + 1).unwrap();
            assert_eq!(point(&storage), RecoveryPoint::At(offset * 10 + 1));
        }
    }

    #[test]
    fn a_power_loss_never_takes_the_last_anchor_nor_invents_an_offset() {
        for seed in 0..500 {
            let disk = SimulatedDisk::new(seed);
            let mut checkpoint = Checkpoint::create(&disk, Path::new("/"), 0).unwrap();
            disk.inject(Fault::PowerLoss { after: seed % 23 });
            let (mut anchored, mut tried) = (0, vec![0]);
            for offset in 1.. {
                tried.push(offset);
                let result =
                    if offset % 3 == 0 { checkpoint.anchor(offset) } else { checkpoint.note(offset) };
                match result {
                    Ok(()) if offset % 3 == 0 => anchored = offset,
                    Ok(()) => {}
                    Err(_) => break,
                }
            }
            disk.crash();
            let RecoveryPoint::At(offset) = point(&disk) else { panic!("seed {seed}: no anchor") };
            assert!(
                offset >= anchored && tried.contains(&offset),
                "seed {seed}: {offset}, anchored {anchored}"
            );
        }
    }

    #[test]
    fn a_reopened_checkpoint_never_writes_over_its_highest_anchor() {
        for seed in 0..200 {
            let disk = SimulatedDisk::new(seed);
            drop(Checkpoint::create(&disk, Path::new("/"), 0).unwrap());
            for offset in 1..6 {
                disk.inject(Fault::PowerLoss { after: 1 });
                let (checkpoint, before) = Checkpoint::open(&disk, Path::new("/")).unwrap();
                // The power goes in the sync, so the slot is written in part, whole, or not at all.
                assert!(checkpoint.unwrap().anchor(offset).is_err());
                disk.crash();
                let after = point(&disk);
                assert!(after == before || after == RecoveryPoint::At(offset), "seed {seed}: {after:?}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_disables_its_slot_alone() {
        let storage = MemoryStorage::new();
        let mut checkpoint = Checkpoint::create(&storage, Path::new("/"), 4).unwrap();
        checkpoint.anchor(5).unwrap();
        checkpoint.note(6).unwrap();
        for (number, left) in [(0, 6), (1, 6), (2, 5)] {
            for bit in 0..SLOT_BYTES * 8 {
                let at = number * SLOT_DISTANCE + bit as u64 / 8;
                let mut byte = [0];
                checkpoint.file.read_exact_at(&mut byte, at).unwrap();
                checkpoint.file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at).unwrap();
                assert_eq!(point(&storage), RecoveryPoint::At(left), "slot {number} bit {bit}");
                checkpoint.file.write_all_at(&byte, at).unwrap();
            }
        }
    }
}
