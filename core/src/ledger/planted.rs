//! Bugs planted on purpose: each must be caught by the same check that the true ledger passes.

use super::edges::tests::{dependent_subset, xorshift};
use super::history::{Book, Ids, World, edges, play};
use super::*;
use crate::schedule::Moment;

const MAX_PENDING: usize = 8;

/// Plays histories until one is caught, and says how.
fn caught<B: Book>(world: impl Fn(u64) -> World<B>) -> String {
    (0..20)
        .find_map(|seed| play(&mut world(seed), seed, 2_000).err())
        .expect("20 histories of 2,000 steps and nothing was noticed")
}

fn ledger() -> Ledger<u64> {
    Ledger::new(0, MAX_PENDING)
}

/// A ledger that answers a fail as it should but forgets to close the root.
struct DroppedFail {
    ledger: Ledger<u64>,
    dropped: Vec<RootId>,
}

impl Book for DroppedFail {
    fn open(&mut self, id: u64, edge: u64, attempt: u32, now: Moment) -> Option<RootId> {
        if self.pending() < MAX_PENDING { self.ledger.open(id, edge, attempt, now) } else { None }
    }
    fn update(&mut self, root: RootId, xor: u64) -> Update<u64> {
        self.ledger.update(root, xor)
    }
    fn fail(&mut self, root: RootId) -> Option<Closed<u64>> {
        let open = self.ledger.iter().find(|open| open.root == root && !self.dropped.contains(&root))?;
        self.dropped.push(root);
        Some(Closed { id: *open.id, root, attempt: open.attempt, opened: open.opened })
    }
    fn value(&self, root: RootId) -> Option<u64> {
        self.ledger.value(root)
    }
    fn pending(&self) -> usize {
        self.ledger.pending() - self.dropped.len()
    }
}

#[test]
fn a_dropped_fail_flag_is_caught() {
    let error = caught(|seed| {
        let book = DroppedFail { ledger: Ledger::new(0, RootId::MAX_SLOTS), dropped: vec![] };
        World::new(book, MAX_PENDING, edges(seed))
    });
    assert!(error.contains("is not open but was not refused"), "{error}");
}

/// A ledger whose roots are told apart by their slot alone.
struct SlotsOnly {
    ledger: Ledger<u64>,
    /// The root that has the slot now, as the ledger inside knows it, and as it was told outside.
    current: Vec<(RootId, RootId)>,
    /// Whether the generation never advances, or advances and is not compared.
    reuse: bool,
}

impl SlotsOnly {
    fn new(reuse: bool) -> Self {
        Self { ledger: ledger(), current: vec![(RootId::UNTRACKED, RootId::UNTRACKED); MAX_PENDING], reuse }
    }

    fn inside(&self, root: RootId) -> RootId {
        self.current[root.slot()].0
    }

    fn outside(&self, closed: Closed<u64>) -> Closed<u64> {
        Closed { root: self.current[closed.root.slot()].1, ..closed }
    }
}

impl Book for SlotsOnly {
    fn open(&mut self, id: u64, edge: u64, attempt: u32, now: Moment) -> Option<RootId> {
        let inside = self.ledger.open(id, edge, attempt, now)?;
        let generation = if self.reuse { 1 } else { inside.generation() };
        let outside =
            RootId::new(inside.task(), inside.slot() as u32, generation, inside.repeated(), inside.traced());
        self.current[inside.slot()] = (inside, outside);
        Some(outside)
    }
    fn update(&mut self, root: RootId, xor: u64) -> Update<u64> {
        match self.ledger.update(self.inside(root), xor) {
            Update::Acked(closed) => Update::Acked(self.outside(closed)),
            answer => answer,
        }
    }
    fn fail(&mut self, root: RootId) -> Option<Closed<u64>> {
        self.ledger.fail(self.inside(root)).map(|closed| self.outside(closed))
    }
    fn value(&self, root: RootId) -> Option<u64> {
        self.ledger.value(self.inside(root))
    }
    fn pending(&self) -> usize {
        self.ledger.pending()
    }
}

#[test]
fn a_reused_generation_is_caught() {
    let error = caught(|seed| World::new(SlotsOnly::new(true), MAX_PENDING, edges(seed)));
    assert!(error.contains("was opened before"), "{error}");
}

#[test]
fn a_generation_that_is_not_compared_is_caught() {
    let error = caught(|seed| World::new(SlotsOnly::new(false), MAX_PENDING, edges(seed)));
    assert!(error.contains("is not open but was not refused"), "{error}");
}

#[test]
fn a_batch_counted_twice_is_caught() {
    let error = caught(|seed| {
        let mut world = World::new(ledger(), MAX_PENDING, edges(seed));
        world.repeat_batches = true;
        world
    });
    assert!(error.contains("was never closed"), "{error}");
}

/// Edges as in production, but for every 50th.
fn edges_with_zeros(seed: u64) -> Ids {
    let (mut ids, mut made) = (EdgeIds::new(seed, 0), 0u32);
    Box::new(move || {
        made += 1;
        if made.is_multiple_of(50) { 0 } else { ids.next() }
    })
}

#[test]
fn an_edge_of_zero_is_caught() {
    let error = caught(|seed| World::new(ledger(), MAX_PENDING, edges_with_zeros(seed)));
    assert!(error.contains("is 0"), "{error}");
}

/// Counters as edges: 1 ⊕ 2 ⊕ 3 = 0.
#[test]
fn counted_edges_are_caught() {
    let error = caught(|_| {
        let mut count = 0;
        let ids: Ids = Box::new(move || {
            count += 1;
            count
        });
        World::new(ledger(), MAX_PENDING, ids)
    });
    assert!(error.contains("was acked with the edges"), "{error}");
}

/// One bolt fans out by 100; the tuples that keep the positions in `held` are executed last.
fn fan_out(ids: Ids, held: &[usize]) -> Result<(), String> {
    let mut world = World::new(ledger(), MAX_PENDING, ids);
    world.open_root()?;
    world.execute(0, 100);
    let (mut early, mut late): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for (position, tuple) in std::mem::take(&mut world.tuples).into_iter().enumerate() {
        if held.contains(&position) { late.push(tuple) } else { early.push(tuple) }
    }
    for tuple in early.into_iter().chain(late) {
        world.tuples.push(tuple);
        world.execute(0, 0);
        world.deliver(1, |_| 0)?;
    }
    world.settle().map(drop)
}

#[test]
fn a_linear_generator_is_caught_for_every_seed_by_the_same_positions() {
    let mut state = 1;
    // The first word is the root's own edge; positions count the words after it.
    let words: Vec<u64> = (0..66).map(|_| xorshift(&mut state)).collect();
    let held = dependent_subset(&words[1..]).expect("65 words of 64 bits are dependent");
    for seed in 1..=10u64 {
        let mut state = seed;
        let error = fan_out(Box::new(move || xorshift(&mut state)), &held).unwrap_err();
        assert!(error.contains("was acked with the edges"), "seed {seed}: {error}");
        fan_out(edges(seed), &held).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
