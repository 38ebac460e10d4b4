//! A spout's task as a member of a cluster's group: which partitions are its own, while others do the reading.
//!
//! librdkafka keeps the place on a thread of its own, which it also tells of changes on; partitions are paused as soon as
//! they are assigned, so that nothing is fetched for them here.
//!
//! Invariant: the thread waits in the callback of a revocation until the spout has released what it had, or its time is
//! over; until then nobody else is given the partitions. Only the thread keeps the client alive, which takes leave of the
//! group as it is dropped, so that the place is given up when the thread ends.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::{Mutex, mpsc as changes};
use topo_core::log::{Change, Joining, LogError, Membership, TopicPartition};

use super::client::{noted, say};
use super::config::KafkaConfig;
use super::error::{About, log_error};
use crate::brokers::Brokers;

/// How long the thread waits for news before it looks whether the member is still wanted.
const POLL: Duration = Duration::from_millis(100);
/// How long a revocation waits for the spout; the group itself has more patience.
const RELEASE: Duration = Duration::from_secs(45);

/// What the thread is told.
enum Word {
    Release,
    Leave,
}

/// As what a member commits in a transaction: its id, and the generation of its group.
type Claim = Arc<ConsumerGroupMetadata>;

/// A change, and as what the member commits from then on; a revocation leaves that as it is.
struct News {
    change: Change,
    claim: Option<Claim>,
}

/// A member of a group.
pub(super) struct Place {
    brokers: Brokers,
    group: Arc<str>,
    /// As long as the thread keeps the place.
    consumer: Weak<BaseConsumer<Callbacks>>,
    words: mpsc::Sender<Word>,
    changes: Mutex<changes::UnboundedReceiver<Result<News, LogError>>>,
    /// What goes with the assignment that was told last.
    claim: Lock<Option<Claim>>,
    /// Ends when the thread does.
    left: Mutex<changes::Receiver<()>>,
}

impl Place {
    /// Joins, without waiting for the others.
    pub(super) fn join(brokers: Brokers, config: &KafkaConfig, joining: &Joining) -> Result<Self, LogError> {
        let group = Arc::clone(&joining.group);
        let failed = |error: KafkaError| log_error(&brokers, &error, About::Group(&group));
        let mut settings = config.member(&brokers, &group, true);
        settings.set("client.id", &joining.client_id);
        // In the eager protocol nobody reads while partitions move.
        settings.set("partition.assignment.strategy", "range,roundrobin");
        // Others are heard of soon, and one whose process was killed is not waited for long.
        settings.set("heartbeat.interval.ms", "500").set("session.timeout.ms", "10000");
        let (tell, told) = changes::unbounded_channel();
        let (words, heard) = mpsc::channel();
        let callbacks =
            Callbacks { tell: tell.clone(), heard: Lock::new(Heard { words: heard, leaves: false }) };
        let consumer: BaseConsumer<Callbacks> = settings.create_with_context(callbacks).map_err(failed)?;
        consumer.subscribe(&[&joining.topic]).map_err(failed)?;
        let consumer = Arc::new(consumer);
        let place = Arc::downgrade(&consumer);
        let (leaves, left) = changes::channel(1);
        let keeper = Keeper { consumer, tell, brokers: brokers.clone(), group: Arc::clone(&group) };
        let keep = move || {
            keeper.keep();
            drop(leaves);
        };
        let name = "kafka-member".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(keep)
            .map_err(|error| LogError::Storage(error.to_string()))?;
        let (changes, left, claim) = (Mutex::new(told), Mutex::new(left), Lock::default());
        Ok(Self { brokers, group, consumer: place, words, changes, claim, left })
    }

