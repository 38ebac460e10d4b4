//! Outputs that the log does not take, whatever is tried: which they are, so that the input which leads to one can be left out.
//!
//! The log says of a whole append that it is invalid, and a log that takes it on trust at first says so later. So from then on
//! each append is waited for and kept; as the batch is made again, and refused again, that append is made in ever smaller
//! parts, in transactions that are aborted, until it is known which records are refused. What is staged next and is one of
//! these fails its input: a poison like any other.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::staged::bytes_of;
use crate::log::{LogError, Record, TopicPartition, TransactionalLog};

/// How many refused records are remembered; more of them are found anew.
const MOST: usize = 1_024;

/// What is known of refused records.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Why records were refused, by what they are.
    records: HashMap<u64, Arc<str>>,
    /// The same, the oldest first.
    order: VecDeque<u64>,
    /// Whether something was refused, and it is not known which record.
    searches: bool,
    /// From how many bytes on letters to a topic are cut short.
    short_letters: BTreeMap<Arc<str>, usize>,
}

impl Refusals {
    /// Why the log does not take a record, [by what it is](what_it_is), where it has refused it before.
    pub(crate) fn of(&self, what: u64) -> Option<&Arc<str>> {
        self.records.get(&what)
    }

    /// Whether appends are to be kept, and waited for, so that it is found which record is refused.
    pub(super) fn searches(&self) -> bool {
        self.searches
    }

    /// Something was refused, and it is not known which record.
    pub(super) fn search(&mut self) {
        self.searches = true;
    }

    /// All of a batch was taken: nothing is left to be found.
    pub(super) fn search_no_more(&mut self) {
        self.searches = false;
    }

    /// It was found which records of an append to `at` are refused, and why.
    pub(super) fn add(&mut self, at: &TopicPartition, refused: &[(Record, Arc<str>)]) {
        self.searches &= refused.is_empty();
        for (record, why) in refused {
            let what = what_it_is(at, record);
            if self.records.insert(what, Arc::clone(why)).is_some() {
                continue;
            }
            self.order.push_back(what);
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.records.remove(&oldest);
            }
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
pub(crate) fn what_it_is(at: &TopicPartition, record: &Record) -> u64 {
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
        let appended = match own.append(at, group.clone()).await {
            Ok(()) => own.flush().await,
            refused => refused,
        };
        match appended {
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
        let large = what_it_is(&at, &record("large"));
        assert_eq!(refusals.of(large), None);
        refusals.search();
        refusals.add(&at, &[]);
        assert!(refusals.searches(), "nothing was found");
        for _ in 0..2 {
            refusals.add(&at, &[(record("large"), "too large".into())]);
        }
        assert!(!refusals.searches());
        assert_eq!(refusals.of(large).map(|why| &**why), Some("too large"));
        assert_eq!(refusals.of(what_it_is(&at, &record("small"))), None);
        assert_eq!(refusals.of(what_it_is(&TopicPartition::new("other", 0), &record("large"))), None);
        for number in 1..MOST {
            refusals.add(&at, &[(record(&number.to_string()), "too large".into())]);
        }
        assert!(refusals.of(large).is_some(), "what is refused again takes no place of another");
        refusals.add(&at, &[(record("last"), "too large".into())]);
        assert_eq!((refusals.of(large), refusals.records.len(), refusals.order.len()), (None, MOST, MOST));
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
