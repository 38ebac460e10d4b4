//! Replay: dead letters appended to the topic that they came from, as the records that they were.
//!
//! Invariant: how far a partition of dead letters is replayed is the committed offset of a group of its own, and is
//! committed only once the records before it are durable where they go. So each letter is replayed at least once, and
//! again only where a replay ended between the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_core::log::{Consumed, FetchLimit, Log, LogError, Record, TopicPartition};

use super::{Letter, Unreplayable};

/// Bytes of keys and values that are held before they are appended, at the most one record more: letters are small whose
/// values are not.
const APPEND_BYTES: usize = 4 << 20;

/// The group whose committed offsets say how far dead letters are replayed.
pub const REPLAY_GROUP: &str = "topo-replay";

/// Where dead letters go, and whether they really do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// Another topic than the one they came from.
    pub to: Option<Arc<str>>,
    /// Finds out what would be replayed and appends nothing, commits nothing.
    pub dry_run: bool,
    /// Leaves alone how far the partition is replayed, where that is not at the first of the letters: those in front of them
    /// wait on, and the next replay comes to these again.
    pub leaves_position: bool,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was appended there, or would be.
    Replayed(TopicPartition),
    /// It stays what it is.
    Left(Unreplayable),
}

/// Which letters of a partition are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letters {
    /// The first one's offset; `None` for the first that was not replayed yet.
    pub from: Option<i64>,
    /// One past the last one's offset.
    pub end: i64,
    /// How many at the most.
    pub most: u64,
}

/// What a replay of one partition came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Letters that were appended, or would be.
    pub replayed: u64,
    /// Letters that stay what they are.
    pub left: u64,
    /// Letters, or gaps between them, that were not replayed yet and that no later replay comes to by itself, because this
    /// one began behind them: their offsets, from the first to one past the last.
    pub passed_over: Option<(i64, i64)>,
}

/// A letter on its way: what it was, and where it goes.
type Revived = (Letter, Record, TopicPartition);

impl Replay {
    /// How many partitions a topic has, asked once each.
    async fn partitions(
        log: &dyn Log,
        topic: &Arc<str>,
        known: &mut BTreeMap<Arc<str>, u32>,
    ) -> Result<u32, LogError> {
        if let Some(partitions) = known.get(topic) {
            return Ok(*partitions);
        }
        let partitions = log.topic(topic).await?.map_or(0, |info| info.partitions);
        known.insert(Arc::clone(topic), partitions);
        Ok(partitions)
    }

    /// Replays letters of the partition `at` of dead letters, and has `told` hear of each. A letter that cannot be
    /// replayed is left, and the others go on.
    ///
    /// The letters of one fetch are appended, all that go to one partition at once and in their order; then how far they
    /// go is committed.
    ///
    /// # Errors
    /// Those of the log. What was told of is done, but for the fetch under way, of which some letters may be appended and
    /// are replayed again the next time.
    pub async fn run(
        &self,
        log: &dyn Log,
        at: &TopicPartition,
        letters: Letters,
        told: &mut (dyn FnMut(&Letter, &Fate) + Send),
    ) -> Result<Replayed, LogError> {
        let held = log.offsets(at).await?;
        let position = log.committed(REPLAY_GROUP, at).await?.unwrap_or(held.log_start);
        // Retention may have deleted letters unreplayed.
        let position = position.clamp(held.log_start, held.high_watermark);
        let mut next = letters.from.unwrap_or(position);
        let mut replayed = Replayed::default();
        if next > position && next < letters.end {
            replayed.passed_over = Some((position, next));
        }
        let mut known = BTreeMap::new();
        while next < letters.end && replayed.replayed + replayed.left < letters.most {
            let fetched = log.fetch(at, next, FetchLimit::default()).await?;
            let most = letters.most - replayed.replayed - replayed.left;
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let below_end = |record: &Consumed| record.offset < letters.end;
            let mut records = fetched.records;
            let whole = records.len() <= most;
            records.truncate(most);
            let last = records.last().map(|record| record.offset + 1);
            let chunk: Vec<Letter> = records.into_iter().filter(below_end).map(Letter::new).collect();
            let behind = if whole { fetched.next_offset } else { last.unwrap_or(fetched.next_offset) };
            if behind <= next {
                break;
            }
            next = behind.min(letters.end);
            let fates = self.replay_chunk(log, chunk, &mut known).await?;
            let is_left = self.leaves_position && replayed.passed_over.is_some();
            if !self.dry_run && !is_left && next > position {
                log.commit(REPLAY_GROUP, &[(at.clone(), next)]).await?;
            }
            for (letter, fate) in &fates {
                match fate {
                    Fate::Replayed(_) => replayed.replayed += 1,
                    Fate::Left(_) => replayed.left += 1,
                }
                told(letter, fate);
            }
        }
        Ok(replayed)
    }

