//! Memory that many connections share: charged before it is taken, given back when the charge is dropped.
//!
//! Invariant: all charges together are at most the capacity, but for one at a time, which may go beyond it. So who holds a
//! part of what it needs never waits for ever for the rest. Beside the capacity there is a reserve for small charges: who
//! needs little does not wait behind those who need much and are slow to give it back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// What counts as little.
pub(crate) const SMALL: usize = 16 << 10;
/// Which part of the capacity the reserve is.
const RESERVE: usize = 8;

/// The memory.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// Free of the reserve.
    reserve: Arc<Semaphore>,
    /// Held by the one charge that goes beyond the capacity.
    beyond: Arc<Mutex<()>>,
    /// How many wait.
    waiting: AtomicUsize,
}

impl Memory {
    /// `capacity` bytes, and an eighth more for small charges.
    pub(crate) fn new(capacity: usize) -> Self {
        let of = |bytes: usize| Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)));
        let (free, reserve) = (of(capacity), of(capacity / RESERVE));
        let shared = Shared { free, reserve, beyond: Arc::default(), waiting: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// A charge of nothing yet, which is to be of `bytes`: of the reserve as well, where that is little.
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        let is_small = bytes <= SMALL;
        Charge {
            shared: self.shared.clone(),
            is_small,
            held: None,
            reserved: None,
            uncovered: 0,
            beyond: None,
        }
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that are free, without the reserve.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.shared.free.available_permits()
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    shared: Arc<Shared>,
    /// Whether it may be of the reserve.
    is_small: bool,
    held: Option<OwnedSemaphorePermit>,
    /// What is held of the reserve.
    reserved: Option<OwnedSemaphorePermit>,
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
        if self.take(bytes) {
            return;
        }
        let shared = self.shared.clone();
        let is_small = self.is_small && bytes as usize <= SMALL;
        let _waiting = Waiting::begin(&shared.waiting);
        tokio::select! {
            biased;
            more = shared.free.clone().acquire_many_owned(bytes) => {
                // The semaphore is never closed.
                if let Ok(more) = more {
                    self.hold(more);
                }
            }
            more = shared.reserve.clone().acquire_many_owned(bytes), if is_small => {
                if let Ok(more) = more {
                    merge(&mut self.reserved, more);
                }
            }
            beyond = shared.beyond.clone().lock_owned() => {
                self.beyond = Some(beyond);
                self.uncovered = bytes;
            }
        }
    }

    /// Takes `bytes` more where that needs no waiting, and says whether it did.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.beyond.is_none() && self.take(bytes)
    }

    fn take(&mut self, bytes: u32) -> bool {
        if let Ok(more) = self.shared.free.clone().try_acquire_many_owned(bytes) {
            self.hold(more);
            return true;
        }
        if !self.is_small || bytes as usize > SMALL {
            return false;
        }
        let more = self.shared.reserve.clone().try_acquire_many_owned(bytes);
        more.map(|more| merge(&mut self.reserved, more)).is_ok()
    }

    /// Gives back `bytes` of what was taken.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let uncovered = bytes.min(self.uncovered);
        self.uncovered -= uncovered;
        let mut left = (bytes - uncovered) as usize;
        for held in [&mut self.reserved, &mut self.held].into_iter().flatten() {
            let covered = held.num_permits().min(left);
            left -= covered;
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
        merge(&mut self.held, more);
    }
}

fn merge(held: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
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
        let (mut first, mut second, mut third) =
            (memory.charge(usize::MAX), memory.charge(usize::MAX), memory.charge(usize::MAX));
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
        let (mut first, mut second) = (memory.charge(usize::MAX), memory.charge(usize::MAX));
        first.grow(1_000).await;
        assert!(waits(second.grow(101)).await);
        drop(first);
        second.grow(101).await;
    }

    #[tokio::test]
    async fn what_was_too_much_is_given_back() {
        let memory = Memory::new(100);
        let mut charge = memory.charge(usize::MAX);
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
        let (mut first, mut second, mut third) =
            (memory.charge(usize::MAX), memory.charge(usize::MAX), memory.charge(usize::MAX));
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

    #[tokio::test(start_paused = true)]
    async fn who_needs_little_does_not_wait_behind_those_who_need_much() {
        let memory = Memory::new(1 << 20);
        let (mut all, mut beyond, mut much) =
            (memory.charge(1 << 20), memory.charge(1 << 20), memory.charge(1 << 20));
        all.grow(1 << 20).await;
        beyond.grow(1 << 20).await;
        assert!(waits(much.grow(1 << 20)).await);
        let mut little: Vec<_> = (0..8).map(|_| memory.charge(SMALL)).collect();
        for charge in &mut little {
            charge.grow(SMALL / 2).await;
            assert!(charge.try_grow(SMALL / 2));
        }
        // The reserve is at its end as well.
        let mut last = memory.charge(1);
        assert!(!last.try_grow(1));
        assert!(waits(last.grow(1)).await);
        little[0].shrink(1);
        last.grow(1).await;
        drop((all, beyond, much, little, last));
        assert_eq!(memory.free(), 1 << 20);
        assert_eq!(memory.shared.reserve.available_permits(), (1 << 20) / RESERVE);
    }
}
