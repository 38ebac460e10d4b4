//! How far the spouts of a topology have come, for whoever waits for an offset to be done.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use topo_core::log::TopicPartition;

/// Shared by the spouts that read the log and by those who wait for them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SourceProgress(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    committed: HashMap<TopicPartition, i64>,
    rejected: u64,
    exhausted: u64,
}

impl SourceProgress {
    /// A spout committed `offset`: all records below it are done, durably.
    pub(crate) fn committed(&self, at: &TopicPartition, offset: i64) {
        self.0.send_modify(|state| {
            state.committed.insert(at.clone(), offset);
        });
    }

    /// Records went to the dead letters: refused by a bolt, or out of attempts.
    pub(crate) fn dead_lettered(&self, rejected: u64, exhausted: u64) {
        self.0.send_modify(|state| {
            state.rejected += rejected;
            state.exhausted += exhausted;
        });
    }

    /// Waits until every record below these offsets is done and committed.
    pub async fn reached(&self, ends: &[(TopicPartition, i64)]) {
        let mut state = self.0.subscribe();
        let done = |state: &State| {
            ends.iter()
                .all(|(at, end)| *end == 0 || state.committed.get(at).is_some_and(|offset| offset >= end))
        };
        // The sender lives in `self`, so waiting cannot end without a value.
        let _ = state.wait_for(done).await;
    }

    /// Records that a bolt refused and that are in the dead letters.
    pub fn rejected(&self) -> u64 {
        self.0.borrow().rejected
    }

    /// Records that ran out of attempts and are in the dead letters.
    pub fn exhausted(&self) -> u64 {
        self.0.borrow().exhausted
    }
}