    /// Appends the letters of one fetch; gives what became of each, in their order.
    async fn replay_chunk(
        &self,
        log: &dyn Log,
        letters: Vec<Letter>,
        known: &mut BTreeMap<Arc<str>, u32>,
    ) -> Result<Vec<(Letter, Fate)>, LogError> {
        let mut fates = Vec::with_capacity(letters.len());
        let mut revived: BTreeMap<TopicPartition, Vec<Revived>> = BTreeMap::new();
        let mut bytes = 0;
        for letter in letters {
            match self.revive(log, &letter, known).await? {
                Ok((_, to)) if self.dry_run => fates.push((letter, Fate::Replayed(to))),
                Ok((record, to)) => {
                    bytes += [&record.key, &record.value]
                        .into_iter()
                        .flatten()
                        .map(|one| one.len())
                        .sum::<usize>();
                    revived.entry(to.clone()).or_default().push((letter, record, to));
                }
                Err(why) => fates.push((letter, Fate::Left(why))),
            }
            if bytes >= APPEND_BYTES {
                append_all(log, std::mem::take(&mut revived), &mut fates).await?;
                bytes = 0;
            }
        }
        append_all(log, revived, &mut fates).await?;
        fates.sort_by_key(|(letter, _)| letter.offset());
        Ok(fates)
    }

    /// The record that a letter was, and where it goes.
    async fn revive(
        &self,
        log: &dyn Log,
        letter: &Letter,
        known: &mut BTreeMap<Arc<str>, u32>,
    ) -> Result<Result<(Record, TopicPartition), Unreplayable>, LogError> {
        let origin = letter.origin().map(|(at, _)| at);
        let (topic, number) = match (&self.to, origin) {
            (Some(to), origin) => (Arc::clone(to), origin.map_or(0, |at| at.partition)),
            (None, Some(at)) => (at.topic, at.partition),
            (None, None) => return Ok(Err(Unreplayable::NoOrigin)),
        };
        let partitions = Self::partitions(log, &topic, known).await?;
        if partitions == 0 {
            return Ok(Err(Unreplayable::NoTopic(topic)));
        }
        let record = letter.clone().revive(log).await?;
        Ok(record.map(|record| (record, TopicPartition::new(topic, number % partitions))))
    }
}

async fn append_all(
    log: &dyn Log,
    revived: BTreeMap<TopicPartition, Vec<Revived>>,
    fates: &mut Vec<(Letter, Fate)>,
) -> Result<(), LogError> {
    for (to, revived) in revived {
        append(log, &to, revived, fates).await?;
    }
    Ok(())
}

/// Appends records to one partition. One that the log refuses does not keep the others out.
async fn append(
    log: &dyn Log,
    to: &TopicPartition,
    revived: Vec<Revived>,
    fates: &mut Vec<(Letter, Fate)>,
) -> Result<(), LogError> {
    let records = revived.iter().map(|(_, record, _)| record.clone()).collect();
    match log.append(to, records).await {
        Err(LogError::Invalid(_)) => {}
        Err(error) => return Err(error),
        Ok(_) => {
            fates.extend(revived.into_iter().map(|(letter, _, to)| (letter, Fate::Replayed(to))));
            return Ok(());
        }
    }
    for (letter, record, to) in revived {
        let fate = match log.append(&to, vec![record]).await {
            Ok(_) => Fate::Replayed(to),
            Err(LogError::Invalid(reason)) => Fate::Left(Unreplayable::Refused(reason)),
            Err(error) => return Err(error),
        };
        fates.push((letter, fate));
    }
    Ok(())
}
