//! Offsets committed in transactions and outside of them, against a model, across restarts.

use std::time::Duration;

use proptest::prelude::*;
use topo_log::storage::MemoryStorage;
use topo_protocol::TransactionResult;

use super::*;
use crate::groups::Claim;
use crate::transactions::{ProducerInstance, TransactionState};

const PARTITIONS: u32 = 3;
const PRODUCERS: [&str; 3] = ["p", "q", "r"];

#[derive(Debug, Clone)]
enum Step {
    Commit(u32),
    /// By a producer, in its transaction.
    CommitInTransaction(i64, u32),
    End(i64, bool),
    /// Of one partition, or of all.
    Delete(Option<u32>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..PARTITIONS).prop_map(Step::Commit),
        6 => (0..3_i64, 0..PARTITIONS).prop_map(|(producer, of)| Step::CommitInTransaction(producer, of)),
        4 => (0..3_i64, any::<bool>()).prop_map(|(producer, commits)| Step::End(producer, commits)),
        1 => prop::option::of(0..PARTITIONS).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

/// What is committed for each partition, and in which transactions something is pending; each with when it was written.
#[derive(Debug, Default)]
struct Model {
    committed: BTreeMap<u32, i64>,
    pending: BTreeMap<(i64, u32), i64>,
}

impl Model {
    fn end(&mut self, producer: i64, commits: bool) {
        let ended = self.pending.extract_if((producer, 0)..=(producer, u32::MAX), |_, _| true);
        for ((_, of), written) in ended.collect::<Vec<_>>() {
            if commits && self.committed.get(&of).is_none_or(|committed| *committed < written) {
                self.committed.insert(of, written);
            }
        }
    }
}

fn of(partition: u32) -> TopicPartition {
    TopicPartition::new("a", partition)
}

fn to(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: -1, metadata: String::new(), commit_timestamp_ms: 0 }
}

async fn play(steps: Vec<Step>) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let open = || Broker::open_on(storage.clone(), Path::new("/data"), BrokerConfig::default()).unwrap();
    let mut broker = open();
    broker.create_topic("a", PARTITIONS, BTreeMap::new()).await.unwrap();
    broker.groups().prepare_commits().await.unwrap();
    let mut producers = Vec::new();
    for id in PRODUCERS {
        producers.push(broker.transactions().init(id, Duration::from_secs(600), None).await.unwrap());
    }
    let mut model = Model::default();
    for (now, step) in (0..).zip(&steps) {
        match *step {
            Step::Commit(partition) => {
                broker.commit("g", &[(of(partition), to(now))]).await.unwrap();
                model.committed.insert(partition, now);
            }
            Step::CommitInTransaction(id, partition) => {
                let (name, producer) = (PRODUCERS[id as usize], producers[id as usize]);
                let transactions = broker.transactions();
                transactions.add_offsets(name, producer, "g").await.unwrap();
                let (nobody, offsets) = (Claim::nobody(), [(of(partition), to(now))]);
                transactions.commit_offsets(name, producer, "g", &nobody, &offsets).await.unwrap();
                model.pending.insert((id, partition), now);
            }
            Step::End(id, commits) => {
                let result = if commits { TransactionResult::Commit } else { TransactionResult::Abort };
                let (name, transactions) = (PRODUCERS[id as usize], broker.transactions());
                if transactions.describe(name).unwrap().state == TransactionState::Ongoing {
                    transactions.end(name, producers[id as usize], result).await.unwrap();
                    transactions.settled(name).await.unwrap();
                }
                model.end(id, commits);
            }
            Step::Delete(partition) => {
                let asked = partition.map(|partition| [of(partition)]);
                broker.delete_committed("g", asked.as_ref().map(|of| &of[..])).await.unwrap();
                let is_kept = |of: u32| partition.is_some_and(|partition| partition != of);
                model.committed.retain(|of, _| is_kept(*of));
                model.pending.retain(|(_, of), _| is_kept(*of));
            }
            Step::Reopen => {
                broker.close().await.unwrap();
                broker = open();
            }
        }
        for partition in 0..PARTITIONS {
            let committed = broker.committed("g", &of(partition)).unwrap().map(|to| to.offset);
            assert_eq!(committed, model.committed.get(&partition).copied(), "{now}: {steps:?}");
            let pending = broker.is_commit_pending("g", &of(partition)).unwrap();
            let expected = model.pending.keys().any(|(_, of)| *of == partition);
            assert_eq!(pending, expected, "{now}: {steps:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn offsets_in_transactions_count_once_they_are_committed(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test]
async fn whoever_is_no_member_of_the_generation_commits_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let broker = Broker::open_on(storage, Path::new("/data"), BrokerConfig::default()).unwrap();
    broker.create_topic("a", 1, BTreeMap::new()).await.unwrap();
    let groups = broker.groups();
    let producer = ProducerInstance { producer_id: 7, epoch: 1 };
    let early = groups.start_commit_in_transaction("g", &Claim::nobody(), producer, &[(of(0), to(1))]);
    assert!(early.is_err(), "there is no topic for it yet");
    groups.prepare_commits().await.unwrap();
    let stranger = Claim { member_id: "stranger".into(), instance_id: None, generation: 3 };
    for (claim, partition) in [(stranger, 0), (Claim::nobody(), 9)] {
        let refused = groups.start_commit_in_transaction("g", &claim, producer, &[(of(partition), to(1))]);
        assert!(refused.is_err(), "{claim:?}");
    }
    let fine = groups.start_commit_in_transaction("g", &Claim::nobody(), producer, &[(of(0), to(1))]);
    fine.unwrap().durable().await.unwrap();
    let old = ProducerInstance { producer_id: 7, epoch: 0 };
    let fenced = groups.start_commit_in_transaction("g", &Claim::nobody(), old, &[(of(0), to(2))]);
    assert!(fenced.unwrap_err().to_string().contains("is fenced"));
    broker.delete_topic("a").await.unwrap();
    assert!(!broker.is_commit_pending("g", &of(0)).unwrap(), "what is pending goes with its topic");
    broker.close().await.unwrap();
}
