//! Aggregating before a shuffle: records of a key become one accumulator per slice, and those travel.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::entry::Entry;
use super::offer::Refusal;
use super::plan::{Content, Declined, Item, Plan};
use super::windows::{Assigner, WindowError, Windows, within};

/// What was gathered of records of one key that lie in one slice, or in one stretch of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partial<K, S> {
    /// The key.
    pub key: K,
    /// The earliest time that it stands for. Of windows by time any two times of one slice do.
    pub first: i64,
    /// The latest.
    pub last: i64,
    /// How many records it is of.
    pub records: u64,
    /// What was gathered.
    pub acc: S,
}

/// Gathers records per key and slice, to be sent to the task of the key as [`Partial`]s (Storm Trident's combiner).
///
/// For the same windows and aggregate as the [`Engine`](super::Engine) that [combines](super::Engine::combine) them. It holds
/// what came since it was last drained: drain it before its inputs are acknowledged.
///
/// ```
/// use std::time::Duration;
/// use topo_core::Watermark;
/// use topo_core::window::{Engine, Partials, aggregate, sliding};
///
/// let windows = sliding(Duration::from_secs(60), Duration::from_secs(1));
/// let mut partials = Partials::new(windows, aggregate::count()).unwrap();
/// (0..1_000).for_each(|at| partials.add(&"key", at, ()).unwrap());
///
/// let mut engine = Engine::new(windows, aggregate::count::<()>()).unwrap();
/// let mut counts = Vec::new();
/// for partial in partials.drain() {
///     let _ = engine.combine(partial, &mut |_, _| ());
/// }
/// engine.advance(Watermark(1_000), &mut |_, fired| counts.push(fired.value));
/// assert_eq!(counts, [1_000]);
/// ```
pub struct Partials<K, A: Aggregate> {
    plan: Plan,
    aggregate: A,
    keys: HashMap<K, Entry<A::Acc, A::Out>, RandomState>,
}

impl<K, A: Aggregate> fmt::Debug for Partials<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partials")
            .field("plan", &self.plan)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, A: Aggregate> Partials<K, A> {
    /// For these windows, which must not be by count.
    ///
    /// # Errors
    /// If there can be no such windows.
    pub fn new(windows: Windows, aggregate: A) -> Result<Self, WindowError> {
        let assigner = Assigner::new(windows)?;
        if let Assigner::Count { .. } = assigner {
            return Err(WindowError::NotPartial);
        }
        let plan =
            Plan { assigner, early_count: None, early_every: None, lateness: 0, max_slices: usize::MAX };
        Ok(Self { plan, aggregate, keys: HashMap::default() })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The record and why it was not taken; there is no reason at present.
    pub fn add(&mut self, key: &K, at: i64, value: A::In) -> Result<(), (A::In, Refusal)> {
        let at = within(at);
        let item = Item { first: at, last: at, records: 1, content: Content::Value(value) };
        let rules = (&self.plan, &self.aggregate);
        let mut none = Vec::new();
        let taken = match self.keys.get_mut(key) {
            Some(entry) => entry.add(rules, item, i64::MIN, &mut none),
            None => {
                let mut entry = Entry::new(&self.plan);
                let taken = entry.add(rules, item, i64::MIN, &mut none);
                self.keys.insert(key.clone(), entry);
                taken
            }
        };
        match taken {
            Err((Declined::Refused(why), Item { content: Content::Value(value), .. })) => Err((value, why)),
            _ => Ok(()),
        }
    }

    /// How many keys it holds anything of.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nothing to drain.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes out all that was gathered.
    pub fn drain(&mut self) -> impl Iterator<Item = Partial<K, A::Acc>> {
        self.keys.drain().flat_map(|(key, entry)| {
            let partial =
                move |(first, last, records, acc)| Partial { key: key.clone(), first, last, records, acc };
            entry.into_parts().into_iter().map(partial)
        })
    }
}
