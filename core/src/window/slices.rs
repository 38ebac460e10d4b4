//! Windows by time of one key, aggregated in slices.
//!
//! Each record updates the one slice that its time is in, and a window is put together from its slices as it fires (Li et
//! al., "No Pane, No Gain", SIGMOD Record 2005; for records out of order, Traub et al., "Scotty", ICDE 2018). A slice goes
//! with the last window that covers it.
//!
//! Invariant: slices stand in the order of their starts, each start once, and none is empty; panes in the order of ends.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::fired::{Kind, Outcome};
use super::offer::Refusal;
use super::plan::{Declined, Item, Plan, Take, Taken};
use super::running::{Part, Running, merged};
use super::shown::MOST;
use super::span::Window;
use super::windows::{Cuts, Place, within};

/// From so many windows over a record on, results come from running aggregates; for fewer, merging slices costs no more.
const RUNNING_FROM: i64 = 4;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Slices<S> {
    slices: VecDeque<Slice<S>>,
    /// What there is to remember of windows that are not over, besides their slices.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    panes: VecDeque<Pane>,
    #[serde(skip, default = "Option::default")]
    running: Option<Box<Running<S>>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slice<S> {
    start: i64,
    acc: S,
    /// Records since the last early results at an interval.
    fresh: u64,
}

impl<S> Part for Slice<S> {
    type Acc = S;

    fn start(&self) -> i64 {
        self.start
    }
    fn acc(&self) -> &S {
        &self.acc
    }
}

/// A window that has given a result, or counts its records.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pane {
    end: i64,
    /// How many results it gave.
    revision: u32,
    /// Records since the last.
    records: u64,
}

impl<S> Default for Slices<S> {
    fn default() -> Self {
        Self { slices: VecDeque::new(), panes: VecDeque::new(), running: None }
    }
}

/// What goes with every call: how windows lie, all else that was set, and the aggregate.
pub(super) struct Rules<'a, A> {
    pub(super) cuts: &'a Cuts,
    pub(super) plan: &'a Plan,
    pub(super) aggregate: &'a A,
}

