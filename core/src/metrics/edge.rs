//! What goes through one subscription: counted by each emitting task where it hands batches over.

use std::sync::{Arc, Mutex, PoisonError};

use super::counters::Counter;
use crate::tap::Tap;

/// What one emitting task has put into the queues of one subscriber. Written by its executor alone, once per batch.
#[derive(Debug, Default)]
pub(crate) struct EdgeCounters {
    pub(crate) tuples: Counter,
    pub(crate) batches: Counter,
    pub(crate) bytes: Counter,
    /// How often a full queue handed a batch back.
    pub(crate) refused: Counter,
}

impl EdgeCounters {
    /// A batch of so many tuples and bytes went into a queue; one that only carries a signal does not count.
    pub(crate) fn sent(&self, tuples: usize, bytes: usize) {
        if tuples > 0 {
            self.tuples.add(tuples as u64);
            self.batches.add(1);
            self.bytes.add(bytes as u64);
        }
    }
}

/// One subscription as seen from outside.
#[derive(Debug, Default)]
pub(crate) struct EdgeView {
    /// One for each emitting task.
    senders: Mutex<Vec<Arc<EdgeCounters>>>,
    pub(crate) tap: Tap,
}

impl EdgeView {
    /// Counters for one more emitting task.
    pub(crate) fn open(&self) -> Arc<EdgeCounters> {
        let counters = Arc::<EdgeCounters>::default();
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// One counter, added up over the emitting tasks.
    pub(crate) fn total(&self, counter: impl Fn(&EdgeCounters) -> &Counter) -> u64 {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.iter().map(|sender| counter(sender).get()).sum()
    }
}

/// All subscriptions of a topology: by the subscriber's place among the components, and their order there.
#[derive(Debug, Clone, Default)]
pub(crate) struct EdgeViews(Vec<Vec<Arc<EdgeView>>>);

impl EdgeViews {
    /// For components that subscribe so often.
    pub(crate) fn new(inputs: impl IntoIterator<Item = usize>) -> Self {
        Self(inputs.into_iter().map(|inputs| (0..inputs).map(|_| Arc::default()).collect()).collect())
    }

    /// The subscription `input` of `component`.
    pub(crate) fn get(&self, component: usize, input: usize) -> Option<&Arc<EdgeView>> {
        self.0.get(component)?.get(input)
    }
}
