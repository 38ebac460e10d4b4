//! Random histories of a ledger, each step of which is checked against the explicit sets of a [`Shadow`].
//!
//! A [`World`] is everything around a ledger: tuples under way to bolts, deltas under way to the ledger, and updates that
//! were delivered long ago and come once more. Each step is picked by one 64-bit word, so a history is a list of words:
//! drawn from a seed by the million, or from proptest, which can shrink it.

use std::collections::HashMap;
use std::fmt::Write;

use foldhash::fast::FixedState;
use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use super::*;
use crate::schedule::Moment;

/// A ledger as a history sees it: the true one, or one with a planted bug.
pub(super) trait Book {
    fn open(&mut self, id: u64, edge: u64, attempt: u32, now: Moment) -> Option<RootId>;
    fn update(&mut self, root: RootId, xor: u64) -> Update<u64>;
    fn fail(&mut self, root: RootId) -> Option<Closed<u64>>;
    fn value(&self, root: RootId) -> Option<u64>;
    fn pending(&self) -> usize;
}

impl Book for Ledger<u64> {
    fn open(&mut self, id: u64, edge: u64, attempt: u32, now: Moment) -> Option<RootId> {
        self.open(id, edge, attempt, now)
    }
    fn update(&mut self, root: RootId, xor: u64) -> Update<u64> {
        self.update(root, xor)
    }
    fn fail(&mut self, root: RootId) -> Option<Closed<u64>> {
        self.fail(root)
    }
    fn value(&self, root: RootId) -> Option<u64> {
        self.value(root)
    }
    fn pending(&self) -> usize {
        self.pending()
    }
}

/// How often each kind of event came up.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    events: u64,
    opened: u64,
    refused: u64,
    acked: u64,
    failed: u64,
    late: u64,
    reopened: u64,
}

/// Where edges come from.
pub(super) type Ids = Box<dyn FnMut() -> u64>;

/// A ledger and all that goes on around it.
pub(super) struct World<B> {
    pub(super) book: B,
    pub(super) shadow: Shadow,
    ids: Ids,
    max_pending: usize,
    /// What each open root has to close with.
    open: HashMap<RootId, Closed<u64>, FixedState>,
    /// Tuples on their way to a bolt.
    pub(super) tuples: Vec<(RootId, u64)>,
    /// Deltas on their way to the ledger.
    pub(super) lane: Vec<(RootId, u64)>,
    /// The latest deltas delivered, to come once more when their root is closed.
    delivered: Vec<(RootId, u64)>,
    /// A planted bug: whether a batch of deltas is delivered twice.
    pub(super) repeat_batches: bool,
    pub(super) tally: Tally,
    /// What happened, for people.
    transcript: String,
    now: u64,
}

/// Takes the next decision out of a word.
fn pick(word: &mut u64, among: usize) -> usize {
    let choice = *word % among as u64;
    *word /= among as u64;
    choice as usize
}

impl<B: Book> World<B> {
    pub(super) fn new(book: B, max_pending: usize, ids: Ids) -> Self {
        Self {
            book,
            shadow: Shadow::default(),
            ids,
            max_pending,
            open: HashMap::default(),
            tuples: Vec::new(),
            lane: Vec::new(),
            delivered: Vec::new(),
            repeat_batches: false,
            tally: Tally::default(),
            transcript: String::new(),
            now: 0,
        }
    }

    /// One step, chosen by `word`. An error says what went wrong.
    pub(super) fn step(&mut self, mut word: u64) -> Result<(), String> {
        match pick(&mut word, 16) {
            0..=2 => self.open_root()?,
            3..=7 if !self.tuples.is_empty() => {
                let at = pick(&mut word, self.tuples.len());
                // One output on average, so that trees grow and end; none where too many tuples are under way.
                let outputs = [0, 0, 0, 0, 0, 1, 2, 5][pick(&mut word, 8)];
                self.execute(at, if self.tuples.len() < 200 { outputs } else { 0 });
            }
            8..=12 if !self.lane.is_empty() => {
                let size = 1 + pick(&mut word, self.lane.len().min(4));
                self.deliver(size, |lane| pick(&mut word, lane))?;
            }
            13 if !self.tuples.is_empty() => {
                let at = pick(&mut word, self.tuples.len());
                self.fail(self.tuples[at].0)?;
            }
            14 if !self.delivered.is_empty() => {
                let at = pick(&mut word, self.delivered.len());
                self.come_late(at)?;
            }
            15 if !self.tuples.is_empty() => {
                // Nothing, said aloud: a delta of 0 changes nothing and closes nothing.
                let at = pick(&mut word, self.tuples.len());
                self.update(self.tuples[at].0, 0)?;
            }
            _ => {}
        }
        self.agreed()
    }

    fn agreed(&self) -> Result<(), String> {
        self.shadow.disagreement().map_or(Ok(()), |disagreement| Err(disagreement.to_string()))
    }

