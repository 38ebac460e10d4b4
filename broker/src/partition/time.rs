//! Records looked up by their timestamps.
//!
//! Invariant: nothing at or above the end that the reader may read to is found.

use std::sync::Arc;

use topo_log::{LogError, Partition as Log, TimestampedOffset};

use super::{Isolation, Partition};
use crate::error::BrokerError;

impl Partition {
    /// The first record that may be read whose timestamp is at or after `timestamp_ms`; `None` where there is none.
    ///
    /// # Errors
    /// [`BrokerError::Corrupt`] or [`BrokerError::InvalidBatch`] for damage in the way, [`BrokerError::Log`],
    /// [`BrokerError::Closed`], or [`BrokerError::UnknownTopic`] for a topic that was deleted.
    pub async fn offset_for_time(
        self: &Arc<Self>,
        timestamp_ms: i64,
        isolation: Isolation,
    ) -> Result<Option<TimestampedOffset>, BrokerError> {
        self.look_up(isolation, move |log, up_to| log.offset_for_time(timestamp_ms, up_to)).await
    }

    /// The first record of those that may be read with the largest timestamp; `None` without records.
    ///
    /// # Errors
    /// As [`Partition::offset_for_time`].
    pub async fn max_timestamp(
        self: &Arc<Self>,
        isolation: Isolation,
    ) -> Result<Option<TimestampedOffset>, BrokerError> {
        self.look_up(isolation, Log::max_timestamp).await
    }

    /// Looks into the log, up to where it may be read, on a thread that may block.
    async fn look_up<T: Send + 'static>(
        self: &Arc<Self>,
        isolation: Isolation,
        look: impl FnOnce(&Log, i64) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let state = this.read_state();
            let log = state.log.as_ref().ok_or_else(|| this.gone())?;
            look(log, this.held(log).readable_end(isolation)).map_err(|error| this.log_error(error))
        });
        looked.await.unwrap_or(Err(BrokerError::Closed))
    }
}
