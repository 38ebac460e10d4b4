//! The global window of one key.

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::fired::{Kind, Outcome};
use super::plan::{Item, Plan};
use super::span::Window;

/// Everything that ever came for a key; it gives early results only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Whole<S> {
    acc: Option<S>,
    /// Records since the last early results at an interval.
    fresh: u64,
    /// Records since the last result.
    records: u64,
    revision: u32,
}

impl<S> Default for Whole<S> {
    fn default() -> Self {
        Self { acc: None, fresh: 0, records: 0, revision: 0 }
    }
}

impl<S: Clone> Whole<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.acc.is_none()
    }

    /// Whether anything changed since early results were asked for last.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh > 0
    }

    pub(super) fn add<A: Aggregate<Acc = S>>(
        &mut self,
        (plan, aggregate): (&Plan, &A),
        item: Item<A>,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        self.fresh = self.fresh.saturating_add(item.records);
        self.records = self.records.saturating_add(item.records);
        match &mut self.acc {
            Some(acc) => item.content.add_to(aggregate, acc),
            None => self.acc = Some(item.content.start(aggregate)),
        }
        if plan.early_count.is_some_and(|n| self.records >= n) {
            self.fire(aggregate, fired);
        }
    }

    fn fire<A: Aggregate<Acc = S>>(&mut self, aggregate: &A, fired: &mut Vec<Outcome<A::Out>>) {
        let Some(acc) = &self.acc else { return };
        let value = aggregate.result(acc);
        let revision = self.revision;
        self.revision = revision.saturating_add(1);
        self.records = 0;
        fired.push(Outcome { window: Window::ALL, value, kind: Kind::Early, revision, replaces: Vec::new() });
    }

    /// Gives a result early, if anything has changed since the last time.
    pub(super) fn early<A: Aggregate<Acc = S>>(&mut self, aggregate: &A, fired: &mut Vec<Outcome<A::Out>>) {
        if std::mem::take(&mut self.fresh) > 0 {
            self.fire(aggregate, fired);
        }
    }

    /// Gives what it would give now.
    pub(super) fn look<A: Aggregate<Acc = S>>(&mut self, aggregate: &A, seen: &mut Vec<Outcome<A::Out>>) {
        self.fire(aggregate, seen);
    }

    /// Takes it apart: records and accumulator.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (u64, S)> {
        self.acc.map(|acc| (self.fresh, acc)).into_iter()
    }
}
