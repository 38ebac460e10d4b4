//! Outputs that the log does not take, whatever is tried: which they are, so that the input which leads to one can be left out.
//!
//! The log says of a whole append that it is invalid. The first time, it is remembered where that was; as the batch is made
//! again, and refused again, the append is made in ever smaller parts, in transactions that are aborted, until it is known
//! which records are refused. What is staged next and is one of these fails its input: a poison like any other.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::staged::bytes_of;
use crate::log::{LogError, Record, TopicPartition, TransactionalLog};

/// How many refused records are remembered; more of them are found anew.
const MOST: usize = 1_024;

/// What is known of refused records.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Records that were refused, by what they are; the oldest first.
    records: VecDeque<(u64, Arc<str>)>,
    /// Where an append was refused, and it is not known for which record.
    suspects: BTreeSet<TopicPartition>,
    /// From how many bytes on letters to a topic are cut short.
    short_letters: BTreeMap<Arc<str>, usize>,
}

impl Refusals {
    /// Why the log does not take `record` at `at`, where it has refused it before.
    pub(crate) fn of(&self, at: &TopicPartition, record: &Record) -> Option<&Arc<str>> {
        if self.records.is_empty() {
            return None;
        }
        let what = what_it_is(at, record);
        self.records.iter().find(|(one, _)| *one == what).map(|(_, why)| why)
    }

    /// Whether appends to `at` are to be kept, in case that they are refused.
    pub(super) fn is_suspect(&self, at: &TopicPartition) -> bool {
        self.suspects.contains(at)
    }

    pub(super) fn suspect(&mut self, at: TopicPartition) {
        self.suspects.insert(at);
    }

    /// It was found which records of an append to `at` are refused, and why.
    pub(super) fn add(&mut self, at: &TopicPartition, refused: &[(Record, Arc<str>)]) {
        for (record, why) in refused {
            if self.records.len() >= MOST {
                self.records.pop_front();
            }
            self.records.push_back((what_it_is(at, record), Arc::clone(why)));
        }
    }

    /// Whether a letter of this size is to be cut short.
    pub(super) fn is_short(&self, topic: &str, letter: &Record) -> bool {
        self.short_letters.get(topic).is_some_and(|least| bytes_of(letter) >= *least)
    }

    /// A letter was refused; whether that helps.
    pub(super) fn shorten(&mut self, topic: &Arc<str>, letter: &Record) -> bool {
        let (bytes, least) = (bytes_of(letter), self.short_letters.entry(Arc::clone(topic)));
        let least = least.or_insert(usize::MAX);
        bytes < std::mem::replace(least, bytes.min(*least))
    }
}

/// A number that stands for a record of a partition: the same one, made again, has it too.
fn what_it_is(at: &TopicPartition, record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&at.topic, &record.key, &record.value).hash(&mut hasher);
    for header in &record.headers {
        (&header.key, &header.value).hash(&mut hasher);
    }
    hasher.finish()
}

/// Finds those of `records` that the log calls invalid, in transactions that are aborted: none is open before and after.
///
/// # Errors
/// Whatever else the log says, of an append or an abort.
pub(super) async fn find(
    own: &mut dyn TransactionalLog,
    at: &TopicPartition,
    records: Vec<Record>,
) -> Result<Vec<(Record, Arc<str>)>, LogError> {
    let (mut groups, mut found) = (vec![records], Vec::new());
    while let Some(mut group) = groups.pop() {
        match own.append(at, group.clone()).await {
            Ok(()) => continue,
            Err(LogError::Invalid(why)) if group.len() == 1 => {
                found.extend(group.pop().map(|record| (record, why.into())));
            }
            Err(LogError::Invalid(_)) => {
                let later = group.split_off(group.len() / 2);
                groups.extend([later, group]);
            }
            Err(error) => return Err(error),
        }
        own.abort().await?;
    }
    own.abort().await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str) -> Record {
        Record { value: Some(value.to_owned().into()), ..Record::default() }
    }

    #[test]
    fn a_refused_record_is_known_again_and_no_other_is() {
        let (mut refusals, at) = (Refusals::default(), TopicPartition::new("out", 0));
        assert_eq!(refusals.of(&at, &record("large")), None);
        refusals.add(&at, &[(record("large"), "too large".into())]);
        assert_eq!(refusals.of(&at, &record("large")).map(|why| &**why), Some("too large"));
        assert_eq!(refusals.of(&at, &record("small")), None);
        assert_eq!(refusals.of(&TopicPartition::new("other", 0), &record("large")), None);
        for number in 0..MOST {
            refusals.add(&at, &[(record(&number.to_string()), "too large".into())]);
        }
        assert_eq!((refusals.of(&at, &record("large")), refusals.records.len()), (None, MOST));
    }

    #[test]
    fn letters_are_cut_short_from_the_smallest_that_was_refused_on() {
        let (mut refusals, topic) = (Refusals::default(), Arc::from("dead"));
        assert!(!refusals.is_short("dead", &record("a letter")));
        assert!(refusals.shorten(&topic, &record("a letter")));
        assert!(refusals.is_short("dead", &record("a letter")) && !refusals.is_short("dead", &record("a")));
        assert!(!refusals.shorten(&topic, &record("a letter")), "it was short already");
        assert!(!refusals.is_short("other", &record("a letter")));
    }
}
