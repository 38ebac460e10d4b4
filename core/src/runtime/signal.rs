//! What travels between tasks beside tuples: it stays behind whatever its sender sent before it.
//!
//! A signal rides on the batch that empties its outbox, or on one without tuples where there are none to carry it. It costs
//! a tuple nothing, and hastens none.

use crate::time::EventTime;

/// Something that a sender tells a receiver, behind the tuples of a batch.
///
/// How far event time has come is a state: a newer one replaces an older one that has not left. The marker of a
/// micro-transaction would be another variant, which nothing replaces and which ends its batch.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// How far the sender has come in event time.
    Time(EventTime),
}

/// How far the senders of one inbox have come, and what follows for the task that it belongs to.
///
/// Invariant: `merged.at` never goes back. It is the least of the senders that are not idle; where all are, it is the
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
    pub(crate) fn raise(&mut self, at: crate::time::Watermark) {
        self.merged.at = self.merged.at.max(at);
    }

    /// Notes what a sender says; whether that changes where the task is.
    pub(crate) fn note(&mut self, from: u32, time: EventTime) -> bool {
        let Some(sender) = self.senders.get_mut(from as usize) else { return false };
        let before = std::mem::replace(sender, EventTime { at: sender.at.max(time.at), ..time });
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Watermark;

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
                model[from] = EventTime { at: model[from].at.max(Watermark(ms)), idle: is_idle };
                times.note(from as u32, EventTime { at: Watermark(ms), idle: is_idle });
                let active = model.iter().filter(|one| !one.idle).map(|one| one.at).min();
                let now = active.or(model.iter().map(|one| one.at).max()).unwrap_or_default();
                furthest = furthest.max(now);
                prop_assert_eq!(times.merged(), EventTime { at: furthest, idle: active.is_none() });
            }
        }
    }
}
