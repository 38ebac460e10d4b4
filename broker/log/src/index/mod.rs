//! A segment's indexes: for one batch in every few KiB, where it starts, and how late everything in front of it is.
//!
//! A file is a row of pages, each of some entries with a CRC over them, the page's number and the segment's base offset.
//! Only the last page may be partly filled; that of a sealed segment says that it is the last. Pages are looked up on the
//! disk, the entries behind the last full page are kept in memory, so an index costs half a KiB of memory however long
//! it is.
//!
//! Invariant: entries rise strictly in offset, and never fall in what they say of it. An index is derived: whatever is
//! missing, unreadable or wrong costs time only, so no error of its file ever fails an append or a read.

mod entry;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub(crate) use self::entry::{IndexEntry, OffsetEntry, TimeEntry};
use crate::storage::{Storage, StorageFile, read_full};

const PAGE_BYTES: usize = 512;
/// Checksum, count and flags.
const PAGE_HEADER_BYTES: usize = 8;
/// Marks the last page of a sealed segment's index.
const LAST: u16 = 1;

#[derive(Debug)]
pub(crate) struct Index<E> {
    file: Arc<dyn StorageFile>,
    /// The segment's base offset: an index of another one is none.
    base_offset: i64,
    /// Full pages in the file.
    pages: u64,
    /// What follows them; more than a page only while the file cannot be written.
    tail: Vec<E>,
}

impl<E: IndexEntry> Index<E> {
    const PAGE_ENTRIES: usize = (PAGE_BYTES - PAGE_HEADER_BYTES) / E::BYTES;

