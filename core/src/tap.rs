//! A tap: the last tuples of one subscription, while somebody looks.
//!
//! Each route asks once per buffer whether its tap is on, which is one relaxed load; off, it costs nothing more. On, it
//! keeps a bounded number of tuples of a bounded number of bytes. It goes off by itself once nobody has asked for a while,
//! so that a page that was closed leaves nothing behind.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ledger::RootId;
use crate::runtime::{JOINT, contain};
use crate::schedule::Moment;
use crate::trace::value_within;
use crate::tuple::Tuple;

/// How many tuples a tap keeps.
const KEPT: usize = 200;
/// Bytes of a tuple's value that a tap keeps.
const VALUE_BYTES: usize = 4_096;
/// How many tuples of one buffer a tap without a filter looks at: the last ones.
const LOOKS: usize = 32;
/// How many tuples of one buffer a tap with a filter looks at: a filter seeks what is rare, and each look serializes.
const FILTERED_LOOKS: usize = 1_024;

/// Says of a tuple's value, MessagePack with named fields, whether the tap is to keep it.
pub type TapFilter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A tuple that passed a tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// Counts what the tap kept, from 1.
    pub number: u64,
    /// When it was routed, on the topology's clock.
    pub at: Moment,
    /// Its tree; that of a tuple of several trees reads as none's.
    pub root: RootId,
    /// MessagePack with named fields; empty where it was larger than four kilobytes.
    pub value: Vec<u8>,
}

/// What a tap has seen since it was switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TapView {
    /// Whether it is on.
    pub on: bool,
    /// Tuples that went by.
    pub seen: u64,
    /// Of those, the ones that it looked at. The others went by in buffers too large to be looked through.
    pub looked: u64,
    /// Of those, the ones that its filter let through.
    pub matched: u64,
    /// The newest of those, oldest first.
    pub tuples: Vec<Tapped>,
}

/// One subscription's tap.
#[derive(Default)]
pub(crate) struct Tap {
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    filter: Option<TapFilter>,
    /// Goes off then, unless somebody asks before.
    until: Moment,
    seen: u64,
    looked: u64,
    matched: u64,
    tuples: VecDeque<Tapped>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Tap {
    // Filters run contained, and no other code panics while it holds the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is on.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Switches it on, or on anew with another filter, until `until`; what it kept before is forgotten.
    pub(crate) fn switch_on(&self, filter: Option<TapFilter>, until: Moment) {
        *self.lock() = State { filter, until, ..State::default() };
        self.on.store(true, Relaxed);
    }

    /// Switches it off; what it kept is forgotten.
    pub(crate) fn switch_off(&self) {
        self.on.store(false, Relaxed);
        *self.lock() = State::default();
    }

    /// What it has seen; it stays on for `patience` more, where it still is.
    pub(crate) fn view(&self, now: Moment, patience: Duration) -> TapView {
        let mut state = self.lock();
        if self.is_on() && now > state.until {
            self.on.store(false, Relaxed);
        }
        state.until = state.until.max(now.after(patience));
        TapView {
            on: self.is_on(),
            seen: state.seen,
            looked: state.looked,
            matched: state.matched,
            tuples: state.tuples.iter().cloned().collect(),
        }
    }

    /// `tuples` go by, which are `seen` in all; they end with the newest.
    #[cold]
    pub(crate) fn note<'a, T: Tuple>(
        &self,
        seen: usize,
        tuples: impl DoubleEndedIterator<Item = (RootId, &'a T)>,
        now: Moment,
    ) {
        let mut state = self.lock();
        if now > state.until {
            self.on.store(false, Relaxed);
            return;
        }
        let most = if state.filter.is_some() { FILTERED_LOOKS } else { LOOKS };
        let mut newest: Vec<_> = tuples.rev().take(most).collect();
        newest.reverse();
        state.seen += seen as u64;
        state.looked += newest.len() as u64;
        for (root, tuple) in newest {
            let value = value_within(tuple, VALUE_BYTES);
            let passes = match &state.filter {
                Some(filter) => contain(|| filter(&value)).unwrap_or(false),
                None => true,
            };
            if passes {
                state.matched += 1;
                if state.tuples.len() == KEPT {
                    state.tuples.pop_front();
                }
                let number = state.matched;
                let root = if root == JOINT { RootId::UNTRACKED } else { root };
                state.tuples.push_back(Tapped { number, at: now, root, value });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_nanos(100);

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    fn note(tap: &Tap, numbers: std::ops::Range<u64>, now: u64) {
        let numbers: Vec<u64> = numbers.collect();
        tap.note(numbers.len(), numbers.iter().map(|number| (RootId::from_u64(7), number)), at(now));
    }

    fn values(view: &TapView) -> Vec<u64> {
        view.tuples.iter().map(|tapped| rmp_serde::from_slice(&tapped.value).unwrap()).collect()
    }

    #[test]
    fn it_keeps_the_newest_and_says_what_it_did_not_look_at() {
        let tap = Tap::default();
        assert!(!tap.is_on());
        tap.switch_on(None, at(100));
        note(&tap, 0..5, 1);
        note(&tap, 100..200, 2);
        let view = tap.view(at(3), PATIENCE);
        assert_eq!((view.seen, view.looked, view.matched), (105, 5 + LOOKS as u64, 5 + LOOKS as u64));
        assert_eq!(values(&view)[..6], [0, 1, 2, 3, 4, 200 - LOOKS as u64]);
        assert_eq!(values(&view).last(), Some(&199));
        for round in 0..20 {
            note(&tap, round * 20..(round + 1) * 20, 4);
        }
        let view = tap.view(at(5), PATIENCE);
        assert_eq!((values(&view).len(), values(&view).last()), (KEPT, Some(&399)));
        assert_eq!(view.tuples.last().map(|tapped| tapped.number), Some(view.matched));
    }

    #[test]
    fn a_filter_finds_what_is_rare_and_one_that_panics_finds_nothing() {
        let tap = Tap::default();
        let wanted = rmp_serde::to_vec_named(&17_u64).unwrap();
        tap.switch_on(Some(Arc::new(move |value| value == wanted)), at(100));
        note(&tap, 0..500, 1);
        let view = tap.view(at(2), PATIENCE);
        assert_eq!((values(&view), view.looked, view.matched), (vec![17], 500, 1));
        tap.switch_on(Some(Arc::new(|_| panic!("no"))), at(100));
        note(&tap, 0..5, 1);
        assert_eq!(tap.view(at(2), PATIENCE).matched, 0);
    }

    #[test]
    fn it_goes_off_by_itself_once_nobody_asks() {
        let tap = Tap::default();
        tap.switch_on(None, at(100));
        assert!(tap.view(at(50), PATIENCE).on);
        note(&tap, 0..1, 150);
        assert!(tap.view(at(150), PATIENCE).on, "asking at 50 kept it on");
        note(&tap, 1..2, 251);
        assert!(!tap.is_on());
        let view = tap.view(at(260), PATIENCE);
        assert_eq!((view.on, values(&view)), (false, vec![0]));
        tap.switch_on(None, at(300));
        assert_eq!(tap.view(at(261), PATIENCE).seen, 0);
        tap.switch_off();
        assert!(!tap.is_on());
    }
}
