//! The power goes at every single operation on the disk in a fixed row of transactions, and again while that is repaired:
//! of each transaction all is there or nothing, what was acknowledged is, and nothing stays open.

use topo_log::storage::{Fault, SimulatedDisk};

use super::*;
use crate::groups::Claim;

/// What a reader of what is committed sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) values: [Vec<String>; 2],
    /// Of group `g` for `lines-0`.
    pub(super) offset: Option<i64>,
}

/// One transaction: what it appends, what it commits for the group, and how it ends.
struct Script {
    appends: &'static [(usize, &'static str)],
    offset: Option<i64>,
    ends: Ends,
    /// Whether the commit has to see to it that what is appended is durable.
    is_left_to_commit: bool,
}

impl Script {
    const fn new(appends: &'static [(usize, &'static str)], offset: Option<i64>, ends: Ends) -> Self {
        Self { appends, offset, ends, is_left_to_commit: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Commit,
    Abort,
    /// Another instance takes over while it is open.
    TakenOver,
}

const SCRIPT: &[Script] = &[
    Script::new(&[(0, "1a"), (1, "1b")], Some(1), Ends::Commit),
    Script::new(&[(0, "2a")], Some(2), Ends::Abort),
    Script::new(&[(1, "3b"), (1, "3c")], None, Ends::Commit),
    Script::new(&[(0, "4a"), (1, "4b")], Some(4), Ends::TakenOver),
    Script {
        is_left_to_commit: true,
        ..Script::new(&[(0, "5a"), (1, "5b"), (0, "5c")], Some(5), Ends::Commit)
    },
];

pub(super) fn config() -> TransactionalConfig {
    TransactionalConfig::new("p")
}

pub(super) async fn see(broker: &Broker) -> Seen {
    let Ok(_) = broker.topic("lines") else { return Seen::default() };
    Seen {
        values: [committed_values(broker, &lines(0)).await, committed_values(broker, &lines(1)).await],
        offset: broker.committed("g", &lines(0)).unwrap().map(|committed| committed.offset),
    }
}

/// Runs the script until something fails; what may be seen afterwards.
async fn run_until_failure(disk: &SimulatedDisk) -> Vec<Seen> {
    match open(disk.clone(), TransactionConfig::default()) {
        Ok(broker) => run_on(broker).await,
        Err(_) => vec![Seen::default()],
    }
}

/// The same on a broker that is open.
pub(super) async fn run_on(broker: Broker) -> Vec<Seen> {
    let mut seen = Seen::default();
    if broker.create_topic("lines", 2, BTreeMap::new()).await.is_err() {
        return vec![seen];
    }
    let Ok(mut producer) = broker.transactional(config()).await else { return vec![seen] };
    for script in SCRIPT {
        let write = async {
            for (partition, value) in script.appends {
                let to = lines(*partition as u32);
                if script.is_left_to_commit {
                    producer.add(std::slice::from_ref(&to)).await?;
                    drop(producer.start_append(&to, vec![batch(value)], 0)?);
                } else {
                    producer.append(&to, vec![batch(value)]).await?;
                }
            }
            if let Some(offset) = script.offset {
                producer.commit_offsets("g", &Claim::nobody(), &[(lines(0), at(offset))]).await?;
            }
            Ok::<_, TransactionError>(())
        };
        if write.await.is_err() {
            return vec![seen];
        }
        match script.ends {
            Ends::Commit => {
                let before = seen.clone();
                script
                    .appends
                    .iter()
                    .for_each(|(partition, value)| seen.values[*partition].push((*value).into()));
                seen.offset = script.offset.or(seen.offset);
                if producer.commit().await.is_err() {
                    return vec![before, seen];
                }
            }
            Ends::Abort if producer.abort().await.is_err() => return vec![seen],
            Ends::Abort => {}
            Ends::TakenOver => match broker.transactional(config()).await {
                Ok(next) => producer = next,
                Err(_) => return vec![seen],
            },
        }
    }
    // Whether or not closing succeeds, everything was acknowledged.
    drop(broker.close().await);
    vec![seen]
}

async fn operations() -> u64 {
    let disk = SimulatedDisk::new(0);
    let all = run_until_failure(&disk).await;
    let expected = [&["1a", "5a", "5c"][..], &["1b", "3b", "3c", "5b"]];
    let expected = expected.map(|values| values.iter().map(|&value| value.to_owned()).collect());
    assert_eq!(all, [Seen { values: expected, offset: Some(5) }]);
    disk.operations()
}

/// Opens what was left, lets it settle, and looks.
async fn check(disk: &SimulatedDisk, possible: &[Seen], context: &str) {
    let broker =
        open(disk.clone(), TransactionConfig::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
    settle(&broker).await;
    let before = see(&broker).await;
    assert!(possible.contains(&before), "{context}: {before:?}, not of {possible:?}");
    // Whoever comes next aborts what is open, and goes on.
    match broker.create_topic("lines", 2, BTreeMap::new()).await {
        Ok(_) | Err(BrokerError::TopicExists(_)) => {}
        Err(error) => panic!("{context}: {error}"),
    }
    let mut producer = broker.transactional(config()).await.unwrap();
    assert_nothing_open(&broker, context);
    assert_eq!(see(&broker).await, before, "{context}: what is aborted, or taken over, changes nothing");
    producer.append(&lines(0), vec![batch("again")]).await.unwrap();
    producer.commit_offsets("g", &Claim::nobody(), &[(lines(0), at(100))]).await.unwrap();
    producer.commit().await.unwrap();
    let mut after = before;
    after.values[0].push("again".to_owned());
    after.offset = Some(100);
    assert_eq!(see(&broker).await, after, "{context}");
    assert_nothing_open(&broker, context);
    broker.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn power_may_go_at_any_operation_and_once_more_while_that_is_repaired() {
    for after in 0..operations().await {
        for seed in 0..3 {
            let disk = SimulatedDisk::new(seed);
            disk.inject(Fault::PowerLoss { after });
            let possible = run_until_failure(&disk).await;
            disk.crash();
            // The second time it is somewhere in opening, settling or taking over.
            if seed > 0 {
                disk.inject(Fault::PowerLoss { after: (after * 7 + seed) % 25 });
                if let Ok(broker) = open(disk.clone(), TransactionConfig::default()) {
                    drop(broker.transactional(config()).await);
                }
                disk.crash();
            }
            check(&disk, &possible, &format!("after {after}, seed {seed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_or_write_anywhere_leaves_nothing_half_done() {
    for after in 0..operations().await {
        for fault in [Fault::SyncError { after }, Fault::WriteError { after }, Fault::ShortWrite { after }] {
            let disk = SimulatedDisk::new(after);
            disk.inject(fault);
            let possible = run_until_failure(&disk).await;
            disk.crash();
            check(&disk, &possible, &format!("{fault:?}")).await;
        }
    }
}
