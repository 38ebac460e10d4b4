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
/// How far event time has come is a state: a newer one replaces an older one that has not left, and its end says how far it
/// had come before. Nothing replaces the marker of a micro-transaction, which ends its batch.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// How far the sender has come in event time.
    Time(EventTime),
    /// Event time is over for the sender, which had come as far as this before.
    End(EventTime),
    /// All that the sender had for the micro-transaction of this txid.
    Marker(u64),
}

/// How far somebody has come in event time, and whether that was the end of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Before the end, where it has ended.
    pub(crate) time: EventTime,
    pub(crate) is_over: bool,
}

impl Reached {
    pub(crate) fn signal(self) -> Signal {
        if self.is_over { Signal::End(self.time) } else { Signal::Time(self.time) }
    }
}

/// How far the senders of one inbox have come, and what follows for the task that it belongs to.
///
/// Invariant: `merged.at` never goes back, although a sender may, as a spout that was given a partition which is behind. It is
/// the least of the senders that are not idle; where all are, it is the greatest, so that it does not matter who fell silent
/// first. A sender whose event time is over counts as it did before: what a task keeps of how far it has come does not hang
/// on how soon it hears of the end.
#[derive(Debug, Default)]
pub(crate) struct InputTimes {
    senders: Vec<Reached>,
    merged: EventTime,
    /// How many senders have not said that event time is over.
    going_on: usize,
}

impl InputTimes {
    /// For an inbox of so many senders, none of which has said anything.
    pub(crate) fn new(senders: usize) -> Self {
        Self { senders: vec![Reached::default(); senders], merged: EventTime::default(), going_on: senders }
    }

    /// How far the task has come, before the end where event time is over.
    pub(crate) fn merged(&self) -> EventTime {
        self.merged
    }

    /// Whether event time is over for all senders.
    pub(crate) fn are_over(&self) -> bool {
        self.going_on == 0 && !self.senders.is_empty()
    }

    /// The task has come so far already, in an earlier run.
    pub(crate) fn raise(&mut self, at: Watermark) {
        self.merged.at = self.merged.at.max(at);
    }

    /// Notes what a sender says; whether that changes where the task is.
    pub(crate) fn note(&mut self, from: u32, reached: Reached) -> bool {
        let Some(sender) = self.senders.get_mut(from as usize) else { return false };
        let Reached { time: before, is_over: was_over } = std::mem::replace(sender, reached);
        let were_over = self.going_on == 0;
        self.going_on = self.going_on + usize::from(was_over) - usize::from(reached.is_over);
        let is_end = (self.going_on == 0) != were_over;
        if before.idle == reached.time.idle && before.at > self.merged.at {
            // Others are behind, so it does not matter how far this one is ahead.
            return is_end;
        }
        let is_idle = self.senders.iter().all(|one| one.time.idle);
        let active = self.senders.iter().filter(|one| is_idle || !one.time.idle).map(|one| one.time.at);
        let at = if is_idle { active.max() } else { active.min() }.unwrap_or_default();
        let merged = EventTime { at: at.max(self.merged.at), idle: is_idle };
        std::mem::replace(&mut self.merged, merged) != merged || is_end
    }
}

impl<F: Form> BoltExecutor<F> {
    /// Hears what a sender says behind its tuples, has the bolt act on it and passes on what follows. `None` where the topology
    /// aborted while an instance was being replaced.
    #[cold]
    pub(super) async fn hear(&mut self, mut form: F, from: u32, signal: Signal) -> Option<F> {
        let reached = match signal {
            Signal::Time(time) => Reached { time, is_over: false },
            Signal::End(time) => Reached { time, is_over: true },
            Signal::Marker(_) => return Some(form),
        };
        let (before, were_over) = (self.inputs.merged().at, self.inputs.are_over());
        if !self.inputs.note(from, reached) {
            return Some(form);
        }
        let (now, backs) = (self.inputs.merged().at, self.backs);
        if now > before {
            form = self.act_on_time(form, now).await?;
        }
        if self.inputs.are_over() && !were_over && self.backs == backs {
            form = self.act_on_time(form, Watermark::MAX).await?;
        }
        self.tell_time();
        Some(form)
    }

