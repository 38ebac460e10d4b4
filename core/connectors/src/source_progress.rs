//! How far the spouts of a topology have come, for their successors and for whoever waits for an offset to be done.
//!
//! Invariant: a partition is read by one component, because a group has one committed offset for it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use topo_core::log::TopicPartition;

use crate::dead_letters::{Causes, Death, LetterKind};

/// Shared by the spouts that read the log and by those who wait for them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SourceProgress(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    places: HashMap<TopicPartition, Place>,
    causes: Causes,
}

/// How far one partition is read.
#[derive(Debug)]
struct Place {
    /// Who reads it.
    component: Arc<str>,
    /// Where an instance of the spout goes on if the one before it broke; `None` while the first one finds out where to
    /// begin.
    resume: Option<i64>,
    /// Everything below is done, durably. `None` while nothing is known.
    committed: Option<i64>,
}

/// Two spouts want the same partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "spout `{reader}` reads partition {at} already, and a topology commits one offset for it; subscribe more bolts to \
     that spout instead"
)]
pub(crate) struct ReadTwice {
    at: TopicPartition,
    reader: Arc<str>,
}

impl SourceProgress {
    /// Claims a partition for `component`, and says where an earlier instance of its spout would go on.
    pub(crate) fn claim(&self, at: &TopicPartition, component: &Arc<str>) -> Result<Option<i64>, ReadTwice> {
        let mut claimed = Ok(None);
        self.0.send_if_modified(|state| {
            match state.places.get(at) {
                Some(place) if place.component != *component => {
                    claimed = Err(ReadTwice { at: at.clone(), reader: Arc::clone(&place.component) });
                }
                Some(place) => claimed = Ok(place.resume),
                None => {
                    let place = Place { component: Arc::clone(component), resume: None, committed: None };
                    state.places.insert(at.clone(), place);
                }
            }
            false
        });
        claimed
    }

    /// A spout reads from `offset` on; `committed` says whether that is what its group has committed.
    pub(crate) fn begun(&self, at: &TopicPartition, offset: i64, committed: bool) {
        self.0.send_modify(|state| {
            if let Some(place) = state.places.get_mut(at) {
                place.resume = Some(offset);
                place.committed = committed.then_some(offset);
            }
        });
    }

    /// A spout committed `offset`: all records below it are done, durably.
    pub(crate) fn committed(&self, at: &TopicPartition, offset: i64) {
        self.begun(at, offset, true);
    }

    /// Records went to the dead letters.
    pub(crate) fn dead_lettered<'a>(&self, deaths: impl Iterator<Item = Death<'a>>) {
        self.0.send_modify(|state| deaths.for_each(|death| state.causes.note(death)));
    }

    /// Waits until every record below these offsets is done and committed. A partition that no spout reads never comes
    /// so far; [`reads`](Self::reads) tells.
    pub async fn reached(&self, ends: &[(TopicPartition, i64)]) {
        let mut state = self.0.subscribe();
        let done = |state: &State| {
            let committed = |at| state.places.get(at).and_then(|place| place.committed);
            ends.iter().all(|(at, end)| committed(at).is_some_and(|offset| offset >= *end))
        };
        // The sender lives in `self`, so waiting cannot end without a value.
        let _ = state.wait_for(done).await;
    }

    /// Whether a spout reads this partition.
    pub fn reads(&self, at: &TopicPartition) -> bool {
        self.0.borrow().places.contains_key(at)
    }

    /// What records are in the dead letters for.
    pub fn causes(&self) -> Causes {
        self.0.borrow().causes.clone()
    }

    /// Records that a bolt refused and that are in the dead letters.
    pub fn rejected(&self) -> u64 {
        self.0.borrow().causes.total(LetterKind::Rejected)
    }

    /// Records that ran out of attempts and are in the dead letters.
    pub fn exhausted(&self) -> u64 {
        self.0.borrow().causes.total(LetterKind::Exhausted)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_offset_is_reached_once_everything_below_it_is_committed() {
        let progress = SourceProgress::default();
        let [one, two] = [0, 1].map(|number| TopicPartition::new("lines", number));
        let ends = [(one.clone(), 3), (two.clone(), 0)];
        let reached = || progress.reached(&ends).now_or_never().is_some();
        for at in [&one, &two] {
            assert_eq!(progress.claim(at, &"lines".into()), Ok(None));
            assert!(progress.reads(at));
        }
        progress.begun(&one, 0, true);
        progress.begun(&two, 0, false);
        progress.committed(&one, 3);
        assert!(!reached(), "what the other partition begins with is not committed");
        progress.committed(&two, 0);
        assert!(reached());
        assert_eq!(progress.claim(&one, &"lines".into()), Ok(Some(3)), "a successor goes on");
    }

    #[test]
    fn a_second_reader_is_refused() {
        let progress = SourceProgress::default();
        let at = TopicPartition::new("lines", 0);
        assert_eq!(progress.claim(&at, &"first".into()), Ok(None));
        let refused = progress.claim(&at, &"second".into()).unwrap_err().to_string();
        assert!(refused.starts_with("spout `first` reads partition lines-0 already"), "{refused}");
    }
}
