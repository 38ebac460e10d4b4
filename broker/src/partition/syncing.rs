//! Who syncs, when, and who waits for it; and how that changes while appends go on.
//!
//! Invariant: where something is to be synced, a task is at it or due, and it is the one whose turn it is.

use std::sync::Arc;

use topo_log::{PartitionConfig, SyncTicket};
use topo_protocol::EndTransactionMarker;

use super::{Log, Partition, Progress, Standing};
use crate::durability::Durability;
use crate::error::BrokerError;

impl Partition {
    /// The second half: waits until everything below `next_offset` is durable.
    pub(crate) async fn until_durable(&self, next_offset: i64) -> Result<(), BrokerError> {
        let mut progress = self.progress.subscribe();
        let settled = |p: &Progress| {
            p.high_watermark >= next_offset || !matches!(p.standing, Standing::Open | Standing::Closing)
        };
        // The sender is a field of `self`: it cannot be gone.
        let durable = progress.wait_for(settled).await.is_ok_and(|p| p.high_watermark >= next_offset);
        if durable { Ok(()) } else { Err(self.refusal().unwrap_or(BrokerError::Closed)) }
    }

    /// Waits until every segment that takes no more appends survives a power loss, as of now.
    pub(crate) async fn until_sealed_durable(&self) -> Result<(), BrokerError> {
        let sealed_end = self.read_state().log.as_ref().map(Log::sealed_end).ok_or_else(|| self.gone())?;
        let mut progress = self.progress.subscribe();
        let settled = |p: &Progress| {
            p.durable_end >= sealed_end || !matches!(p.standing, Standing::Open | Standing::Closing)
        };
        // The sender is a field of `self`: it cannot be gone.
        let durable = progress.wait_for(settled).await.is_ok_and(|p| p.durable_end >= sealed_end);
        if durable { Ok(()) } else { Err(self.refusal().unwrap_or(BrokerError::Closed)) }
    }

    /// Lets what was written be synced, when the durability asks for it.
    pub(super) fn see_to_sync(self: &Arc<Self>, durability: Durability, at_once: bool, turn: u64) {
        let this = self.clone();
        match durability {
            Durability::Interval(every) if !at_once => {
                tokio::spawn(async move {
                    let mut more = true;
                    while more {
                        tokio::time::sleep(every).await;
                        let this = this.clone();
                        more =
                            tokio::task::spawn_blocking(move || this.sync_once(turn)).await.unwrap_or(false);
                    }
                });
            }
            Durability::Os if !at_once => {
                tokio::task::spawn_blocking(move || while this.sync_sealed(turn) {});
            }
            _ => {
                tokio::task::spawn_blocking(move || while this.sync_once(turn) {});
            }
        }
    }

    /// Syncs what there is; `false`, and nobody is syncing any more, where nothing is left or it is another's turn.
    fn sync_once(&self, turn: u64) -> bool {
        let ticket = {
            let mut state = self.write_state();
            if state.turn != turn {
                return false;
            }
            let poisoned = matches!(self.progress.borrow().standing, Standing::Poisoned(_));
            match state.log.as_mut() {
                Some(log) if !poisoned && (log.log_end() > log.durable_end() || log.poisoned().is_some()) => {
                    log.begin_sync()
                }
                _ => {
                    state.syncing = false;
                    return false;
                }
            }
        };
        self.run(ticket);
        true
    }

    /// Syncs what there is, once; `false`, and nobody is syncing any more, where no segment was filled meanwhile.
    fn sync_sealed(&self, turn: u64) -> bool {
        if !self.sync_once(turn) {
            return false;
        }
        let mut state = self.write_state();
        if state.turn != turn {
            return false;
        }
        let poisoned = matches!(self.progress.borrow().standing, Standing::Poisoned(_));
        let is_behind = |log: &Log| log.sealed_end() > log.durable_end();
        state.syncing = !poisoned && state.log.as_ref().is_some_and(is_behind);
        state.syncing
    }

    /// Syncs what a ticket covers, and says how that went.
    pub(super) fn run(&self, ticket: SyncTicket) {
        let result = ticket.run();
        let mut state = self.write_state();
        // Deleted meanwhile: nobody waits any more.
        let Some(log) = state.log.as_mut() else { return };
        let outcome = log.finish_sync(ticket, result);
        self.progress.send_modify(|progress| match outcome {
            Ok(durable_end) => {
                progress.durable_end = durable_end;
                progress.advance(log, durable_end);
            }
            Err(error) => {
                let reason = log.poisoned().map_or_else(|| error.to_string(), str::to_owned);
                progress.standing = Standing::Poisoned(reason.into());
            }
        });
    }

    /// Ends a transaction of a partition that nobody else uses yet, durably whatever the durability. Blocks.
    pub(crate) fn end_transaction_at_open(
        &self,
        marker: &EndTransactionMarker,
        now_ms: i64,
    ) -> Result<(), BrokerError> {
        let ticket = {
            let mut state = self.write_state();
            let log = state.log.as_mut().ok_or_else(|| self.gone())?;
            log.append_marker(marker, now_ms).map_err(|error| self.log_error(error))?;
            log.begin_sync()
        };
        self.run(ticket);
        self.refusal().map_or(Ok(()), Err)
    }

    /// Changes the settings from now on. What was appended before and is not durable is synced at once where the
    /// durability changes.
    pub(crate) fn reconfigure(self: &Arc<Self>, config: PartitionConfig, durability: Durability) {
        let mut guard = self.write_state();
        let state = &mut *guard;
        let Some(log) = state.log.as_mut() else { return };
        log.set_config(config);
        if durability == state.durability {
            return;
        }
        (state.durability, state.turn) = (durability, state.turn + 1);
        let log_end = log.log_end();
        if durability != Durability::Fsync {
            self.progress.send_modify(|progress| progress.advance(log, log_end));
        }
        state.syncing = log_end > log.durable_end();
        if state.syncing {
            self.see_to_sync(durability, true, state.turn);
        }
    }
}
