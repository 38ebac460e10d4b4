//! How far the spouts of a topology have come, for their successors and for whoever waits for an offset to be done.
//!
//! Invariant: a topic is read by one component, because a group divides it, and has one committed offset for each of its
//! partitions.

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
    /// Who reads each topic.
    readers: HashMap<Arc<str>, Arc<str>>,
    places: HashMap<TopicPartition, Place>,
    causes: Causes,
}

/// How far this process has read one partition.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where an instance of the spout goes on if the one before it broke.
    resume: i64,
    /// Everything below is done, durably. `None` while nothing is known.
    committed: Option<i64>,
}

/// Where a spout begins that gets a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// This process has not read the partition before.
    Fresh,
    /// At what is committed: here, or by whoever had the partition since.
    Committed,
    /// Here, where this process began; it has committed nothing since.
    At(i64),
}

/// Two spouts want the same topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "spout `{reader}` reads topic `{topic}` already, and a topology commits one offset for each of its partitions; \
     subscribe more bolts to that spout instead"
)]
pub(crate) struct ReadTwice {
    topic: Arc<str>,
    reader: Arc<str>,
}

impl SourceProgress {
    /// Claims a topic for `component`.
    pub(crate) fn claim(&self, topic: &Arc<str>, component: &Arc<str>) -> Result<(), ReadTwice> {
        let mut claimed = Ok(());
        self.0.send_if_modified(|state| {
            let reader = state.readers.entry(Arc::clone(topic)).or_insert_with(|| Arc::clone(component));
            if reader != component {
                claimed = Err(ReadTwice { topic: Arc::clone(topic), reader: Arc::clone(reader) });
            }
            false
        });
        claimed
    }

    /// Where a spout begins that gets the partition now.
    pub(crate) fn resume(&self, at: &TopicPartition) -> Resume {
        match self.0.borrow().places.get(at) {
            None => Resume::Fresh,
            Some(Place { committed: Some(_), .. }) => Resume::Committed,
            Some(Place { resume, committed: None }) => Resume::At(*resume),
        }
    }

    /// A spout reads from `offset` on; `committed` says whether that is what its group has committed.
    pub(crate) fn begun(&self, at: &TopicPartition, offset: i64, committed: bool) {
        let place = Place { resume: offset, committed: committed.then_some(offset) };
        self.0.send_modify(|state| {
            state.places.insert(at.clone(), place);
        });
    }

    /// A spout committed `offset`: all records below it are done, durably. Of two that had the partition one after the
    /// other, the earlier may be heard later.
    pub(crate) fn committed(&self, at: &TopicPartition, offset: i64) {
        self.0.send_modify(|state| {
            let place = state.places.entry(at.clone()).or_insert(Place { resume: offset, committed: None });
            place.committed = place.committed.max(Some(offset));
        });
    }

    /// Records went to the dead letters.
    pub(crate) fn dead_lettered<'a>(&self, deaths: impl Iterator<Item = Death<'a>>) {
        self.0.send_modify(|state| deaths.for_each(|death| state.causes.note(death)));
    }

    /// Waits until every record below these offsets is done and committed by this process. A topic that no spout reads never
    /// comes so far; [`reads`](Self::reads) tells.
    pub async fn reached(&self, ends: &[(TopicPartition, i64)]) {
        let mut state = self.0.subscribe();
        let done = |state: &State| {
            let committed = |at| state.places.get(at).and_then(|place| place.committed);
            ends.iter().all(|(at, end)| committed(at).is_some_and(|offset| offset >= *end))
        };
        // The sender lives in `self`, so waiting cannot end without a value.
        let _ = state.wait_for(done).await;
    }

    /// Whether a spout reads this topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.0.borrow().readers.contains_key(topic)
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
        assert_eq!(progress.claim(&"lines".into(), &"lines".into()), Ok(()));
        assert!(progress.reads("lines") && !progress.reads("other"));
        progress.begun(&one, 0, true);
        progress.begun(&two, 0, false);
        progress.committed(&one, 3);
        assert!(!reached(), "what the other partition begins with is not committed");
        progress.committed(&two, 0);
        assert!(reached());
        assert_eq!(progress.claim(&"lines".into(), &"lines".into()), Ok(()), "a successor");
    }

    #[test]
    fn a_successor_goes_on_where_nothing_is_committed_and_behind_what_is() {
        let progress = SourceProgress::default();
        let at = TopicPartition::new("lines", 0);
        assert_eq!(progress.resume(&at), Resume::Fresh);
        progress.begun(&at, 7, false);
        assert_eq!(progress.resume(&at), Resume::At(7));
        progress.committed(&at, 9);
        assert_eq!(progress.resume(&at), Resume::Committed);
    }

    #[test]
    fn a_second_reader_is_refused() {
        let progress = SourceProgress::default();
        let topic = "lines".into();
        assert_eq!(progress.claim(&topic, &"first".into()), Ok(()));
        let refused = progress.claim(&topic, &"second".into()).unwrap_err().to_string();
        assert!(refused.starts_with("spout `first` reads topic `lines` already"), "{refused}");
    }
}
