//! The power goes at every single operation on the disk: what was acknowledged is there, and nothing is half there.

use std::time::Duration;

use topo_log::storage::{Fault, SimulatedDisk};
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room, records};

use super::*;
use crate::partition::Isolation;

/// What a user can see of the topic `a` and of the group `g`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    /// Values per partition; `None` without the topic.
    topic: Option<Vec<Vec<String>>>,
    /// What it sets of its configuration.
    config: BTreeMap<String, String>,
    /// Committed for `a-0`.
    committed: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Append(u32, &'static str),
    Commit(i64),
    Grow(u32),
    /// Sets `segment.ms`.
    Alter(&'static str),
    /// Deletes the records of `a-0` below an offset.
    DeleteRecords(i64),
    /// Deletes all that `g` committed.
    Forget,
    Delete,
}

const STEPS: &[Step] = &[
    Step::Create,
    Step::Append(0, "one"),
    Step::Append(1, "two"),
    Step::Commit(1),
    Step::Append(0, "three"),
    Step::Alter("5"),
    Step::Grow(3),
    Step::Append(2, "grown"),
    Step::DeleteRecords(1),
    Step::Commit(2),
    Step::Forget,
    Step::Alter("6"),
    Step::DeleteRecords(2),
    Step::Commit(2),
    Step::Delete,
    Step::Create,
    Step::Append(0, "four"),
    Step::Commit(1),
    Step::Delete,
];

impl Step {
    async fn run(self, broker: &Broker) -> Result<(), BrokerError> {
        match self {
            Self::Create => broker.create_topic("a", 2, BTreeMap::new()).await.map(drop),
            Self::Delete => broker.delete_topic("a").await,
            Self::Grow(partitions) => broker.create_partitions("a", partitions).await.map(drop),
            Self::Alter(value) => {
                let change = [("segment.ms".to_owned(), Some(value.to_owned()))].into();
                broker.alter_config("a", ConfigChange::Incremental(change)).await.map(drop)
            }
            Self::DeleteRecords(before) => {
                broker.delete_records(&TopicPartition::new("a", 0), Some(before)).await.map(drop)
            }
            Self::Forget => broker.delete_committed("g", None).await.map(drop),
            Self::Append(partition, value) => {
                let mut builder = BatchBuilder::new(1 << 10);
                let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
                assert_eq!(builder.append(&record)?, Room::Taken);
                let batch = builder.finish(Compression::None)?;
                broker.append(&TopicPartition::new("a", partition), vec![batch]).await.map(drop)
            }
            Self::Commit(offset) => {
                let to = CommittedOffset {
                    offset,
                    leader_epoch: 0,
                    metadata: String::new(),
                    commit_timestamp_ms: 0,
                };
                broker.commit("g", &[(TopicPartition::new("a", 0), to)]).await
            }
        }
    }

    fn apply(self, seen: &mut Seen) {
        match (self, &mut seen.topic) {
            (Self::Create, topic) => *topic = Some(vec![Vec::new(); 2]),
            (Self::Delete, _) => *seen = Seen::default(),
            (Self::Append(partition, value), Some(values)) => {
                values[partition as usize].push(value.to_owned())
            }
            (Self::Commit(offset), _) => seen.committed = Some(offset),
            (Self::Grow(partitions), Some(values)) => values.resize(partitions as usize, Vec::new()),
            (Self::Alter(value), _) => {
                seen.config.insert("segment.ms".to_owned(), value.to_owned());
            }
            (Self::DeleteRecords(_), Some(values)) => {
                values[0].remove(0);
            }
            (Self::Forget, _) => seen.committed = None,
            (Self::Append(..) | Self::Grow(_) | Self::DeleteRecords(_), None) => {
                unreachable!("the steps work on a topic that exists")
            }
        }
    }
}

async fn see(broker: &Broker) -> Seen {
    let a = |partition| TopicPartition::new("a", partition);
    let committed = broker.committed("g", &a(0)).unwrap().map(|committed| committed.offset);
    let Ok(topic) = broker.topic("a") else { return Seen { committed, ..Seen::default() } };
    let mut partitions = Vec::new();
    for partition in 0..topic.partition_count() {
        let isolation = Isolation::ReadCommitted;
        let limit = FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation };
        let start = broker.offsets(&a(partition)).unwrap().log_start;
        let mut batches = broker.fetch(&a(partition), start, limit).await.unwrap().batches;
        let mut values = Vec::new();
        while !batches.is_empty() {
            let bytes = BatchHeader::parse(&batches).unwrap().total_bytes();
            let records = records(batches.split_to(bytes), 1 << 20).unwrap();
            values.extend(records.map(|r| String::from_utf8(r.unwrap().value.unwrap().into()).unwrap()));
        }
        partitions.push(values);
    }
    Seen { topic: Some(partitions), committed, config: topic.config_overrides().clone() }
}

