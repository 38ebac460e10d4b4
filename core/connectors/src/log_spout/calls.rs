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
use super::dead_letter::{Burial, DeadLetter, bury};
use super::partition::Partition;

/// Something under way to the log.
pub(super) type Call = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of a call.
pub(super) enum Done {
    /// Frontiers, by the partition's place.
    Committed(Vec<(usize, i64)>, Result<(), LogError>),
    Buried(Burial),
    Fetched(usize, Result<Fetched, LogError>),
}

impl<T, D> LogSpout<T, D> {
    pub(super) fn now(&self) -> Moment {
        self.task.as_ref().map(TaskContext::now).unwrap_or_default()
    }

    /// When the next commit is due; `None` where there is nothing to commit or one is under way.
    ///
    /// Once all is done, a commit follows sooner: somebody may be waiting for it.
    fn commit_due(&self) -> Option<Moment> {
        let moved = !self.committing && self.partitions.iter().any(Partition::has_moved);
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
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if is_due(partition.fetch_due(self.config.window)) {
                let fetch = partition.fetch(Arc::clone(&self.log), self.config.fetch_bytes);
                self.calls.push(Box::pin(fetch.map(move |fetched| Done::Fetched(index, fetched))));
            }
        }
    }

    pub(super) fn start_commit(&mut self) {
        let moved = self.partitions.iter().enumerate().filter(|(_, one)| one.has_moved());
        let frontiers: Vec<(usize, i64)> = moved.map(|(index, one)| (index, one.frontier())).collect();
        let offsets: Vec<(TopicPartition, i64)> =
            frontiers.iter().map(|&(index, offset)| (self.partitions[index].at.clone(), offset)).collect();
        let (log, group) = (Arc::clone(&self.log), Arc::clone(&self.config.group));
        (self.committing, self.last_commit) = (true, self.now());
        let commit = async move { Done::Committed(frontiers, log.commit(&group, &offsets).await) };
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
            Done::Committed(frontiers, Ok(())) => {
                self.committing = false;
                self.commit_setback.over();
                for (index, offset) in frontiers {
                    let partition = &mut self.partitions[index];
                    partition.committed = offset;
                    self.progress.committed(&partition.at, offset);
                }
            }
            Done::Committed(_, Err(error)) => {
                self.committing = false;
                tracing::warn!(topic = %self.config.topic, %error, "a commit failed and is made again");
                let now = self.now();
                self.commit_setback.again(&self.config, now);
            }
            Done::Buried(burial) => self.note_burial(burial),
            Done::Fetched(index, fetched) => {
                let now = self.now();
                let taken = self.partitions[index].take(fetched, &self.config, now);
                self.fault = self.fault.take().or(taken.err());
            }
        }
    }

    fn note_burial(&mut self, burial: Burial) {
        self.burying = false;
        self.progress.dead_lettered(burial.buried.iter().map(DeadLetter::death));
        for letter in burial.buried {
            self.partitions[letter.id.partition].window.done(letter.id.offset);
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
        let retry = self.retries.peek().map(|Reverse((due, _))| *due);
        let fetches = self.partitions.iter().filter_map(|one| one.fetch_due(self.config.window));
        [retry, self.commit_due(), self.burial_due()].into_iter().flatten().chain(fetches).min()
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
