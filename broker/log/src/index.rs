//! A segment's offset index: for one batch in every few KiB, its offset and where it starts.
//!
//! The file is a row of pages, each of up to 63 entries with a CRC over them and the page's number. Only the last page
//! may be partly filled; that of a sealed segment says that it is the last. Pages are looked up on the disk, the
//! entries behind the last full page are kept in memory, so an index costs half a KiB of memory however long it is.
//!
//! Invariant: entries rise strictly in offset and in position. The index is derived: whatever is missing, unreadable
//! or wrong costs time only, so no error of its file ever fails an append or a read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::storage::{Storage, StorageFile, read_full};

const PAGE_BYTES: usize = 512;
const PAGE_ENTRIES: usize = 63;
/// Marks the last page of a sealed segment's index.
const LAST: u16 = 1;

/// Where a batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The batch's base offset less the segment's.
    pub(crate) relative_offset: u32,
    /// Bytes from the segment's start.
    pub(crate) position: u32,
}

#[derive(Debug)]
pub(crate) struct Index {
    file: Arc<dyn StorageFile>,
    /// Full pages in the file.
    pages: u64,
    /// What follows them; more than a page only while the file cannot be written.
    tail: Vec<Entry>,
}

impl Index {
    /// Starts an empty index, in place of a leftover one.
    pub(crate) fn create(storage: &dyn Storage, path: &Path) -> io::Result<Self> {
        let file = match storage.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = storage.open(path)?;
                file.truncate(0)?;
                file
            }
            file => file?,
        };
        Ok(Self { file, pages: 0, tail: Vec::new() })
    }

    /// Opens a sealed segment's index; `None` where it is missing or does not end in its last page.
    pub(crate) fn open_sealed(storage: &dyn Storage, path: &Path) -> Option<Self> {
        let file = storage.open(path).ok()?;
        let length = file.length().ok()?;
        let last = (length / PAGE_BYTES as u64).checked_sub(1)?;
        let page = read_page(&*file, last)?;
        (page.is_last && length % PAGE_BYTES as u64 == 0).then_some(Self {
            file,
            pages: last,
            tail: page.entries,
        })
    }

    /// Opens an index whose segment is about to be scanned, keeping what is sound up to `limit` and cutting the rest;
    /// the flag says whether anything was damaged. `None` where there is no such file.
    pub(crate) fn open_for_recovery(
        storage: &dyn Storage,
        path: &Path,
        limit: u32,
    ) -> io::Result<Option<(Self, bool)>> {
        let file = match storage.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let pages_in_file = file.length()?.div_ceil(PAGE_BYTES as u64);
        let mut index = Self { file, pages: 0, tail: Vec::new() };
        let mut damaged = false;
        let mut previous: Option<Entry> = None;
        // Pages of a log that is no more must not come back behind the new ones, so what is not kept is cut.
        let mut kept = 0;
        for number in 0..pages_in_file {
            let Some(mut page) = read_page(&*index.file, number).filter(|page| page.follows(previous)) else {
                damaged = true;
                break;
            };
            let count = page.entries.len();
            page.entries.retain(|entry| entry.relative_offset <= limit);
            previous = page.entries.last().copied();
            kept += u64::from(page.entries.len() == count);
            if page.entries.len() < PAGE_ENTRIES {
                damaged |= count < PAGE_ENTRIES && number + 1 < pages_in_file;
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

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.pages = 0;
        self.tail.clear();
        self.file.truncate(0)?;
        self.file.sync()
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<Entry> {
        let on_disk = || read_page(&*self.file, self.pages.checked_sub(1)?)?.entries.last().copied();
        self.tail.last().copied().or_else(on_disk)
    }

    /// The last entry at or below an offset, or one before it where pages cannot be read.
    pub(crate) fn floor(&self, relative_offset: u32) -> Option<Entry> {
        let not_above = |entry: &Entry| entry.relative_offset <= relative_offset;
        if self.tail.first().is_some_and(not_above) {
            return self.tail[..self.tail.partition_point(not_above)].last().copied();
        }
        // Pages below `low` start at or below the offset; `found` is the best entry seen so far.
        let (mut low, mut high, mut found) = (0, self.pages, None);
        while low < high {
            let middle = low + (high - low) / 2;
            match read_page(&*self.file, middle).filter(|page| page.entries.first().is_some_and(not_above)) {
                Some(page) => {
                    found = page.entries[..page.entries.partition_point(not_above)].last().copied();
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        found
    }

    /// Adds an entry above all others, and writes the page that it fills.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.tail.push(entry);
        while self.tail.len() >= PAGE_ENTRIES && self.write_tail_page(0).is_ok() {
            self.pages += 1;
            self.tail.drain(..PAGE_ENTRIES);
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

    fn write_tail_page(&self, flags: u16) -> io::Result<()> {
        let count = self.tail.len().min(PAGE_ENTRIES);
        // A page that claims to be the last while entries are waiting behind it would hide them.
        let flags = if count < self.tail.len() { 0 } else { flags };
        let mut page = [0; PAGE_BYTES];
        page[4..6].copy_from_slice(&(count as u16).to_be_bytes());
        page[6..8].copy_from_slice(&flags.to_be_bytes());
        for (slot, entry) in page[8..].chunks_exact_mut(8).zip(&self.tail[..count]) {
            slot[..4].copy_from_slice(&entry.relative_offset.to_be_bytes());
            slot[4..].copy_from_slice(&entry.position.to_be_bytes());
        }
        let crc = page_crc(&page, self.pages);
        page[..4].copy_from_slice(&crc.to_be_bytes());
        self.file.write_all_at(&page, self.pages * PAGE_BYTES as u64)
    }
}

struct Page {
    entries: Vec<Entry>,
    is_last: bool,
}

impl Page {
    /// Whether the entries rise, from `previous` on.
    fn follows(&self, previous: Option<Entry>) -> bool {
        let all = previous.iter().chain(&self.entries);
        all.clone()
            .zip(all.skip(1))
            .all(|(a, b)| a.relative_offset < b.relative_offset && a.position < b.position)
    }
}

/// Reads a page; `None` where it cannot be read or is not what was written.
fn read_page(file: &dyn StorageFile, number: u64) -> Option<Page> {
    let mut page = [0; PAGE_BYTES];
    if read_full(file, &mut page, number * PAGE_BYTES as u64).ok()? < PAGE_BYTES {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    let count = usize::from(u16::from_be_bytes([page[4], page[5]]));
    let flags = u16::from_be_bytes([page[6], page[7]]);
    if word(0) != page_crc(&page, number) || count > PAGE_ENTRIES {
        return None;
    }
    let entry = |slot| Entry { relative_offset: word(8 + slot * 8), position: word(12 + slot * 8) };
    Some(Page { entries: (0..count).map(entry).collect(), is_last: flags == LAST })
}

/// The checksum of a page, which also ties it to its place.
fn page_crc(page: &[u8; PAGE_BYTES], number: u64) -> u32 {
    crc32c::crc32c_append(number as u32, &page[4..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, MemoryStorage, SimulatedDisk};

    const PATH: &str = "/index";

    fn entry(number: u32) -> Entry {
        Entry { relative_offset: number * 10, position: number * 4096 }
    }

    fn filled(storage: &dyn Storage, entries: u32) -> Index {
        let mut index = Index::create(storage, Path::new(PATH)).unwrap();
        (1..=entries).for_each(|number| index.push(entry(number)));
        index
    }

    fn assert_finds(index: &Index, entries: u32) {
        assert_eq!(index.last(), entries.checked_sub(1).map(|_| entry(entries)));
        for asked in 0..entries * 10 + 15 {
            let expected = (asked / 10).min(entries);
            assert_eq!(index.floor(asked), (expected > 0).then(|| entry(expected)), "{asked} of {entries}");
        }
    }

    #[test]
    fn floors_are_found_in_memory_and_on_disk_and_after_reopening() {
        for entries in [0, 1, 62, 63, 64, 126, 200] {
            let storage = MemoryStorage::new();
            let index = filled(&storage, entries);
            assert_finds(&index, entries);
            index.seal();
            assert_finds(&Index::open_sealed(&storage, Path::new(PATH)).unwrap(), entries);
            let recovered = Index::open_for_recovery(&storage, Path::new(PATH), u32::MAX).unwrap();
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
                Index::open_for_recovery(&storage, Path::new(PATH), kept * 10 + 5).unwrap().unwrap();
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
            if let Some(index) = Index::open_sealed(&storage, Path::new(PATH)) {
                for asked in [5, 600, 900, 1_255, 1_400] {
                    let found = index.floor(asked).map_or(0, |entry| entry.relative_offset);
                    assert!(found <= asked && found % 10 == 0, "bit {bit}: {asked} gives {found}");
                }
            }
            let (index, damaged) =
                Index::open_for_recovery(&storage, Path::new(PATH), u32::MAX).unwrap().unwrap();
            assert!(damaged, "bit {bit}");
            let kept = (bit / 8 / PAGE_BYTES * PAGE_ENTRIES) as u32;
            assert_eq!(index.floor(u32::MAX), kept.checked_sub(1).map(|_| entry(kept)), "bit {bit}");
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
        assert!(Index::open_sealed(&disk, Path::new(PATH)).is_none());
        disk.set_capacity(None);
        disk.inject(Fault::WriteError { after: 0 });
        index.push(entry(301));
        index.push(entry(302));
        assert_finds(&index, 302);
        index.seal();
        assert_finds(&Index::open_sealed(&disk, Path::new(PATH)).unwrap(), 302);
    }
}
