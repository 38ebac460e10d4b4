//! A disk that loses power, fails and fills up on command, the same way for the same seed.
//!
//! It models what a file system promises and nothing beyond: until synced, any subset of the bytes written, any length
//! in between and any of the changed names may be there after a power loss; a sync that failed loses bytes for good,
//! although the cache still shows them and the next sync says `Ok`.
//!
//! ```
//! use std::path::Path;
//! use topo_log::storage::{Fault, SimulatedDisk, Storage};
//!
//! let disk = SimulatedDisk::new(7);
//! let file = disk.create(Path::new("/a"))?;
//! disk.sync_dir(Path::new("/"))?;
//! file.write_all_at(b"kept", 0)?;
//! file.sync()?;
//! disk.inject(Fault::PowerLoss { after: 1 });
//! file.write_all_at(b"perhaps", 4)?;
//! assert!(file.sync().is_err());
//!
//! disk.crash();
//! let mut kept = [0; 4];
//! disk.open(Path::new("/a"))?.read_exact_at(&mut kept, 0)?;
//! assert_eq!(&kept, b"kept");
//! # Ok::<(), std::io::Error>(())
//! ```

mod inode;
mod state;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::inode::Inode;
use self::state::{NameChange, Node, Operation, Outcome, State};
use super::{Storage, StorageFile};

/// Something that goes wrong once, after so many more operations of its kind went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The power goes during an operation that changes anything; it may have happened, in part or not at all.
    PowerLoss {
        /// Changing operations that still go well: writes, syncs, truncations, and changes of names.
        after: u64,
    },
    /// A sync of a file or directory fails.
    SyncError {
        /// Syncs that still go well.
        after: u64,
    },
    /// A write fails, with nothing written.
    WriteError {
        /// Writes that still go well.
        after: u64,
    },
    /// A file cannot be created: the process has too many open.
    CreateError {
        /// Files that are still created.
        after: u64,
    },
    /// A write stops half-way and says so.
    ShortWrite {
        /// Writes that still go well.
        after: u64,
    },
}

/// A simulated disk; clones share it.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk whose choices all follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// An independent copy of the disk as it is now, cache included, without its faults and open handles; what a
    /// power loss leaves of it follows from `seed`.
    pub fn fork(&self, seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(self.state().fork(seed))) }
    }

    /// Operations so far that changed anything: writes, syncs, truncations, and changes of names.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets something go wrong later. After [`Fault::PowerLoss`] struck, everything fails until [`Self::crash`].
    pub fn inject(&self, fault: Fault) {
        self.state().inject(fault);
    }

    /// Limits the bytes in all files together; `None` lifts the limit. Writes beyond stop short, then fail with
    /// [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Loses power and boots again: what was not synced survives or not, open handles and locks are gone, and so are
    /// faults that were still due.
    pub fn crash(&self) {
        self.state().crash();
    }

    // A panic while the lock is held is a bug of the simulation itself; the test that ran into it fails anyway.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &State, inode: usize, lock: Option<Arc<()>>) -> Arc<dyn StorageFile> {
        Arc::new(SimulatedFile { disk: self.clone(), boot: state.boot, inode, _lock: lock })
    }

    /// Runs a change of names under the faults that are due.
    fn change_names(
        &self,
        operation: Operation,
        check: impl FnOnce(&mut State) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let state = &mut *self.state();
        let outcome = state.begin(operation)?;
        if outcome == Outcome::Refused {
            return finish(outcome);
        }
        let change = check(state)?;
        state.rename(change);
        finish(outcome)
    }
}

/// The answer to an operation that took place in the cache.
fn finish(outcome: Outcome) -> io::Result<()> {
    match outcome {
        Outcome::Done | Outcome::Short => Ok(()),
        // The system's own number for it.
        Outcome::Refused => Err(io::Error::from_raw_os_error(24)),
        Outcome::Failed => Err(io::Error::other("the disk failed")),
        Outcome::PowerLost => Err(io::Error::other("the power went")),
    }
}

