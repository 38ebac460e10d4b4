//! Compaction, with the lock released while it reads and writes: appends and fetches go on.
//!
//! Invariant: nobody compacts a partition that was closed or deleted, and its files are left alone by the time that is
//! over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use topo_log::{Compacted, Compaction, LogError, Pace};

use super::Partition;
use crate::error::BrokerError;

/// Who compacts a partition, and whether anybody may.
#[derive(Debug, Default)]
pub(super) struct Compacting {
    /// Held by who compacts.
    pass: Mutex<()>,
    /// Whether somebody does.
    #[cfg(test)]
    is_under_way: AtomicBool,
    is_over: AtomicBool,
}

impl Compacting {
    /// Ends compaction for good, and waits until who was at it has stopped. Blocks.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        drop(self.pass.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Partition {
    /// How much of what could be compacted has not been, in millionths, where that is enough by `now_ms`, in milliseconds
    /// since 1970. Blocks.
    ///
    /// # Errors
    /// [`BrokerError::Log`] or [`BrokerError::Corrupt`]; [`BrokerError::Poisoned`] where a segment that was rolled cannot be
    /// synced.
    pub(crate) fn compaction_due(&self, now_ms: i64) -> Result<Option<u32>, BrokerError> {
        self.with_sealed_durable(|log| log.compaction_due(now_ms))
    }

    /// Compacts what is due by `now_ms`, in milliseconds since 1970, as fast as `pace` allows; `None` where nothing is, or
    /// somebody else is at it. Blocks.
    ///
    /// # Errors
    /// As [`Partition::compaction_due`]; every record that should be there is.
    pub(crate) fn compact(&self, now_ms: i64, pace: &Pace<'_>) -> Result<Option<Compacted>, BrokerError> {
        let Ok(_pass) = self.compacting.pass.try_lock() else { return Ok(None) };
        if self.compacting.is_over() {
            return Ok(None);
        }
        let begun = self.with_sealed_durable(|log| log.begin_compaction(now_ms))?;
        let Some(mut pass) = begun else { return Ok(None) };
        #[cfg(test)]
        self.compacting.is_under_way.store(true, Ordering::Release);
        let result = self.run_compaction(&mut pass, pace);
        match self.write_state().log.as_mut() {
            Some(log) => log.finish_compaction(pass, result).map(Some).map_err(|error| self.log_error(error)),
            None => Ok(None),
        }
    }

    /// Whether somebody compacts it now.
    #[cfg(test)]
    pub(crate) fn is_compacting(&self) -> bool {
        self.compacting.is_under_way.load(Ordering::Acquire)
    }

    fn run_compaction(&self, pass: &mut Compaction, pace: &Pace<'_>) -> Result<(), LogError> {
        let pace = |bytes| !self.compacting.is_over() && pace(bytes) && !self.compacting.is_over();
        while let Some(cleaned) = pass.next_segment(&pace)? {
            let swap = self.write_state().log.as_mut().and_then(|log| log.replace(cleaned, pass));
            let Some(swap) = swap else { return Ok(()) };
            let ran = swap.run();
            match self.write_state().log.as_mut() {
                Some(log) => log.finish_swap(&swap, ran)?,
                // The next open goes the rest of the way where it has to.
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
