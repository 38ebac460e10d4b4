//! A day of a mobile network, as it happens: who joins, changes plan, moves and leaves, who uses which cell, and when the
//! cells report it.
//!
//! Every ten milliseconds one thing happens: a change of a subscriber, which is told at once, or a use, which is told up to
//! [`DISORDER`] later, or, one in a hundred times, later still. What is true is noted as it happens, from what is so just
//! then; only the telling is out of order.
//!
//! Invariant: the same seed and count give the same tellings in the same order.

use std::collections::{BTreeMap, VecDeque};

use compact_str::{CompactString, format_compact};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::super::DISORDER;
use super::super::usage::{Plan, Subscriber, UsageRecord};
use super::truth::Truth;

/// Milliseconds between one thing that happens and the next.
pub(super) const TICK_MS: i64 = 10;
/// The longest that a use may take to be told, in milliseconds.
pub(super) const LONGEST_DELAY_MS: i64 = 40_000;

/// 2025-01-01, in milliseconds since 1970.
const FIRST_DAY_MS: i64 = 1_735_689_600_000;
const DAY_MS: i64 = 86_400_000;
/// Days that seeds stand for; then they begin again.
const DAYS: u64 = 10_000;

const CELLS: u32 = 40;
/// Subscribers as the day begins.
const SUBSCRIBERS: u32 = 500;
/// Numbers from here on belong to nobody.
const STRANGERS: u32 = 900_000;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// A use of the network.
    Use(UsageRecord),
    /// What a subscriber is from `at` on; `None` for one who leaves.
    Change { subscriber: CompactString, at: i64, row: Option<Subscriber> },
}

/// The day, told step by step.
pub(super) struct Simulation {
    random: Xoshiro256PlusPlus,
    now: i64,
    /// Uses that are still to happen.
    left: u64,
    /// Subscribers by number; `None` for those who left.
    subscribers: Vec<Option<Subscriber>>,
    /// Changes that are to be told next.
    changes: VecDeque<Told>,
    /// Uses that happened, by when they are told and when they happened.
    untold: BTreeMap<(i64, i64), UsageRecord>,
    truth: Truth,
}

impl Simulation {
    pub(super) fn new(seed: u64, uses: u64) -> Self {
        let day = i64::try_from(seed % DAYS).unwrap_or(0);
        let mut simulation = Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: FIRST_DAY_MS + day * DAY_MS,
            left: uses,
            subscribers: Vec::new(),
            changes: VecDeque::new(),
            untold: BTreeMap::new(),
            truth: Truth::default(),
        };
        (0..SUBSCRIBERS).for_each(|_| simulation.join());
        simulation
    }

    /// What is true of all that was told.
    pub(super) fn into_truth(self) -> Truth {
        self.truth
    }

    /// Something happens.
    fn tick(&mut self) {
        self.now += TICK_MS;
        match self.random.random_range(0..1_000) {
            0..4 => self.change(|random, row| row.plan = plan(random)),
            4..7 => self.change(|random, row| row.home = cell(random)),
            7 => self.join(),
            8 => {
                let number = self.anybody();
                self.subscribers[number] = None;
                self.tell(number);
            }
            _ => self.happen(),
        }
    }

    fn anybody(&mut self) -> usize {
        self.random.random_range(0..self.subscribers.len())
    }

    fn join(&mut self) {
        let row = Subscriber { plan: plan(&mut self.random), home: cell(&mut self.random) };
        self.subscribers.push(Some(row));
        self.tell(self.subscribers.len() - 1);
    }

    fn change(&mut self, change: impl FnOnce(&mut Xoshiro256PlusPlus, &mut Subscriber)) {
        let number = self.anybody();
        // Whoever left does not change any more.
        if let Some(row) = &mut self.subscribers[number] {
            change(&mut self.random, row);
            self.tell(number);
        }
    }

    /// Tells what a subscriber is now.
    fn tell(&mut self, number: usize) {
        let row = self.subscribers[number].clone();
        self.changes.push_back(Told::Change { subscriber: name(number as u32), at: self.now, row });
    }

    /// A use happens.
    fn happen(&mut self) {
        let is_stranger = self.random.random_range(0..500) == 0;
        let number =
            if is_stranger { STRANGERS + self.random.random_range(0..20) } else { self.anybody() as u32 };
        let known = self.subscribers.get(number as usize).and_then(Option::as_ref);
        let at_home = self.random.random_range(0..10) < 7;
        let cell = match known {
            Some(known) if at_home => known.home.clone(),
            _ => cell(&mut self.random),
        };
        let (random, at) = (&mut self.random, self.now);
        let subscriber = name(number);
        let (bytes, duration_ms) = (random.random_range(1..5_000_000), random.random_range(1..600_000));
        let used = UsageRecord { cell, subscriber, at, bytes, duration_ms };
        self.truth.note(&used, known);
        let disorder = i64::try_from(DISORDER.as_millis()).unwrap_or(i64::MAX);
        let late = random.random_range(0..100) == 0;
        let delay = if late {
            random.random_range(disorder + 1..=LONGEST_DELAY_MS)
        } else {
            random.random_range(0..disorder)
        };
        self.untold.insert((at + delay, at), used);
        self.left -= 1;
    }
}

