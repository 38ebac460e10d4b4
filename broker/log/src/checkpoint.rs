//! The recovery point on disk, an offset below which everything was synced when it was written, and the log's start,
//! below which everything was given up.
//!
//! The file has three slots, each with its own CRC, each on a page of its own. Two are anchors: written in turn, and
//! synced each time, so that a power loss can spoil one of them at most. The third is written after every sync of the
//! log and never synced itself; after a kill it is exact, after a power loss it is there or not. What counts is the
//! highest offset of each kind in the valid slots: neither ever goes back.
//!
//! Invariant: a slot is written only after everything below its recovery point is durable, and segments are removed
//! only after both anchors name the new start; so whichever slots survive tell the truth. The file is created whole under another name, so one without a valid anchor was damaged, not interrupted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::storage::{Storage, StorageFile, read_full};

const NAME: &str = "checkpoint";
const SLOT_BYTES: usize = 20;
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
    /// What the slots say.
    At {
        /// Everything below was synced.
        offset: i64,
        /// The first offset held; those before it were given up.
        log_start: i64,
    },
}

impl RecoveryPoint {
    /// The offset below which everything was synced, where that is known.
    pub(crate) fn offset(self) -> Option<i64> {
        match self {
            Self::At { offset, .. } => Some(offset),
            Self::Missing | Self::Damaged => None,
        }
    }

    /// The first offset held, where that is known.
    pub(crate) fn log_start(self) -> Option<i64> {
        match self {
            Self::At { log_start, .. } => Some(log_start),
            Self::Missing | Self::Damaged => None,
        }
    }
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    offset: i64,
    log_start: i64,
}

#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: Arc<dyn StorageFile>,
    /// What the newest anchor says.
    anchored: Option<Slot>,
    next_anchor: usize,
    /// The start that is written with every recovery point.
    log_start: i64,
    /// The highest recovery point written.
    highest: i64,
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
        let valid = || slots.iter().flatten();
        let log_start = valid().map(|slot| slot.log_start).max();
        let offset = valid().map(|slot| slot.offset).max().max(log_start);
        let point = match (offset, log_start) {
            (Some(offset), Some(log_start)) => RecoveryPoint::At { offset, log_start },
            _ => RecoveryPoint::Damaged,
        };
        let order = |slot: &Option<Slot>| slot.map(|slot| (slot.offset, slot.log_start));
        // The next anchor takes the place of the lower one; a damaged one is lower than any.
        let next_anchor = usize::from(order(&slots[1]) < order(&slots[0]));
        let (anchored, log_start) = (slots[next_anchor ^ 1], log_start.unwrap_or(0));
        Ok((Some(Self { file, anchored, next_anchor, log_start, highest: offset.unwrap_or(0) }), point))
    }

    /// Creates the checkpoint of the partition in `dir`, durably.
    pub(crate) fn create(
        storage: &dyn Storage,
        dir: &Path,
        offset: i64,
        log_start: i64,
    ) -> Result<Self, LogError> {
        let (path, unfinished) = (path(dir), dir.join("checkpoint.tmp"));
        match storage.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LogError::storage("remove", &unfinished)(error));
            }
            _ => {}
        }
        let file = storage.create(&unfinished).map_err(LogError::storage("create", &unfinished))?;
        let mut checkpoint = Self { file, anchored: None, next_anchor: 0, log_start, highest: 0 };
        checkpoint.anchor(offset).map_err(LogError::storage("write", &unfinished))?;
        storage.rename(&unfinished, &path).map_err(LogError::storage("rename", &unfinished))?;
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
        Ok(checkpoint)
    }

    /// Writes `offset`, durably, unless an anchor says it already.
    pub(crate) fn anchor(&mut self, offset: i64) -> io::Result<()> {
        let slot = Slot { offset, log_start: self.log_start };
        if self.anchored == Some(slot) {
            return Ok(());
        }
        write(&*self.file, self.next_anchor, slot)?;
        self.file.sync()?;
        self.anchored = Some(slot);
        self.next_anchor ^= 1;
        self.highest = self.highest.max(offset);
        Ok(())
    }

    /// Writes `offset` without a sync.
    pub(crate) fn note(&mut self, offset: i64) -> io::Result<()> {
        write(&*self.file, NOTE, Slot { offset, log_start: self.log_start })?;
        self.highest = self.highest.max(offset);
        Ok(())
    }

    /// Says where the log starts, to be written with the next recovery point; for a log whose checkpoint was damaged.
    pub(crate) fn assume_start(&mut self, log_start: i64) {
        self.log_start = log_start;
    }

    /// Moves the log's start, durably and in both anchors, so that what lies before can go.
    ///
    /// `durable` is an offset, at or above the start, below which everything is synced.
    pub(crate) fn move_start(&mut self, log_start: i64, durable: i64) -> io::Result<()> {
        let offset = self.highest.max(durable);
        let slot = Slot { offset, log_start: self.log_start.max(log_start) };
        for _ in 0..2 {
            write(&*self.file, self.next_anchor, slot)?;
            self.file.sync()?;
            self.anchored = Some(slot);
            self.next_anchor ^= 1;
        }
        (self.highest, self.log_start) = (offset, slot.log_start);
        Ok(())
    }
}