    /// Lets everything under way arrive; then nothing may be pending and everybody must agree.
    pub(super) fn settle(&mut self) -> Result<Tally, String> {
        while !self.tuples.is_empty() || !self.lane.is_empty() {
            while let Some(last) = self.tuples.len().checked_sub(1) {
                self.execute(last, 0);
            }
            self.deliver(self.lane.len(), |_| 0)?;
        }
        self.shadow.settle().map_err(|disagreement| disagreement.to_string())?;
        require(self.book.pending() == 0, || format!("{} roots stay pending", self.book.pending()))?;
        Ok(self.tally)
    }

    pub(super) fn open_root(&mut self) -> Result<(), String> {
        self.tally.events += 1;
        self.now += 1;
        let (id, edge, opened) = (self.now, (self.ids)(), Moment::from_nanos(self.now * 10));
        let attempt = 1 + (id % 3) as u32;
        let has_room = self.open.len() < self.max_pending;
        let root = self.book.open(id, edge, attempt, opened);
        require(root.is_some() == has_room, || format!("{root:?} with {} open", self.open.len()))?;
        let Some(root) = root else {
            self.tally.refused += 1;
            self.say(format_args!("open     refused"));
            return Ok(());
        };
        self.tally.opened += 1;
        self.tally.reopened += u64::from(root.generation() > 1);
        require(attempt == 1 || root.traced(), || format!("attempt {attempt}, {root} is not traced"))?;
        self.say(format_args!("open     {root} with {edge:x}"));
        self.shadow.opened(root, edge);
        self.open.insert(root, Closed { id, root, attempt, opened });
        self.tuples.push((root, edge));
        Ok(())
    }

    /// A bolt executes the tuple at `at`, joined with the next one where that has the same root.
    pub(super) fn execute(&mut self, at: usize, outputs: usize) {
        self.tally.events += 1;
        let (root, edge) = self.tuples.swap_remove(at);
        let mut rest = edge;
        if let Some(&(other, joined)) = self.tuples.get(at)
            && other == root
        {
            self.tuples.swap_remove(at);
            self.shadow.consumed(root, joined);
            rest ^= joined;
            self.say(format_args!("join     {root} at {joined:x}"));
        }
        let mut produced: Vec<u64> = (0..outputs).map(|_| (self.ids)()).collect();
        rest = produced.iter().fold(rest, |rest, fresh| rest ^ fresh);
        if let Some(last) = produced.last_mut().filter(|last| **last != rest) {
            *last ^= std::mem::take(&mut rest);
        }
        self.say(format_args!("execute  {root} at {edge:x} -> {produced:x?}"));
        self.shadow.handed_on(root, edge, &produced);
        self.tuples.extend(produced.into_iter().map(|edge| (root, edge)));
        match self.lane.last_mut() {
            _ if rest == 0 => {}
            Some(last) if last.0 == root => last.1 ^= rest,
            _ => self.lane.push((root, rest)),
        }
    }

    /// Delivers a batch of `size` deltas, each one from where `choose` says.
    pub(super) fn deliver(
        &mut self,
        size: usize,
        mut choose: impl FnMut(usize) -> usize,
    ) -> Result<(), String> {
        let batch: Vec<(RootId, u64)> =
            (0..size).map(|_| self.lane.swap_remove(choose(self.lane.len()))).collect();
        for _ in 0..=u8::from(self.repeat_batches) {
            for &(root, delta) in &batch {
                self.update(root, delta)?;
                if self.delivered.len() < 64 {
                    self.delivered.push((root, delta));
                } else {
                    self.delivered[self.now as usize % 64] = (root, delta);
                }
            }
        }
        Ok(())
    }

    pub(super) fn update(&mut self, root: RootId, xor: u64) -> Result<(), String> {
        self.tally.events += 1;
        let answer = self.book.update(root, xor);
        self.shadow.updated(root, xor, &answer, self.book.value(root));
        self.agreed()?;
        match answer {
            Update::Pending => {
                let value = self.book.value(root).unwrap_or(0);
                self.say(format_args!("update   {root} by {xor:x}: {value:x} is left"));
                Ok(())
            }
            Update::Late => {
                self.tally.late += 1;
                self.say(format_args!("update   {root} by {xor:x}: late"));
                Ok(())
            }
            Update::Acked(closed) => {
                self.tally.acked += 1;
                self.say(format_args!("update   {root} by {xor:x}: acked"));
                self.close(closed)
            }
        }
    }

    pub(super) fn fail(&mut self, root: RootId) -> Result<(), String> {
        self.tally.events += 1;
        let answer = self.book.fail(root);
        self.shadow.failed(root, answer.as_ref());
        self.agreed()?;
        self.say(format_args!("fail     {root}: {}", if answer.is_some() { "failed" } else { "late" }));
        self.tally.failed += u64::from(answer.is_some());
        answer.map_or(Ok(()), |closed| self.close(closed))
    }

