//! The aggregate of one window after the other, at about three merges each however many slices a window has.
//!
//! Two stacks (Tangwongsan et al., "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017, who
//! trace it back): slices before an edge are held as the aggregates of all suffixes up to the edge, of which a window
//! needs the one from its start; those behind it as one running aggregate. Where the first run out, the edge moves to the
//! window's end. Nothing in here is state: it is computed from the slices, and again where one of them changes.

use std::collections::VecDeque;

use super::aggregate::Aggregate;

/// Something that stands at a place in a sequence, and has aggregated there.
pub(super) trait Part {
    type Acc;
    fn start(&self) -> i64;
    fn acc(&self) -> &Self::Acc;
}

/// The aggregates of all suffixes up to the edge, and of everything from there to `to`.
#[derive(Debug, Clone)]
pub(super) struct Running<S> {
    /// The aggregate from each slice up to the edge, that of the first slice on top.
    suffixes: Vec<(i64, S)>,
    front: Option<S>,
    to: i64,
}

impl<S> Default for Running<S> {
    fn default() -> Self {
        Self { suffixes: Vec::new(), front: None, to: i64::MIN }
    }
}

impl<S: Clone> Running<S> {
    /// Forgets what is aggregated if the slice at `start` is in it, for that slice changes.
    pub(super) fn changed(&mut self, start: i64) {
        if start < self.to {
            *self = Self::default();
        }
    }

    /// The aggregate of the parts from `start` to before `end`, if there are any. Neither `start` nor `end` is before the
    /// one asked for last.
    pub(super) fn over<P: Part<Acc = S>, A: Aggregate<Acc = S>>(
        &mut self,
        parts: &VecDeque<P>,
        (start, end): (i64, i64),
        aggregate: &A,
    ) -> Option<S> {
        while self.suffixes.last().is_some_and(|(at, _)| *at < start) {
            self.suffixes.pop();
        }
        if self.suffixes.is_empty() {
            self.move_edge(parts, (start, end), aggregate);
            return self.suffixes.last().map(|(_, acc)| acc.clone());
        }
        let new = parts.partition_point(|part| part.start() < self.to);
        for part in parts.range(new..).take_while(|part| part.start() < end) {
            match &mut self.front {
                Some(front) => aggregate.merge(front, part.acc()),
                None => self.front = Some(part.acc().clone()),
            }
        }
        self.to = end;
        let mut whole = self.suffixes.last().map(|(_, acc)| acc.clone());
        if let (Some(whole), Some(front)) = (&mut whole, &self.front) {
            aggregate.merge(whole, front);
        }
        whole
    }

    fn move_edge<P: Part<Acc = S>, A: Aggregate<Acc = S>>(
        &mut self,
        parts: &VecDeque<P>,
        (start, end): (i64, i64),
        aggregate: &A,
    ) {
        let (from, to) =
            (parts.partition_point(|p| p.start() < start), parts.partition_point(|p| p.start() < end));
        for part in parts.range(from..to).rev() {
            let mut acc = part.acc().clone();
            if let Some((_, later)) = self.suffixes.last() {
                aggregate.merge(&mut acc, later);
            }
            self.suffixes.push((part.start(), acc));
        }
        (self.to, self.front) = (end, None);
    }
}

/// The aggregate of the parts from `start` to before `end`, with one merge for each but the first.
pub(super) fn merged<P: Part<Acc = A::Acc>, A: Aggregate>(
    parts: &VecDeque<P>,
    (start, end): (i64, i64),
    aggregate: &A,
) -> Option<P::Acc> {
    let from = parts.partition_point(|part| part.start() < start);
    let mut parts = parts.range(from..).take_while(|part| part.start() < end);
    let mut whole = parts.next()?.acc().clone();
    parts.for_each(|part| aggregate.merge(&mut whole, part.acc()));
    Some(whole)
}
