//! The order of micro-transactions: which batch is open, who has passed its marker, when it commits, and how all that is
//! not committed is taken back. A pure state machine.
//!
//! Invariants: one batch closes or commits at a time, in the order of txids; what was handed over for a batch that fails is
//! never committed; tasks drop what they were sent only after all have stopped sending.

use std::sync::Arc;

use super::staged::Staged;

/// What the tasks are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Emit into the batch that is open.
    Open,
    /// The same; and send the marker of the batch before it, and pass that.
    Closing,
    /// Stop, and drop what is about to be sent.
    Halting,
    /// Drop what was sent, and go back to what is committed.
    Clearing,
    /// All have gone back; the spouts are let go after a while.
    Waiting,
    /// No batch comes any more.
    Over,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Coordinator {
    phase: Phase,
    /// The batch that is open, or is made again.
    txid: u64,
    /// The newest batch that is committed.
    committed: u64,
    committing: bool,
    /// Which tasks have passed the marker, or have arrived where all are waited for.
    there: Vec<bool>,
    staged: Staged,
    /// Why what is not committed has to be taken back.
    failed: Option<Arc<str>>,
    /// Whether that passes by itself, as an outage of the log does.
    is_outage: bool,
    /// Whether it is known which record failed, so that it can be left out in the end.
    is_blamed: bool,
    /// How often in a row a batch failed.
    failures: u32,
    /// How often in a row one failed that no record is to blame for.
    strikes: u32,
    /// Whether the batch that is closing, or commits, is the last.
    is_last: bool,
}

impl Coordinator {
    /// For so many tasks.
    pub(crate) fn new(tasks: usize) -> Self {
        Self {
            phase: Phase::Open,
            txid: 1,
            committed: 0,
            committing: false,
            there: vec![false; tasks],
            staged: Staged::default(),
            failed: None,
            is_outage: false,
            is_blamed: false,
            failures: 0,
            strikes: 0,
            is_last: false,
        }
    }

