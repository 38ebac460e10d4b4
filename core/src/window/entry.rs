//! What an engine keeps of one key, in the form in which it is state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::counted::Counted;
use super::fired::{Outcome, PaneId};
use super::offer::Refusal;
use super::plan::{Content, Declined, Item, Plan, Take, Taken};
use super::sessions::Sessions;
use super::slices::{Rules, Slices};
use super::whole::Whole;
use super::windows::Assigner;
use crate::time::Watermark;

/// What an engine keeps of one key: its open windows with accumulators `S`, and results `V` that were given and not yet
/// acknowledged.
///
/// It is for keeping as state, serialized, and for [`Engine::restore`](super::Engine::restore). What can be computed from it
/// is not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry<S, V> {
    kept: Kept<S>,
    /// The watermark up to which its windows have fired.
    passed: i64,
    /// In the order of the panes' numbers.
    #[serde(default = "VecDeque::new", skip_serializing_if = "VecDeque::is_empty")]
    pub(super) awaiting: VecDeque<Awaiting<V>>,
}

/// A result that was given and not yet acknowledged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Awaiting<V> {
    /// Anew after each restore.
    #[serde(skip)]
    pub(super) pane: PaneId,
    pub(super) outcome: Outcome<V>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Kept<S> {
    Time(Slices<S>),
    Session(Sessions<S>),
    Count(Counted<S>),
    Global(Whole<S>),
}

impl<S: Clone, V> Entry<S, V> {
    pub(super) fn new(plan: &Plan) -> Self {
        let kept = match plan.assigner {
            Assigner::Time(_) => Kept::Time(Slices::default()),
            Assigner::Session { .. } => Kept::Session(Sessions::default()),
            Assigner::Count { .. } => Kept::Count(Counted::default()),
            Assigner::Global => Kept::Global(Whole::default()),
        };
        Self { kept, passed: i64::MIN, awaiting: VecDeque::new() }
    }

    /// Whether it was made by windows of this plan, as far as can be told from it.
    pub(super) fn fits(&self, plan: &Plan) -> bool {
        match (&self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => slices.fit(cuts),
            (Kept::Session(sessions), Assigner::Session { gap }) => sessions.fit(*gap),
            (Kept::Count(counted), Assigner::Count { size, every }) => counted.fit(*size, *every),
            (Kept::Global(_), Assigner::Global) => true,
            _ => false,
        }
    }

    /// What is left of a key whose windows are all over, for as long as nothing else says how far they had come: up to
    /// `passed`. `None` for windows that time does not close.
    pub(super) fn over(plan: &Plan, passed: i64) -> Option<Self> {
        match plan.assigner {
            Assigner::Time(_) | Assigner::Session { .. } => Some(Self { passed, ..Self::new(plan) }),
            Assigner::Count { .. } | Assigner::Global => None,
        }
    }

    /// The watermark up to which its windows have fired.
    pub(super) fn passed(&self) -> i64 {
        self.passed
    }

    /// The watermark up to which its windows have fired, where that is all there is to it.
    pub fn over_at(&self) -> Option<Watermark> {
        self.is_over().then_some(Watermark(self.passed))
    }

    /// Whether there is nothing in it to keep.
    pub(super) fn is_over(&self) -> bool {
        let empty = match &self.kept {
            Kept::Time(slices) => slices.is_empty(),
            Kept::Session(sessions) => sessions.is_empty(),
            Kept::Count(counted) => counted.is_empty(),
            Kept::Global(whole) => whole.is_empty(),
        };
        empty && self.awaiting.is_empty()
    }

    /// How many of its windows are not complete at this watermark.
    pub(super) fn windows(&self, plan: &Plan, watermark: i64) -> u32 {
        let passed = self.passed.max(watermark);
        let windows = match (&self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => slices.windows(cuts, passed),
            (Kept::Session(sessions), Assigner::Session { gap }) => sessions.open(*gap, passed),
            (Kept::Count(counted), _) => u64::from(!counted.is_empty()),
            (Kept::Global(whole), _) => u64::from(!whole.is_empty()),
            _ => 0,
        };
        u32::try_from(windows).unwrap_or(u32::MAX)
    }

    /// Whether anything changed since early results were asked for last.
    pub(super) fn is_fresh(&self) -> bool {
        match &self.kept {
            Kept::Time(slices) => slices.is_fresh(),
            Kept::Session(sessions) => sessions.is_fresh(),
            Kept::Count(counted) => counted.is_fresh(),
            Kept::Global(whole) => whole.is_fresh(),
        }
    }

