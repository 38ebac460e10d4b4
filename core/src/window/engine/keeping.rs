//! What outlives an engine: results until they are acknowledged, and keys' entries for a restart.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;

use super::Engine;
use crate::time::Watermark;
use crate::window::aggregate::Aggregate;
use crate::window::entry::Entry;
use crate::window::fired::{Fired, PaneId};
use crate::window::shown::Shown;

/// A key's state that this engine cannot go on from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Windows of another kind or length made it.
    #[error("the state is of other windows: give the windows another name, or remove their state")]
    OtherWindows,
    /// There is one already.
    #[error("a key has its state twice")]
    Twice,
}

impl<K: Hash + Eq + Clone, A: Aggregate> Engine<K, A> {
    /// Takes in that a result has been dealt with, or been given up, and is no longer needed. Whether it was awaited.
    pub fn acked(&mut self, pane: PaneId) -> bool {
        let Some(number) = self.panes.remove(&pane) else { return false };
        if let Some(slot) = self.slots.get_mut(number) {
            slot.entry.acked(pane);
            self.slots.touch(number);
            self.drop_if_over(number);
        }
        true
    }

    /// The result of a pane that has to be emitted again; it stays awaited.
    pub fn failed(&self, pane: PaneId) -> Option<Fired<K, A::Out>> {
        let slot = self.slots.get(*self.panes.get(&pane)?)?;
        Some(slot.entry.awaited(pane)?.clone().of(slot.key.clone()))
    }

    /// Takes in the state of a key. After the last one, [`resume`](Self::resume).
    ///
    /// # Errors
    /// If other windows made it, or the key is known.
    pub fn restore(&mut self, key: K, entry: Entry<A::Acc, A::Out>) -> Result<(), RestoreError> {
        if !entry.fits(&self.plan) {
            return Err(RestoreError::OtherWindows);
        }
        if self.slots.find(&key).is_some() {
            return Err(RestoreError::Twice);
        }
        let (fresh, over) = (entry.is_fresh(), entry.over_at());
        let windows = entry.windows(&self.plan, self.watermark);
        let number = self.slots.insert(key, entry, true);
        self.slots.weigh(number, windows);
        if let Some(Watermark(passed)) = over
            && let Some(slot) = self.slots.get_mut(number)
        {
            // Until the watermark is there as well, the entry refuses what its windows had already.
            slot.due = passed;
            self.deadlines.add(passed, number);
        }
        if fresh && self.plan.early_every.is_some() {
            self.list_early(number);
        }
        self.schedule(number);
        if let Some(slot) = self.slots.get_mut(number) {
            for awaiting in &mut slot.entry.awaiting {
                self.next_pane += 1;
                awaiting.pane = PaneId(self.next_pane);
                self.panes.insert(awaiting.pane, number);
            }
        }
        Ok(())
    }

    /// Goes on after keys were restored: gives the results again that were awaited, under new numbers, and takes the
    /// watermark that was kept with the state.
    pub fn resume(&mut self, watermark: Watermark, sink: &mut impl FnMut(PaneId, Fired<K, A::Out>)) {
        for slot in self.slots.iter() {
            for awaiting in &slot.entry.awaiting {
                sink(awaiting.pane, awaiting.outcome.clone().of(slot.key.clone()));
            }
        }
        if watermark != Watermark::MAX {
            self.advance(watermark, sink);
        }
    }

    /// What to keep of a key that is gone until the engine's watermark is kept as well: an entry without windows, which says up
    /// to when they were closed. Were nothing kept, records that are replayed after a crash would open such a window again, and
    /// it would hold these alone. `None` for windows that time does not close.
    pub fn over(&self) -> Option<Entry<A::Acc, A::Out>> {
        Entry::over(&self.plan, self.watermark)
    }

    /// Names each key whose entry changed since the last call, once: with its entry, or with `None` where it is gone; see
    /// [`over`](Self::over).
    ///
    /// They count as written out from then on, so whoever calls this keeps them until they are.
    pub fn take_changes(&mut self, each: impl FnMut(&K, Option<&Entry<A::Acc, A::Out>>)) {
        let (plan, watermark) = (&self.plan, self.watermark);
        self.slots.take_changes(each, |entry| entry.windows(plan, watermark));
    }

