//! Values on disk, in an LSM tree (fjall): what was flushed, so that memory may forget it.
//!
//! Nothing is synced and nothing outlives the process: the changelog is the truth, and what an earlier process left is
//! removed before anything is written. One database serves all states of a topology, with a keyspace for each task's part.
//!
//! Invariant: who has the lock file has the directory beside it.

use std::fs::{self, File, TryLockError};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::changelog::{decode, split_key_form};
use super::error::StateError;
use super::place::Place;
use super::store::{Key, form_bytes};
use crate::tuple::Tuple;

/// Bytes of blocks read that are kept in memory, for all states of a topology.
const BLOCK_CACHE_BYTES: u64 = 32 << 20;
/// Bytes that one task's part of a state gathers in memory before it is written out.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// As few as there may be.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Changes written at once.
const BATCH: usize = 4_096;
/// Keys that one flush looks at for those whose time is over.
const SWEEP: usize = 4_096;
/// What stands before a value: when it was written.
const WRITTEN_BYTES: usize = size_of::<i64>();
/// More processes than that do not share a directory.
const MOST_PROCESSES: u32 = 1_024;

/// The database of a topology's states.
pub(crate) struct Disk {
    database: Database,
    directory: PathBuf,
    /// Dropped last.
    _lock: File,
}

impl Disk {
    /// Opens an empty database in `directory`, beside those of other processes.
    pub(crate) fn open(directory: &Path, topology: &str) -> Result<Arc<Self>, StateError> {
        let failed = |reason: String| failed(directory, reason);
        fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        let name: String =
            topology.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        for number in 0..MOST_PROCESSES {
            let lock = File::create(directory.join(format!("{name}.{number}.lock")))
                .map_err(|error| failed(error.to_string()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(failed(error.to_string())),
            }
            let directory = directory.join(format!("{name}.{number}"));
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(error.to_string()));
                }
                _ => {}
            }
            let database = Database::builder(&directory)
                .cache_size(BLOCK_CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .manual_journal_persist(true)
                .worker_threads(1)
                .temporary(true)
                .open()
                .map_err(|error| failed(error.to_string()))?;
            return Ok(Arc::new(Self { database, directory, _lock: lock }));
        }
        Err(failed(format!("{MOST_PROCESSES} processes keep state there")))
    }

    /// An empty table for one task's part of a state.
    pub(crate) fn table(self: &Arc<Self>, place: &Place) -> Result<DiskTable, StateError> {
        let spelt = |name: &str| -> String {
            name.bytes()
                .map(|b| if b.is_ascii_alphanumeric() { char::from(b).into() } else { format!("${b:02x}") })
                .collect()
        };
        let name = format!("{}.{}.{}", spelt(&place.component), place.task, spelt(&place.state));
        let options = || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).manual_journal_persist(true)
        };
        let open = || {
            let keyspace = self.database.keyspace(&name, options)?;
            // An attempt to restore may have been cut short.
            keyspace.clear()?;
            Ok(keyspace)
        };
        let keyspace = open().map_err(|error: fjall::Error| failed(&self.directory, error.to_string()))?;
        Ok(DiskTable { disk: Arc::clone(self), keyspace, swept: None })
    }
}

/// One task's part of one state.
pub(crate) struct DiskTable {
    disk: Arc<Disk>,
    keyspace: Keyspace,
    /// The key that the sweep looked at last.
    swept: Option<Vec<u8>>,
}

impl DiskTable {
    fn failed(&self, reason: impl ToString) -> StateError {
        failed(&self.disk.directory, reason.to_string())
    }

    /// The key, its value, when that was written, and how many bytes the value's form has.
    pub(crate) fn get<K: Key, V: Tuple>(
        &self,
        form: &[u8],
    ) -> Result<Option<(K, V, i64, usize)>, StateError> {
        let Some(stored) = self.keyspace.get(form).map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let (key, value, written_ms) = self.parse(form, &stored)?;
        Ok(Some((key, value, written_ms, stored.len() - WRITTEN_BYTES)))
    }

