//! Where reads of a segment have ended: who reads on from there needs no index.
//!
//! Invariant: a place was where a batch ended, and, as nothing of a segment's batches is ever changed, still is. Whoever
//! reads on checks the batch there nevertheless, as any other.

use std::sync::{Mutex, PoisonError};

use crate::cursor::Place;

/// How many places are kept: for as many readers that read on and on.
const KEPT: usize = 8;

/// Places where reads have ended, the latest of them.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    places: [Option<Place>; KEPT],
    /// Which one goes next.
    oldest: usize,
}

impl Ends {
    /// The place of an offset where a read has ended.
    pub(super) fn at(&self, offset: i64) -> Option<Place> {
        self.lock(|kept| kept.places.into_iter().flatten().find(|place| place.offset == offset))
    }

    /// Notes where a read has ended.
    pub(super) fn note(&self, place: Place) {
        self.lock(|kept| {
            if !kept.places.contains(&Some(place)) {
                kept.places[kept.oldest] = Some(place);
                kept.oldest = (kept.oldest + 1) % KEPT;
            }
        });
    }

    fn lock<T>(&self, with: impl FnOnce(&mut Kept) -> T) -> T {
        // Whatever a panic left is places.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_places_are_kept_each_once() {
        let place = |offset: i64| Place { position: offset.cast_unsigned() * 100, offset };
        let ends = Ends::default();
        for offset in [0, 1, 1, 2, 1, 3, 4, 5, 6, 7, 8] {
            ends.note(place(offset));
        }
        assert_eq!(ends.at(0), None, "the oldest has gone");
        assert!((1..9).all(|offset| ends.at(offset) == Some(place(offset))));
    }
}