    /// As what the member commits what it was assigned last; `None` where it has nothing. While it has not been told of
    /// another assignment that stays as it is, and the group refuses it.
    pub(super) fn claim(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Membership for Place {
    async fn changed(&self) -> Result<Change, LogError> {
        match self.changes.lock().await.recv().await {
            Some(news) => {
                let News { change, claim } = news?;
                if change != Change::Revoked {
                    *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = claim;
                }
                Ok(change)
            }
            // What ended it was told before.
            None => std::future::pending().await,
        }
    }

    fn release(&self) {
        // Where the thread has ended, there is no place left to release.
        let _ = self.words.send(Word::Release);
    }

    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let failed = |error: KafkaError| commit_error(&self.brokers, &error, &self.group);
        let Some(consumer) = self.consumer.upgrade() else { return Err(went_on(&self.group)) };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, offset) in offsets {
            list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(*offset))
                .map_err(failed)?;
        }
        let committed = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync));
        committed.await.map_err(|_| LogError::Closed)?.map_err(failed)
    }

    async fn leave(&self) {
        let _ = self.words.send(Word::Leave);
        // Nothing is ever sent: the channel closes once the thread has left the group.
        self.left.lock().await.recv().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.words.send(Word::Leave);
    }
}

/// What a refused commit means.
fn commit_error(brokers: &Brokers, error: &KafkaError, group: &str) -> LogError {
    match error.rdkafka_error_code() {
        Some(
            Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::AssignmentLost
            | Code::FencedInstanceId,
        ) => went_on(group),
        _ => log_error(brokers, error, About::Group(group)),
    }
}

fn went_on(group: &str) -> LogError {
    LogError::Fenced(format!("group `{group}` went on without this member"))
}

/// Keeps the place, on a thread.
struct Keeper {
    consumer: Arc<BaseConsumer<Callbacks>>,
    tell: changes::UnboundedSender<Result<News, LogError>>,
    brokers: Brokers,
    group: Arc<str>,
}

impl Keeper {
    fn keep(self) {
        while !self.consumer.context().leaves() {
            let Some(Err(error)) = self.consumer.poll(POLL) else { continue };
            if matches!(
                error.rdkafka_error_code(),
                Some(Code::Fatal | Code::FencedInstanceId | Code::GroupAuthorizationFailed)
            ) {
                // Where nobody listens any more, the spout is gone.
                let _ = self.tell.send(Err(log_error(&self.brokers, &error, About::Group(&self.group))));
                return;
            }
            // What passes, librdkafka tries again by itself.
            noted(&error, "a member of a group");
        }
        // Its being dropped, by this thread or after a commit that is under way, tells the group and waits for its answer.
    }
}

/// What librdkafka calls on the thread that polls.
struct Callbacks {
    tell: changes::UnboundedSender<Result<News, LogError>>,
    heard: Lock<Heard>,
}

struct Heard {
    words: mpsc::Receiver<Word>,
    leaves: bool,
}

impl Callbacks {
    /// Whether the member is not wanted any more. Releases of what is not revoked mean nothing.
    fn leaves(&self) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        while !heard.leaves {
            match heard.words.try_recv() {
                Ok(Word::Release) => {}
                Ok(Word::Leave) | Err(mpsc::TryRecvError::Disconnected) => heard.leaves = true,
                Err(mpsc::TryRecvError::Empty) => return false,
            }
        }
        true
    }

    /// Waits until what was revoked is released.
    fn wait_for_release(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + RELEASE;
        if heard.leaves {
            return;
        }
        match heard.words.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Word::Release) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Word::Leave) | Err(RecvTimeoutError::Disconnected) => heard.leaves = true,
        }
    }

    fn tell(&self, change: Change, claim: Option<Claim>) {
        // Where nobody listens any more, the spout is gone.
        let _ = self.tell.send(Ok(News { change, claim }));
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        noted(&error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(_) if consumer.assignment_lost() => self.tell(Change::Lost, None),
            Rebalance::Revoke(_) => {
                self.tell(Change::Revoked, None);
                self.wait_for_release();
            }
            Rebalance::Error(error) => noted(error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(assigned) = rebalance else { return };
        if let Err(error) = consumer.pause(assigned) {
            noted(&error, "partitions are not paused");
        }
        let assigned = assigned.elements();
        let assigned = assigned.iter().map(|one| TopicPartition::new(one.topic(), one.partition() as u32));
        let claim = consumer.group_metadata().map(Arc::new);
        // Where the group went on meanwhile, librdkafka may have forgotten who it was there; as nobody it could commit.
        let claim = claim.filter(|_| !consumer.assignment_lost());
        self.tell(Change::Assigned(assigned.collect()), claim);
    }
}