    /// Adds an item at this watermark, up to which the entry is settled.
    #[inline]
    pub(super) fn add<A: Aggregate<Acc = S>>(
        &mut self,
        (plan, aggregate): (&Plan, &A),
        item: Item<A>,
        watermark: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) -> Take<A> {
        let passed = self.passed.max(watermark);
        let taken = match (&mut self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => {
                slices.add(&Rules { cuts, plan, aggregate }, item, passed, fired)
            }
            (Kept::Session(sessions), Assigner::Session { gap }) => {
                sessions.add((*gap, plan, aggregate), item, passed, fired)
            }
            (Kept::Count(counted), Assigner::Count { size, every }) => {
                if matches!(item.content, Content::Acc(_)) {
                    return Err((Declined::Refused(Refusal::Counted), item));
                }
                counted.add((*size, *every), (plan, aggregate), item, fired);
                Ok(Taken::AsBefore)
            }
            (Kept::Global(whole), _) => {
                whole.add((plan, aggregate), item, fired);
                Ok(Taken::AsBefore)
            }
            // An entry is made by this plan, or was found to fit it.
            _ => Err((Declined::Refused(Refusal::Split), item)),
        }?;
        self.passed = passed;
        Ok(taken)
    }

    /// When something is to be done with it by event time; `i64::MAX` for never.
    pub(super) fn due(&self, plan: &Plan) -> i64 {
        match (&self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => slices.due(cuts, plan, self.passed),
            (Kept::Session(sessions), Assigner::Session { gap }) => sessions.due(*gap, plan, self.passed),
            _ => i64::MAX,
        }
    }

    /// Does what is due up to `until`.
    pub(super) fn settle<A: Aggregate<Acc = S>>(
        &mut self,
        (plan, aggregate): (&Plan, &A),
        until: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        match (&mut self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => {
                slices.settle(&Rules { cuts, plan, aggregate }, self.passed, until, fired);
            }
            (Kept::Session(sessions), Assigner::Session { gap }) => {
                sessions.settle((*gap, plan, aggregate), self.passed, until, fired);
            }
            _ => {}
        }
        self.passed = self.passed.max(until);
    }

    /// Gives results early of what has changed since the last time.
    pub(super) fn early<A: Aggregate<Acc = S>>(
        &mut self,
        (plan, aggregate): (&Plan, &A),
        watermark: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let passed = self.passed.max(watermark);
        match (&mut self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => {
                slices.early(&Rules { cuts, plan, aggregate }, passed, fired);
            }
            (Kept::Session(sessions), Assigner::Session { gap }) => {
                sessions.early((*gap, aggregate), passed, fired);
            }
            (Kept::Count(counted), Assigner::Count { size, every }) => {
                counted.early((*size, *every), aggregate, fired);
            }
            (Kept::Global(whole), _) => whole.early(aggregate, fired),
            _ => {}
        }
    }

    /// Gives the result that each window would give now, if records came no more; for a look at a copy.
    pub(super) fn look<A: Aggregate<Acc = S>>(
        &mut self,
        (plan, aggregate): (&Plan, &A),
        watermark: i64,
        seen: &mut Vec<Outcome<A::Out>>,
    ) {
        let passed = self.passed.max(watermark);
        match (&mut self.kept, &plan.assigner) {
            (Kept::Time(slices), Assigner::Time(cuts)) => {
                slices.look(&Rules { cuts, plan, aggregate }, passed, seen);
            }
            (Kept::Session(sessions), Assigner::Session { gap }) => {
                sessions.look((*gap, aggregate), passed, seen);
            }
            (Kept::Count(counted), Assigner::Count { size, every }) => {
                counted.look((*size, *every), aggregate, seen);
            }
            (Kept::Global(whole), _) => whole.look(aggregate, seen),
            _ => {}
        }
    }

    /// The result that a pane awaits its acknowledgement for.
    pub(super) fn awaited(&self, pane: PaneId) -> Option<&Outcome<V>> {
        let index = self.awaiting.binary_search_by_key(&pane, |awaiting| awaiting.pane).ok()?;
        Some(&self.awaiting[index].outcome)
    }

    /// Forgets the result of a pane.
    pub(super) fn acked(&mut self, pane: PaneId) {
        if let Ok(index) = self.awaiting.binary_search_by_key(&pane, |awaiting| awaiting.pane) {
            self.awaiting.remove(index);
        }
        if self.awaiting.is_empty() {
            self.awaiting = VecDeque::new();
        }
    }

    /// Takes it apart: first and last time, records and accumulator of each slice.
    pub(super) fn into_parts(self) -> Vec<(i64, i64, u64, S)> {
        match self.kept {
            Kept::Time(slices) => slices.into_parts().map(|(at, n, acc)| (at, at, n, acc)).collect(),
            Kept::Session(sessions) => sessions.into_parts().collect(),
            Kept::Global(whole) => whole.into_parts().map(|(n, acc)| (0, 0, n, acc)).collect(),
            Kept::Count(_) => Vec::new(),
        }
    }
}
