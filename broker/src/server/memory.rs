//! Memory that many connections share: charged before it is taken, given back when the charge is dropped.
//!
//! Invariant: all charges together are at most the capacity, but for one at a time, which may go beyond it. So who holds a
//! part of what it needs never waits for ever for the rest.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The memory.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// Held by the one charge that goes beyond the capacity.
    beyond: Arc<Mutex<()>>,
    /// How many wait.
    waiting: AtomicUsize,
}

impl Memory {
    /// `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let free = Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)));
        Self { shared: Arc::new(Shared { free, beyond: Arc::default(), waiting: AtomicUsize::new(0) }) }
    }

    /// A charge of nothing yet.
    pub(crate) fn charge(&self) -> Charge {
        Charge { shared: self.shared.clone(), held: None, uncovered: 0, beyond: None }
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.shared.free.available_permits()
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    shared: Arc<Shared>,
    held: Option<OwnedSemaphorePermit>,
    /// Bytes beyond the capacity.
    uncovered: u32,
    beyond: Option<OwnedMutexGuard<()>>,
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Charge {
    /// Takes `bytes` more, once they are free or nobody else goes beyond the capacity. Cancel-safe: without an end, nothing
    /// was taken.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        // Lengths in the protocol have 32 bits.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.beyond.is_some() {
            self.uncovered = self.uncovered.saturating_add(bytes);
            return;
        }
        if let Ok(more) = self.shared.free.clone().try_acquire_many_owned(bytes) {
            return self.hold(more);
        }
        let shared = self.shared.clone();
        let _waiting = Waiting::begin(&shared.waiting);
        tokio::select! {
            biased;
            more = shared.free.clone().acquire_many_owned(bytes) => {
                // The semaphore is never closed.
                if let Ok(more) = more {
                    self.hold(more);
                }
            }
            beyond = shared.beyond.clone().lock_owned() => {
                self.beyond = Some(beyond);
                self.uncovered = bytes;
            }
        }
    }

    /// Gives back `bytes` of what was taken.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let uncovered = bytes.min(self.uncovered);
        self.uncovered -= uncovered;
        if let Some(held) = &mut self.held {
            let covered = held.num_permits().min((bytes - uncovered) as usize);
            drop(held.split(covered));
        }
    }

    /// Comes back within the capacity, where the charge is beyond it and others give back enough; lasts for ever where it is
    /// not. To be awaited beside work that may last.
    pub(crate) async fn settle(&mut self) -> Infallible {
        if self.beyond.is_some() {
            let shared = self.shared.clone();
            let _waiting = Waiting::begin(&shared.waiting);
            if let Ok(more) = shared.free.clone().acquire_many_owned(self.uncovered).await {
                self.hold(more);
                self.beyond = None;
                self.uncovered = 0;
            }
        }
        std::future::pending().await
    }

    fn hold(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Whether it still waits when everybody else has had a turn.
    async fn waits<T>(grow: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_secs(1), grow).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_goes_beyond_and_the_next_waits_until_there_is_room() {
        let memory = Memory::new(100);
        let (mut first, mut second, mut third) = (memory.charge(), memory.charge(), memory.charge());
        first.grow(60).await;
        second.grow(30).await;
        assert_eq!(memory.free(), 10);
        first.grow(50).await;
        first.grow(1_000).await;
        assert!(!memory.is_wanted(), "nobody waits for who goes beyond");
        assert!(waits(second.grow(20)).await);
        assert!(!memory.is_wanted(), "who gave up does not wait");
        third.grow(10).await;
        drop(first);
        second.grow(20).await;
        drop((second, third));
        assert_eq!(memory.free(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_there_is_is_granted_to_one() {
        let memory = Memory::new(100);
        let (mut first, mut second) = (memory.charge(), memory.charge());
        first.grow(1_000).await;
        assert!(waits(second.grow(101)).await);
        drop(first);
        second.grow(101).await;
    }

    #[tokio::test]
    async fn what_was_too_much_is_given_back() {
        let memory = Memory::new(100);
        let mut charge = memory.charge();
        charge.grow(60).await;
        charge.shrink(50);
        assert_eq!(memory.free(), 90);
        charge.grow(100).await;
        charge.shrink(95);
        assert_eq!(memory.free(), 90, "first what is beyond");
        charge.shrink(1_000);
        assert_eq!(memory.free(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_settles_lets_the_next_go_beyond() {
        let memory = Memory::new(100);
        let (mut first, mut second, mut third) = (memory.charge(), memory.charge(), memory.charge());
        second.grow(90).await;
        first.grow(50).await;
        assert!(waits(third.grow(50)).await);
        drop(second);
        assert!(waits(first.settle()).await);
        assert_eq!(memory.free(), 50);
        third.grow(60).await;
        drop((first, third));
        assert_eq!(memory.free(), 100);
    }
}