    /// An earlier run committed batches up to `txid`. Changes nothing once the first batch here was closed.
    pub(crate) fn begin_after(&mut self, txid: u64) {
        if self.phase == Phase::Open && !self.committing && self.txid == self.committed + 1 {
            self.committed = self.committed.max(txid);
            self.txid = self.committed + 1;
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn txid(&self) -> u64 {
        self.txid
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    #[cfg(test)]
    fn is_under_way(&self) -> bool {
        self.committing || self.phase == Phase::Closing
    }

    /// How often in a row a batch failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How often in a row one failed that no record is to blame for.
    pub(crate) fn strikes(&self) -> u32 {
        self.strikes
    }

    /// Whether the batch that is closing, or commits, is the last.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether the batch that is open may be closed: one closes or commits at a time.
    pub(crate) fn may_close(&self) -> bool {
        self.phase == Phase::Open && !self.committing && self.failed.is_none()
    }

    /// Has the tasks pass the marker of the batch that is open, and opens the next one. After the last one, nothing is
    /// emitted any more.
    pub(crate) fn close(&mut self, is_last: bool) -> bool {
        let closes = self.may_close();
        if closes {
            (self.phase, self.is_last) = (Phase::Closing, is_last);
            self.txid += 1;
            self.there.fill(false);
        }
        closes
    }

    /// A task has passed the marker and hands over what it has for the batch. Gives all of the batch once everybody has: it
    /// is to be committed.
    pub(crate) fn pass(&mut self, task: usize, txid: u64, staged: Staged) -> Option<Staged> {
        if self.phase != Phase::Closing || txid + 1 != self.txid || self.failed.is_some() {
            return None;
        }
        let there = self.there.get_mut(task).filter(|there| !**there)?;
        *there = true;
        self.staged.add(staged);
        if !self.there.iter().all(|there| *there) {
            return None;
        }
        self.committing = true;
        self.phase = Phase::Open;
        Some(std::mem::take(&mut self.staged))
    }

    /// The batch before the open one is committed; it may have been empty.
    pub(crate) fn committed_one(&mut self, is_empty: bool) {
        self.committing = false;
        self.committed = self.txid - 1;
        if !is_empty {
            self.strikes = 0;
        }
        if self.failed.is_some() {
            return self.halt();
        }
        self.failures = 0;
        if self.is_last {
            self.phase = Phase::Over;
        }
    }

    /// The batch before the open one could not be committed. It is the one to be done again, and what came after it goes
    /// with it.
    pub(crate) fn aborted_one(&mut self, why: Arc<str>, is_outage: bool) {
        self.committing = false;
        self.txid -= 1;
        self.failed = Some(why);
        self.is_outage = is_outage;
        self.halt();
    }

    /// Something of what is not committed failed. Whether that is news.
    pub(crate) fn fail(&mut self, why: Arc<str>) -> bool {
        if !matches!(self.phase, Phase::Open | Phase::Closing) || self.failed.is_some() {
            return false;
        }
        (self.failed, self.is_outage) = (Some(why), false);
        if self.phase == Phase::Closing {
            self.txid -= 1;
            self.halt();
        } else if !self.committing {
            // How the transaction that is being committed ends decides what everybody goes back to.
            self.halt();
        }
        true
    }

    /// It is known which record failed.
    pub(crate) fn blame(&mut self) {
        self.is_blamed |= self.failed.is_some();
    }

    fn halt(&mut self) {
        self.phase = Phase::Halting;
        self.there.fill(false);
        self.staged = Staged::default();
        self.failures = self.failures.saturating_add(1);
    }

    /// A task has done what `phase` asks of it. Whether all have, so that the next phase began.
    pub(crate) fn arrive(&mut self, task: usize, phase: Phase) -> bool {
        if phase != self.phase || !matches!(phase, Phase::Halting | Phase::Clearing) {
            return false;
        }
        if let Some(there) = self.there.get_mut(task) {
            *there = true;
        }
        if !self.there.iter().all(|there| *there) {
            return false;
        }
        self.there.fill(false);
        if phase == Phase::Halting {
            self.phase = Phase::Clearing;
            return true;
        }
        // By now every spout has heard which of its records failed.
        self.phase = Phase::Waiting;
        self.strikes = match (self.is_blamed, self.is_outage) {
            (true, _) => 0,
            (false, true) => self.strikes,
            (false, false) => self.strikes.saturating_add(1),
        };
        true
    }

    /// Lets everybody go on after all went back; where nothing more is to be emitted, it is over.
    pub(crate) fn go_on(&mut self, is_draining: bool) {
        if self.phase == Phase::Waiting {
            (self.failed, self.is_blamed, self.is_last) = (None, false, false);
            self.phase = if is_draining { Phase::Over } else { Phase::Open };
        }
    }

    /// Nothing comes any more, whatever is open.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Over;
    }

    /// Why it is being gone back.
    pub(crate) fn why(&self) -> Option<&Arc<str>> {
        self.failed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Pieces, Record, TopicPartition};

    fn staged(txid: u64) -> Staged {
        let record = Record { timestamp_ms: Some(txid as i64), ..Record::default() };
        Staged {
            records: [(TopicPartition::new("out", 0), Pieces::from_iter([record]))].into(),
            ..Staged::default()
        }
    }

    fn go_back(coordinator: &mut Coordinator, tasks: usize) {
        for phase in [Phase::Halting, Phase::Clearing] {
            assert_eq!(coordinator.phase(), phase);
            (0..tasks).for_each(|task| assert_eq!(coordinator.arrive(task, phase), task + 1 == tasks));
        }
        coordinator.go_on(false);
        assert_eq!(coordinator.phase(), Phase::Open);
    }

    #[test]
    fn a_batch_closes_while_the_next_is_open_and_commits_once_all_have_passed() {
        let mut coordinator = Coordinator::new(2);
        assert!(coordinator.close(false) && !coordinator.close(false));
        assert_eq!((coordinator.txid(), coordinator.phase()), (2, Phase::Closing));
        assert!(coordinator.pass(0, 1, staged(1)).is_none());
        assert!(coordinator.pass(0, 1, staged(1)).is_none(), "once each");
        assert_eq!(coordinator.pass(1, 1, staged(1)).map(|all| all.len()), Some(2));
        assert_eq!((coordinator.txid(), coordinator.phase()), (2, Phase::Open));
        assert!(!coordinator.close(false), "one commits at a time");
        coordinator.committed_one(false);
        assert!(coordinator.close(false));
        assert_eq!((coordinator.committed(), coordinator.txid()), (1, 3));
    }

    #[test]
    fn what_fails_during_a_commit_waits_for_how_that_ends() {
        for (is_good, again) in [(true, 2), (false, 1)] {
            let mut coordinator = Coordinator::new(1);
            coordinator.close(false);
            assert!(coordinator.pass(0, 1, staged(1)).is_some());
            assert!(coordinator.fail("a bolt".into()));
            assert_eq!(coordinator.phase(), Phase::Open);
            if is_good {
                coordinator.committed_one(false);
            } else {
                coordinator.aborted_one("away".into(), true);
            }
            go_back(&mut coordinator, 1);
            assert_eq!((coordinator.txid(), coordinator.committed()), (again, again - 1));
        }
    }

    #[test]
    fn nothing_of_a_batch_that_failed_is_handed_out() {
        let mut coordinator = Coordinator::new(2);
        coordinator.close(false);
        coordinator.pass(0, 1, staged(1));
        assert!(coordinator.fail("a bolt".into()) && !coordinator.fail("again".into()));
        assert_eq!(coordinator.txid(), 1);
        assert!(coordinator.pass(1, 1, staged(1)).is_none());
        go_back(&mut coordinator, 2);
        coordinator.close(false);
        coordinator.pass(0, 1, staged(1));
        assert_eq!(coordinator.pass(1, 1, staged(1)).map(|all| all.len()), Some(2));
    }

    #[test]
    fn after_the_last_batch_it_is_over_and_a_last_one_that_fails_is_left_undone() {
        let mut coordinator = Coordinator::new(1);
        coordinator.close(true);
        coordinator.pass(0, 1, Staged::default());
        coordinator.committed_one(true);
        assert_eq!(coordinator.phase(), Phase::Over);
        let mut coordinator = Coordinator::new(1);
        coordinator.close(true);
        coordinator.fail("a bolt".into());
        coordinator.arrive(0, Phase::Halting);
        coordinator.arrive(0, Phase::Clearing);
        coordinator.go_on(true);
        assert_eq!((coordinator.phase(), coordinator.committed()), (Phase::Over, 0));
    }

    #[test]
    fn failures_that_no_record_is_to_blame_for_are_counted_until_something_is_committed() {
        let mut coordinator = Coordinator::new(1);
        for strikes in 1..=3 {
            coordinator.fail("a window's result".into());
            go_back(&mut coordinator, 1);
            assert_eq!(coordinator.strikes(), strikes);
        }
        coordinator.close(false);
        coordinator.pass(0, 1, Staged::default());
        coordinator.committed_one(true);
        assert_eq!(coordinator.strikes(), 3, "nothing was in it");
        coordinator.close(false);
        coordinator.pass(0, 2, Staged::default());
        coordinator.aborted_one("away".into(), true);
        go_back(&mut coordinator, 1);
        assert_eq!(coordinator.strikes(), 3, "an outage passes");
        coordinator.fail("a bolt".into());
        coordinator.blame();
        go_back(&mut coordinator, 1);
        assert_eq!(coordinator.strikes(), 0);
    }

    #[test]
    fn txids_go_on_from_what_an_earlier_run_committed() {
        let mut coordinator = Coordinator::new(1);
        coordinator.begin_after(7);
        coordinator.begin_after(5);
        assert_eq!((coordinator.committed(), coordinator.txid()), (7, 8));
        coordinator.close(false);
        coordinator.begin_after(20);
        assert_eq!((coordinator.committed(), coordinator.txid()), (7, 9));
    }

    proptest! {
        /// Whatever happens in whatever order: txids are committed one after the other, each with what every task handed
        /// over for it in its last attempt, and only while nothing of it has failed.
        #[test]
        fn txids_are_committed_in_order_and_whole(
            tasks in 1usize..4, steps in prop::collection::vec((0u8..6, 0usize..4, any::<bool>()), 0..200),
        ) {
            let mut coordinator = Coordinator::new(tasks);
            let mut under_way: Option<u64> = None;
            let mut done = 0;
            for (step, task, good) in steps {
                let task = task % tasks;
                match step {
                    0 => { coordinator.close(false); }
                    1 => {
                        let txid = coordinator.txid() - 1;
                        if let Some(all) = coordinator.pass(task, txid, staged(txid)) {
                            prop_assert_eq!(under_way, None);
                            prop_assert_eq!(txid, done + 1);
                            prop_assert_eq!(all.len(), tasks as u64);
                            let stamps = all.records.values().flat_map(Pieces::iter).map(|one| one.timestamp_ms);
                            prop_assert!(stamps.into_iter().all(|stamp| stamp == Some(txid as i64)));
                            under_way = Some(txid);
                        }
                    }
                    2 if under_way.is_some() => {
                        let txid = under_way.take().unwrap_or_default();
                        if good {
                            done = txid;
                            coordinator.committed_one(false);
                        } else {
                            coordinator.aborted_one("away".into(), false);
                        }
                    }
                    3 => { coordinator.fail("a bolt".into()); }
                    4 => { coordinator.arrive(task, coordinator.phase()); }
                    _ => coordinator.go_on(false),
                }
                prop_assert_eq!(coordinator.committed(), done);
                prop_assert!(under_way.is_none() || coordinator.is_under_way());
                prop_assert_eq!(coordinator.txid(), done + 1 + u64::from(coordinator.is_under_way()));
            }
        }
    }
}
