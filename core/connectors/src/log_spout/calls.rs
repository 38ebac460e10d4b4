//! What a log spout has under way to the log: fetches, a commit, dead letters.
//!
//! Invariant: at most one fetch per partition, one commit and one burial are under way at a time. Each ends in a [`Done`]
//! that is noted, unless the spout's instance ends first.

use std::cmp::Reverse;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use topo_core::TaskContext;
use topo_core::log::{Fetched, LogError, TopicPartition};
use topo_core::schedule::Moment;

use super::LogSpout;
use super::assignment::Standing;
use super::dead_letter::{Burial, DeadLetter, bury};
use super::partition::Partition;

/// Something under way to the log.
pub(super) type Call = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of a call.
pub(super) enum Done {
    /// Partitions of an assignment, and which those are.
    Opened(u64, Result<Vec<Partition>, LogError>, Vec<TopicPartition>),
    /// Frontiers, of an assignment.
    Committed(u64, Vec<(TopicPartition, i64)>, Result<(), LogError>),
    Buried(Burial),
    /// What the partition of this number had, in an assignment.
    Fetched(u64, u32, Result<Fetched, LogError>),
}

impl<T, D> LogSpout<T, D> {
    pub(super) fn now(&self) -> Moment {
        self.task.as_ref().map(TaskContext::now).unwrap_or_default()
    }

    /// When the next commit is due; `None` where there is nothing to commit or one is under way.
    ///
    /// Once all is done, a commit follows sooner: somebody may be waiting for it.
    fn commit_due(&self) -> Option<Moment> {
        let is_own = self.batches.is_none();
        let moved =
            is_own && self.may_emit() && !self.committing && self.partitions.iter().any(Partition::has_moved);
        moved.then(|| {
            let interval = self.config.commit_interval;
            let at_rest = self.partitions.iter().all(Partition::is_at_rest);
            let due = self.last_commit.after(if at_rest { interval / 20 } else { interval });
            due.max(self.commit_setback.until)
        })
    }

    /// When dead letters are to be written; `None` where there are none or some are under way.
    fn burial_due(&self) -> Option<Moment> {
        (!self.burying && !self.dead.is_empty()).then_some(self.bury_setback.until)
    }

    /// Starts every call that is due.
    pub(super) fn start_calls(&mut self) {
        let now = self.now();
        let is_due = |due: Option<Moment>| due.is_some_and(|due| due <= now);
        if is_due(self.burial_due()) {
            self.start_burying();
        }
        if is_due(self.commit_due()) {
            self.start_commit();
        }
        let (assignment, may_emit) = (self.assignment, self.may_emit());
        for partition in self.partitions.iter_mut().filter(|_| may_emit) {
            if is_due(partition.fetch_due(self.config.window)) {
                let number = partition.at.partition;
                let fetch = partition.fetch(Arc::clone(&self.log), self.config.fetch_bytes);
                let done = move |fetched| Done::Fetched(assignment, number, fetched);
                self.calls.push(Box::pin(fetch.map(done)));
            }
        }
    }

    pub(super) fn start_commit(&mut self) {
        let Some(membership) = self.membership.clone() else { return };
        let moved = self.partitions.iter().filter(|one| one.has_moved());
        let frontiers: Vec<(TopicPartition, i64)> =
            moved.map(|one| (one.at.clone(), one.frontier())).collect();
        (self.committing, self.last_commit) = (true, self.now());
        let (assignment, task) = (self.assignment, self.task.clone());
        let commit = async move {
            // The frontiers are settled: what led to them is what is flushed before they are committed.
            let committed = match flush(task.as_ref()).await {
                Ok(()) => membership.commit(&frontiers).await,
                Err(error) => Err(error),
            };
            Done::Committed(assignment, frontiers, committed)
        };
        self.calls.push(Box::pin(commit));
    }

    pub(super) fn start_burying(&mut self) {
        self.burying = true;
        let dead = std::mem::take(&mut self.dead);
        self.calls.push(Box::pin(bury(Arc::clone(&self.log), dead).map(Done::Buried)));
    }

    /// Notes what came of a call.
    pub(super) fn note(&mut self, done: Done) {
        match done {
            Done::Opened(assignment, opened, assigned) if assignment == self.assignment => {
                self.note_opened(opened, assigned);
            }
            Done::Committed(assignment, frontiers, Ok(())) => {
                self.committing = false;
                self.commit_setback.over();
                for (at, offset) in frontiers {
                    self.progress.committed(&at, offset);
                    let own = self.partitions.numbered(at.partition);
                    if let Some(partition) = own.filter(|_| assignment == self.assignment) {
                        partition.committed = offset;
                    }
                }
            }
            Done::Committed(_, _, Err(error)) => {
                self.committing = false;
                tracing::warn!(topic = %self.config.topic, %error, "a commit failed and is made again");
                let now = self.now();
                self.commit_setback.again(&self.config, now);
            }
            Done::Buried(burial) => self.note_burial(burial),
            Done::Fetched(assignment, number, fetched) if assignment == self.assignment => {
                let now = self.now();
                let partition = self.partitions.numbered(number);
                let taken = partition.map_or(Ok(()), |one| one.take(fetched, &self.config, now));
                self.fault = self.fault.take().or(taken.err());
            }
            // Of an assignment that is over.
            Done::Opened(..) | Done::Fetched(..) => {}
        }
    }

    fn note_burial(&mut self, burial: Burial) {
        self.burying = false;
        self.progress.dead_lettered(burial.buried.iter().map(DeadLetter::death));
        for letter in burial.buried {
            if let Some(partition) = self.partitions.numbered(letter.id.partition) {
                partition.window.done(letter.id.offset);
            }
        }
        match burial.left {
            None => self.bury_setback.over(),
            Some((left, error)) => {
                tracing::warn!(topic = %self.config.topic, %error, "dead letters could not be written and are written again");
                self.dead.extend(left);
                let now = self.now();
                self.bury_setback.again(&self.config, now);
            }
        }
    }

    /// When the next thing is due that no call announces.
    pub(super) fn next_due(&self) -> Option<Moment> {
        if let Standing::Releasing { until, .. } = self.standing {
            return self.burial_due().into_iter().chain([until]).min();
        }
        let retry = self.retries.peek().map(|Reverse((due, _))| *due);
        let idle = self.times.as_ref().and_then(|times| times.idle_due(self.partitions.iter(), self.now()));
        let fetches = self.partitions.iter().filter_map(|one| one.fetch_due(self.config.window));
        let due = [retry, self.commit_due(), self.burial_due(), idle];
        let due = due.into_iter().flatten().chain(fetches).min();
        due.filter(|_| self.may_emit())
    }

    /// Sees calls through while `under_way`.
    pub(super) async fn settle(&mut self, under_way: impl Fn(&Self) -> bool) {
        while under_way(self)
            && let Some(done) = self.calls.next().await
        {
            self.note(done);
        }
    }
}

/// Has the topology's state flushed.
async fn flush(task: Option<&TaskContext>) -> Result<(), LogError> {
    match task {
        Some(task) => {
            let flushed = task.flush_states().await;
            flushed.map_err(|fault| LogError::Unavailable(format!("state could not be flushed: {fault}")))
        }
        None => Ok(()),
    }
}
