//! What drives the coordinator: the clock, the log, and the phase of the topology.
//!
//! Invariant: stores hear that their changes are durable before the next batch is closed, so that what they hand over next
//! begins there.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::staged::Staged;
use super::transactions::{Batch, Stage, Transactions};
use crate::log::{Log, LogError, Record, TopicPartition, TopicSpec, TransactionalLog};
use crate::runtime::{Control, Phase};
use crate::schedule::{Moment, Scheduler};

/// What one append takes at most.
const RECORDS_PER_APPEND: usize = 16_384;
const BYTES_PER_APPEND: usize = 4 << 20;

/// How many times the restart delay a batch that fails again and again waits at most.
const LONGEST_WAIT: u32 = 100;

/// How long is waited, at first and at the most, before the log is asked again whether it has committed.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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

/// A commit under way: gives back the log, what it was about, and how it went.
type Committing = Pin<Box<dyn Future<Output = (Box<dyn TransactionalLog>, Batch, Outcome)> + Send>>;

/// How a commit went.
enum Outcome {
    Committed,
    /// It is known that nothing is committed.
    Aborted(LogError),
    /// It goes on nowhere here.
    Lost(LogError),
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

    async fn drive(&self, log: Box<dyn TransactionalLog>) {
        let mut log = Some(log);
        let mut committing: Option<Committing> = None;
        let mut close_at = self.now().after(self.transactions.settings.interval);
        let mut began = self.now();
        loop {
            if let Some(batch) = self.transactions.take_ready()
                && let Some(own) = log.take()
            {
                began = self.now();
                close_at = began.after(self.transactions.settings.interval);
                committing =
                    Some(Box::pin(commit(own, Arc::clone(&self.log), Arc::clone(&self.scheduler), batch)));
            }
            match self.transactions.stage() {
                Stage::Wait => {
                    self.wait_to_go_on().await;
                    close_at = self.now().after(self.transactions.settings.interval);
                    self.transactions.go_on(self.control.phase() >= Phase::Draining);
                }
                Stage::Over => return,
                Stage::Run | Stage::Halt | Stage::Clear => {}
            }
            let is_draining = self.control.phase() >= Phase::Draining;
            if self.transactions.may_close()
                && (is_draining || self.transactions.is_full() || self.now() >= close_at)
            {
                self.transactions.close(is_draining);
            }
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
                    if !self.note(batch, outcome, began) {
                        return;
                    }
                    log = Some(own);
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
    fn note(&self, batch: Batch, outcome: Outcome, began: Moment) -> bool {
        let took = self.now().since(began);
        let (records, bytes) = (batch.staged.len(), batch.staged.bytes as u64);
        match outcome {
            Outcome::Committed => {
                // A store that cannot take over what is durable has to be read again from there.
                if let Err(error) = batch.shelves.iter().try_for_each(|shelf| shelf.end_stage()) {
                    self.control.stop_for(format!("state could not be kept: {error}").into());
                    self.transactions.end();
                    return false;
                }
                self.transactions.end_commit(Ok(()), |numbers| {
                    if records > 0 || !batch.staged.inputs.is_empty() {
                        numbers.commits += 1;
                        (numbers.records, numbers.bytes, numbers.took) = (records, bytes, took);
                    }
                });
            }
            Outcome::Aborted(error) => {
                let why: Arc<str> = format!("the transaction failed: {error}").into();
                tracing::warn!(%error, "a micro-transaction could not be committed and is made again");
                self.transactions.end_commit(Err(why), |_| ());
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

/// Writes a batch in one transaction.
async fn commit(
    mut own: Box<dyn TransactionalLog>,
    log: Arc<dyn Log>,
    scheduler: Arc<dyn Scheduler>,
    mut batch: Batch,
) -> (Box<dyn TransactionalLog>, Batch, Outcome) {
    if batch.staged.is_empty() {
        return (own, batch, Outcome::Committed);
    }
    let written = write(&mut *own, &*log, &mut batch.staged).await;
    let result = match written {
        Ok(()) => commit_for_sure(&mut *own, &*scheduler).await,
        Err(error) => Err(error),
    };
    let outcome = match result {
        Ok(()) => Outcome::Committed,
        Err(error @ (LogError::Fenced(_) | LogError::Closed)) => Outcome::Lost(error),
        Err(error) => match abort_for_sure(&mut *own, &*scheduler).await {
            Ok(()) => Outcome::Aborted(error),
            Err(lost) => Outcome::Lost(lost),
        },
    };
    (own, batch, outcome)
}

/// Commits, and asks again until it is known how that went.
async fn commit_for_sure(own: &mut dyn TransactionalLog, scheduler: &dyn Scheduler) -> Result<(), LogError> {
    let mut wait = ASK_AGAIN.0;
    loop {
        match own.commit().await {
            Err(error @ LogError::Unavailable(_)) => {
                tracing::warn!(%error, "it is not known whether a micro-transaction is committed, so that is asked again");
                scheduler.sleep_until(scheduler.clock().now().after(wait)).await;
                wait = (2 * wait).min(ASK_AGAIN.1);
            }
            known => return known,
        }
    }
}

/// Aborts, and asks again until the log has heard of it; an error where the topology has lost its transactions.
async fn abort_for_sure(own: &mut dyn TransactionalLog, scheduler: &dyn Scheduler) -> Result<(), LogError> {
    let mut wait = ASK_AGAIN.0;
    loop {
        match own.abort().await {
            Ok(()) => return Ok(()),
            Err(error @ (LogError::Fenced(_) | LogError::Closed)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a micro-transaction could not be aborted, so that is asked again");
                scheduler.sleep_until(scheduler.clock().now().after(wait)).await;
                wait = (2 * wait).min(ASK_AGAIN.1);
            }
        }
    }
}

async fn write(own: &mut dyn TransactionalLog, log: &dyn Log, staged: &mut Staged) -> Result<(), LogError> {
    for letter in &staged.letters {
        let partitions = partitions(log, &letter.topic).await?;
        let at = TopicPartition::new(Arc::clone(&letter.topic), letter.number % partitions.max(1));
        own.append(&at, vec![letter.record.clone()]).await?;
    }
    for (at, records) in &mut staged.records {
        while !records.is_empty() {
            let rest = records.split_off(fitting(records));
            own.append(at, std::mem::replace(records, rest)).await?;
        }
    }
    for input in &staged.inputs {
        own.commit_offsets(&input.group, input.member.as_deref(), &input.offsets).await?;
    }
    Ok(())
}

/// How many of `records` go into one append.
fn fitting(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(RECORDS_PER_APPEND).take_while(|record| {
        let fits = bytes < BYTES_PER_APPEND;
        bytes += [&record.key, &record.value].into_iter().flatten().map(bytes::Bytes::len).sum::<usize>();
        fits
    });
    fits.count()
}

/// How many partitions `topic` has, which is created if need be.
async fn partitions(log: &dyn Log, topic: &Arc<str>) -> Result<u32, LogError> {
    if let Some(info) = log.topic(topic).await? {
        return Ok(info.partitions);
    }
    match log.create_topic(topic, &TopicSpec::default()).await {
        Ok(()) | Err(LogError::TopicExists(_)) => {}
        Err(error) => return Err(error),
    }
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(Arc::clone(topic)))?;
    Ok(info.partitions)
}
