//! A task's input queue: bounded in tuples and in bytes, filled by many senders, emptied by one executor.
//!
//! Batches go in and out whole, under a lock held for a few instructions per batch. A sender that finds the queue full
//! keeps its batch, leaves its bell and is rung once the queue has drained by half. Emptied buffers go back to senders
//! with their next push, so a steady stream allocates nothing.
//!
//! Invariant: `tuples` and `bytes` are the sums over `queue`, and over `inputs`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::envelope::{Envelope, Joints};
use super::signal::Signal;
use crate::metrics::QueueSnapshot;
use crate::schedule::Moment;

/// What an executor waits on: rung when input, space, acks or orders arrive. A ring before the wait is not lost.
pub(crate) type Bell = Arc<Notify>;

/// The sender of what a feedback edge carries: it tells nothing but tuples.
pub(crate) const NO_SENDER: u32 = u32::MAX;

/// How many emptied buffers a queue keeps for its senders.
const SPARE_BUFFERS: usize = 16;

/// Tuples that travel together.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) envelopes: Vec<Envelope<T>>,
    pub(crate) joints: Joints,
    /// Size in bytes, as sampled by the sender.
    pub(crate) bytes: usize,
    /// When it was pushed.
    pub(crate) sent: Moment,
    /// Who sent it: the sender's number in this inbox, or [`NO_SENDER`].
    pub(crate) from: u32,
    /// Through which of the receiver's subscriptions it came, by their order.
    pub(crate) input: u32,
    /// What the sender says behind these tuples.
    pub(crate) signal: Option<Signal>,
    /// The micro-transaction that this is the last batch of, from its sender.
    pub(crate) marker: Option<u64>,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<Batch<T>>,
    tuples: usize,
    bytes: usize,
    spare: Vec<Vec<Envelope<T>>>,
    /// Bells of senders that wait for space.
    blocked: Vec<Bell>,
    /// Senders that have not closed; feedback edges do not count.
    senders: usize,
    /// The subscription that each sender ever opened belongs to, by the sender's number.
    opened: Vec<u32>,
    /// Tuples and bytes of `queue` by the subscription that they came through.
    inputs: Vec<(usize, usize)>,
}

/// A task's input queue.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    receiver: Bell,
    capacity_tuples: usize,
    capacity_bytes: usize,
}

impl<T> Inbox<T> {
    /// For a task of a component with so many subscriptions.
    pub(crate) fn new(receiver: Bell, inputs: usize, capacity_tuples: usize, capacity_bytes: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            tuples: 0,
            bytes: 0,
            spare: Vec::new(),
            blocked: Vec::new(),
            senders: 0,
            opened: Vec::new(),
            inputs: vec![(0, 0); inputs],
        };
        Self { state: Mutex::new(state), receiver, capacity_tuples, capacity_bytes }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes `batch` and returns an empty buffer in its place; hands the batch back where the queue is full, and rings
    /// `sender` once there is space. An empty queue takes a batch of any size.
    pub(crate) fn try_push(&self, batch: Batch<T>, sender: &Bell) -> Result<Vec<Envelope<T>>, Batch<T>> {
        let mut state = self.lock();
        if batch.envelopes.is_empty()
            && let Some(last) =
                state.queue.back_mut().filter(|last| last.from == batch.from && last.marker.is_none())
        {
            // Nothing lies between the two, so the newer one stands for both.
            last.signal = batch.signal.or(last.signal);
            last.marker = batch.marker;
            return Ok(Vec::new());
        }
        let full = state.tuples + batch.envelopes.len() > self.capacity_tuples
            || state.bytes + batch.bytes > self.capacity_bytes;
        if full && !state.queue.is_empty() {
            if !state.blocked.iter().any(|bell| Arc::ptr_eq(bell, sender)) {
                state.blocked.push(Arc::clone(sender));
            }
            return Err(batch);
        }
        Ok(self.push(state, batch))
    }