    /// An update that was delivered before comes again, and a fail behind it, if only their root is closed.
    pub(super) fn come_late(&mut self, at: usize) -> Result<(), String> {
        let (root, delta) = self.delivered[at];
        if self.open.contains_key(&root) {
            return Ok(());
        }
        self.update(root, delta)?;
        self.fail(root)
    }

    fn close(&mut self, closed: Closed<u64>) -> Result<(), String> {
        let expected = self.open.remove(&closed.root);
        require(expected.as_ref() == Some(&closed), || format!("{closed:?} instead of {expected:?}"))?;
        require(self.book.pending() == self.open.len(), || {
            format!("{} pending instead of {}", self.book.pending(), self.open.len())
        })
    }

    /// Adds a line to the transcript, which is kept for the first lines only.
    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        if self.transcript.len() < 2_000 {
            writeln!(self.transcript, "{line}").expect("a string takes any text");
        }
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Edges as in production.
pub(super) fn edges(seed: u64) -> Ids {
    let mut ids = EdgeIds::new(seed, 0);
    Box::new(move || ids.next())
}

/// Plays `steps` random steps and settles.
pub(super) fn play<B: Book>(world: &mut World<B>, seed: u64, steps: usize) -> Result<Tally, String> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    for _ in 0..steps {
        world.step(random.next_u64())?;
    }
    world.settle()
}

/// How many seeds to play; `TOPO_LEDGER_SEEDS` asks for more, at 80,000 events and more each.
fn seeds() -> u64 {
    std::env::var("TOPO_LEDGER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(48)
}

#[test]
fn the_ledger_agrees_with_explicit_sets_over_millions_of_events() {
    let mut events = 0;
    for seed in 0..seeds() {
        let max_pending = 1 << (seed % 8);
        let mut world = World::new(Ledger::new(5, max_pending), max_pending, edges(seed));
        let tally = play(&mut world, seed, 100_000).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(tally.opened, tally.acked + tally.failed, "seed {seed}");
        let rare = [tally.refused, tally.acked, tally.failed, tally.late, tally.reopened];
        assert!(rare.iter().all(|&count| count > 100), "seed {seed} shows too little: {tally:?}");
        events += tally.events;
    }
    assert!(events >= seeds() * 80_000, "only {events} events");
}

proptest! {
    #[test]
    fn the_ledger_agrees_with_explicit_sets(
        seed: u64,
        max_pending in 1..5usize,
        words in prop::collection::vec(any::<u64>(), 0..300),
    ) {
        let mut world = World::new(Ledger::new(5, max_pending), max_pending, edges(seed));
        for word in words {
            world.step(word).map_err(TestCaseError::fail)?;
        }
        world.settle().map_err(TestCaseError::fail)?;
    }
}

/// Edges 1, 2, 4, 8 and so on: independent, and people can add them up.
fn powers_of_two() -> Ids {
    let mut made = 0;
    Box::new(move || {
        made += 1;
        1 << (made - 1)
    })
}

/// Two trees under a bound of two: a fan-out, a join, deltas out of order, a slot opened again, updates and a fail that
/// come late, and a fail in the middle of a tree.
const TRANSCRIPT: &str = "\
open     5/0@1t with 1
open     5/1@1t with 2
open     refused
execute  5/0@1t at 1 -> [8, 10, 19]
execute  5/1@1t at 2 -> [2]
execute  5/1@1t at 2 -> []
join     5/0@1t at 10
execute  5/0@1t at 8 -> []
execute  5/0@1t at 19 -> [80, 99]
update   5/0@1t by 18: 19 is left
update   5/1@1t by 2: acked
open     5/1@2t with 200
update   5/1@1t by 2: late
fail     5/1@1t: late
execute  5/0@1t at 80 -> []
fail     5/0@1t: failed
execute  5/1@2t at 200 -> []
open     5/0@2t with 400
execute  5/0@2t at 400 -> []
execute  5/0@1t at 99 -> []
update   5/0@1t by 80: late
update   5/0@1t by 99: late
update   5/0@2t by 400: acked
update   5/1@2t by 200: acked
";

#[test]
fn a_history_reads_as_expected() {
    let mut world = World::new(Ledger::new(5, 2), 2, powers_of_two());
    let mut play = || -> Result<(), String> {
        world.open_root()?;
        world.open_root()?;
        world.open_root()?;
        world.execute(0, 3);
        world.execute(0, 1);
        world.execute(3, 0);
        world.execute(1, 0);
        world.execute(0, 2);
        world.deliver(1, |_| 1)?;
        world.deliver(1, |_| 0)?;
        world.open_root()?;
        world.come_late(1)?;
        world.execute(0, 0);
        world.fail(world.lane[0].0)?;
        world.execute(0, 0);
        world.open_root()?;
        world.settle().map(drop)
    };
    play().unwrap();
    assert_eq!(world.transcript, TRANSCRIPT);
}