impl Storage for SimulatedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.state();
        state.powered()?;
        Ok(self.handle(&state, state.file(path)?, None))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.change_names(Operation::Create, |state| {
            state.free(path)?;
            state.inodes.push(Inode::default());
            Ok(NameChange::Put(path.to_owned(), Node::File(state.inodes.len() - 1)))
        })?;
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.powered()?;
        if !state.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names: Vec<String> = state.names(dir).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change_names(Operation::Other, |state| {
            Ok(NameChange::Rename(from.to_owned(), to.to_owned(), Node::File(state.file(from)?)))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change_names(Operation::Other, |state| {
            state.file(path).map(|_| NameChange::Remove(path.to_owned()))
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change_names(Operation::Other, |state| {
            state.free(dir).map(|()| NameChange::Put(dir.to_owned(), Node::Dir))
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change_names(Operation::Other, |state| match state.names(dir).next() {
            Some(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            None if !state.has_dir(dir) => Err(io::ErrorKind::NotFound.into()),
            None => Ok(NameChange::Remove(dir.to_owned())),
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.begin(Operation::Sync)?;
        if !state.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if outcome == Outcome::Done {
            state.sync_dir(dir);
        }
        finish(outcome)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        if let Err(error) = self.create(path)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let mut state = self.state();
        let inode = state.file(path)?;
        if state.locks.get(&inode).is_some_and(|held| held.strong_count() > 0) {
            return Ok(None);
        }
        let lock = Arc::new(());
        state.locks.insert(inode, Arc::downgrade(&lock));
        Ok(Some(self.handle(&state, inode, Some(lock))))
    }
}

/// An open file; dead once the power was lost.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    boot: u64,
    inode: usize,
    _lock: Option<Arc<()>>,
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.powered()?;
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(io::Error::other("opened before the power went"))
        }
    }
}

/// How many bytes next to each other are all at hand, or all not.
const AT_HAND_BYTES: u64 = 512;

impl StorageFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state()?;
        let bytes = &state.inodes[self.inode].cached;
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    /// Every other so many bytes are at hand: both ways of reading are taken.
    fn read_at_hand(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if !(position / AT_HAND_BYTES).is_multiple_of(2) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = (AT_HAND_BYTES - position % AT_HAND_BYTES).min(buffer.len() as u64);
        self.read_at(&mut buffer[..count as usize], position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let outcome = state.begin(Operation::Write)?;
        if outcome == Outcome::Failed {
            finish(outcome)?;
        }
        let end = state.inodes[self.inode].cached.len() as u64;
        let fits = state.room().map_or(u64::MAX, |room| end.saturating_add(room).saturating_sub(position));
        let wanted = if outcome == Outcome::Short { bytes.len().div_ceil(2) } else { bytes.len() };
        let count = wanted.min(usize::try_from(fits).unwrap_or(usize::MAX));
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.inodes[self.inode].write(&bytes[..count], position)?;
        finish(outcome)?;
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.begin(Operation::Sync)?;
        match outcome {
            Outcome::Failed => state.lose(self.inode),
            Outcome::PowerLost => {}
            Outcome::Done | Outcome::Short | Outcome::Refused => state.inodes[self.inode].sync(),
        }
        finish(outcome)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.begin(Operation::Other)?;
        state.inodes[self.inode].set_length(bytes);
        finish(outcome)
    }

    /// Until synced, all of the zeros and of the length that they give the file may be there, or some, or none.
    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        let zeros = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        match self.write_at(&vec![0; zeros], position)? {
            all if all == zeros => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.inode].cached.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn survivors(path: &str, act: impl Fn(&SimulatedDisk)) -> BTreeSet<Option<Vec<u8>>> {
        let path = Path::new(path);
        let outcome = |seed| {
            let disk = SimulatedDisk::new(seed);
            act(&disk);
            disk.crash();
            let file = disk.open(path).ok()?;
            let mut bytes = vec![0; file.length().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            Some(bytes)
        };
        (0..300).map(outcome).collect()
    }

    fn durable_file(disk: &SimulatedDisk) -> Arc<dyn StorageFile> {
        let file = disk.create(Path::new("/f")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file
    }

    #[test]
    fn any_subset_of_unsynced_bytes_may_survive() {
        let seen = survivors("/f", |disk| {
            let file = durable_file(disk);
            file.write_all_at(b"A", 0).unwrap();
            file.sync().unwrap();
            file.write_all_at(b"xy", 1).unwrap();
        });
        let expected: [&[u8]; 6] = [b"A", b"A\0\0", b"Ax", b"Ax\0", b"A\0y", b"Axy"];
        assert_eq!(seen, expected.iter().map(|bytes| Some(bytes.to_vec())).collect());
    }

    #[test]
    fn an_unsynced_truncation_may_be_undone_and_an_unsynced_name_may_vanish() {
        let seen = survivors("/f", |disk| {
            let file = disk.create(Path::new("/f")).unwrap();
            file.write_all_at(b"AB", 0).unwrap();
            file.sync().unwrap();
            file.truncate(1).unwrap();
        });
        assert_eq!(seen, [None, Some(b"A".to_vec()), Some(b"AB".to_vec())].into());
    }

    #[test]
    fn an_unsynced_rename_shows_the_old_name_or_the_new_one_and_never_neither() {
        let act = |disk: &SimulatedDisk| {
            durable_file(disk);
            disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
        };
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            act(&disk);
            disk.crash();
            assert_eq!(disk.list(Path::new("/")).unwrap().len(), 1, "seed {seed}");
        }
        assert_eq!(survivors("/g", act).len(), 2);
    }

    #[test]
    fn a_failed_sync_loses_bytes_that_the_cache_goes_on_showing() {
        let seen = survivors("/f", |disk| {
            let file = durable_file(disk);
            file.write_all_at(b"A", 0).unwrap();
            disk.inject(Fault::SyncError { after: 0 });
            assert!(file.sync().is_err());
            let mut shown = [0];
            file.read_exact_at(&mut shown, 0).unwrap();
            assert_eq!(&shown, b"A");
            file.sync().unwrap();
        });
        assert!(seen.contains(&Some(Vec::new())), "the second sync must not save them: {seen:?}");
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let disk = SimulatedDisk::new(0);
        let file = durable_file(&disk);
        disk.set_capacity(Some(3));
        assert_eq!(file.write_at(b"abcd", 0).unwrap(), 3);
        assert_eq!(file.write_at(b"d", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write_at(b"ABC", 0).unwrap(), 3, "bytes that are there can be overwritten");
        file.truncate(1).unwrap();
        assert_eq!(file.write_at(b"b", 1).unwrap(), 1);
    }

    #[test]
    fn what_is_preallocated_reads_as_zeros_and_its_length_may_not_survive() {
        let seen = survivors("/f", |disk| {
            let file = durable_file(disk);
            file.write_all_at(b"A", 0).unwrap();
            file.sync().unwrap();
            file.preallocate(1, 2).unwrap();
            assert_eq!(file.length().unwrap(), 3);
        });
        let expected: [&[u8]; 3] = [b"A", b"A\0", b"A\0\0"];
        assert_eq!(seen, expected.iter().map(|bytes| Some(bytes.to_vec())).collect());

        let disk = SimulatedDisk::new(0);
        let file = durable_file(&disk);
        file.preallocate(0, 3).unwrap();
        file.sync().unwrap();
        disk.set_capacity(Some(5));
        file.write_all_at(b"AB", 0).unwrap();
        assert_eq!(file.preallocate(3, 9).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.truncate(2).unwrap();
        file.preallocate(2, 3).unwrap();
    }

    #[test]
    fn a_lock_ends_with_its_holder_or_the_power() {
        let disk = SimulatedDisk::new(0);
        let path = Path::new("/lock");
        let held = disk.lock(path).unwrap();
        assert!(held.is_some() && disk.lock(path).unwrap().is_none());
        drop(held);
        let _held = disk.lock(path).unwrap().expect("free again");
        disk.sync_dir(Path::new("/")).unwrap();
        disk.crash();
        assert!(disk.lock(path).unwrap().is_some());
    }

    #[test]
    fn the_same_seed_leaves_the_same_bytes() {
        let after = |seed| {
            let disk = SimulatedDisk::new(seed);
            let file = durable_file(&disk);
            file.write_all_at(&[7; 500], 0).unwrap();
            disk.fork(seed).crash();
            disk.crash();
            let state = disk.state();
            state.inodes[0].cached.clone()
        };
        assert!((0..20).all(|seed| after(seed) == after(seed)));
        assert!((0..20).map(after).collect::<BTreeSet<_>>().len() > 5);
    }
}
