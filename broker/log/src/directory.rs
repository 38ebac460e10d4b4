//! The data directory: one process holds it, in a format it knows.
//!
//! Invariant: the marker of a clean shutdown exists only while nobody has the directory open. It is removed, durably,
//! before anything is loaded, and written only by [`DataDirectory::close_clean`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::{Storage, StorageFile, create_dirs, parent_of, read_full};

/// The version of everything below the data directory.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "topo data format ";
const FORMAT_FILE: &str = "format";
const UNFINISHED_FORMAT_FILE: &str = "format.tmp";
const LOCK_FILE: &str = "lock";
const CLEAN_FILE: &str = "clean";
/// More than any file of the directory itself has.
const MAX_FILE_BYTES: usize = 64;

/// Why a data directory could not be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another process, or another part of this one, has it open.
    #[error(
        "data directory {} is in use by another topo (pid {}); stop it or choose another with --data-dir",
        .dir.display(), .pid.map_or("unknown".to_owned(), |pid| pid.to_string())
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Who has it, where that can be read.
        pid: Option<u32>,
    },
    /// A newer release wrote it.
    #[error(
        "data directory {} has format {found}, this topo reads formats up to {FORMAT}; \
         use a newer topo or choose another directory with --data-dir",
        .dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The version it is in.
        found: u32,
    },
    /// The format file is not one.
    #[error("{} does not name a format; restore it from a copy", .file.display())]
    Format {
        /// The format file.
        file: PathBuf,
    },
    /// It holds something else.
    #[error(
        "{} holds files and is no data directory of topo; choose an empty or new one with --data-dir",
        .dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The storage failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Storage {
        /// What was attempted, such as `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the storage said.
        source: io::Error,
    },
}

fn storage_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    move |source| DirectoryError::Storage { action, path: path.to_owned(), source }
}

/// An open data directory, locked for as long as it lives.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use topo_log::{DataDirectory, storage::MemoryStorage};
///
/// let storage = Arc::new(MemoryStorage::new());
/// let directory = DataDirectory::open(storage.clone(), Path::new("/data"))?;
/// let refused = DataDirectory::open(storage.clone(), Path::new("/data")).unwrap_err();
/// assert!(refused.to_string().starts_with("data directory /data is in use by another topo (pid "));
///
/// directory.close_clean()?;
/// assert!(DataDirectory::open(storage, Path::new("/data"))?.was_clean());
/// # Ok::<(), topo_log::DirectoryError>(())
/// ```
#[derive(Debug)]
pub struct DataDirectory {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    was_clean: bool,
    _lock: Arc<dyn StorageFile>,
}

impl DataDirectory {
    /// Opens the data directory at `path`, which is created where it is missing, and locks it.
    ///
    /// # Errors
    /// Any [`DirectoryError`]; nothing below the directory was then changed, but for the marker of a clean shutdown.
    pub fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, DirectoryError> {
        create_dirs(&*storage, path).map_err(storage_error("create", path))?;
        refuse_foreign(&*storage, path)?;
        let lock = lock(&*storage, path)?;
        check_format(&*storage, path)?;
        let clean = path.join(CLEAN_FILE);
        let was_clean = match storage.remove(&clean) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            removed => removed.map(|()| true).map_err(storage_error("remove", &clean))?,
        };
        storage.sync_dir(path).map_err(storage_error("sync", path))?;
        if !was_clean {
            // Whoever created the directory may have died before its name was durable.
            sync_parent(&*storage, path)?;
        }
        Ok(Self { storage, path: path.to_owned(), was_clean, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Through what it is read and written.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Whether whoever had it open last has closed it with [`DataDirectory::close_clean`].
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The directory of a topic's partition.
    pub fn partition_dir(&self, topic: &str, partition: u32) -> PathBuf {
        self.path.join(format!("{topic}-{partition}"))
    }

    /// Marks the shutdown as clean and lets the directory go. Only for who has loaded everything and closed every
    /// partition without an error; else drop the directory instead.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`]; the shutdown is then not a clean one.
    pub fn close_clean(self) -> Result<(), DirectoryError> {
        let clean = self.path.join(CLEAN_FILE);
        self.storage.create(&clean).map_err(storage_error("create", &clean))?;
        self.storage.sync_dir(&self.path).map_err(storage_error("sync", &self.path))
    }
}

/// Fails where a directory has files and no format: it is somebody else's.
fn refuse_foreign(storage: &dyn Storage, dir: &Path) -> Result<(), DirectoryError> {
    let names = storage.list(dir).map_err(storage_error("list", dir))?;
    // A first open that was interrupted leaves these.
    let ours = [LOCK_FILE, UNFINISHED_FORMAT_FILE];
    let ours_alone = names.iter().all(|name| ours.contains(&name.as_str()));
    if ours_alone || names.iter().any(|name| name == FORMAT_FILE) {
        Ok(())
    } else {
        Err(DirectoryError::Foreign { dir: dir.to_owned() })
    }
}

fn lock(storage: &dyn Storage, dir: &Path) -> Result<Arc<dyn StorageFile>, DirectoryError> {
    let path = dir.join(LOCK_FILE);
    let Some(lock) = storage.lock(&path).map_err(storage_error("lock", &path))? else {
        let pid = read_text(storage, &path).ok().and_then(|text| text.trim().parse().ok());
        return Err(DirectoryError::InUse { dir: dir.to_owned(), pid });
    };
    // For whoever is refused; the lock itself holds without it, and is not worth failing on a full disk.
    let pid = format!("{}\n", std::process::id());
    drop(lock.truncate(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0)));
    Ok(lock)
}

/// Reads the format file, or creates it in a new directory.
fn check_format(storage: &dyn Storage, dir: &Path) -> Result<(), DirectoryError> {
    let path = dir.join(FORMAT_FILE);
    let text = match read_text(storage, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create_format(storage, dir, &path),
        text => text.map_err(storage_error("read", &path))?,
    };
    let version = text.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim_end().parse().ok());
    match version {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(DirectoryError::NewerFormat { dir: dir.to_owned(), found }),
        _ => Err(DirectoryError::Format { file: path }),
    }
}

