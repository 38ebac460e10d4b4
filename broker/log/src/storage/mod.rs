//! The one door to the disk: every byte the log reads or writes goes through [`Storage`] and [`StorageFile`].
//!
//! Three implementations stand behind it: [`FileStorage`] is the file system, [`MemoryStorage`] forgets when dropped,
//! and [`SimulatedDisk`] loses power, fails and fills up on command.
//!
//! Invariant the log relies on, and no more: bytes are durable once [`StorageFile::sync`] has returned `Ok` after they
//! were written, and a created, renamed or removed name once [`Storage::sync_dir`] has returned `Ok` for its directory.

mod files;
mod memory;
mod simulated;

pub use files::FileStorage;
pub use memory::MemoryStorage;
pub use simulated::{Fault, SimulatedDisk};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tree of directories and files.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none, or what the storage says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates an empty file.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken, or what the storage says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// The names in a directory that are valid UTF-8, sorted.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no such directory, or what the storage says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory at once, replacing what had it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no such file, or what the storage says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; handles that are open stay usable.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no such file, or what the storage says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory in one that exists.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken, [`io::ErrorKind::NotFound`] where the parent is
    /// missing, or what the storage says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::DirectoryNotEmpty`], [`io::ErrorKind::NotFound`], or what the storage says.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable, as they are now.
    ///
    /// # Errors
    /// What the storage says; what became of the names is then unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Opens or creates a file and locks it against every other holder, in this process or another, for as long as
    /// the handle lives; `None` where it is locked already.
    ///
    /// # Errors
    /// What the storage says.
    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>>;
}

/// An open file. Positions count bytes from the file's start.
pub trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes; fewer are no error, none means the file's end.
    ///
    /// # Errors
    /// What the storage says.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Reads as [`StorageFile::read_at`] does, but only what takes no waiting for a device. All of a storage's bytes are
    /// taken to be at hand where it does not say otherwise.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where the first byte is not at hand, or what the storage says.
    fn read_at_hand(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.read_at(buffer, position)
    }

    /// Writes bytes from the front of `bytes` and says how many; the file grows where they end behind its end.
    ///
    /// # Errors
    /// What the storage says; none of the bytes were then written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Makes what was written durable, and the length with it.
    ///
    /// # Errors
    /// What the storage says; what became of the bytes is then unknown, and a later `Ok` does not speak for them.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros, to `bytes` bytes.
    ///
    /// # Errors
    /// What the storage says.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Fills `bytes` bytes from `position` on, where the file ends or has zeros, with zeros that take up their room, so
    /// that writing there later needs no more of it. The file then ends behind them.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is no room, or what the storage says; some of the zeros may be there.
    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// What the storage says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends before, or what the storage says.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        match read_full(self, buffer, position)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the storage says; any front part of the bytes may then be written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_at(&bytes[written..], position + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads until `buffer` is full or the file ends, and says how many bytes there were.
pub(crate) fn read_full<F: StorageFile + ?Sized>(
    file: &F,
    buffer: &mut [u8],
    position: u64,
) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], position + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// A file of which only what is at hand can be read: everything else of it is refused.
#[derive(Debug)]
pub(crate) struct AtHand(pub(crate) Arc<dyn StorageFile>);

impl StorageFile for AtHand {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at_hand(buffer, position)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn preallocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// Creates `dir` and the parents it lacks, each durable in its own parent.
///
/// # Errors
/// What the storage says.
pub fn create_dirs(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    match storage.create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.parent().is_some() => {
            create_dirs(storage, &parent_of(dir))?;
            storage.create_dir(dir)?;
        }
        result => result?,
    }
    storage.sync_dir(&parent_of(dir))
}

/// The directory that holds `path`'s name; `.` for a bare name.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}
