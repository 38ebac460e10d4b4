//! The records of one partition that are not done, in the order of their offsets.
//!
//! A record that fails holds back only the committed offset, not the records behind it: they are emitted, acknowledged
//! and kept here until it is done.
//!
//! Invariant: entries are sorted by offset, the first one is not done, and every offset below `frontier` is done.

use std::collections::VecDeque;

use topo_core::log::Consumed;

/// Where one record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Its tree is open, in this attempt.
    Open { attempt: u32 },
    /// It failed and waits for its next attempt or for its dead letter to be durable.
    Waiting { attempt: u32 },
    /// It is done, but one before it is not.
    Done,
}

#[derive(Debug)]
struct Entry {
    record: Consumed,
    state: State,
}

/// The open records of one partition.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// One past the last offset that was emitted.
    position: i64,
}

impl Window {
    /// An empty window; the first record to be emitted has offset `position` or a later one.
    pub(super) fn new(position: i64) -> Self {
        Self { entries: VecDeque::new(), position }
    }

    /// The offset to commit: every record below it is done.
    pub(super) fn frontier(&self) -> i64 {
        self.entries.front().map_or(self.position, |first| first.record.offset)
    }

    /// How many offsets lie between the frontier and the newest record.
    pub(super) fn span(&self) -> u64 {
        self.position.abs_diff(self.frontier())
    }

    /// Whether everything emitted is done.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A record was emitted for the first time.
    pub(super) fn open(&mut self, record: Consumed) {
        debug_assert!(record.offset >= self.position);
        self.position = record.offset + 1;
        self.entries.push_back(Entry { record, state: State::Open { attempt: 1 } });
    }

    fn find(&mut self, offset: i64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&offset, |entry| entry.record.offset).ok()?;
        self.entries.get_mut(at)
    }

    /// The record is done. Unknown offsets, as a predecessor's, are done already.
    pub(super) fn done(&mut self, offset: i64) {
        if let Some(entry) = self.find(offset) {
            entry.state = State::Done;
        }
        while self.entries.front().is_some_and(|first| first.state == State::Done) {
            self.entries.pop_front();
        }
    }

    /// The record's tree failed in the attempt that is open; gives that attempt and the record. `None` where no attempt is
    /// open.
    pub(super) fn fail(&mut self, offset: i64) -> Option<(u32, &Consumed)> {
        let entry = self.find(offset)?;
        let State::Open { attempt } = entry.state else { return None };
        entry.state = State::Waiting { attempt };
        Some((attempt, &entry.record))
    }

    /// The next attempt at a record that waits; gives its number and the record.
    pub(super) fn reopen(&mut self, offset: i64) -> Option<(u32, &Consumed)> {
        let entry = self.find(offset)?;
        let State::Waiting { attempt } = entry.state else { return None };
        entry.state = State::Open { attempt: attempt + 1 };
        Some((attempt + 1, &entry.record))
    }

    /// Puts a record back that could not be emitted after all.
    pub(super) fn put_back(&mut self, offset: i64) {
        if let Some(entry) = self.find(offset)
            && let State::Open { attempt } = entry.state
        {
            entry.state = State::Waiting { attempt: attempt - 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::log_spout) fn record(offset: i64) -> Consumed {
        Consumed { offset, timestamp_ms: -1, key: None, value: None, headers: Vec::new() }
    }

    #[test]
    fn the_frontier_stops_at_the_first_record_that_is_not_done() {
        let mut window = Window::new(10);
        (10..13).for_each(|offset| window.open(record(offset)));
        window.done(11);
        assert_eq!((window.frontier(), window.span()), (10, 3));
        window.done(10);
        assert_eq!((window.frontier(), window.span()), (12, 1));
        window.done(12);
        assert_eq!((window.frontier(), window.is_empty()), (13, true));
    }

    #[test]
    fn attempts_count_up_and_a_second_fail_of_one_attempt_is_ignored() {
        let mut window = Window::new(0);
        window.open(record(0));
        assert_eq!(window.fail(0).map(|(attempt, _)| attempt), Some(1));
        assert!(window.fail(0).is_none());
        assert_eq!(window.reopen(0).map(|(attempt, _)| attempt), Some(2));
        window.put_back(0);
        assert_eq!(window.reopen(0).map(|(attempt, _)| attempt), Some(2));
        assert_eq!(window.fail(0).map(|(attempt, _)| attempt), Some(2));
    }

    proptest! {
        /// Against a map of every offset ever emitted to whether it is done; offsets have gaps, as after compaction.
        #[test]
        fn the_frontier_is_the_least_offset_not_done(
            steps in prop::collection::vec((any::<bool>(), 0usize..20, 1i64..4), 0..200),
        ) {
            let mut window = Window::new(0);
            let mut model: BTreeMap<i64, bool> = BTreeMap::new();
            let mut position = 0;
            for (emit, which, gap) in steps {
                if emit {
                    let offset = position + gap - 1;
                    window.open(record(offset));
                    model.insert(offset, false);
                    position = offset + 1;
                } else if let Some((&offset, done)) = model.iter_mut().rev().nth(which) {
                    window.done(offset);
                    *done = true;
                }
                let least = model.iter().find(|(_, done)| !**done).map_or(position, |(offset, _)| *offset);
                prop_assert_eq!(window.frontier(), least);
            }
        }
    }
}