/// Under another name first: a format file is there as a whole or not at all.
fn create_format(storage: &dyn Storage, dir: &Path, path: &Path) -> Result<(), DirectoryError> {
    let unfinished = dir.join(UNFINISHED_FORMAT_FILE);
    match storage.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(storage_error("remove", &unfinished)(error));
        }
        _ => {}
    }
    let file = storage.create(&unfinished).map_err(storage_error("create", &unfinished))?;
    let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
    let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.sync());
    written.map_err(storage_error("write", &unfinished))?;
    storage.rename(&unfinished, path).map_err(storage_error("rename", &unfinished))?;
    storage.sync_dir(dir).map_err(storage_error("sync", dir))
}

fn sync_parent(storage: &dyn Storage, dir: &Path) -> Result<(), DirectoryError> {
    let parent = parent_of(dir);
    match storage.sync_dir(&parent) {
        // A parent that may not even be read is somebody else's, who put the directory there.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(storage_error("sync", &parent)),
    }
}

fn read_text(storage: &dyn Storage, path: &Path) -> io::Result<String> {
    let mut bytes = [0; MAX_FILE_BYTES];
    let read = read_full(&*storage.open(path)?, &mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Fault, FileStorage, MemoryStorage, SimulatedDisk};

    fn write(storage: &dyn Storage, path: &Path, text: &str) {
        let file = storage.open(path).or_else(|_| storage.create(path)).unwrap();
        file.truncate(0).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
    }

    #[test]
    fn a_second_opener_is_told_who_has_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let open = || DataDirectory::open(Arc::new(FileStorage), &dir);
        let held = open().unwrap();
        let sentence = format!(
            "data directory {} is in use by another topo (pid {}); stop it or choose another with --data-dir",
            dir.display(),
            std::process::id()
        );
        assert_eq!(open().unwrap_err().to_string(), sentence);
        drop(held);
        assert!(!open().unwrap().was_clean(), "dropped, not closed");
        open().unwrap().close_clean().unwrap();
        assert!(open().unwrap().was_clean());
        assert!(!open().unwrap().was_clean(), "opening removes the marker");
    }

    #[test]
    fn formats_that_are_newer_or_none_are_refused_by_name() {
        let dir = Path::new("/data");
        let storage = Arc::new(MemoryStorage::new());
        let open = || DataDirectory::open(storage.clone(), dir);
        drop(open().unwrap());
        write(&*storage, &dir.join("format"), "topo data format 2\n");
        assert_eq!(
            open().unwrap_err().to_string(),
            "data directory /data has format 2, this topo reads formats up to 1; use a newer topo or choose \
             another directory with --data-dir"
        );
        for text in ["", "topo data format 0\n", "topo data format -1\n", "else\n"] {
            write(&*storage, &dir.join("format"), text);
            assert!(matches!(open(), Err(DirectoryError::Format { .. })), "{text}");
        }
        write(&*storage, &dir.join("format"), "topo data format 1\n");
        drop(open().unwrap());
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let storage = Arc::new(MemoryStorage::new());
        storage.create_dir(Path::new("/home")).unwrap();
        storage.create(Path::new("/home/thesis.tex")).unwrap();
        let refused = DataDirectory::open(storage.clone(), Path::new("/home"));
        assert!(matches!(refused, Err(DirectoryError::Foreign { .. })));
        assert_eq!(storage.list(Path::new("/home")).unwrap(), ["thesis.tex"]);
    }

    #[test]
    fn power_may_go_at_any_step_and_only_a_closed_directory_is_clean() {
        let dir = Path::new("/a/data");
        for after in 0.. {
            let mut completed = false;
            for seed in 0..20 {
                let disk = SimulatedDisk::new(seed);
                disk.inject(Fault::PowerLoss { after });
                let open = || DataDirectory::open(Arc::new(disk.clone()), dir);
                let closed = open().and_then(DataDirectory::close_clean);
                let reopened = closed.as_ref().map_err(drop).and_then(|()| open().map_err(drop)).is_ok();
                completed |= reopened;
                disk.crash();
                let directory = open().unwrap_or_else(|error| panic!("after {after}, seed {seed}: {error}"));
                assert!(!(reopened && directory.was_clean()), "after {after}, seed {seed}");
                drop(directory);
                disk.crash();
                let format = disk.open(&dir.join("format"));
                assert!(format.is_ok(), "after {after}, seed {seed}: the format must be durable once open");
            }
            if completed {
                break;
            }
        }
    }
}