impl<S: Clone> Slices<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Whether the slices lie as `cuts` would have cut them.
    pub(super) fn fit(&self, cuts: &Cuts) -> bool {
        let ordered = |(before, after): (&Slice<S>, &Slice<S>)| before.start < after.start;
        self.slices.iter().all(|slice| cuts.place(within(slice.start)).slice == slice.start)
            && self.slices.iter().zip(self.slices.iter().skip(1)).all(ordered)
            && self.panes.iter().all(|pane| pane.end.checked_sub(cuts.size).is_some_and(|s| within(s) == s))
    }

    /// Whether anything changed since early results were asked for last.
    pub(super) fn is_fresh(&self) -> bool {
        self.slices.iter().any(|slice| slice.fresh > 0)
    }

    pub(super) fn add<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        item: Item<A>,
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) -> Take<A> {
        let place = rules.cuts.place(item.first);
        if place.last_end + rules.plan.lateness <= passed {
            return Err((Declined::Late, item));
        }
        if item.last != item.first && rules.cuts.place(item.last) != place {
            return Err((Declined::Refused(Refusal::Split), item));
        }
        let records = item.records;
        let taken = match self.find(place.slice) {
            Ok(index) => {
                let slice = &mut self.slices[index];
                item.content.add_to(rules.aggregate, &mut slice.acc);
                slice.fresh = slice.fresh.saturating_add(records);
                Taken::AsBefore
            }
            Err(_) if self.slices.len() >= rules.plan.max_slices => {
                return Err((Declined::Refused(Refusal::Full), item));
            }
            Err(index) => {
                let acc = item.content.start(rules.aggregate);
                self.slices.insert(index, Slice { start: place.slice, acc, fresh: records });
                Taken::MayBeSooner
            }
        };
        if let Some(running) = &mut self.running {
            running.changed(place.slice);
        }
        if place.first_end <= passed {
            self.update_late(rules, place, passed, fired);
        }
        if let Some(n) = rules.plan.early_count {
            self.count_early(rules, place, (records, n), passed, fired);
        }
        Ok(taken)
    }

    #[inline]
    fn find(&self, start: i64) -> Result<usize, usize> {
        match self.slices.back() {
            Some(last) if last.start == start => Ok(self.slices.len() - 1),
            Some(last) if last.start < start => Err(self.slices.len()),
            None => Err(0),
            _ => self.slices.binary_search_by_key(&start, |slice| slice.start),
        }
    }

    /// Fires the windows over `place` that the watermark has passed, and that are not over.
    fn update_late<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        place: Place,
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let mut end = place.first_end;
        while end <= passed.min(place.last_end) {
            if end + rules.plan.lateness > passed {
                self.fire(rules, end, Kind::Late, None, fired);
            }
            end += rules.cuts.every;
        }
    }

    /// Counts `records` in every window over `place` that the watermark has not passed, and fires those that have `n`.
    fn count_early<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        place: Place,
        (records, n): (u64, u64),
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let mut end = place.first_end;
        while end <= place.last_end {
            if end > passed {
                let pane = self.pane(end);
                pane.records = pane.records.saturating_add(records);
                if pane.records >= n {
                    self.fire(rules, end, Kind::Early, None, fired);
                }
            }
            end += rules.cuts.every;
        }
    }

    fn pane(&mut self, end: i64) -> &mut Pane {
        let index = match self.panes.binary_search_by_key(&end, |pane| pane.end) {
            Ok(index) => index,
            Err(index) => {
                self.panes.insert(index, Pane { end, revision: 0, records: 0 });
                index
            }
        };
        &mut self.panes[index]
    }

    /// Gives the result of the window that ends at `end`, put together by `running` if there is one.
    fn fire<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        end: i64,
        kind: Kind,
        running: Option<&mut Running<S>>,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let window = Window { start: end - rules.cuts.size, end };
        let span = (window.start, end);
        let value = if rules.cuts.is_tumbling() {
            self.find(window.start).ok().map(|index| rules.aggregate.result(&self.slices[index].acc))
        } else if let Some(running) = running {
            running.over(&self.slices, span, rules.aggregate).map(|acc| rules.aggregate.result(&acc))
        } else {
            merged(&self.slices, span, rules.aggregate).map(|acc| rules.aggregate.result(&acc))
        };
        let Some(value) = value else { return };
        let revision = if kind == Kind::OnTime && rules.plan.lateness == 0 {
            self.panes
                .binary_search_by_key(&end, |pane| pane.end)
                .map_or(0, |index| self.panes[index].revision)
        } else {
            let pane = self.pane(end);
            pane.records = 0;
            pane.revision = pane.revision.saturating_add(1);
            pane.revision - 1
        };
        fired.push(Outcome { window, value, kind, revision, replaces: Vec::new() });
    }

    /// The end of the first window with records that ends after `passed`.
    fn next_end(&self, cuts: &Cuts, passed: i64) -> Option<i64> {
        let over = |slice: &Slice<S>| cuts.place(slice.start).last_end <= passed;
        let first = match self.slices.front() {
            Some(front) if over(front) => self.slices.partition_point(over),
            _ => 0,
        };
        self.slices.get(first).map(|slice| cuts.place(slice.start.max(passed)).first_end)
    }

    /// How many windows with records end after `passed`.
    pub(super) fn windows(&self, cuts: &Cuts, passed: i64) -> u64 {
        let (mut windows, mut over) = (0, passed);
        for slice in &self.slices {
            let Place { mut first_end, last_end, .. } = cuts.place(slice.start);
            if last_end <= over {
                continue;
            }
            if first_end <= over {
                first_end += ((over - first_end) / cuts.every + 1) * cuts.every;
            }
            windows += ((last_end - first_end) / cuts.every + 1).unsigned_abs();
            over = last_end;
        }
        windows
    }

    /// When the next window is complete, or slice over; `i64::MAX` if there is none.
    pub(super) fn due(&self, cuts: &Cuts, plan: &Plan, passed: i64) -> i64 {
        let fires = self.next_end(cuts, passed).unwrap_or(i64::MAX);
        let over =
            self.slices.front().map_or(i64::MAX, |slice| cuts.place(slice.start).last_end + plan.lateness);
        fires.min(over)
    }

    /// Fires the windows that end after `passed` and up to `until`, and drops the slices that are over then.
    pub(super) fn settle<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        mut passed: i64,
        until: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let mut running = self.running.take();
        if running.is_none() && overlaps(rules.cuts) {
            running = Some(Box::default());
        }
        while let Some(end) = self.next_end(rules.cuts, passed).filter(|end| *end <= until) {
            self.fire(rules, end, Kind::OnTime, running.as_deref_mut(), fired);
            passed = end;
        }
        self.running = running;
        let lateness = rules.plan.lateness;
        while self
            .slices
            .front()
            .is_some_and(|slice| rules.cuts.place(slice.start).last_end + lateness <= until)
        {
            self.slices.pop_front();
        }
        while self.panes.front().is_some_and(|pane| pane.end + lateness <= until) {
            self.panes.pop_front();
        }
    }

    /// Fires early each window that ends after `passed` and has changed since the last time.
    pub(super) fn early<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        let mut running = overlaps(rules.cuts).then(Running::default);
        let mut done = passed;
        for index in 0..self.slices.len() {
            let slice = &mut self.slices[index];
            if std::mem::take(&mut slice.fresh) == 0 {
                continue;
            }
            let place = rules.cuts.place(slice.start);
            let mut end = place.first_end;
            if end <= done && place.last_end > done {
                end = rules.cuts.place(done).first_end;
            }
            while end > done && end <= place.last_end {
                self.fire(rules, end, Kind::Early, running.as_mut(), fired);
                done = end;
                end += rules.cuts.every;
            }
        }
    }

    /// Gives what each window that takes records would give now; uses the panes up.
    pub(super) fn look<A: Aggregate<Acc = S>>(
        &mut self,
        rules: &Rules<'_, A>,
        passed: i64,
        seen: &mut Vec<Outcome<A::Out>>,
    ) {
        let mut running = overlaps(rules.cuts).then(Running::default);
        let mut over = passed.saturating_sub(rules.plan.lateness);
        while seen.len() < MOST
            && let Some(end) = self.next_end(rules.cuts, over)
        {
            let kind = if end > passed { Kind::Early } else { Kind::Late };
            self.fire(rules, end, kind, running.as_mut(), seen);
            over = end;
        }
    }

    /// Takes the slices apart: start, records and accumulator of each.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (i64, u64, S)> {
        self.slices.into_iter().map(|slice| (slice.start, slice.fresh, slice.acc))
    }
}

fn overlaps(cuts: &Cuts) -> bool {
    cuts.size / cuts.every >= RUNNING_FROM
}
