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

    fn push(&self, mut guard: MutexGuard<'_, State<T>>, batch: Batch<T>, is_ahead: bool) -> Vec<Envelope<T>> {
        let state = &mut *guard;
        let is_signal = batch.envelopes.is_empty();
        state.mark(&batch);
        let line = if is_ahead { &mut state.ahead } else { &mut state.queue };
        let was_empty = line.batches.is_empty();
        line.tuples += batch.envelopes.len();
        line.bytes += batch.bytes;
        if let Some((tuples, bytes)) = state.inputs.get_mut(batch.input as usize) {
            (*tuples, *bytes) = (*tuples + batch.envelopes.len(), *bytes + batch.bytes);
        }
        line.batches.push_back(batch);
        let spare = if is_signal { None } else { state.spare.pop() }.unwrap_or_default();
        drop(guard);
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
mod tests;
