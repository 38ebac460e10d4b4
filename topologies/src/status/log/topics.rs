//! What the views of the log and of errors are told once a second: topics, partitions, and how far groups are.
//!
//! Invariant: partitions are told of one topic at a time, so that what is told stays small however many there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use topo_connectors::dead_letters::REPLAY_GROUP;
use topo_core::log::{Log, LogError, Offsets, TopicInfo, TopicPartition};

use super::super::Snapshots;
use super::beyond::GroupStanding;

/// Settings of a topic that are shown: how it keeps what it holds. No other is.
const SHOWN_SETTINGS: [&str; 10] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "flush.messages",
    "flush.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
];

/// What the view of the log is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogView {
    topics: Vec<TopicStats>,
    /// The topic that is asked for.
    topic: Option<TopicDetail>,
    groups: Vec<GroupStats>,
    /// Why something is missing.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicStats {
    topic: Arc<str>,
    partitions: u32,
    /// Offsets between the first that is held and the end, of all partitions.
    records: i64,
    /// Ends of all partitions added up: how fast this grows is the topic's rate.
    end: i64,
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicDetail {
    topic: Arc<str>,
    settings: BTreeMap<String, String>,
    partitions: Vec<PartitionStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartitionStats {
    partition: u32,
    start: i64,
    end: i64,
    bytes: Option<u64>,
    groups: Vec<GroupPlace>,
}

/// How far a group is in a partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupPlace {
    group: String,
    committed: i64,
    lag: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupStats {
    group: String,
    state: String,
    members: usize,
    lag: i64,
    topics: Vec<GroupTopic>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupTopic {
    topic: Arc<str>,
    partitions: usize,
    /// Committed offsets added up: how fast this grows is the group's rate.
    committed: i64,
    lag: i64,
}

/// How far dead letters are replayed, by their topic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LetterTopics {
    topics: Vec<LetterTopic>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LetterTopic {
    topic: Arc<str>,
    /// Letters that are held.
    letters: i64,
    /// Of those, which no replay has come to.
    waiting: i64,
    /// How far each partition is replayed.
    replayed: Vec<i64>,
}

impl LogView {
    /// All topics and groups of `source`'s log, and the partitions of `topic`.
    pub(crate) async fn of(source: &dyn Snapshots, topic: Option<&str>) -> Self {
        let mut view = Self { topics: Vec::new(), topic: None, groups: Vec::new(), error: None };
        view.error = view.fill(source, topic).await.err().map(|error| error.to_string());
        view
    }

    async fn fill(&mut self, source: &dyn Snapshots, asked: Option<&str>) -> Result<(), LogError> {
        let log = source.log().ok_or(LogError::Closed)?;
        let beyond = source.log_groups();
        let bytes = |at: &TopicPartition| beyond.as_ref().and_then(|beyond| beyond.bytes(at));
        let standings = match &beyond {
            Some(beyond) => beyond.groups().await?,
            None => Vec::new(),
        };
        let mut ends = HashMap::new();
        for info in log.topics().await? {
            let partitions = partitions(&*log, &info).await?;
            let sizes: Vec<Option<u64>> = partitions.iter().map(|(at, _)| bytes(at)).collect();
            self.topics.push(TopicStats {
                topic: info.name.clone(),
                partitions: info.partitions,
                records: partitions.iter().map(|(_, held)| held.high_watermark - held.log_start).sum(),
                end: partitions.iter().map(|(_, held)| held.high_watermark).sum(),
                bytes: sizes.iter().copied().sum(),
            });
            if asked == Some(&*info.name) {
                self.topic = Some(detail(&info, &partitions, &sizes, &standings));
            }
            ends.extend(partitions.into_iter().map(|(at, held)| (at, held.high_watermark)));
        }
        self.groups = standings.into_iter().map(|group| GroupStats::of(group, &ends)).collect();
        Ok(())
    }
}

/// What each partition of a topic holds.
async fn partitions(log: &dyn Log, info: &TopicInfo) -> Result<Vec<(TopicPartition, Offsets)>, LogError> {
    let mut all = Vec::new();
    for number in 0..info.partitions {
        let at = TopicPartition::new(info.name.clone(), number);
        match log.offsets(&at).await {
            Ok(held) => all.push((at, held)),
            // It was deleted since it was listed.
            Err(LogError::UnknownTopic(_) | LogError::UnknownPartition(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn detail(
    info: &TopicInfo,
    partitions: &[(TopicPartition, Offsets)],
    sizes: &[Option<u64>],
    standings: &[GroupStanding],
) -> TopicDetail {
    let is_shown = |(key, _): &(&String, &String)| SHOWN_SETTINGS.contains(&key.as_str());
    let settings =
        info.config.iter().filter(is_shown).map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut places: HashMap<&TopicPartition, Vec<(&str, i64)>> = HashMap::new();
    for standing in standings {
        for (at, committed) in standing.committed.iter().filter(|(at, _)| at.topic == info.name) {
            places.entry(at).or_default().push((&standing.group, *committed));
        }
    }
    let place = |end: i64, (group, committed): &(&str, i64)| GroupPlace {
        group: (*group).to_owned(),
        committed: *committed,
        lag: (end - committed).max(0),
    };
    let stats = |((at, held), bytes): (&(TopicPartition, Offsets), &Option<u64>)| PartitionStats {
        partition: at.partition,
        start: held.log_start,
        end: held.high_watermark,
        bytes: *bytes,
        groups: places.get(at).into_iter().flatten().map(|one| place(held.high_watermark, one)).collect(),
    };
    TopicDetail {
        topic: info.name.clone(),
        settings,
        partitions: partitions.iter().zip(sizes).map(stats).collect(),
    }
}

impl GroupStats {
    fn of(standing: GroupStanding, ends: &HashMap<TopicPartition, i64>) -> Self {
        let mut topics: BTreeMap<Arc<str>, GroupTopic> = BTreeMap::new();
        for (at, committed) in standing.committed {
            let of = topics.entry(at.topic.clone()).or_insert_with(|| GroupTopic {
                topic: at.topic.clone(),
                partitions: 0,
                committed: 0,
                lag: 0,
            });
            of.partitions += 1;
            of.committed += committed;
            of.lag += ends.get(&at).map_or(0, |end| (end - committed).max(0));
        }
        let GroupStanding { group, state, members, .. } = standing;
        let lag = topics.values().map(|of| of.lag).sum();
        Self { group, state, members, lag, topics: topics.into_values().collect() }
    }
}

impl LetterTopics {
    /// The topics of dead letters, which `source` and their names tell.
    pub(crate) async fn of(source: &dyn Snapshots, known: &[Arc<str>]) -> Self {
        let mut view = Self { topics: Vec::new(), error: None };
        view.error = view.fill(source, known).await.err().map(|error| error.to_string());
        view
    }

    async fn fill(&mut self, source: &dyn Snapshots, known: &[Arc<str>]) -> Result<(), LogError> {
        let Some(log) = source.log() else { return Ok(()) };
        let is_of_letters =
            |info: &TopicInfo| info.name.ends_with(".dead-letter") || known.contains(&info.name);
        for info in log.topics().await?.into_iter().filter(is_of_letters) {
            let mut of =
                LetterTopic { topic: info.name.clone(), letters: 0, waiting: 0, replayed: Vec::new() };
            for (at, held) in partitions(&*log, &info).await? {
                let replayed = log.committed(REPLAY_GROUP, &at).await?.unwrap_or(held.log_start);
                let replayed = replayed.clamp(held.log_start, held.high_watermark);
                of.letters += held.high_watermark - held.log_start;
                of.waiting += held.high_watermark - replayed;
                of.replayed.push(replayed);
            }
            self.topics.push(of);
        }
        Ok(())
    }
}
