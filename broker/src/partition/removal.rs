//! What is given up: by age and size, or because somebody asks for it.
//!
//! Invariant: the new start is durable before anybody is refused what lies before it.

use std::sync::Arc;

use topo_log::{LogError, NewStart, SyncTicket};

use super::{Log, Partition};
use crate::error::BrokerError;

impl Partition {
    /// Gives up what is due by `now_ms`, in milliseconds since 1970, and says how many segments that were. Blocks.
    ///
    /// # Errors
    /// [`BrokerError::Log`] or [`BrokerError::Corrupt`], [`BrokerError::Poisoned`] where a segment that was rolled cannot be
    /// synced; nothing but what was given up durably is gone.
    pub(crate) fn retain(&self, now_ms: i64) -> Result<usize, BrokerError> {
        let begun = self.with_sealed_durable(|log| log.begin_retention(now_ms))?;
        let Some(start) = begun else { return Ok(0) };
        self.give_up(&start)
    }

    /// Deletes every record below `before`, or below the high watermark where that is `None`, and returns the first offset
    /// held then; what was deleted before stays so. The space goes with whole segments.
    ///
    /// # Errors
    /// [`BrokerError::OffsetOutOfRange`] beyond the high watermark, [`BrokerError::Poisoned`] or [`BrokerError::Log`],
    /// with nothing deleted. [`BrokerError::Closed`], or [`BrokerError::UnknownTopic`] for a topic that was deleted.
    pub async fn delete_records(self: &Arc<Self>, before: Option<i64>) -> Result<i64, BrokerError> {
        let this = self.clone();
        let deleted = tokio::task::spawn_blocking(move || this.delete_before(before));
        deleted.await.unwrap_or(Err(BrokerError::Closed))
    }

    fn delete_before(&self, before: Option<i64>) -> Result<i64, BrokerError> {
        let held = self.offsets()?;
        let before = before.unwrap_or(held.high_watermark);
        if !(0..=held.high_watermark).contains(&before) {
            return Err(BrokerError::OffsetOutOfRange { at: self.at.clone(), asked: before, held });
        }
        self.sync_below(before)?;
        let begun = match self.write_state().log.as_mut() {
            Some(log) => log.begin_deletion(before).map_err(|error| self.log_error(error))?,
            None => return Err(self.gone()),
        };
        if let Some(start) = begun {
            self.give_up(&start)?;
        }
        Ok(self.offsets()?.log_start)
    }

    /// Asks the log what is due, which may roll its active segment for its age. No append sees to the sync of that one, and
    /// neither retention nor compaction takes what is not durable: it is synced here, and the log asked once more.
    pub(super) fn with_sealed_durable<T>(
        &self,
        mut ask: impl FnMut(&mut Log) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, BrokerError> {
        let mut ask = || -> Result<_, BrokerError> {
            let mut state = self.write_state();
            let Some(log) = state.log.as_mut() else { return Ok((None, None)) };
            let due = ask(log).map_err(|error| self.log_error(error))?;
            let is_behind = log.sealed_end() > log.durable_end() && log.poisoned().is_none();
            Ok((due, is_behind.then(|| log.begin_sync())))
        };
        let (due, behind) = ask()?;
        let Some(behind) = behind else { return Ok(due) };
        self.sync(behind)?;
        if due.is_some() {
            // The one that was rolled can wait.
            return Ok(due);
        }
        let (due, behind) = ask()?;
        // Another one was rolled meanwhile, which can wait, too.
        behind.map_or(Ok(()), |behind| self.sync(behind))?;
        Ok(due)
    }

    fn sync(&self, ticket: SyncTicket) -> Result<(), BrokerError> {
        self.run(ticket);
        let failed = self.read_state().log.as_ref().and_then(|log| log.poisoned().map(Arc::from));
        failed.map_or(Ok(()), |reason| Err(BrokerError::Poisoned { at: self.at.clone(), reason }))
    }

    /// Makes everything below an offset durable, where the topic does not wait for that: only then does it go.
    fn sync_below(&self, offset: i64) -> Result<(), BrokerError> {
        let ticket = match self.write_state().log.as_mut() {
            Some(log) if offset > log.durable_end() => log.begin_sync(),
            Some(_) => return Ok(()),
            None => return Err(self.gone()),
        };
        self.run(ticket);
        self.refusal().map_or(Ok(()), Err)
    }

    /// Moves the log's start, with the lock released while it is synced and files are removed: appends and reads go on.
    fn give_up(&self, start: &NewStart) -> Result<usize, BrokerError> {
        start.run().map_err(|error| self.log_error(error))?;
        let expired = match self.write_state().log.as_mut() {
            Some(log) => log.finish_retention(start),
            // Closed, or deleted with all its files: the next open finds the start that was written.
            None => return Ok(0),
        };
        let segments = expired.segments();
        if let Err(error) = expired.remove() {
            // They are no part of the log any more, and the next open removes them.
            tracing::warn!(partition = %self.at, %error, "files that were given up are left");
        }
        Ok(segments)
    }
}