impl Iterator for Simulation {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Some(change);
            }
            let first = self.untold.first_entry();
            if let Some(due) = first.filter(|first| self.left == 0 || first.key().0 <= self.now) {
                return Some(Told::Use(due.remove()));
            }
            if self.left == 0 {
                return None;
            }
            self.tick();
        }
    }
}

fn plan(random: &mut Xoshiro256PlusPlus) -> Plan {
    match random.random_range(0..3) {
        0 => Plan::Basic,
        1 => Plan::Plus,
        _ => Plan::Premium,
    }
}

fn cell(random: &mut Xoshiro256PlusPlus) -> CompactString {
    format_compact!("cell-{:02}", random.random_range(0..CELLS))
}

fn name(number: u32) -> CompactString {
    format_compact!("s-{number:06}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const DISORDER_MS: i64 = DISORDER.as_millis() as i64;

    fn told(seed: u64, uses: u64) -> Vec<Told> {
        Simulation::new(seed, uses).collect()
    }

    #[test]
    fn a_seed_gives_the_same_day_again_and_another_seed_another() {
        assert_eq!(told(3, 2_000), told(3, 2_000));
        assert_ne!(told(3, 2_000), told(4, 2_000));
        let uses = told(3, 2_000).iter().filter(|told| matches!(told, Told::Use(_))).count();
        assert_eq!(uses, 2_000);
    }

    #[test]
    fn uses_are_out_of_order_within_bounds_and_some_are_late() {
        let (mut latest, mut disordered, mut late) = (i64::MIN, 0, 0);
        for told in told(7, 20_000) {
            let Told::Use(used) = told else { continue };
            latest = latest.max(used.at);
            assert!(latest - used.at <= LONGEST_DELAY_MS);
            disordered += u64::from(used.at < latest);
            late += u64::from(used.at < latest - DISORDER_MS);
        }
        assert!(disordered > 15_000, "{disordered}");
        assert!((100..400).contains(&late), "{late}");
    }

    #[test]
    fn changes_are_told_in_order_and_before_the_uses_that_they_hold_for() {
        let (mut rows, mut newest) = (HashMap::new(), i64::MIN);
        let mut versions: HashMap<CompactString, Vec<(i64, Option<Subscriber>)>> = HashMap::new();
        let mut simulation = Simulation::new(11, 20_000);
        let mut charges = 0;
        for told in simulation.by_ref() {
            match told {
                Told::Change { subscriber, at, row } => {
                    assert!(at >= newest);
                    newest = at;
                    versions.entry(subscriber.clone()).or_default().push((at, row.clone()));
                    rows.insert(subscriber, row);
                }
                // What was told before it says all of the time when it happened.
                Told::Use(used) => {
                    let known = versions.get(&used.subscriber);
                    let held = known.and_then(|known| known.iter().rev().find(|(at, _)| *at <= used.at));
                    if let Some((_, Some(row))) = held {
                        charges += used.bytes * row.plan.price();
                    }
                }
            }
        }
        let truth = simulation.into_truth();
        let noted: u64 = truth.lines().map(|line| line.totals.map_or(0, |totals| totals.charge)).sum();
        // Once by cell and once by subscriber.
        assert_eq!(noted, 2 * charges);
        assert!(rows.values().any(Option::is_none) && rows.len() > SUBSCRIBERS as usize);
    }
}