fn read(file: &dyn StorageFile, number: usize) -> io::Result<Option<Slot>> {
    let mut bytes = [0; SLOT_BYTES];
    let read = read_full(file, &mut bytes, number as u64 * SLOT_DISTANCE)?;
    let offset_at = |from: usize| i64::from_be_bytes(std::array::from_fn(|at| bytes[from + at]));
    let slot = Slot { offset: offset_at(0), log_start: offset_at(8) };
    let sound = read == SLOT_BYTES && slot.log_start >= 0 && slot.offset >= 0;
    Ok((sound && bytes == encode(number, slot)).then_some(slot))
}

fn write(file: &dyn StorageFile, number: usize, slot: Slot) -> io::Result<()> {
    file.write_all_at(&encode(number, slot), number as u64 * SLOT_DISTANCE)
}

/// Both offsets and a checksum over them and the slot's number.
fn encode(number: usize, slot: Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&slot.offset.to_be_bytes());
    bytes[8..16].copy_from_slice(&slot.log_start.to_be_bytes());
    let crc = crc32c::crc32c_append(number as u32, &bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage, SimulatedDisk};

    fn upto(offset: i64) -> RecoveryPoint {
        RecoveryPoint::At { offset, log_start: 0 }
    }

    fn point(storage: &dyn Storage) -> RecoveryPoint {
        Checkpoint::open(storage, Path::new("/")).unwrap().1
    }

    #[test]
    fn the_highest_slot_counts() {
        let storage = MemoryStorage::new();
        assert_eq!(point(&storage), RecoveryPoint::Missing);
        let mut checkpoint = Checkpoint::create(&storage, Path::new("/"), 0, 0).unwrap();
        assert_eq!(point(&storage), upto(0));
        for offset in 1..10 {
            checkpoint.note(offset * 10).unwrap();
            assert_eq!(point(&storage), upto(offset * 10));
            checkpoint.anchor(offset * 10 + 1).unwrap();
            assert_eq!(point(&storage), upto(offset * 10 + 1));
        }
    }

    #[test]
    fn a_power_loss_never_takes_the_last_anchor_nor_invents_an_offset() {
        for seed in 0..500 {
            let disk = SimulatedDisk::new(seed);
            let mut checkpoint = Checkpoint::create(&disk, Path::new("/"), 0, 0).unwrap();
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
            let Some(offset) = point(&disk).offset() else { panic!("seed {seed}: no anchor") };
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
            drop(Checkpoint::create(&disk, Path::new("/"), 0, 0).unwrap());
            for offset in 1..6 {
                disk.inject(Fault::PowerLoss { after: 1 });
                let (checkpoint, before) = Checkpoint::open(&disk, Path::new("/")).unwrap();
                // The power goes in the sync, so the slot is written in part, whole, or not at all.
                assert!(checkpoint.unwrap().anchor(offset).is_err());
                disk.crash();
                let after = point(&disk);
                assert!(after == before || after == upto(offset), "seed {seed}: {after:?}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_disables_its_slot_alone() {
        let storage = MemoryStorage::new();
        let mut checkpoint = Checkpoint::create(&storage, Path::new("/"), 4, 0).unwrap();
        checkpoint.anchor(5).unwrap();
        checkpoint.note(6).unwrap();
        for (number, left) in [(0, 6), (1, 6), (2, 5)] {
            for bit in 0..SLOT_BYTES * 8 {
                let at = number * SLOT_DISTANCE + bit as u64 / 8;
                let mut byte = [0];
                checkpoint.file.read_exact_at(&mut byte, at).unwrap();
                checkpoint.file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], at).unwrap();
                assert_eq!(point(&storage), upto(left), "slot {number} bit {bit}");
                checkpoint.file.write_all_at(&byte, at).unwrap();
            }
        }
    }

    #[test]
    fn a_start_that_was_moved_survives_a_power_loss_and_the_loss_of_any_slot() {
        for after in 0..5 {
            for seed in 0..50 {
                let disk = SimulatedDisk::new(seed);
                let mut checkpoint = Checkpoint::create(&disk, Path::new("/"), 0, 0).unwrap();
                checkpoint.note(30).unwrap();
                disk.inject(Fault::PowerLoss { after });
                let moved = checkpoint.move_start(20, 25);
                disk.crash();
                let RecoveryPoint::At { offset, log_start } = point(&disk) else { panic!("seed {seed}") };
                assert!(log_start == 20 || moved.is_err() && log_start == 0, "after {after}, seed {seed}");
                assert!(offset >= log_start, "after {after}, seed {seed}");
                if moved.is_ok() {
                    let file = disk.open(&path(Path::new("/"))).unwrap();
                    for lost in 0..3 {
                        let mut slot = [0; SLOT_BYTES];
                        file.read_exact_at(&mut slot, lost * SLOT_DISTANCE).unwrap();
                        file.write_all_at(&[0xA5; SLOT_BYTES], lost * SLOT_DISTANCE).unwrap();
                        let left = point(&disk);
                        assert!(matches!(left, RecoveryPoint::At { log_start: 20, .. }), "{left:?}");
                        file.write_all_at(&slot, lost * SLOT_DISTANCE).unwrap();
                    }
                }
            }
        }
    }
}
