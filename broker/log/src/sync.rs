//! Group commit: what is to be synced is taken under the partition's lock, synced outside it, and settled under it.
//!
//! Invariant: once any write or sync has failed, no sync succeeds any more, so the durable end never moves past bytes
//! whose fate is unknown. A failed sync is not retried: the cache may have dropped the bytes and call itself clean.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::storage::{Storage, StorageFile};

/// What the partition and its tickets share.
#[derive(Debug)]
pub(crate) struct Durability {
    /// Why nothing more is written; set once.
    poison: OnceLock<Arc<str>>,
    /// Held during a sync, so that syncs follow each other and each sees how the last one ended.
    checkpoint: Mutex<Checkpoint>,
}

impl Durability {
    pub(crate) fn new(checkpoint: Checkpoint) -> Self {
        Self { poison: OnceLock::new(), checkpoint: Mutex::new(checkpoint) }
    }

    /// Ends all writing for this reason, or the one given before.
    pub(crate) fn poison(&self, reason: &LogError) {
        if matches!(reason, LogError::Poisoned { .. }) {
            return;
        }
        let _ = self.poison.set(reason.to_string().into());
    }

    /// Says durably that the log starts at `log_start`, everything below `durable_end` being synced.
    pub(crate) fn move_start(&self, dir: &Path, log_start: i64, durable_end: i64) -> Result<(), LogError> {
        let moved = self.checkpoint()?.move_start(log_start, durable_end);
        moved.map_err(LogError::storage("write", &checkpoint::path(dir)))
    }

    fn checkpoint(&self) -> Result<MutexGuard<'_, Checkpoint>, LogError> {
        self.checkpoint.lock().map_err(|_| {
            let reason: Arc<str> = "a sync panicked".into();
            let _ = self.poison.set(reason.clone());
            LogError::Poisoned { reason }
        })
    }

    /// Why nothing more is written.
    pub(crate) fn poisoned(&self) -> Option<&Arc<str>> {
        self.poison.get()
    }
}

/// Bytes and names to be made durable, taken by [`Partition::begin_sync`](crate::Partition::begin_sync).
///
/// A ticket may be run on another thread, and dropped without being run: the next one covers what it would have.
#[derive(Debug)]
#[must_use = "a ticket does nothing until it is run and handed to `finish_sync`"]
pub struct SyncTicket {
    pub(crate) shared: Arc<Durability>,
    /// The files of every segment that has bytes at or above the durable end.
    pub(crate) logs: Vec<(PathBuf, Arc<dyn StorageFile>)>,
    /// The indexes of those that are sealed.
    pub(crate) derived: Vec<Arc<dyn StorageFile>>,
    /// The partition's directory, where segments were created.
    pub(crate) directory: Option<(Arc<dyn Storage>, PathBuf)>,
    /// The durable end once the ticket has run.
    pub(crate) end: i64,
    /// Base offset of the active segment.
    pub(crate) active: i64,
    pub(crate) synced: AtomicBool,
}

impl SyncTicket {
    /// One past the last offset that the ticket makes durable.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Whether there is nothing to sync.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Syncs all that the ticket covers. Takes no lock that appends or reads take.
    ///
    /// # Errors
    /// What the storage says. The partition is then poisoned, whether or not the ticket is handed back.
    pub fn run(&self) -> Result<(), LogError> {
        let mut checkpoint = self.shared.checkpoint()?;
        if let Some(reason) = self.shared.poisoned() {
            return Err(LogError::Poisoned { reason: reason.clone() });
        }
        self.sync().inspect_err(|error| self.shared.poison(error))?;
        self.synced.store(true, Ordering::Release);
        if !self.is_empty() {
            // The recovery point only saves time: the one that is there stays true if this one is not written. After
            // a roll it is synced, so that recovery never goes back beyond the segment before.
            let written = match self.directory {
                Some(_) => checkpoint.anchor(self.end),
                None => checkpoint.note(self.end),
            };
            drop(written);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        for (path, log) in &self.logs {
            log.sync().map_err(LogError::storage("sync", path))?;
        }
        for index in &self.derived {
            // Checked whenever it is read.
            drop(index.sync());
        }
        match &self.directory {
            Some((storage, path)) => storage.sync_dir(path).map_err(LogError::storage("sync", path)),
            None => Ok(()),
        }
    }

    /// Writes the durable end as the recovery point, synced, for an orderly close.
    pub(crate) fn anchor(&self, dir: &Path) -> Result<(), LogError> {
        let mut checkpoint = self.shared.checkpoint()?;
        checkpoint.anchor(self.end).map_err(LogError::storage("write", &checkpoint::path(dir)))
    }
}