    fn parse<K: Key, V: Tuple>(&self, key: &[u8], stored: &[u8]) -> Result<(K, V, i64), StateError> {
        let (written_ms, value) = self.split(stored)?;
        let value = decode(value).map_err(|reason| self.failed(reason))?;
        Ok((self.key(key)?, value, written_ms))
    }

    fn key<K: Key>(&self, form: &[u8]) -> Result<K, StateError> {
        let (_, key) = split_key_form(form).ok_or_else(|| self.failed("a key has no group"))?;
        decode(key).map_err(|reason| self.failed(reason))
    }

    fn split<'a>(&self, stored: &'a [u8]) -> Result<(i64, &'a [u8]), StateError> {
        let (written_ms, value) =
            stored.split_first_chunk().ok_or_else(|| self.failed("a value is cut short"))?;
        Ok((i64::from_be_bytes(*written_ms), value))
    }

    /// Shows all values.
    pub(crate) fn for_each<K: Key, V: Tuple>(
        &self,
        mut see: impl FnMut(K, V, i64),
    ) -> Result<(), StateError> {
        for pair in self.keyspace.iter() {
            let (key, stored) = pair.into_inner().map_err(|error| self.failed(error))?;
            let (key, value, written_ms) = self.parse(&key, &stored)?;
            see(key, value, written_ms);
        }
        Ok(())
    }

    /// Keys written at `oldest_ms` or earlier, among the next few in order.
    pub(crate) fn expired<K: Key>(&mut self, oldest_ms: i64) -> Result<Vec<K>, StateError> {
        let begin = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut expired, mut looked) = (Vec::new(), 0);
        for pair in self.keyspace.range((begin, Bound::Unbounded)).take(SWEEP) {
            let (key, stored) = pair.into_inner().map_err(|error| self.failed(error))?;
            if self.split(&stored)?.0 <= oldest_ms {
                expired.push(self.key(&key)?);
            }
            looked += 1;
            self.swept = Some(key.to_vec());
        }
        if looked < SWEEP {
            self.swept = None;
        }
        Ok(expired)
    }

    /// Writes values with when they were written, or removes their keys.
    pub(crate) fn write<'a>(
        &self,
        changes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>, i64)>,
    ) -> Result<(), StateError> {
        let mut batch = self.disk.database.batch();
        for (key, value, written_ms) in changes {
            match value {
                Some(value) => {
                    let mut stored = Vec::with_capacity(WRITTEN_BYTES + value.len());
                    stored.extend_from_slice(&written_ms.to_be_bytes());
                    stored.extend_from_slice(value);
                    batch.insert(&self.keyspace, &**key, stored);
                }
                None => batch.remove(&self.keyspace, &**key),
            }
            if batch.len() >= BATCH {
                std::mem::replace(&mut batch, self.disk.database.batch())
                    .commit()
                    .map_err(|error| self.failed(error))?;
            }
        }
        batch.commit().map_err(|error| self.failed(error))
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Result<(), StateError> {
        self.swept = None;
        self.keyspace.clear().map_err(|error| self.failed(error))
    }

    /// How many keys there are, and how many bytes the forms of keys and values have. Looks at all of them.
    pub(crate) fn size(&self) -> Result<(u64, u64), StateError> {
        let (mut len, mut bytes) = (0, 0);
        for pair in self.keyspace.iter() {
            let (key, stored) = pair.into_inner().map_err(|error| self.failed(error))?;
            len += 1;
            bytes += u64::from(form_bytes(key.len(), self.split(&stored)?.1.len()));
        }
        Ok((len, bytes))
    }
}

fn failed(directory: &Path, reason: String) -> StateError {
    StateError::Disk { directory: directory.display().to_string(), reason }
}
