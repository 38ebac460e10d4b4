//! Taking in what was gathered of several records elsewhere.

use std::hash::Hash;

use super::Engine;
use crate::window::aggregate::Aggregate;
use crate::window::fired::{Fired, PaneId};
use crate::window::offer::Offer;
use crate::window::partial::Partial;
use crate::window::plan::{Content, Declined, Item};
use crate::window::windows::{Assigner, within};

impl<K: Hash + Eq + Clone, A: Aggregate> Engine<K, A> {
    /// Offers what [`Partials`](crate::window::Partials) has gathered of several records elsewhere.
    pub fn combine(
        &mut self,
        partial: Partial<K, A::Acc>,
        sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
    ) -> Offer<Partial<K, A::Acc>> {
        let Partial { key, first, last, records, acc } = partial;
        let span = (within(first.min(last)), within(last.max(first)));
        let item = Item { first: span.0, last: span.1, records, content: Content::Acc(acc) };
        match self.offer(&key, item, sink) {
            Err((declined, Item { content: Content::Acc(acc), .. })) => {
                let partial = Partial { key, first, last, records, acc };
                match declined {
                    Declined::Late => Offer::Late(partial),
                    Declined::Refused(why) => Offer::Refused(partial, why),
                }
            }
            _ => Offer::Added,
        }
    }

    /// Whether a record of `key` and time `at` would be late, unless an open session takes it in.
    ///
    /// Where the earliest record of a [`Partial`] would not be, none of it is, and it is added whole. Where it would be, whoever
    /// still has the records adds them one by one, and is handed back those that are late:
    ///
    /// ```
    /// use std::time::Duration;
    /// use topo_core::Watermark;
    /// use topo_core::window::{Engine, Offer, Partials, aggregate, session};
    ///
    /// let sessions = session(Duration::from_millis(10));
    /// let mut engine = Engine::new(sessions, aggregate::count()).unwrap();
    /// engine.advance(Watermark(16), &mut |_, _| ());
    ///
    /// // One session, if it were whole; but the first was too late before the second came.
    /// let records = [5, 14];
    /// let mut partials = Partials::new(sessions, aggregate::count()).unwrap();
    /// records.iter().for_each(|at| partials.add(&"key", *at, ()));
    /// let partial = partials.drain().next().unwrap();
    /// assert!(engine.would_be_late(&"key", partial.first));
    /// let offers = records.map(|at| engine.add(&"key", at, (), &mut |_, _| ()));
    /// assert_eq!(offers, [Offer::Late(()), Offer::Added]);
    /// ```
    pub fn would_be_late(&self, key: &K, at: i64) -> bool {
        let slot = self.slots.find(key).and_then(|number| self.slots.get(number));
        let passed = slot.map_or(self.watermark, |slot| slot.entry.passed().max(self.watermark));
        let over = match self.plan.assigner {
            Assigner::Time(cuts) => cuts.place(within(at)).last_end,
            Assigner::Session { gap } => within(at) + gap,
            Assigner::Count { .. } | Assigner::Global => return false,
        };
        over + self.plan.lateness <= passed
    }
}