    /// Pushes `batch` regardless of the capacity unless that would put more than `budget` bytes into the queue, in which
    /// case it hands the batch back. This is how a cycle avoids waiting for itself.
    pub(crate) fn push_feedback(&self, batch: Batch<T>, budget: usize) -> Result<Vec<Envelope<T>>, Batch<T>> {
        let state = self.lock();
        if state.bytes + batch.bytes > budget {
            return Err(batch);
        }
        Ok(self.push(state, batch))
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, batch: Batch<T>) -> Vec<Envelope<T>> {
        let (was_empty, is_signal) = (state.queue.is_empty(), batch.envelopes.is_empty());
        state.tuples += batch.envelopes.len();
        state.bytes += batch.bytes;
        if let Some((tuples, bytes)) = state.inputs.get_mut(batch.input as usize) {
            (*tuples, *bytes) = (*tuples + batch.envelopes.len(), *bytes + batch.bytes);
        }
        state.queue.push_back(batch);
        let spare = if is_signal { None } else { state.spare.pop() }.unwrap_or_default();
        drop(state);
        // The receiver drains to empty before it waits, so only the first push has to ring.
        if was_empty {
            self.receiver.notify_one();
        }
        spare
    }

    /// Takes the oldest batch.
    pub(crate) fn pop(&self) -> Option<Batch<T>> {
        let mut state = self.lock();
        let batch = state.queue.pop_front()?;
        state.tuples -= batch.envelopes.len();
        state.bytes -= batch.bytes;
        if let Some((tuples, bytes)) = state.inputs.get_mut(batch.input as usize) {
            (*tuples, *bytes) = (*tuples - batch.envelopes.len(), *bytes - batch.bytes);
        }
        let drained = state.tuples <= self.capacity_tuples / 2 && state.bytes <= self.capacity_bytes / 2;
        let blocked = if drained && !state.blocked.is_empty() {
            std::mem::take(&mut state.blocked)
        } else {
            Vec::new()
        };
        drop(state);
        for sender in blocked {
            sender.notify_one();
        }
        Some(batch)
    }