    /// Starts an empty index, in place of a leftover one.
    pub(crate) fn create(storage: &dyn Storage, path: &Path, base_offset: i64) -> io::Result<Self> {
        let file = match storage.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = storage.open(path)?;
                file.truncate(0)?;
                // A power loss must not bring the pages of an earlier life back: they may be sound, and wrong.
                file.sync()?;
                file
            }
            file => file?,
        };
        Ok(Self { file, base_offset, pages: 0, tail: Vec::new() })
    }

    /// Opens a sealed segment's index; `None` where it is missing or does not end in its last page.
    pub(crate) fn open_sealed(storage: &dyn Storage, path: &Path, base_offset: i64) -> Option<Self> {
        let file = storage.open(path).ok()?;
        let length = file.length().ok()?;
        let last = (length / PAGE_BYTES as u64).checked_sub(1)?;
        let page = read_page(&*file, base_offset, last)?;
        (page.is_last && length % PAGE_BYTES as u64 == 0).then_some(Self {
            file,
            base_offset,
            pages: last,
            tail: page.entries,
        })
    }

    /// Opens an index whose segment is about to be scanned, keeping what is sound up to `limit` and cutting the rest;
    /// the flag says whether anything was damaged. `None` where there is no such file.
    pub(crate) fn open_for_recovery(
        storage: &dyn Storage,
        path: &Path,
        base_offset: i64,
        limit: u32,
    ) -> io::Result<Option<(Self, bool)>> {
        let file = match storage.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let pages_in_file = file.length()?.div_ceil(PAGE_BYTES as u64);
        let mut index = Self { file, base_offset, pages: 0, tail: Vec::new() };
        let mut damaged = false;
        let mut previous: Option<E> = None;
        // Pages of a log that is no more must not come back behind the new ones, so what is not kept is cut.
        let mut kept = 0;
        for number in 0..pages_in_file {
            let page = read_page(&*index.file, base_offset, number);
            let Some(mut page) = page.filter(|page| page.follows(previous)) else {
                damaged = true;
                break;
            };
            let count = page.entries.len();
            page.entries.retain(|entry| entry.relative_offset() <= limit);
            previous = page.entries.last().copied();
            kept += u64::from(page.entries.len() == count);
            if page.entries.len() < Self::PAGE_ENTRIES {
                damaged |= count < Self::PAGE_ENTRIES && number + 1 < pages_in_file;
                index.tail = page.entries;
                break;
            }
            index.pages += 1;
        }
        if kept < pages_in_file {
            index.file.truncate(kept * PAGE_BYTES as u64)?;
            index.file.sync()?;
        }
        Ok(Some((index, damaged)))
    }

    /// Opens an index as it is on the disk, to look at it; `None` where it is missing or not whole.
    pub(crate) fn open_to_look(storage: &dyn Storage, path: &Path, base_offset: i64) -> Option<Self> {
        let file = storage.open(path).ok()?;
        let length = file.length().ok()?;
        if length % PAGE_BYTES as u64 != 0 {
            return None;
        }
        let mut index = Self { file, base_offset, pages: length / PAGE_BYTES as u64, tail: Vec::new() };
        // Only the last page may be partly filled.
        if let Some(last) = index.pages.checked_sub(1) {
            (index.pages, index.tail) = (last, index.page(last)?.entries);
        }
        Some(index)
    }

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.pages = 0;
        self.tail.clear();
        self.file.truncate(0)?;
        self.file.sync()
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<E> {
        let on_disk = || self.page(self.pages.checked_sub(1)?)?.entries.last().copied();
        self.tail.last().copied().or_else(on_disk)
    }

    /// Whether all entries are in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.pages == 0
    }

    /// [`Index::floor`] where no page has to be read for it.
    pub(crate) fn floor_in_memory(&self, not_above: impl Fn(&E) -> bool) -> Option<Option<E>> {
        let is_enough = self.is_in_memory() || self.tail.first().is_some_and(&not_above);
        is_enough.then(|| self.floor(not_above))
    }

    /// The last entry that is `not_above`, as all in front of it must be; or one before it where pages cannot be read.
    pub(crate) fn floor(&self, not_above: impl Fn(&E) -> bool) -> Option<E> {
        if self.tail.first().is_some_and(&not_above) {
            return self.tail[..self.tail.partition_point(&not_above)].last().copied();
        }
        // Pages below `low` start with an entry that is not above; `found` is the best entry seen so far.
        let (mut low, mut high, mut found) = (0, self.pages, None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.page(middle).filter(|page| page.entries.first().is_some_and(&not_above)) {
                Some(page) => {
                    found = page.entries[..page.entries.partition_point(&not_above)].last().copied();
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        found
    }

    /// Shows `visit` the entries in order, from the first one on that is not `before`, as all behind it must be, until it
    /// breaks; `None` where a page cannot be read.
    pub(crate) fn visit(
        &self,
        before: impl Fn(&E) -> bool,
        mut visit: impl FnMut(&E) -> ControlFlow<()>,
    ) -> Option<ControlFlow<()>> {
        let (mut low, mut high) = (0, self.pages);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.page(middle)?.entries.last().is_some_and(&before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        for number in low..self.pages {
            for entry in self.page(number)?.entries.iter().filter(|entry| !before(entry)) {
                if visit(entry).is_break() {
                    return Some(ControlFlow::Break(()));
                }
            }
        }
        for entry in self.tail.iter().filter(|entry| !before(entry)) {
            if visit(entry).is_break() {
                return Some(ControlFlow::Break(()));
            }
        }
        Some(ControlFlow::Continue(()))
    }

    /// Whether every page can be read.
    pub(crate) fn is_whole(&self) -> bool {
        (0..self.pages).all(|number| self.page(number).is_some())
    }

    /// Adds an entry above all others, and writes the page that it fills.
    pub(crate) fn push(&mut self, entry: E) {
        self.tail.push(entry);
        while self.tail.len() >= Self::PAGE_ENTRIES && self.write_tail_page(0).is_ok() {
            self.pages += 1;
            self.tail.drain(..Self::PAGE_ENTRIES);
        }
    }

    /// Writes what is in memory and ends the file there: the segment is complete.
    pub(crate) fn seal(&self) {
        // A last page that could not be written is missed when the segment is opened, and the index rebuilt.
        let _ = self.write_tail_page(LAST);
    }

    /// Writes what is in memory, so that opening the segment finds it.
    pub(crate) fn save(&self) {
        let _ = self.write_tail_page(0);
    }

    /// The file, to be synced once it is sealed.
    pub(crate) fn file(&self) -> Arc<dyn StorageFile> {
        self.file.clone()
    }

    fn page(&self, number: u64) -> Option<Page<E>> {
        read_page(&*self.file, self.base_offset, number)
    }

    fn write_tail_page(&self, flags: u16) -> io::Result<()> {
        let count = self.tail.len().min(Self::PAGE_ENTRIES);
        // A page that claims to be the last while entries are waiting behind it would hide them.
        let flags = if count < self.tail.len() { 0 } else { flags };
        let mut page = [0; PAGE_BYTES];
        page[4..6].copy_from_slice(&(count as u16).to_be_bytes());
        page[6..8].copy_from_slice(&flags.to_be_bytes());
        let slots = page[PAGE_HEADER_BYTES..].chunks_exact_mut(E::BYTES);
        slots.zip(&self.tail[..count]).for_each(|(slot, entry)| entry.encode(slot));
        let crc = page_crc(&page, self.base_offset, self.pages);
        page[..4].copy_from_slice(&crc.to_be_bytes());
        self.file.write_all_at(&page, self.pages * PAGE_BYTES as u64)
    }
}

struct Page<E> {
    entries: Vec<E>,
    is_last: bool,
}

impl<E: IndexEntry> Page<E> {
    /// Whether the entries rise, from `previous` on.
    fn follows(&self, previous: Option<E>) -> bool {
        let all = previous.iter().chain(&self.entries);
        all.clone().zip(all.skip(1)).all(|(previous, entry)| entry.follows(previous))
    }
}

/// Reads a page; `None` where it cannot be read or is not what was written.
fn read_page<E: IndexEntry>(file: &dyn StorageFile, base_offset: i64, number: u64) -> Option<Page<E>> {
    let mut page = [0; PAGE_BYTES];
    if read_full(file, &mut page, number * PAGE_BYTES as u64).ok()? < PAGE_BYTES {
        return None;
    }
    let crc = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
    let count = usize::from(u16::from_be_bytes([page[4], page[5]]));
    let flags = u16::from_be_bytes([page[6], page[7]]);
    if crc != page_crc(&page, base_offset, number) || count > Index::<E>::PAGE_ENTRIES {
        return None;
    }
    let entries = page[PAGE_HEADER_BYTES..].chunks_exact(E::BYTES).take(count).map(E::decode).collect();
    Some(Page { entries, is_last: flags == LAST })
}

/// The checksum of a page, which also ties it to its segment and its place there.
fn page_crc(page: &[u8; PAGE_BYTES], base_offset: i64, number: u64) -> u32 {
    let place = crc32c::crc32c_append(number as u32, &base_offset.to_be_bytes());
    crc32c::crc32c_append(place, &page[4..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage, SimulatedDisk};

    const PATH: &str = "/index";

    /// The segment's base offset.
    const BASE: i64 = 77;
    const PAGE_ENTRIES: usize = Index::<OffsetEntry>::PAGE_ENTRIES;

    fn entry(number: u32) -> OffsetEntry {
        OffsetEntry { relative_offset: number * 10, position: number * 4096 }
    }

    fn filled(storage: &dyn Storage, entries: u32) -> Index<OffsetEntry> {
        let mut index = Index::create(storage, Path::new(PATH), BASE).unwrap();
        (1..=entries).for_each(|number| index.push(entry(number)));
        index
    }

    fn open_sealed(storage: &dyn Storage) -> Option<Index<OffsetEntry>> {
        Index::open_sealed(storage, Path::new(PATH), BASE)
    }

    fn floor(index: &Index<OffsetEntry>, relative_offset: u32) -> Option<OffsetEntry> {
        index.floor(|entry| entry.relative_offset <= relative_offset)
    }

    fn assert_finds(index: &Index<OffsetEntry>, entries: u32) {
        assert_eq!(index.last(), entries.checked_sub(1).map(|_| entry(entries)));
        for asked in 0..entries * 10 + 15 {
            let expected = (asked / 10).min(entries);
            assert_eq!(floor(index, asked), (expected > 0).then(|| entry(expected)), "{asked} of {entries}");
        }
    }

    #[test]
    fn floors_are_found_in_memory_and_on_disk_and_after_reopening() {
        for entries in [0, 1, 62, 63, 64, 126, 200] {
            let storage = MemoryStorage::new();
            let index = filled(&storage, entries);
            assert_finds(&index, entries);
            index.seal();
            assert_finds(&open_sealed(&storage).unwrap(), entries);
            let recovered =
                Index::<OffsetEntry>::open_for_recovery(&storage, Path::new(PATH), BASE, u32::MAX).unwrap();
            let (index, damaged) = recovered.unwrap();
            assert!(!damaged);
            assert_finds(&index, entries);
        }
    }

    #[test]
    fn recovery_keeps_entries_up_to_its_limit() {
        for kept in 0..200 {
            let storage = MemoryStorage::new();
            filled(&storage, 200).seal();
            let (index, damaged) =
                Index::<OffsetEntry>::open_for_recovery(&storage, Path::new(PATH), BASE, kept * 10 + 5)
                    .unwrap()
                    .unwrap();
            assert!(!damaged);
            assert_finds(&index, kept);
        }
    }

    #[test]
    fn a_flipped_bit_never_gives_an_entry_that_was_not_pushed() {
        let storage = MemoryStorage::new();
        filled(&storage, 150).seal();
        let file = storage.open(Path::new(PATH)).unwrap();
        let mut sound = vec![0; file.length().unwrap() as usize];
        file.read_exact_at(&mut sound, 0).unwrap();
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            file.truncate(0).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            if let Some(index) = open_sealed(&storage) {
                for asked in [5, 600, 900, 1_255, 1_400] {
                    let found = floor(&index, asked).map_or(0, |entry| entry.relative_offset);
                    assert!(found <= asked && found.is_multiple_of(10), "bit {bit}: {asked} gives {found}");
                }
            }
            let (index, damaged) =
                Index::<OffsetEntry>::open_for_recovery(&storage, Path::new(PATH), BASE, u32::MAX)
                    .unwrap()
                    .unwrap();
            assert!(damaged, "bit {bit}");
            let kept = (bit / 8 / PAGE_BYTES * PAGE_ENTRIES) as u32;
            assert_eq!(floor(&index, u32::MAX), kept.checked_sub(1).map(|_| entry(kept)), "bit {bit}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_written_stays_in_memory() {
        let disk = SimulatedDisk::new(0);
        let mut index = filled(&disk, 70);
        disk.set_capacity(Some(0));
        (71..=300).for_each(|number| index.push(entry(number)));
        assert_finds(&index, 300);
        index.seal();
        assert!(open_sealed(&disk).is_none());
        disk.set_capacity(None);
        disk.inject(Fault::WriteError { after: 0 });
        index.push(entry(301));
        index.push(entry(302));
        assert_finds(&index, 302);
        index.seal();
        assert_finds(&open_sealed(&disk).unwrap(), 302);
    }

    #[test]
    fn an_index_of_another_segment_is_none() {
        let storage = MemoryStorage::new();
        filled(&storage, 70).seal();
        assert!(Index::<OffsetEntry>::open_sealed(&storage, Path::new(PATH), BASE + 1).is_none());
        let opened = Index::<OffsetEntry>::open_for_recovery(&storage, Path::new(PATH), BASE + 1, u32::MAX);
        let (index, damaged) = opened.unwrap().unwrap();
        assert!(damaged && index.last().is_none());
    }

    #[test]
    fn time_entries_come_back_as_they_were() {
        let storage = MemoryStorage::new();
        let entry = |number: u32| TimeEntry {
            max_timestamp_before: i64::from(number / 3) - 5,
            relative_offset: number,
        };
        let mut index = Index::create(&storage, Path::new(PATH), BASE).unwrap();
        (1..=100).for_each(|number| index.push(entry(number)));
        index.seal();
        let index: Index<TimeEntry> = Index::open_sealed(&storage, Path::new(PATH), BASE).unwrap();
        assert_eq!(index.last(), Some(entry(100)));
        for timestamp in -10..40 {
            let expected = (1..=100).rev().map(entry).find(|entry| entry.max_timestamp_before < timestamp);
            assert_eq!(index.floor(|entry| entry.max_timestamp_before < timestamp), expected, "{timestamp}");
        }
    }
}