    /// Tells the bolt how far event time has come. `None` where the topology aborted while an instance was being replaced.
    async fn act_on_time(&mut self, mut form: F, at: Watermark) -> Option<F> {
        self.env.task.raise_watermark(at);
        self.out.begin(RootId::UNTRACKED);
        self.env.holding.arrive().await;
        let run = form.on_watermark(at, &mut self.out, &mut self.trees);
        let outcome = outcome_of(self.env.holding.run(Doing::Watermark, run).await);
        self.trees.begin();
        if let Err(cause) = outcome {
            form = self.replace(form, cause).await?;
        }
        Some(form)
    }

    /// Passes on how far this task has come: no further than the trees that it opened itself.
    pub(super) fn tell_time(&mut self) {
        let (now, is_over) = (self.inputs.merged(), self.inputs.are_over());
        let (time, is_over) = match self.trees.hold() {
            Some(hold) => (EventTime::at(now.at.min(hold)), false),
            None => (now, is_over),
        };
        let time = EventTime { at: time.at.max(self.told_time.time.at), ..time };
        let reached = Reached { time, is_over };
        if reached != self.told_time {
            self.told_time = reached;
            self.out.signal(reached.signal());
        }
        if !self.ended && is_over && self.trees.is_empty() {
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

    fn at(ms: i64) -> Reached {
        Reached { time: EventTime::at(Watermark(ms)), is_over: false }
    }

    fn idle(ms: i64) -> Reached {
        Reached { time: EventTime::idle(Watermark(ms)), is_over: false }
    }

    fn over(reached: Reached) -> Reached {
        Reached { is_over: true, ..reached }
    }

    #[test]
    fn a_task_is_as_far_as_the_last_of_its_senders() {
        let mut times = InputTimes::new(2);
        assert!(!times.note(0, at(10)));
        assert_eq!(times.merged(), EventTime::default());
        assert!(times.note(1, at(5)));
        assert_eq!(times.merged(), at(5).time);
        assert!(!times.note(0, at(20)));
        assert!(times.note(1, at(30)));
        assert_eq!(times.merged(), at(20).time);
    }

    #[test]
    fn nobody_waits_for_the_idle_and_who_comes_back_turns_no_time_back() {
        let mut times = InputTimes::new(2);
        times.note(0, at(10));
        assert!(times.note(1, idle(3)));
        assert_eq!(times.merged(), at(10).time);
        assert!(!times.note(1, at(4)));
        assert_eq!(times.merged(), at(10).time);
        assert!(!times.note(0, at(40)));
        assert!(times.note(1, idle(4)));
        assert_eq!(times.merged(), at(40).time);
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
            assert_eq!(times.merged(), idle(100).time);
        }
    }

    #[test]
    fn the_end_is_heard_once_it_has_come_for_all_and_changes_nothing_of_how_far_they_had_come() {
        let mut times = InputTimes::new(3);
        assert!(!times.note(0, over(at(100))));
        assert!(!times.note(2, over(idle(i64::MIN))));
        assert!(times.note(1, at(40)));
        assert_eq!((times.merged(), times.are_over()), (at(40).time, false));
        // The newest that it said and its end may come as one.
        assert!(times.note(1, over(at(70))));
        assert_eq!((times.merged(), times.are_over()), (at(70).time, true));
        assert!(!times.note(1, over(at(70))));
    }

    #[test]
    fn where_nothing_else_is_news_the_end_is() {
        let mut times = InputTimes::new(1);
        times.note(0, at(5));
        assert!(times.note(0, over(at(5))));
        assert!(times.are_over());
        assert!(!InputTimes::new(0).are_over());
    }

    proptest! {
        #[test]
        fn merged_is_the_least_of_the_active_and_never_goes_back(
            senders in 1usize..4,
            steps in prop::collection::vec((0usize..4, -20i64..20, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let mut times = InputTimes::new(senders);
            let mut model = vec![Reached::default(); senders];
            let mut furthest = Watermark::MIN;
            for (from, ms, idle, is_over) in steps {
                let from = from % senders;
                model[from] = Reached { time: EventTime { at: Watermark(ms), idle }, is_over };
                let before = (times.merged(), times.are_over());
                let is_news = times.note(from as u32, model[from]);
                let active = model.iter().map(|one| one.time).filter(|one| !one.idle).map(|one| one.at).min();
                let now = active.or(model.iter().map(|one| one.time.at).max()).unwrap_or_default();
                furthest = furthest.max(now);
                prop_assert_eq!(times.merged(), EventTime { at: furthest, idle: active.is_none() });
                prop_assert_eq!(times.are_over(), model.iter().all(|one| one.is_over));
                prop_assert_eq!(is_news, before != (times.merged(), times.are_over()));
            }
        }
    }
}
