//! When which key is due, in event time.
//!
//! A slot may stand at several times: moving one is adding another, and whoever takes a slot out asks whether it is still
//! meant. So this holds a number per key and window end that is ahead, at most, and never searches.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeMap<i64, Vec<u32>>);

impl Deadlines {
    pub(super) fn add(&mut self, at: i64, slot: u32) {
        self.0.entry(at).or_default().push(slot);
    }

    /// The earliest time up to `until`, with the slots that stand there.
    pub(super) fn pop(&mut self, until: i64) -> Option<(i64, Vec<u32>)> {
        let first = self.0.first_entry()?;
        (*first.key() <= until).then(|| first.remove_entry())
    }
}