    /// How many windows of all keys are not complete, as of the last [`take_changes`](Self::take_changes).
    pub fn open_windows(&self) -> u64 {
        self.slots.weight()
    }

    /// Whether [`take_changes`](Self::take_changes) would name any key.
    pub fn has_changes(&self) -> bool {
        self.slots.changed()
    }

    /// The entry of a key, if there is anything to keep of it.
    pub fn get(&self, key: &K) -> Option<&Entry<A::Acc, A::Out>> {
        Some(&self.slots.get(self.slots.find(key)?)?.entry)
    }

    /// What makes of an entry what there is to be seen in it, for [`State::show_as`](crate::state::State::show_as).
    ///
    /// ```
    /// use std::time::Duration;
    /// use topo_core::window::{Engine, aggregate, tumbling};
    ///
    /// let mut engine = Engine::new(tumbling(Duration::from_secs(5)), aggregate::count())?;
    /// let _ = engine.add(&"key", 7_000, (), &mut |_, _| ());
    /// let shown = engine.shows()(engine.get(&"key").expect("it has a window"));
    /// # let shown: serde_json::Value = serde_json::to_value(&shown).expect("JSON");
    /// // {"windows":[{"window":{"start":5000,"end":10000},"value":1,"kind":"Early","revision":0}]}
    /// # assert_eq!(shown.to_string(), r#"{"windows":[{"kind":"Early","revision":0,"value":1,"window":{"end":10000,"start":5000}}]}"#);
    /// # Ok::<(), topo_core::window::WindowError>(())
    /// ```
    pub fn shows(&self) -> impl Fn(&Entry<A::Acc, A::Out>) -> Shown<A::Out> + Send + Sync + use<K, A>
    where
        A: Clone + Sync,
    {
        let (plan, aggregate, watermark) = (self.plan, self.aggregate.clone(), Arc::clone(&self.seen));
        move |entry| entry.show(&plan, &aggregate, watermark.load(Ordering::Relaxed))
    }

    /// All keys with their entries.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Entry<A::Acc, A::Out>)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.entry))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::window::aggregate::{Count, count};
    use crate::window::{Offer, session, tumbling};

    fn engine() -> Engine<&'static str, Count<()>> {
        Engine::new(tumbling(Duration::from_secs(10)), count()).unwrap()
    }

    #[test]
    fn windows_that_were_closed_stay_closed_where_only_what_is_left_of_their_key_says_so() {
        let mut before = engine();
        let mut panes = Vec::new();
        assert_eq!(before.add(&"key", 1_000, (), &mut |_, _| ()), Offer::Added);
        before.take_changes(|_, _| ());
        before.advance(Watermark(10_500), &mut |pane, _| panes.push(pane));
        assert!(before.acked(panes[0]));
        let mut changes = Vec::new();
        before.take_changes(|key, entry| changes.push((*key, entry.is_some())));
        assert_eq!(changes, [("key", false)]);
        let over = before.over().unwrap();
        assert_eq!(over.over_at(), Some(Watermark(10_500)));

        // The watermark was not written out before the crash.
        let mut after = engine();
        after.restore("key", over.clone()).unwrap();
        after.restore("other", over).unwrap();
        after.resume(Watermark(3_000), &mut |_, _| unreachable!());
        assert_eq!(after.add(&"key", 2_000, (), &mut |_, _| ()), Offer::Late(()));
        assert_eq!(after.add(&"new", 2_000, (), &mut |_, _| ()), Offer::Added);
        assert_eq!(after.add(&"key", 12_000, (), &mut |_, _| ()), Offer::Added);
        let mut fired = Vec::new();
        after.advance(Watermark(10_500), &mut |_, result| fired.push((result.key, result.value)));
        assert_eq!((fired, after.get(&"other").is_none()), (vec![("new", 1)], true));
        let mut fired = Vec::new();
        after.advance(Watermark(20_000), &mut |_, result| fired.push((result.key, result.value)));
        assert_eq!(fired, [("key", 1)]);
    }

    #[test]
    fn nothing_is_left_of_windows_that_time_does_not_close() {
        let sessions = Engine::<&str, _>::new(session(Duration::from_secs(1)), count::<()>()).unwrap();
        assert!(sessions.over().is_some());
        let counted = Engine::<&str, _>::new(crate::window::count(3), count::<()>()).unwrap();
        assert!(counted.over().is_none());
    }
}
