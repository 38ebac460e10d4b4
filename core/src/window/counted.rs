//! Windows by count of one key.
//!
//! Records are numbered as they come. Windows end at each multiple of `every` and reach `size` back; slices are cut where
//! windows begin or end, as those by time are.
//!
//! Invariant: slices stand in the order of their first numbers, none is empty, and together they reach back from the newest
//! record to where the next window begins.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::fired::{Kind, Outcome};
use super::plan::{Item, Plan};
use super::running::{Part, Running, merged};
use super::span::Window;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Counted<S> {
    slices: VecDeque<Slice<S>>,
    /// The number of the next record. It begins again from 0 where all that came is over.
    next: u64,
    /// Records since the last early results at an interval.
    fresh: u64,
    /// Records since the last result.
    records: u64,
    /// How many results the next window gave.
    revision: u32,
    #[serde(skip, default = "Option::default")]
    running: Option<Box<Running<S>>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slice<S> {
    /// The number of its first record.
    start: u64,
    acc: S,
    /// The smallest time and the largest.
    first: i64,
    last: i64,
}

impl<S> Part for Slice<S> {
    type Acc = S;

    fn start(&self) -> i64 {
        self.start.cast_signed()
    }
    fn acc(&self) -> &S {
        &self.acc
    }
}

impl<S> Default for Counted<S> {
    fn default() -> Self {
        Self { slices: VecDeque::new(), next: 0, fresh: 0, records: 0, revision: 0, running: None }
    }
}

impl<S: Clone> Counted<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Whether slices lie as such windows would have cut them.
    pub(super) fn fit(&self, size: u64, every: u64) -> bool {
        self.next <= i64::MAX.unsigned_abs()
            && self.slices.iter().all(|slice| slice.start < self.next && begins(slice.start, size, every))
            && self.slices.iter().zip(self.slices.iter().skip(1)).all(|(a, b)| a.start < b.start)
    }

    /// Whether anything changed since early results were asked for last.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh > 0
    }

    pub(super) fn add<A: Aggregate<Acc = S>>(
        &mut self,
        (size, every): (u64, u64),
        (plan, aggregate): (&Plan, &A),
        item: Item<A>,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let at = item.first;
        match self.slices.back_mut() {
            Some(slice) if !begins(self.next, size, every) => {
                item.content.add_to(aggregate, &mut slice.acc);
                (slice.first, slice.last) = (slice.first.min(at), slice.last.max(at));
            }
            _ => {
                let acc = item.content.start(aggregate);
                self.slices.push_back(Slice { start: self.next, acc, first: at, last: at });
            }
        }
        self.next += 1;
        self.fresh += 1;
        self.records += 1;
        if self.next.is_multiple_of(every) {
            self.fire((size, every), Kind::OnTime, aggregate, fired);
            self.complete(size, every);
        } else if plan.early_count.is_some_and(|n| self.records >= n) {
            self.fire((size, every), Kind::Early, aggregate, fired);
        }
    }

    /// Drops what is before the next window.
    fn complete(&mut self, size: u64, every: u64) {
        (self.fresh, self.revision) = (0, 0);
        let keep = (self.next + every).saturating_sub(size);
        while self.slices.front().is_some_and(|slice| slice.start < keep) {
            self.slices.pop_front();
        }
        if self.slices.is_empty() {
            self.next = 0;
        }
    }

    /// Gives the result of the window that ends with the newest record, or, before that, with the one that is under way.
    fn fire<A: Aggregate<Acc = S>>(
        &mut self,
        (size, every): (u64, u64),
        kind: Kind,
        aggregate: &A,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        // All that is kept belongs to the next window.
        let span = (self.slices.front().map_or(0, Part::start), self.next.cast_signed());
        let value = match self.slices.front() {
            None => return,
            Some(only) if self.slices.len() == 1 => aggregate.result(&only.acc),
            Some(_) if kind == Kind::OnTime && size / every >= 4 => {
                let running = self.running.get_or_insert_default();
                let Some(acc) = running.over(&self.slices, span, aggregate) else { return };
                aggregate.result(&acc)
            }
            Some(_) => {
                let Some(acc) = merged(&self.slices, span, aggregate) else { return };
                aggregate.result(&acc)
            }
        };
        let start = self.slices.iter().map(|slice| slice.first).min().unwrap_or_default();
        let end = self.slices.iter().map(|slice| slice.last).max().unwrap_or_default().saturating_add(1);
        let revision = self.revision;
        self.revision = revision.saturating_add(1);
        self.records = 0;
        let window = Window { start, end };
        fired.push(Outcome { window, value, kind, revision, replaces: Vec::new() });
    }

    /// Gives what the window under way would give now.
    pub(super) fn look<A: Aggregate<Acc = S>>(
        &mut self,
        size: (u64, u64),
        aggregate: &A,
        seen: &mut Vec<Outcome<A::Out>>,
    ) {
        self.fire(size, Kind::Early, aggregate, seen);
    }

    /// Fires early the window under way, if it has changed since the last time.
    pub(super) fn early<A: Aggregate<Acc = S>>(
        &mut self,
        size: (u64, u64),
        aggregate: &A,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        if std::mem::take(&mut self.fresh) > 0 {
            self.fire(size, Kind::Early, aggregate, fired);
        }
    }
}

/// Whether a slice begins at record `number`: where a window ends, or another begins.
fn begins(number: u64, size: u64, every: u64) -> bool {
    let within = number % every;
    within == 0 || within == (every - size % every) % every
}