fn open(disk: &SimulatedDisk) -> Result<Broker, BrokerError> {
    Broker::open_on(Arc::new(disk.clone()), Path::new("/data"), BrokerConfig::default())
}

/// Runs the steps until one fails; what is to be seen afterwards, any of it.
async fn run_until_failure(disk: &SimulatedDisk) -> Vec<Seen> {
    let mut seen = Seen::default();
    let Ok(broker) = open(disk) else { return vec![seen] };
    for step in STEPS {
        let before = seen.clone();
        step.apply(&mut seen);
        if step.run(&broker).await.is_err() {
            // Committed offsets go before their topic does.
            let between = Seen { committed: None, ..before.clone() };
            let mut possible = vec![before, seen];
            possible.extend(matches!(step, Step::Delete).then_some(between));
            return possible;
        }
    }
    // Whether or not closing succeeds, everything was acknowledged.
    drop(broker.close().await);
    vec![seen]
}

/// How many operations on the disk all steps take.
async fn operations() -> u64 {
    let disk = SimulatedDisk::new(0);
    assert_eq!(run_until_failure(&disk).await, [Seen::default()]);
    disk.operations()
}

#[tokio::test]
async fn power_may_go_at_any_operation() {
    for after in 0..operations().await {
        for seed in 0..6 {
            let disk = SimulatedDisk::new(seed);
            disk.inject(Fault::PowerLoss { after });
            let possible = run_until_failure(&disk).await;
            disk.crash();
            let broker = open(&disk).unwrap_or_else(|error| panic!("after {after}, seed {seed}: {error}"));
            let seen = see(&broker).await;
            assert!(possible.contains(&seen), "after {after}, seed {seed}: {seen:?}, not of {possible:?}");
            // And what was left can be worked on.
            for step in [Step::Delete, Step::Create, Step::Append(0, "again"), Step::Commit(1)] {
                if let Err(error) = step.run(&broker).await
                    && !matches!((step, &error), (Step::Delete, BrokerError::UnknownTopic(_)))
                {
                    panic!("after {after}, seed {seed}, {step:?}: {error}");
                }
            }
            let again = Seen {
                topic: Some(vec![vec!["again".to_owned()], Vec::new()]),
                committed: Some(1),
                ..Seen::default()
            };
            assert_eq!(see(&broker).await, again, "after {after}, seed {seed}");
            broker.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_failed_sync_or_write_anywhere_loses_nothing_acknowledged() {
    for after in 0..operations().await {
        for fault in [Fault::SyncError { after }, Fault::WriteError { after }, Fault::ShortWrite { after }] {
            let disk = SimulatedDisk::new(after);
            disk.inject(fault);
            let possible = run_until_failure(&disk).await;
            disk.crash();
            let broker = open(&disk).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            let seen = see(&broker).await;
            assert!(possible.contains(&seen), "{fault:?}: {seen:?}, not of {possible:?}");
        }
    }
}
