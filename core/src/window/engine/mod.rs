//! The windows of all keys of one task.
//!
//! Invariant: a key is in a slot exactly while it has an open window or a result that awaits its acknowledgement, or was
//! restored as having closed windows that the watermark has not come to; its
//! deadline is never later than it is due; nothing is due up to the watermark.

mod gathered;
mod keeping;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

use super::aggregate::Aggregate;
use super::deadlines::Deadlines;
use super::entry::{Awaiting, Entry};
use super::fired::{Fired, Outcome, PaneId};
use super::offer::Offer;
use super::plan::{Content, Declined, Item, Plan, Taken};
use super::slots::Slots;
use super::trigger::Trigger;
use super::windows::{Assigner, WindowError, Windows, millis, within};
use crate::time::Watermark;

pub use keeping::RestoreError;

/// Windows over the records of each key, aggregated: a state machine without clock or I/O, one per task.
///
/// It is offered records ([`add`](Self::add)) and told of time ([`advance`](Self::advance),
/// [`processing_time`](Self::processing_time)); results go to the function that each of these takes, with the number of the
/// pane. A result is kept, in its key's entry, until [`acked`](Self::acked) with that number; [`failed`](Self::failed) gives
/// it once more as it was. What has changed is named for writing out by [`take_changes`](Self::take_changes), and a new
/// engine takes it in by [`restore`](Self::restore) and goes on where this one was.
///
/// Times beyond 146 million years on either side of 1970 count as that bound. A record far ahead of all others costs one
/// slice, as any other does, and is refused where the key has [too many](Self::max_slices).
///
/// # Cost
///
/// A record costs one look-up of its key and one update of an accumulator, however many windows cover it. A tumbling window
/// fires without merging; a sliding one merges each of its slices but the first, or, where four windows or more cover a
/// record, about three accumulators. A window has at most two slices per slide, one where `every` divides `size`.
///
/// A key costs the key and some 150 bytes, and per slice two integers and the accumulator; windows of which four or more
/// overlap hold each accumulator twice. Results add to it until they are acknowledged.
///
/// ```
/// use std::time::Duration;
/// use topo_core::Watermark;
/// use topo_core::window::{Engine, Offer, aggregate, tumbling};
///
/// let mut engine = Engine::new(tumbling(Duration::from_secs(10)), aggregate::count()).unwrap();
/// let mut fired = Vec::new();
/// for at in [1_000, 9_999, 10_000] {
///     let offer = engine.add(&"key", at, (), &mut |pane, result| fired.push((pane, result)));
///     assert_eq!(offer, Offer::Added);
/// }
/// engine.advance(Watermark(10_000), &mut |pane, result| fired.push((pane, result)));
/// let (pane, result) = fired.pop().unwrap();
/// assert_eq!((result.key, result.window.start, result.value), ("key", 0, 2));
/// engine.acked(pane);
/// ```
///
/// A bolt written by hand uses it as the operators do. This one has no state to outlive the process, so it has results not
/// kept ([`unacknowledged`](Self::unacknowledged)):
///
/// ```
/// use std::time::Duration;
/// use topo_core::window::{Engine, Fired, Offer, aggregate, session};
/// use topo_core::{Bolt, Emitter, Fail, Fault, Timed, Watermark};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Click {
///     user: String,
/// }
///
/// /// Clicks in each visit of a user, which half an hour without one ends.
/// struct Visits(Engine<String, aggregate::Count<Click>>);
///
/// impl Visits {
///     fn new() -> Self {
///         let visits = session(Duration::from_secs(30 * 60));
///         Self(Engine::new(visits, aggregate::count()).expect("half an hour is a gap").unacknowledged())
///     }
/// }
///
/// impl Bolt for Visits {
///     type In = Timed<Click>;
///     type Out = Fired<String, u64>;
///
///     async fn execute(&mut self, click: Timed<Click>, out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
///         let user = click.user.clone();
///         match self.0.add(&user, click.at, click.value, &mut |_, visit| out.emit(visit)) {
///             Offer::Added => Ok(()),
///             Offer::Late(_) => Err(Fail::reject("the visit is over")),
///             Offer::Refused(_, why) => Err(Fail::reject(why)),
///         }
///     }
///
///     async fn on_watermark(&mut self, at: Watermark, out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
///         self.0.advance(at, &mut |_, visit| out.emit(visit));
///         Ok(())
///     }
/// }
/// # let topology = topo_core::Topology::new("visits");
/// # topology.bolt("visits", Visits::new);
/// ```
pub struct Engine<K, A: Aggregate> {
    plan: Plan,
    aggregate: A,
    watermark: i64,
    /// The watermark, for those who look at entries from outside.
    seen: Arc<AtomicI64>,
    slots: Slots<K, Entry<A::Acc, A::Out>>,
    deadlines: Deadlines,
    /// Whose the results are that await their acknowledgement.
    panes: HashMap<PaneId, u32, RandomState>,
    next_pane: u64,
    /// The slots that changed since the last early results at an interval.
    early: Vec<u32>,
    /// When early results are due next, in processing time.
    next_early: Option<i64>,
    keeps_results: bool,
    /// Results on their way out; empty between calls.
    outcomes: Vec<Outcome<A::Out>>,
}

