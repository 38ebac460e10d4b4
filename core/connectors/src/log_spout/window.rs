//! The records of one partition that were emitted and are not done, in the order of their offsets.
//!
//! A record that fails holds back only the committed offset, not the records behind it: they are emitted, acknowledged
//! and noted here until it is done. What is done keeps no record, so that only its number is held.
//!
//! Invariant: entries are sorted by offset, and the first one is not done.

use std::collections::VecDeque;

use topo_core::log::Consumed;

#[derive(Debug)]
struct Entry {
    offset: i64,
    /// `None` once the record is done.
    record: Option<Consumed>,
    /// The attempt that is open or that failed, from 1.
    attempt: u32,
    /// Whether the attempt's tree is open; otherwise the record waits for its next attempt, or for its dead letter to be
    /// durable.
    open: bool,
}

/// The open records of one partition.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// Entries that are neither done nor open.
    waiting: u64,
}

impl Window {
    /// The offset of the first record that is not done.
    pub(super) fn first(&self) -> Option<i64> {
        self.entries.front().map(|first| first.offset)
    }

    /// How many records wait for their next attempt, or for their dead letter to be durable.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// How many offsets lie between the first record that is not done and the newest.
    pub(super) fn span(&self) -> u64 {
        let ends = self.entries.front().zip(self.entries.back());
        ends.map_or(0, |(first, last)| first.offset.abs_diff(last.offset) + 1)
    }

    /// A record was emitted for the first time.
    pub(super) fn open(&mut self, record: Consumed) {
        debug_assert!(self.entries.back().is_none_or(|last| last.offset < record.offset));
        self.entries.push_back(Entry { offset: record.offset, record: Some(record), attempt: 1, open: true });
    }

    fn find(&mut self, offset: i64) -> Option<&mut Entry> {
        let first = self.entries.front()?.offset;
        // Without gaps, as in a topic that is not compacted, the place is known.
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        let at = match self.entries.get(guess) {
            Some(entry) if entry.offset == offset => guess,
            _ => self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?,
        };
        self.entries.get_mut(at)
    }

    /// The record is done. Unknown offsets, as a predecessor's, are left alone.
    pub(super) fn done(&mut self, offset: i64) {
        if let Some(entry) = self.find(offset) {
            let waited = entry.record.is_some() && !entry.open;
            (entry.record, entry.open) = (None, false);
            self.waiting -= u64::from(waited);
        }
        while self.entries.front().is_some_and(|first| first.record.is_none()) {
            self.entries.pop_front();
        }
    }

    /// The record's tree failed in the attempt that is open; gives that attempt and the record. `None` where no attempt is
    /// open.
    pub(super) fn fail(&mut self, offset: i64) -> Option<(u32, &Consumed)> {
        self.find(offset).filter(|entry| entry.open)?.open = false;
        self.waiting += 1;
        let entry = self.find(offset)?;
        entry.record.as_ref().map(|record| (entry.attempt, record))
    }

    /// The next attempt at a record that waits; gives its number and the record.
    pub(super) fn reopen(&mut self, offset: i64) -> Option<(u32, &Consumed)> {
        let entry = self.find(offset).filter(|entry| !entry.open && entry.record.is_some())?;
        entry.attempt += 1;
        entry.open = true;
        self.waiting -= 1;
        let entry = self.find(offset)?;
        entry.record.as_ref().map(|record| (entry.attempt, record))
    }

    /// Puts a record back that could not be emitted after all.
    pub(super) fn put_back(&mut self, offset: i64) {
        if let Some(entry) = self.find(offset).filter(|entry| entry.open) {
            entry.attempt -= 1;
            entry.open = false;
            self.waiting += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn record(offset: i64) -> Consumed {
        Consumed { offset, timestamp_ms: -1, key: None, value: None, headers: Vec::new() }
    }

    #[test]
    fn the_first_record_that_is_not_done_stays_first() {
        let mut window = Window::default();
        assert_eq!((window.first(), window.span()), (None, 0));
        (10..13).for_each(|offset| window.open(record(offset)));
        window.done(11);
        assert_eq!((window.first(), window.span()), (Some(10), 3));
        window.done(10);
        assert_eq!((window.first(), window.span()), (Some(12), 1));
        window.done(12);
        assert_eq!((window.first(), window.span()), (None, 0));
    }

    #[test]
    fn attempts_count_up_and_a_second_fail_of_one_attempt_is_ignored() {
        let mut window = Window::default();
        window.open(record(0));
        assert_eq!(window.fail(0).map(|(attempt, _)| attempt), Some(1));
        assert!(window.fail(0).is_none());
        assert_eq!(window.waiting(), 1);
        assert_eq!(window.reopen(0).map(|(attempt, _)| attempt), Some(2));
        assert!(window.reopen(0).is_none(), "its tree is open");
        assert_eq!(window.waiting(), 0);
        window.put_back(0);
        assert_eq!(window.waiting(), 1);
        assert_eq!(window.reopen(0).map(|(attempt, _)| attempt), Some(2));
        assert_eq!(window.fail(0).map(|(attempt, _)| attempt), Some(2));
        window.done(0);
        window.done(0);
        assert_eq!(window.waiting(), 0);
    }

    #[test]
    fn a_record_that_is_done_has_no_other_attempt() {
        let mut window = Window::default();
        (0..2).for_each(|offset| window.open(record(offset)));
        assert!(window.fail(1).is_some());
        window.done(1);
        assert!(window.reopen(1).is_none() && window.fail(1).is_none());
        assert_eq!(window.span(), 2);
    }

    proptest! {
        /// Against a map of every offset ever emitted to whether it is done; offsets have gaps, as after compaction.
        #[test]
        fn the_first_is_the_least_offset_not_done(
            steps in prop::collection::vec((any::<bool>(), 0usize..20, 1i64..4), 0..200),
        ) {
            let mut window = Window::default();
            let mut model: BTreeMap<i64, bool> = BTreeMap::new();
            let mut next = 0;
            for (emit, which, gap) in steps {
                if emit {
                    let offset = next + gap - 1;
                    window.open(record(offset));
                    model.insert(offset, false);
                    next = offset + 1;
                } else if let Some((&offset, done)) = model.iter_mut().rev().nth(which) {
                    window.done(offset);
                    *done = true;
                }
                let least = model.iter().find(|(_, done)| !**done).map(|(offset, _)| *offset);
                prop_assert_eq!(window.first(), least);
                prop_assert_eq!(window.span(), least.map_or(0, |least| least.abs_diff(next)));
            }
        }
    }
}
