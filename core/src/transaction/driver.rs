//! What drives the coordinator: the clock, the log, and the phase of the topology.
//!
//! Invariant: stores hear that their changes are durable before the next batch is closed, so that what they hand over next
//! begins there.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::transactions::{Batch, Stage, Transactions};
use super::writing::{Outcome, Writer, is_outage};
use crate::log::{Log, TransactionalLog};
use crate::runtime::{Control, Phase};
use crate::schedule::{Moment, Scheduler};

/// How many times the restart delay a batch that fails again and again waits at most.
const LONGEST_WAIT: u32 = 100;

/// Runs beside the executors.
pub(crate) struct Driver {
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) control: Arc<Control>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) restart_delay: Duration,
    /// All tasks of the topology.
    pub(crate) tasks: usize,
}

/// A commit under way: gives back the writer, what it was about, and how it went.
type Committing = Pin<Box<dyn Future<Output = (Writer, Batch, Outcome)> + Send>>;

/// When a batch was opened, and how much was in it as its commit began.
#[derive(Debug, Clone, Copy)]
struct Size {
    opened: Moment,
    began: Moment,
    records: u64,
}

impl Driver {
    /// Runs until every task has finished. `log` is the topology's own.
    pub(crate) async fn run(self, log: Box<dyn TransactionalLog>) {
        let (control, tasks) = (Arc::clone(&self.control), self.tasks);
        tokio::select! {
            biased;
            () = control.wait(|progress| progress.finished == tasks) => {}
            () = self.drive(log) => control.wait(|progress| progress.finished == tasks).await,
        }
    }

    fn now(&self) -> Moment {
        self.scheduler.clock().now()
    }

    async fn drive(&self, own: Box<dyn TransactionalLog>) {
        let mut writer = Some(Writer {
            own,
            log: Arc::clone(&self.log),
            scheduler: Arc::clone(&self.scheduler),
            transactions: Arc::clone(&self.transactions),
            last: self.transactions.last_batch(),
        });
        let mut committing: Option<Committing> = None;
        // Of the batch that is open, and of the one before it.
        let (mut opened, mut opened_before) = (self.now(), self.now());
        let mut size = Size { opened, began: opened, records: 0 };
        loop {
            if let Some(batch) = self.transactions.take_ready()
                && let Some(writer) = writer.take()
            {
                size = Size { opened: opened_before, began: self.now(), records: batch.staged.len() };
                committing = Some(Box::pin(writer.commit(batch)));
            }
            match self.transactions.stage() {
                Stage::Wait => {
                    if let Some(why) = self.transactions.given_up() {
                        self.control.stop_for(why);
                        return self.transactions.end();
                    }
                    self.wait_to_go_on().await;
                    opened = self.now();
                    self.transactions.go_on(self.control.phase() >= Phase::Draining);
                }
                Stage::Over => return,
                Stage::Run | Stage::Halt | Stage::Clear => {}
            }
            let is_draining = self.control.phase() >= Phase::Draining;
            let close_at = opened.after(self.transactions.settings.interval);
            if self.transactions.may_close()
                && (is_draining || self.transactions.is_full() || self.now() >= close_at)
            {
                (opened_before, opened) = (opened, self.now());
                self.transactions.close(is_draining);
            }
            let close_at = opened.after(self.transactions.settings.interval);
            let due = async {
                if self.transactions.may_close() {
                    self.scheduler.sleep_until(close_at).await;
                } else {
                    pending::<()>().await;
                }
            };
            let committed = async {
                match &mut committing {
                    Some(committing) => committing.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                (own, batch, outcome) = committed => {
                    committing = None;
                    if !self.note(batch, outcome, size) {
                        return;
                    }
                    writer = Some(own);
                    // Somebody may wait for the commit.
                    self.control.advance(|_| ());
                }
                () = self.transactions.news.notified() => {}
                () = self.control.driver_bell.notified() => {}
                () = due => {}
            }
        }
    }

    /// Waits before a batch that failed is made again: twice as long each time in a row.
    async fn wait_to_go_on(&self) {
        let times = 2_u32.saturating_pow(self.transactions.failures().saturating_sub(1)).min(LONGEST_WAIT);
        let mut delay =
            self.scheduler.sleep_until(self.now().after(self.restart_delay.saturating_mul(times)));
        while self.control.phase() < Phase::Draining {
            tokio::select! {
                biased;
                () = &mut delay => return,
                () = self.control.driver_bell.notified() => {}
            }
        }
    }

    /// Tells everybody how a commit went; `false` where the topology cannot go on.
    fn note(&self, batch: Batch, outcome: Outcome, size: Size) -> bool {
        let now = self.now();
        let Batch { staged, shelves, .. } = batch;
        match outcome {
            Outcome::Committed => {
                // A store that cannot take over what is durable has to be read again from there.
                if let Err(error) = shelves.iter().try_for_each(|shelf| shelf.end_stage()) {
                    self.control.stop_for(format!("state could not be kept: {error}").into());
                    self.transactions.end();
                    return false;
                }
                let is_empty = size.records == 0 && staged.inputs.is_empty();
                self.transactions.end_commit(is_empty, |numbers| {
                    if !is_empty {
                        numbers.commits += 1;
                        (numbers.trees, numbers.records) = (staged.trees, size.records);
                        (numbers.bytes, numbers.took) = (staged.bytes as u64, now.since(size.began));
                        numbers.lasted = now.since(size.opened);
                    }
                });
            }
            Outcome::Aborted(error) => {
                tracing::warn!(%error, "a micro-transaction could not be committed and is made again");
                let why = format!("the transaction failed: {error}").into();
                self.transactions.abort_commit(why, is_outage(&error));
            }
            Outcome::Lost(error) => {
                self.control.stop_for(format!("the topology lost its transactions: {error}").into());
                self.transactions.end();
                return false;
            }
        }
        true
    }
}
