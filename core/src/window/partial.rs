//! Aggregating before a shuffle: records of a key become one accumulator per slice, and those travel.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::entry::Entry;
use super::plan::{Content, Item, Plan};
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
/// what came since it was last drained: drain it before its inputs are acknowledged, and before a watermark is passed on that
/// is later than any of them. Nothing is late here; what is [would be late](super::Engine::would_be_late) there.
///
/// ```
/// use std::time::Duration;
/// use topo_core::Watermark;
/// use topo_core::window::{Engine, Partials, aggregate, sliding};
///
/// let windows = sliding(Duration::from_secs(60), Duration::from_secs(1));
/// let mut partials = Partials::new(windows, aggregate::count()).unwrap();
/// (0..1_000).for_each(|at| partials.add(&"key", at, ()));
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
    records: u64,
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
        Ok(Self { plan, aggregate, keys: HashMap::default(), records: 0 })
    }

    /// Adds a record.
    pub fn add(&mut self, key: &K, at: i64, value: A::In) {
        let at = within(at);
        let item = Item { first: at, last: at, records: 1, content: Content::Value(value) };
        self.records += 1;
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), Entry::new(&self.plan));
        }
        if let Some(entry) = self.keys.get_mut(key) {
            // Nothing is late before time begins, and nothing too much without a bound: it is always taken.
            let _ = entry.add((&self.plan, &self.aggregate), item, i64::MIN, &mut Vec::new());
        }
    }

    /// How many records it has gathered since it was last drained; whoever bounds them bounds its memory.
    pub fn records(&self) -> u64 {
        self.records
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
        self.records = 0;
        self.keys.drain().flat_map(|(key, entry)| {
            let partial =
                move |(first, last, records, acc)| Partial { key: key.clone(), first, last, records, acc };
            entry.into_parts().into_iter().map(partial)
        })
    }
}
