//! What a log spout does when its group gives it partitions or takes them back.
//!
//! Partitions that are revoked are worked off first: nothing more is emitted, what is open has some time to complete, and
//! the frontier is committed before they are released. What is left open then is read again by whoever has them next.
//!
//! Invariant: what was fetched, opened or committed for an earlier assignment changes nothing in a later one.

use std::sync::Arc;

use topo_core::log::{Change, Joining, Log, LogError, TopicPartition};
use topo_core::schedule::Moment;
use topo_core::{Fault, TaskContext};

use super::LogSpout;
use super::calls::{Call, Done};
use super::config::LogSpoutConfig;
use super::partition::Partition;
use crate::source_progress::SourceProgress;

/// How a task stands with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has what it has, and hears of changes.
    Settled,
    /// It has been given partitions, and finds out where to begin.
    Opening,
    /// It works off what it has to give back.
    Releasing {
        /// What is open by then stays undone.
        until: Moment,
        /// Whether the frontier was committed, or that was tried.
        committed: bool,
    },
}

impl<T, D> LogSpout<T, D> {
    /// Joins the group that divides the topic.
    ///
    /// # Errors
    /// Another component reads the topic, there is no such topic, or the log cannot be asked.
    pub(super) async fn join(&mut self, task: &TaskContext) -> Result<(), Fault> {
        let topic = &self.config.topic;
        if self.log.topic(topic).await?.is_none() {
            return Err(LogError::UnknownTopic(Arc::clone(topic)).into());
        }
        self.progress.claim(topic, task.component())?;
        let joining = Joining {
            group: Arc::clone(&self.config.group),
            topic: Arc::clone(topic),
            client_id: format!("{}-{}-{}", task.topology(), task.component(), task.task()),
            task: task.task(),
            tasks: task.tasks(),
        };
        self.membership = Some(self.log.join(&joining).await?);
        Ok(())
    }

    /// Whether records may be emitted.
    pub(super) fn may_emit(&self) -> bool {
        self.standing == Standing::Settled
    }

    /// Takes what the group says.
    pub(super) fn note_change(&mut self, change: Result<Change, LogError>) {
        match change {
            Ok(Change::Assigned(assigned)) => {
                if self.assignment > 0 {
                    self.doubt_transactions();
                }
                self.drop_partitions();
                self.standing = Standing::Opening;
                self.calls.push(self.open_partitions(assigned));
            }
            Ok(Change::Revoked) => {
                if self.standing == Standing::Opening {
                    self.drop_partitions();
                }
                let until = self.now().after(self.config.release_wait);
                self.standing = Standing::Releasing { until, committed: false };
            }
            Ok(Change::Lost) => {
                tracing::warn!(topic = %self.config.topic, "the group went on without this task");
                self.doubt_transactions();
                if self.has_uncommitted() {
                    self.fail_batch("the group went on without this task");
                }
                self.drop_partitions();
                self.standing = Standing::Settled;
            }
            Err(error) => self.fault = Some(error),
        }
    }

    /// Forgets all that the task had; answers that still come are for nobody.
    pub(super) fn drop_partitions(&mut self) {
        self.assignment += 1;
        self.is_assigned = false;
        self.partitions.assign(Vec::new());
        self.retries.clear();
        self.dead.clear();
    }

    pub(super) fn open_partitions(&self, assigned: Vec<TopicPartition>) -> Call {
        let (log, config, progress) = (Arc::clone(&self.log), self.config.clone(), self.progress.clone());
        let assignment = self.assignment;
        Box::pin(async move {
            Done::Opened(assignment, open_all(&*log, assigned.clone(), &config, &progress).await, assigned)
        })
    }

    /// Begins to read what was opened; where that failed, it is tried again.
    pub(super) fn note_opened(
        &mut self,
        opened: Result<Vec<Partition>, LogError>,
        assigned: Vec<TopicPartition>,
    ) {
        match opened {
            Ok(opened) => {
                self.open_setback.over();
                (self.turn, self.is_assigned) = (0, true);
                self.partitions.assign(opened);
                self.standing = Standing::Settled;
            }
            Err(error) => {
                tracing::warn!(topic = %self.config.topic, %error, "partitions could not be opened; tried again");
                let now = self.now();
                self.open_setback.again(&self.config, now);
                let (task, wait) = (self.task.clone(), self.open_setback.until.since(now));
                let open = self.open_partitions(assigned);
                self.calls.push(Box::pin(async move {
                    if let Some(task) = task {
                        task.sleep(wait).await;
                    }
                    open.await
                }));
            }
        }
    }

    /// Releases what was revoked, once it is worked off and committed or its time is over.
    pub(super) fn release_if_done(&mut self) {
        let Standing::Releasing { until, committed } = self.standing else { return };
        if self.has_uncommitted() {
            if self.now() >= until {
                // They are released as it goes back.
                self.fail_batch("the group divides its topics anew, and the batch took too long");
            }
            return;
        }
        let is_open = self.partitions.iter().any(|one| one.window.first().is_some());
        if self.committing || (is_open && self.now() < until) {
            return;
        }
        if !committed && self.batches.is_none() && self.partitions.iter().any(Partition::has_moved) {
            self.standing = Standing::Releasing { until, committed: true };
            return self.start_commit();
        }
        self.drop_partitions();
        self.standing = Standing::Settled;
        if let Some(membership) = &self.membership {
            membership.release();
        }
    }
}

async fn open_all(
    log: &dyn Log,
    assigned: Vec<TopicPartition>,
    config: &LogSpoutConfig,
    progress: &SourceProgress,
) -> Result<Vec<Partition>, LogError> {
    let mut opened = Vec::with_capacity(assigned.len());
    for at in assigned {
        opened.push(Partition::open(log, at, config, progress).await?);
    }
    Ok(opened)
}
