//! A task's input queue: bounded in tuples and in bytes, filled by many senders, emptied by one executor.
//!
//! Batches go in and out whole, under a lock held for a few instructions per batch. A sender that finds the queue full
//! keeps its batch, leaves its bell and is rung once the queue has drained by half. Emptied buffers go back to senders
//! with their next push, so a steady stream allocates nothing.
//!
//! Where input goes through in micro-transactions, what comes behind the marker of a sender waits beside the queue until the
//! receiver has the markers of all: those who are behind find room, and nobody is held longer than by the bytes of a second
//! queue.
//!
//! Invariant: a line's `tuples` and `bytes` are the sums over its batches; those of `inputs` are the sums over both lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Batches in a row.
#[derive(Debug)]
struct Line<T> {
    batches: VecDeque<Batch<T>>,
    tuples: usize,
    bytes: usize,
    /// Bells of senders that wait for space.
    blocked: Vec<Bell>,
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { batches: VecDeque::new(), tuples: 0, bytes: 0, blocked: Vec::new() }
    }
}

#[derive(Debug)]
struct State<T> {
    /// What the receiver takes.
    queue: Line<T>,
    /// What came behind the markers of senders that others are behind of.
    ahead: Line<T>,
    /// Which senders have sent their marker, while others have not; how many.
    marked: Vec<bool>,
    marks: usize,
    /// Since when the oldest of those that wait for space in `ahead` does.
    held_since: Option<Moment>,
    spare: Vec<Vec<Envelope<T>>>,
    /// Senders that have not closed; feedback edges do not count.
    senders: usize,
    /// The subscription that each sender ever opened belongs to, by the sender's number.
    opened: Vec<u32>,
    /// Tuples and bytes of both lines by the subscription that they came through.
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
            queue: Line::new(),
            ahead: Line::new(),
            marked: Vec::new(),
            marks: 0,
            held_since: None,
            spare: Vec::new(),
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
        let mut guard = self.lock();
        let state = &mut *guard;
        let is_ahead = state.is_marked(batch.from);
        let line = if is_ahead { &mut state.ahead } else { &mut state.queue };
        if batch.envelopes.is_empty()
            && let Some(last) =
                line.batches.back_mut().filter(|last| last.from == batch.from && last.marker.is_none())
        {
            // Nothing lies between the two, so the newer one stands for both.
            last.signal = batch.signal.or(last.signal);
            last.marker = batch.marker;
            state.mark(&batch);
            return Ok(Vec::new());
        }
        let full = line.tuples + batch.envelopes.len() > self.capacity_tuples
            || line.bytes + batch.bytes > self.capacity_bytes;
        if full && !line.batches.is_empty() {
            if !line.blocked.iter().any(|bell| Arc::ptr_eq(bell, sender)) {
                line.blocked.push(Arc::clone(sender));
            }
            if is_ahead {
                state.held_since.get_or_insert(batch.sent);
            }
            return Err(batch);
        }
        Ok(self.push(guard, batch, is_ahead))
    }

    /// Pushes `batch` regardless of the capacity unless that would put more than `budget` bytes into the queue, in which
    /// case it hands the batch back. This is how a cycle avoids waiting for itself.
    pub(crate) fn push_feedback(&self, batch: Batch<T>, budget: usize) -> Result<Vec<Envelope<T>>, Batch<T>> {
        let state = self.lock();
        if state.queue.bytes + batch.bytes > budget {
            return Err(batch);
        }
        Ok(self.push(state, batch, false))
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, batch: Batch<T>, is_ahead: bool) -> Vec<Envelope<T>> {
        let is_signal = batch.envelopes.is_empty();
        if batch.marker.is_some() {
            state.mark(&batch);
        }
        let line = if is_ahead { &mut state.ahead } else { &mut state.queue };
        let was_empty = line.batches.is_empty();
        line.tuples += batch.envelopes.len();
        line.bytes += batch.bytes;
        if let Some((tuples, bytes)) = state.inputs.get_mut(batch.input as usize) {
            (*tuples, *bytes) = (*tuples + batch.envelopes.len(), *bytes + batch.bytes);
        }
        let line = if is_ahead { &mut state.ahead } else { &mut state.queue };
        line.batches.push_back(batch);
        let spare = if is_signal { None } else { state.spare.pop() }.unwrap_or_default();
        drop(state);
        // The receiver drains to empty before it waits, so only the first push has to ring; and what it does not take yet, it
        // looks at itself when it does.
        if was_empty && !is_ahead {
            self.receiver.notify_one();
        }
        spare
    }

    /// Takes the oldest batch.
    pub(crate) fn pop(&self) -> Option<Batch<T>> {
        let mut state = self.lock();
        let batch = state.queue.batches.pop_front()?;
        state.queue.tuples -= batch.envelopes.len();
        state.queue.bytes -= batch.bytes;
        if let Some((tuples, bytes)) = state.inputs.get_mut(batch.input as usize) {
            (*tuples, *bytes) = (*tuples - batch.envelopes.len(), *bytes - batch.bytes);
        }
        let blocked = self.to_ring(&mut state.queue);
        drop(state);
        for sender in blocked {
            sender.notify_one();
        }
        Some(batch)
    }

    /// Who waits for space, where there is some: the line is at most half full.
    fn to_ring(&self, line: &mut Line<T>) -> Vec<Bell> {
        let drained = line.tuples <= self.capacity_tuples / 2 && line.bytes <= self.capacity_bytes / 2;
        if drained && !line.blocked.is_empty() { std::mem::take(&mut line.blocked) } else { Vec::new() }
    }

    /// The receiver has the markers of all senders: what came behind them is next. Gives for how long senders were held.
    pub(crate) fn pass_marker(&self, now: Moment) -> Duration {
        let mut guard = self.lock();
        let state = &mut *guard;
        debug_assert!(state.queue.batches.is_empty(), "a marker is behind all that belongs to its batch");
        std::mem::swap(&mut state.queue, &mut state.ahead);
        state.queue.blocked.append(&mut state.ahead.blocked);
        state.unmark();
        let held = state.held_since.take().map(|since| now.since(since));
        let blocked = self.to_ring(&mut state.queue);
        drop(guard);
        blocked.into_iter().for_each(|sender| sender.notify_one());
        held.unwrap_or_default()
    }

    /// Drops all that is queued, and forgets which markers have come.
    pub(crate) fn clear(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let queue = std::mem::replace(&mut state.queue, Line::new());
        let ahead = std::mem::replace(&mut state.ahead, Line::new());
        state.inputs.fill((0, 0));
        state.unmark();
        state.held_since = None;
        drop(guard);
        let blocked = queue.blocked.iter().chain(&ahead.blocked);
        blocked.for_each(|sender| sender.notify_one());
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
        self.lock().queue.batches.is_empty()
    }

    /// Whether nothing is queued and no sender but feedback edges is left.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.senders == 0 && state.queue.batches.is_empty() && state.ahead.batches.is_empty()
    }

    /// What waits now.
    pub(crate) fn fill(&self) -> QueueSnapshot {
        let state = self.lock();
        QueueSnapshot {
            tuples: (state.queue.tuples + state.ahead.tuples) as u64,
            bytes: (state.queue.bytes + state.ahead.bytes) as u64,
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

impl<T> State<T> {
    /// Whether `sender` has sent its marker, and others have not.
    #[inline]
    fn is_marked(&self, sender: u32) -> bool {
        self.marks > 0 && self.marked.get(sender as usize) == Some(&true)
    }

    /// Notes that a sender has sent its marker, where `batch` has one.
    fn mark(&mut self, batch: &Batch<T>) {
        if batch.marker.is_none() {
            return;
        }
        let sender = batch.from as usize;
        if self.marked.len() <= sender {
            self.marked.resize(self.opened.len(), false);
        }
        if let Some(marked) = self.marked.get_mut(sender).filter(|marked| !**marked) {
            *marked = true;
            self.marks += 1;
        }
    }

    fn unmark(&mut self) {
        self.marked.fill(false);
        self.marks = 0;
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

    fn from(sender: u32, tuples: usize) -> Batch<u8> {
        Batch { from: sender, ..batch(tuples, tuples) }
    }

    fn marker(sender: u32) -> Batch<u8> {
        Batch { from: sender, marker: Some(1), ..batch(0, 1) }
    }

    #[test]
    fn what_is_behind_a_marker_waits_for_the_markers_of_the_others() {
        let inbox = Inbox::new(Bell::default(), 2, 10, 1_000);
        assert_eq!([inbox.open_sender(0), inbox.open_sender(0)], [0, 1]);
        let push = |batch| assert!(inbox.try_push(batch, &Bell::default()).is_ok());
        push(from(0, 1));
        push(marker(0));
        push(from(0, 2));
        push(from(1, 3));
        push(marker(1));
        push(from(1, 4));
        assert_eq!(inbox.fill().tuples, 10);
        let taken = |inbox: &Inbox<u8>| {
            let all = std::iter::from_fn(|| inbox.pop());
            all.map(|batch| (batch.from, batch.envelopes.len(), batch.marker.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(taken(&inbox), [(0, 1, true), (1, 3, true)]);
        assert!(inbox.is_empty() && !inbox.is_finished());
        assert_eq!(inbox.pass_marker(Moment::default()), Duration::ZERO);
        push(from(0, 5));
        assert_eq!(taken(&inbox), [(0, 2, false), (1, 4, false), (0, 5, false)]);
    }

    #[test]
    fn who_is_ahead_is_held_by_a_queue_of_its_own_and_those_behind_find_room() {
        let (fast, slow) = (Bell::default(), Bell::default());
        let inbox = Inbox::new(Bell::default(), 2, 10, 1_000);
        (inbox.open_sender(0), inbox.open_sender(0));
        assert!(inbox.try_push(marker(0), &fast).is_ok());
        assert!(inbox.try_push(from(0, 10), &fast).is_ok());
        let late = Batch { sent: Moment::from_nanos(5), ..from(0, 1) };
        assert!(inbox.try_push(late, &fast).is_err());
        for _ in 0..3 {
            assert!(inbox.try_push(from(1, 8), &slow).is_ok(), "the queue of the batch in work is its own");
            while inbox.pop().is_some() {}
        }
        assert!(!rung(&fast), "no space came where it waits");
        assert!(inbox.try_push(marker(1), &slow).is_ok());
        assert!(inbox.pop().is_some_and(|batch| batch.marker.is_some()));
        assert_eq!(inbox.pass_marker(Moment::from_nanos(12)), Duration::from_nanos(7));
        assert!(!rung(&fast), "what it sent is still there");
        inbox.pop().expect("a batch");
        assert!(rung(&fast));
    }

    #[test]
    fn what_is_cleared_is_gone_with_its_markers() {
        let sender = Bell::default();
        let inbox = Inbox::new(Bell::default(), 2, 10, 1_000);
        (inbox.open_sender(0), inbox.open_sender(0));
        assert!(inbox.try_push(marker(0), &sender).is_ok());
        assert!(inbox.try_push(from(0, 10), &sender).is_ok());
        assert!(inbox.try_push(from(0, 1), &sender).is_err());
        inbox.clear();
        assert!(rung(&sender));
        assert!(inbox.try_push(from(0, 1), &sender).is_ok());
        assert_eq!((inbox.fill().tuples, inbox.pop().map(|batch| batch.envelopes.len())), (1, Some(1)));
    }
}
