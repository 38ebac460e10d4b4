//! What travels between tasks beside tuples: it stays behind whatever its sender sent before it.
//!
//! A signal rides on the batch that empties its outbox, or on one without tuples where there are none to carry it. It costs
//! a tuple nothing, and hastens none.

use super::bolt_executor::{BoltExecutor, outcome_of};
use super::emitter::Emitters;
use super::form::Form;
use super::holding::Doing;
use crate::ledger::RootId;
use crate::time::{EventTime, Watermark};

/// Something that a sender tells a receiver, behind the tuples of a batch.
///
/// How far event time has come is a state: a newer one replaces an older one that has not left. Nothing replaces the marker of
/// a micro-transaction, which ends its batch.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// How far the sender has come in event time.
    Time(EventTime),
    /// All that the sender had for the micro-transaction of this txid.
    Marker(u64),
}

/// How far the senders of one inbox have come, and what follows for the task that it belongs to.
///
/// Invariant: `merged.at` never goes back, although a sender may, as a spout that was given a partition which is behind. It is the least of the senders that are not idle; where all are, it is the
/// greatest, so that it does not matter who fell silent first.
#[derive(Debug, Default)]
pub(crate) struct InputTimes {
    senders: Vec<EventTime>,
    merged: EventTime,
}

impl InputTimes {
    /// For an inbox of so many senders, none of which has said anything.
    pub(crate) fn new(senders: usize) -> Self {
        Self { senders: vec![EventTime::default(); senders], merged: EventTime::default() }
    }

    /// How far the task has come.
    pub(crate) fn merged(&self) -> EventTime {
        self.merged
    }

    /// The task has come so far already, in an earlier run.
    pub(crate) fn raise(&mut self, at: Watermark) {
        self.merged.at = self.merged.at.max(at);
    }

    /// Notes what a sender says; whether that changes where the task is.
    pub(crate) fn note(&mut self, from: u32, time: EventTime) -> bool {
        let Some(sender) = self.senders.get_mut(from as usize) else { return false };
        let before = std::mem::replace(sender, time);
        if before.idle == time.idle && before.at > self.merged.at {
            // Others are behind, so it does not matter how far this one is ahead.
            return false;
        }
        let is_idle = self.senders.iter().all(|one| one.idle);
        let active = self.senders.iter().filter(|one| is_idle || !one.idle).map(|one| one.at);
        let at = if is_idle { active.max() } else { active.min() }.unwrap_or_default();
        let merged = EventTime { at: at.max(self.merged.at), idle: is_idle };
        std::mem::replace(&mut self.merged, merged) != merged
    }
}

impl<F: Form> BoltExecutor<F> {
    /// Hears what a sender says behind its tuples, has the bolt act on it and passes on what follows. `None` where the topology
    /// aborted while an instance was being replaced.
    #[cold]
    pub(super) async fn hear(&mut self, mut form: F, from: u32, signal: Signal) -> Option<F> {
        let Signal::Time(time) = signal else { return Some(form) };
        let before = self.inputs.merged().at;
        self.env.counters.heard(from, time);
        if !self.inputs.note(from, time) {
            return Some(form);
        }
        let now = self.inputs.merged().at;
        if now > before {
            self.env.task.raise_watermark(now);
            self.out.begin(RootId::UNTRACKED);
            self.env.holding.arrive().await;
            let run = form.on_watermark(now, &mut self.out, &mut self.trees);
            let outcome = outcome_of(self.env.holding.run(Doing::Watermark, run).await);
            self.trees.begin();
            if let Err(cause) = outcome {
                form = self.replace(form, cause).await?;
            }
        }
        self.tell_time();
        Some(form)
    }

    /// Passes on how far this task has come: no further than the trees that it opened itself.
    pub(super) fn tell_time(&mut self) {
        let now = self.inputs.merged();
        let time = match self.trees.hold() {
            Some(hold) => EventTime::at(now.at.min(hold)),
            None => now,
        };
        let time = EventTime { at: time.at.max(self.told_time.at), ..time };
        if time != self.told_time {
            self.told_time = time;
            self.out.signal(Signal::Time(time));
        }
        if !self.ended && time.at == Watermark::MAX && self.trees.is_empty() {
            self.ended = true;
            self.ended_in = self.txid;
            self.env.control.advance(|progress| progress.ended += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> EventTime {
        EventTime::at(Watermark(ms))
    }

    fn idle(ms: i64) -> EventTime {
        EventTime::idle(Watermark(ms))
    }

    #[test]
    fn a_task_is_as_far_as_the_last_of_its_senders() {
        let mut times = InputTimes::new(2);
        assert!(!times.note(0, at(10)));
        assert_eq!(times.merged(), EventTime::default());
        assert!(times.note(1, at(5)));
        assert_eq!(times.merged(), at(5));
        assert!(!times.note(0, at(20)));
        assert!(times.note(1, at(30)));
        assert_eq!(times.merged(), at(20));
    }

    #[test]
    fn nobody_waits_for_the_idle_and_who_comes_back_turns_no_time_back() {
        let mut times = InputTimes::new(2);
        times.note(0, at(10));
        assert!(times.note(1, idle(3)));
        assert_eq!(times.merged(), at(10));
        assert!(!times.note(1, at(4)));
        assert_eq!(times.merged(), at(10));
        assert!(!times.note(0, at(40)));
        assert!(times.note(1, idle(4)));
        assert_eq!(times.merged(), at(40));
    }

    #[test]
    fn where_all_are_idle_it_does_not_matter_who_was_first() {
        for order in [[0, 1], [1, 0]] {
            let mut times = InputTimes::new(2);
            times.note(0, at(50));
            times.note(1, at(100));
            for from in order {
                times.note(from, idle([50, 100][from as usize]));
            }
            assert_eq!(times.merged(), idle(100));
        }
    }

    proptest! {
        #[test]
        fn merged_is_the_least_of_the_active_and_never_goes_back(
            senders in 1usize..4,
            steps in prop::collection::vec((0usize..4, -20i64..20, any::<bool>()), 0..60),
        ) {
            let mut times = InputTimes::new(senders);
            let mut model = vec![EventTime::default(); senders];
            let mut furthest = Watermark::MIN;
            for (from, ms, is_idle) in steps {
                let from = from % senders;
                model[from] = EventTime { at: Watermark(ms), idle: is_idle };
                times.note(from as u32, model[from]);
                let active = model.iter().filter(|one| !one.idle).map(|one| one.at).min();
                let now = active.or(model.iter().map(|one| one.at).max()).unwrap_or_default();
                furthest = furthest.max(now);
                prop_assert_eq!(times.merged(), EventTime { at: furthest, idle: active.is_none() });
            }
        }
    }
}