impl<K: Hash + Eq + Clone, A: Aggregate> fmt::Debug for Engine<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("plan", &self.plan)
            .field("watermark", &self.watermark())
            .field("keys", &self.len())
            .field("awaiting", &self.awaiting())
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, A: Aggregate> Engine<K, A> {
    /// An engine for `windows`, which fire as they are complete, and take no late records.
    ///
    /// # Errors
    /// If there can be no such windows.
    pub fn new(windows: Windows, aggregate: A) -> Result<Self, WindowError> {
        let assigner = Assigner::new(windows)?;
        let overlap = usize::try_from(assigner.overlap()).unwrap_or(usize::MAX);
        let max_slices = overlap.saturating_mul(4).max(Self::MAX_SLICES);
        Ok(Self {
            plan: Plan { assigner, early_count: None, early_every: None, lateness: 0, max_slices },
            aggregate,
            watermark: i64::MIN,
            seen: Arc::new(AtomicI64::new(i64::MIN)),
            slots: Slots::new(),
            deadlines: Deadlines::default(),
            panes: HashMap::default(),
            next_pane: 0,
            early: Vec::new(),
            next_early: None,
            keeps_results: true,
            outcomes: Vec::new(),
        })
    }

    /// How many slices or sessions a key may have open where nothing else is said and windows need no more.
    pub const MAX_SLICES: usize = 65_536;

    /// Has windows give early results, too.
    ///
    /// # Errors
    /// If the trigger's count or interval is 0 or beyond measure.
    pub fn trigger(mut self, trigger: Trigger) -> Result<Self, WindowError> {
        (self.plan.early_count, self.plan.early_every) = trigger.checked()?;
        Ok(self)
    }

    /// Has windows take records for so long after they were complete; each gives another result.
    ///
    /// # Errors
    /// If it is not in whole milliseconds, or beyond measure.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Result<Self, WindowError> {
        self.plan.lateness = if lateness.is_zero() { 0 } else { millis("an allowed lateness", lateness)? };
        Ok(self)
    }

    /// Bounds the slices, or sessions, that a key may have open; a record that needs one more is refused. Windows by count
    /// and global ones have no such bound, since time does not open them.
    #[must_use]
    pub fn max_slices(mut self, most: usize) -> Self {
        self.plan.max_slices = most;
        self
    }

    /// Has results not kept until they are acknowledged.
    #[must_use]
    pub fn unacknowledged(mut self) -> Self {
        self.keeps_results = false;
        self
    }

    /// Offers a record of `key` and time `at`. Results that it brings about, by count or as an update of a complete window,
    /// go to `sink`.
    pub fn add(
        &mut self,
        key: &K,
        at: i64,
        value: A::In,
        sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
    ) -> Offer<A::In> {
        let at = within(at);
        let item = Item { first: at, last: at, records: 1, content: Content::Value(value) };
        let (declined, item) = match self.offer(key, item, sink) {
            Ok(()) => return Offer::Added,
            Err(declined) => declined,
        };
        match (item.content, declined) {
            (Content::Value(value), Declined::Late) => Offer::Late(value),
            (Content::Value(value), Declined::Refused(why)) => Offer::Refused(value, why),
            // What comes back is what was offered.
            (Content::Acc(_), _) => Offer::Added,
        }
    }

    fn offer(
        &mut self,
        key: &K,
        item: Item<A>,
        sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
    ) -> Result<(), (Declined, Item<A>)> {
        let watermark = self.watermark;
        let mut found = self.slots.find(key);
        if let Some(slot) = found
            && self.slots.get(slot).is_some_and(|slot| slot.due <= watermark)
        {
            // Only after a restore that was not resumed from.
            self.settle(slot, watermark, sink);
            found = self.slots.find(key);
        }
        let rules = (&self.plan, &self.aggregate);
        let (number, taken) = match found {
            Some(number) => {
                // It was found just now.
                let Some(slot) = self.slots.get_mut(number) else { return Err((Declined::Late, item)) };
                (number, slot.entry.add(rules, item, watermark, &mut self.outcomes)?)
            }
            None => {
                let mut entry = Entry::new(&self.plan);
                let taken = entry.add(rules, item, watermark, &mut self.outcomes)?;
                (self.slots.insert(key.clone(), entry, false), taken)
            }
        };
        self.slots.touch(number);
        if self.plan.early_every.is_some() {
            self.list_early(number);
        }
        if taken == Taken::MayBeSooner {
            self.schedule(number);
        }
        if !self.outcomes.is_empty() {
            self.give(number, sink);
            self.drop_if_over(number);
        }
        Ok(())
    }

    /// Tells the engine that the watermark is at `to`, unless it was further already. What is complete by it fires, in the
    /// order of event time.
    ///
    /// [`Watermark::MAX`], the end of time, is not kept as the watermark: whatever has changed since its last result fires
    /// as if early, and stays, so that a later run goes on with it.
    pub fn advance(&mut self, to: Watermark, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        if to == Watermark::MAX {
            return self.end_of_time(sink);
        }
        self.watermark = self.watermark.max(to.0);
        self.seen.store(self.watermark, Ordering::Relaxed);
        while let Some((at, slots)) = self.deadlines.pop(self.watermark) {
            for number in slots {
                if self.slots.get(number).is_some_and(|slot| slot.due == at) {
                    self.settle(number, at, sink);
                }
            }
        }
    }

    fn end_of_time(&mut self, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        for number in self.slots.numbers() {
            self.fire_early(number, sink);
        }
    }

    /// Tells the engine the processing time, in milliseconds. If early results at an interval are due, they fire; the
    /// interval begins with the first call.
    pub fn processing_time(&mut self, now: i64, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        let Some(every) = self.plan.early_every else { return };
        if self.next_early.is_some_and(|due| now < due) {
            return;
        }
        if self.next_early.replace(now.saturating_add(every)).is_none() {
            return;
        }
        for number in std::mem::take(&mut self.early) {
            let Some(slot) = self.slots.get_mut(number).filter(|slot| slot.early) else { continue };
            slot.early = false;
            self.fire_early(number, sink);
        }
    }

    /// When [`processing_time`](Self::processing_time) has something to do next.
    pub fn next_processing_time(&self) -> Option<i64> {
        self.next_early
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far event time has come; never the end of time.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.watermark)
    }

    /// How many results await their acknowledgement.
    pub fn awaiting(&self) -> usize {
        self.panes.len()
    }

    /// Does with a slot what is due up to `until`.
    fn settle(&mut self, number: u32, until: i64, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.due = i64::MAX;
        slot.entry.settle((&self.plan, &self.aggregate), until, &mut self.outcomes);
        self.slots.touch(number);
        self.schedule(number);
        self.give(number, sink);
        self.drop_if_over(number);
    }

    fn fire_early(&mut self, number: u32, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        let Some(slot) = self.slots.get_mut(number).filter(|slot| slot.entry.is_fresh()) else { return };
        slot.entry.early((&self.plan, &self.aggregate), self.watermark, &mut self.outcomes);
        self.slots.touch(number);
        self.give(number, sink);
    }

    /// Sends the results of a slot on their way, and keeps each until it is acknowledged.
    fn give(&mut self, number: u32, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        for outcome in self.outcomes.drain(..) {
            self.next_pane += 1;
            let pane = PaneId(self.next_pane);
            if self.keeps_results {
                slot.entry.awaiting.push_back(Awaiting { pane, outcome: outcome.clone() });
                self.panes.insert(pane, number);
            }
            sink(pane, outcome.of(slot.key.clone()));
        }
    }

    fn drop_if_over(&mut self, number: u32) {
        if self.slots.get(number).is_some_and(|slot| slot.entry.is_over()) {
            self.slots.remove(number);
        }
    }

    /// Sees to it that the slot is woken when it is due.
    fn schedule(&mut self, number: u32) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        let due = slot.entry.due(&self.plan);
        if due < slot.due {
            slot.due = due;
            self.deadlines.add(due, number);
        }
    }

    fn list_early(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number)
            && !std::mem::replace(&mut slot.early, true)
        {
            self.early.push(number);
        }
    }
}