    /// Drops all that is queued.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        (state.tuples, state.bytes) = (0, 0);
        state.inputs.fill((0, 0));
        let dropped = std::mem::take(&mut state.queue);
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        drop(dropped);
        blocked.into_iter().for_each(|sender| sender.notify_one());
    }

    /// Takes back an emptied buffer for the next sender.
    pub(crate) fn recycle(&self, buffer: Vec<Envelope<T>>) {
        debug_assert!(buffer.is_empty());
        if buffer.capacity() == 0 {
            return;
        }
        let mut state = self.lock();
        if state.spare.len() < SPARE_BUFFERS {
            state.spare.push(buffer);
        }
    }

    /// Counts one more sender, through the given subscription, and gives its number.
    pub(crate) fn open_sender(&self, input: u32) -> u32 {
        let mut state = self.lock();
        let number = state.opened.len() as u32;
        state.senders += 1;
        state.opened.push(input);
        number
    }

    /// The subscription of each sender that was ever opened, by its number.
    pub(crate) fn senders(&self) -> Vec<u32> {
        self.lock().opened.clone()
    }

    /// Counts one sender less; the last one rings the receiver.
    pub(crate) fn close_sender(&self) {
        let mut state = self.lock();
        state.senders -= 1;
        if state.senders == 0 {
            drop(state);
            self.receiver.notify_one();
        }
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Whether nothing is queued and no sender but feedback edges is left.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.senders == 0 && state.queue.is_empty()
    }

    /// What waits now.
    pub(crate) fn fill(&self) -> QueueSnapshot {
        let state = self.lock();
        QueueSnapshot {
            tuples: state.tuples as u64,
            bytes: state.bytes as u64,
            capacity_tuples: self.capacity_tuples as u64,
            capacity_bytes: self.capacity_bytes as u64,
        }
    }

    /// What waits now of one subscription; the room is that of the whole queue.
    pub(crate) fn fill_of(&self, input: usize) -> QueueSnapshot {
        let (tuples, bytes) = self.lock().inputs.get(input).copied().unwrap_or_default();
        QueueSnapshot {
            tuples: tuples as u64,
            bytes: bytes as u64,
            capacity_tuples: self.capacity_tuples as u64,
            capacity_bytes: self.capacity_bytes as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::envelope::Anchor;
    use crate::time::{EventTime, Watermark};

    fn batch(tuples: usize, bytes: usize) -> Batch<u8> {
        let envelopes = vec![Envelope { anchor: Anchor::UNTRACKED, tuple: 0 }; tuples];
        Batch {
            envelopes,
            joints: Vec::new(),
            bytes,
            sent: Moment::default(),
            from: 0,
            input: 0,
            signal: None,
            marker: None,
        }
    }

    fn signal(from: u32, ms: i64) -> Batch<u8> {
        let signal = Some(Signal::Time(EventTime::at(Watermark(ms))));
        Batch { from, signal, ..batch(0, 100) }
    }

    fn rung(bell: &Bell) -> bool {
        let notified = std::pin::pin!(bell.notified());
        let waker = std::task::Waker::noop();
        notified.poll(&mut std::task::Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn a_full_queue_hands_the_batch_back_and_rings_its_sender_once_half_is_drained() {
        let sender = Bell::default();
        let inbox = Inbox::new(Bell::default(), 2, 10, 1_000);
        assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
        assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
        assert!(inbox.try_push(batch(1, 1), &sender).is_err());
        assert!(inbox.try_push(batch(1, 1), &sender).is_err());
        assert!(!rung(&sender));
        inbox.pop().expect("a batch");
        assert!(rung(&sender));
        assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
    }

    #[test]
    fn bytes_fill_a_queue_as_tuples_do() {
        let sender = Bell::default();
        let inbox = Inbox::new(Bell::default(), 2, 100, 10);
        assert!(inbox.try_push(batch(1, 8), &sender).is_ok());
        assert!(inbox.try_push(batch(1, 8), &sender).is_err());
    }

    #[test]
    fn an_empty_queue_takes_a_batch_larger_than_itself() {
        let inbox = Inbox::new(Bell::default(), 2, 4, 10);
        assert!(inbox.try_push(batch(100, 1_000), &Bell::default()).is_ok());
        assert_eq!(inbox.fill().tuples, 100);
    }

    #[test]
    fn feedback_passes_the_capacity_and_stops_at_its_budget() {
        let inbox = Inbox::new(Bell::default(), 2, 1, 1);
        for _ in 0..5 {
            assert!(inbox.push_feedback(batch(10, 20), 100).is_ok());
        }
        assert!(inbox.push_feedback(batch(10, 20), 100).is_err());
    }

    #[test]
    fn only_the_first_push_rings_and_buffers_come_back() {
        let receiver = Bell::default();
        let inbox = Inbox::new(Arc::clone(&receiver), 2, 100, 1_000);
        let sender = Bell::default();
        assert!(inbox.try_push(batch(1, 1), &sender).is_ok());
        assert!(rung(&receiver));
        assert!(inbox.try_push(batch(1, 1), &sender).is_ok());
        assert!(!rung(&receiver));
        let mut first = inbox.pop().expect("a batch").envelopes;
        first.clear();
        let address = first.as_ptr();
        inbox.recycle(first);
        let spare = inbox.try_push(batch(1, 1), &sender).expect("space");
        assert_eq!(spare.as_ptr(), address);
    }

    #[test]
    fn a_signal_right_behind_another_of_its_sender_takes_its_place() {
        let inbox = Inbox::new(Bell::default(), 2, 10, 1_000);
        let push = |batch| assert!(inbox.try_push(batch, &Bell::default()).is_ok());
        push(signal(0, 1));
        push(signal(0, 2));
        push(batch(1, 1));
        push(signal(0, 3));
        push(signal(1, 4));
        push(signal(0, 5));
        let heard = std::iter::from_fn(|| inbox.pop()).map(|batch| (batch.envelopes.len(), batch.signal));
        let at = |ms| Some(Signal::Time(EventTime::at(Watermark(ms))));
        assert_eq!(heard.collect::<Vec<_>>(), [(0, at(2)), (1, at(3)), (0, at(4)), (0, at(5))]);
        assert_eq!(inbox.fill().bytes, 0);
    }

    #[test]
    fn signals_without_tuples_fill_a_queue_as_well() {
        let inbox = Inbox::new(Bell::default(), 2, 10, 250);
        let push = |from| inbox.try_push(signal(from, 1), &Bell::default()).is_ok();
        assert_eq!([push(0), push(1), push(2), push(1)], [true, true, false, true]);
    }

    #[test]
    fn what_waits_is_known_by_subscription() {
        let inbox = Inbox::new(Bell::default(), 2, 100, 1_000);
        let push = |input, tuples| {
            let batch = Batch { input, ..batch(tuples, 10 * tuples) };
            assert!(inbox.try_push(batch, &Bell::default()).is_ok());
        };
        let waiting = || [0, 1].map(|input| (inbox.fill_of(input).tuples, inbox.fill_of(input).bytes));
        push(0, 3);
        push(1, 4);
        push(1, 5);
        assert_eq!((waiting(), inbox.fill().tuples), ([(3, 30), (9, 90)], 12));
        inbox.pop();
        inbox.pop();
        assert_eq!(waiting(), [(0, 0), (5, 50)]);
        inbox.clear();
        assert_eq!(waiting(), [(0, 0), (0, 0)]);
    }
}
