//! What one task has for one subscribing task, until it is sent.
//!
//! Invariant: what is behind a marker is in no batch before it, and a batch that was refused goes before all others.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::contain::contain;
use super::envelope::{Envelope, JOINT, Joints};
use super::inbox::{Batch, Inbox, NO_SENDER};
use super::route::Flush;
use super::signal::Signal;
use crate::schedule::Moment;
use crate::tuple::Tuple;

/// Batches for one subscribing task.
#[derive(Debug)]
pub(super) struct Outbox<In> {
    pub(super) inbox: Arc<Inbox<In>>,
    pub(super) envelopes: Vec<Envelope<In>>,
    pub(super) joints: Joints,
    /// What is to be said behind the envelopes: the newest of what was not sent.
    pub(super) signal: Option<Signal>,
    /// Its number in the inbox.
    from: u32,
    /// Through which of the subscriber's subscriptions.
    input: u32,
    /// When the oldest envelope came in, or the signal.
    pub(super) since: Moment,
    /// A full queue handed these back; they go first.
    pub(super) refused: Option<Batch<In>>,
    /// Batches that end with a marker: what comes behind it is not in them.
    sealed: VecDeque<Batch<In>>,
    /// Bytes per tuple, as sampled.
    tuple_bytes: usize,
    sends: u32,
}

impl<In: Tuple> Outbox<In> {
    pub(super) fn new(inbox: Arc<Inbox<In>>, input: u32) -> Self {
        let from = inbox.open_sender(input);
        Self { from, ..Self::feedback(inbox, input) }
    }

    pub(super) fn feedback(inbox: Arc<Inbox<In>>, input: u32) -> Self {
        let (envelopes, joints) = Default::default();
        let tuple_bytes = size_of::<Envelope<In>>();
        let (since, signal, refused, sealed) = Default::default();
        let (from, sends) = (NO_SENDER, 0);
        Self { inbox, envelopes, joints, signal, from, input, since, refused, sealed, tuple_bytes, sends }
    }

    #[inline]
    pub(super) fn put(&mut self, mut envelope: Envelope<In>, joints: &mut Joints, now: Moment) {
        if self.envelopes.is_empty() {
            self.since = now;
        }
        if envelope.anchor.root == JOINT {
            let anchors = std::mem::take(&mut joints[envelope.anchor.edge as usize]);
            envelope.anchor.edge = self.joints.len() as u64;
            self.joints.push(anchors);
        }
        self.envelopes.push(envelope);
    }

    /// Sizes are sampled, one tuple of each large batch and of every sixteenth small one: an exact count would cost more
    /// than the queue.
    fn sample_size(&mut self) {
        self.sends = self.sends.wrapping_add(1);
        if (self.envelopes.len() >= 64 || self.sends % 16 == 1)
            && let Some(middle) = self.envelopes.get(self.envelopes.len() / 2)
        {
            let sampled = size_of::<Envelope<In>>().max(serialized_bytes(&middle.tuple));
            let before = if self.sends == 1 { sampled } else { self.tuple_bytes };
            self.tuple_bytes = (before + sampled).div_ceil(2);
        }
    }

    pub(super) fn next_batch(&mut self, now: Moment) -> Batch<In> {
        if let Some(batch) = self.refused.take().or_else(|| self.sealed.pop_front()) {
            return batch;
        }
        self.gathered(now)
    }

    /// Ends what is gathered with a marker.
    pub(super) fn seal(&mut self, txid: u64, now: Moment) {
        let last = Batch { marker: Some(txid), ..self.gathered(now) };
        self.sealed.push_back(last);
    }

    pub(super) fn discard(&mut self) {
        self.envelopes.clear();
        self.joints.clear();
        self.sealed.clear();
        (self.signal, self.refused) = (None, None);
    }

    fn gathered(&mut self, now: Moment) -> Batch<In> {
        let (from, input, signal) = (self.from, self.input, self.signal.take());
        if self.envelopes.is_empty() {
            let (envelopes, joints, bytes) = (Vec::new(), Vec::new(), size_of::<Batch<In>>());
            return Batch { envelopes, joints, bytes, sent: now, from, input, signal, marker: None };
        }
        self.sample_size();
        let envelopes = std::mem::take(&mut self.envelopes);
        let bytes = envelopes.len() * self.tuple_bytes;
        let joints = std::mem::take(&mut self.joints);
        Batch { envelopes, joints, bytes, sent: now, from, input, signal, marker: None }
    }

    pub(super) fn is_due(&self, flush: Flush, now: Moment, batch_size: usize, max_delay: Duration) -> bool {
        match flush {
            _ if self.refused.is_some() || !self.sealed.is_empty() => true,
            _ if self.envelopes.is_empty() && self.signal.is_none() => false,
            Flush::All => true,
            Flush::Due => self.envelopes.len() >= batch_size || now.since(self.since) >= max_delay,
        }
    }
}

/// How many bytes `tuple` takes when serialized.
pub(crate) fn serialized_bytes<T: Tuple>(tuple: &T) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match contain(|| rmp_serde::encode::write_named(&mut count, tuple)) {
        Ok(Ok(())) => count.0,
        // A tuple that cannot be serialized stays in memory all the same, at a size that nobody knows.
        Ok(Err(_)) | Err(_) => 0,
    }
}
