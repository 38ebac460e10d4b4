//! The inputs that one task's bolt owns and has not answered, for how long it may hold each.
//!
//! Invariant: a place holds at most one root, and `free` names every other place once.

use std::time::Duration;

use crate::ledger::RootId;
use crate::schedule::Moment;

/// One tree of one input.
#[derive(Debug, Clone, Copy)]
struct HeldRoot {
    root: RootId,
    /// When it was first looked at: what was answered between two looks costs no look at the clock.
    since: Option<Moment>,
}

/// The trees of all inputs held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    places: Vec<HeldRoot>,
    free: Vec<u32>,
}

impl Held {
    /// Takes a place for `root`.
    pub(crate) fn add(&mut self, root: RootId) -> u32 {
        let held = HeldRoot { root, since: None };
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = held;
                place
            }
            None => {
                self.places.push(held);
                (self.places.len() - 1) as u32
            }
        }
    }

    /// Gives back `place`, unless what `root` had there has expired.
    pub(crate) fn remove(&mut self, place: u32, root: RootId) {
        if let Some(held) = self.places.get_mut(place as usize)
            && held.root == root
        {
            held.root = RootId::UNTRACKED;
            self.free.push(place);
        }
    }

    /// Gives back the places of all that is held for `longest` or more, and gives its roots.
    pub(crate) fn expire(&mut self, now: Moment, longest: Duration) -> Vec<RootId> {
        let mut expired = Vec::new();
        for (place, held) in self.places.iter_mut().enumerate() {
            if held.root != RootId::UNTRACKED && now.since(*held.since.get_or_insert(now)) >= longest {
                expired.push(std::mem::replace(&mut held.root, RootId::UNTRACKED));
                self.free.push(place as u32);
            }
        }
        expired
    }

    /// How many trees' inputs are held.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(slot: u32) -> RootId {
        RootId::from_u64((1 << 33) | (u64::from(slot) << 2))
    }

    const LONGEST: Duration = Duration::from_nanos(10);

    #[test]
    fn what_is_held_expires_once_and_counts_from_when_it_was_first_looked_at() {
        let mut held = Held::default();
        held.add(root(1));
        assert_eq!(held.expire(Moment::from_nanos(5), LONGEST), []);
        held.add(root(2));
        assert_eq!(held.expire(Moment::from_nanos(14), LONGEST), []);
        assert_eq!(held.expire(Moment::from_nanos(15), LONGEST), [root(1)]);
        assert_eq!(held.expire(Moment::from_nanos(24), LONGEST), [root(2)]);
        assert_eq!((held.expire(Moment::from_nanos(99), LONGEST), held.len()), (vec![], 0));
    }

    #[test]
    fn an_answer_that_comes_late_takes_no_other_s_place() {
        let mut held = Held::default();
        let late = held.add(root(1));
        held.expire(Moment::from_nanos(0), LONGEST);
        assert_eq!(held.expire(Moment::from_nanos(10), LONGEST), [root(1)]);
        assert_eq!(held.add(root(2)), late);
        held.remove(late, root(1));
        assert_eq!(held.len(), 1);
        held.remove(late, root(2));
        assert_eq!((held.len(), held.add(root(3))), (0, late));
    }
}
