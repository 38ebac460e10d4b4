//! A spout's task as a member of a group, like any other of the embedded broker's groups.
//!
//! The place in the group is owned by a task of its own, so that it is kept while the spout is busy.
//!
//! Invariant: after a revocation nothing more is asked of the group until the spout has released what it had, or is gone.

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc, oneshot};
use topo_broker::{Broker, Change as Told, Claim, GroupError, MemberConfig, Membership as Place};
use topo_core::log::{Change, Joining, LogError, Membership, TopicPartition};
use topo_core::schedule::Clock;

use super::committed_at;
use super::error::{here, shared};

/// How soon a member learns that others come or go. In the same process, asking costs next to nothing.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// What the spout asks of the task that keeps its place.
enum Request {
    Commit(Vec<(TopicPartition, i64)>, oneshot::Sender<Result<(), LogError>>),
    Release,
    Leave(oneshot::Sender<()>),
}

/// A member of a group of the embedded broker.
pub(super) struct Member {
    requests: mpsc::UnboundedSender<Request>,
    changes: Mutex<mpsc::UnboundedReceiver<Result<News, LogError>>>,
    /// What goes with the assignment that was told last.
    claim: Lock<Option<Claim>>,
}

/// A change, and as what the member commits from then on.
struct News {
    change: Change,
    claim: Option<Claim>,
}

impl Member {
    /// Joins; the task that keeps the place ends when this is dropped.
    pub(super) fn join(broker: &Broker, joining: &Joining, clock: Arc<dyn Clock>) -> Self {
        let config = MemberConfig {
            client_id: joining.client_id.as_str().into(),
            heartbeat_interval: HEARTBEAT,
            ..MemberConfig::new(Arc::clone(&joining.group), vec![Arc::clone(&joining.topic)])
        };
        let (requests, asked) = mpsc::unbounded_channel();
        let (tell, changes) = mpsc::unbounded_channel();
        let keeper = Keeper { place: broker.groups().member(config), asked, tell, clock };
        tokio::spawn(keeper.keep());
        Self { requests, changes: Mutex::new(changes), claim: Lock::default() }
    }

    /// As what the member commits what it was assigned last; `None` where it has nothing. While it has not been told of
    /// another assignment that stays as it is, and the group refuses it.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Membership for Member {
    async fn changed(&self) -> Result<Change, LogError> {
        match self.changes.lock().await.recv().await {
            Some(news) => {
                let News { change, claim } = news?;
                *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = claim;
                Ok(change)
            }
            // What ended it was told before.
            None => std::future::pending().await,
        }
    }

    fn release(&self) {
        // Where nobody keeps the place any more, there is none.
        let _ = self.requests.send(Request::Release);
    }

    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.requests.send(Request::Commit(offsets.to_vec(), answer));
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    async fn leave(&self) {
        let (left, has_left) = oneshot::channel();
        let _ = self.requests.send(Request::Leave(left));
        let _ = has_left.await;
    }
}

/// Keeps a place in a group.
struct Keeper {
    place: Place,
    asked: mpsc::UnboundedReceiver<Request>,
    tell: mpsc::UnboundedSender<Result<News, LogError>>,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut is_revoked = false;
        loop {
            tokio::select! {
                biased;
                request = self.asked.recv() => match request {
                    Some(Request::Commit(offsets, answer)) => {
                        let _ = answer.send(self.commit(&offsets).await);
                    }
                    Some(Request::Release) => is_revoked = false,
                    Some(Request::Leave(left)) => {
                        if let Err(error) = self.place.leave() {
                            tracing::debug!(%error, "a member that leaves is none any more");
                        }
                        let _ = left.send(());
                        return;
                    }
                    None => return,
                },
                told = self.place.next(), if !is_revoked => {
                    is_revoked = matches!(told, Ok(Told::Revoked));
                    let claim = self.place.claim().cloned();
                    let news = told.map(|told| News { change: change(told), claim }).map_err(refusal);
                    let is_over = news.is_err();
                    if self.tell.send(news).is_err() || is_over {
                        return;
                    }
                }
            }
        }
    }

    async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let offsets = committed_at(offsets, "", self.clock.wall_ms());
        self.place.commit(&offsets).await.map_err(refusal)
    }
}

fn change(told: Told) -> Change {
    match told {
        Told::Assigned(partitions) => Change::Assigned(partitions.into_iter().map(here).collect()),
        Told::Revoked => Change::Revoked,
        Told::Lost => Change::Lost,
    }
}

/// A group's refusal, in the words of the log.
pub(super) fn refusal(error: GroupError) -> LogError {
    match error {
        GroupError::UnknownMember
        | GroupError::IllegalGeneration { .. }
        | GroupError::RebalanceInProgress
        | GroupError::FencedInstance => LogError::Fenced(error.to_string()),
        GroupError::Unavailable => LogError::Closed,
        GroupError::Broker(error) => shared(error),
        error => LogError::Invalid(error.to_string()),
    }
}
