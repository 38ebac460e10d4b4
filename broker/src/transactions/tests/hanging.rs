//! Transactions that a partition holds open and of which the coordinator knows nothing.

use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk};

use super::crash::{config, run_on, see};
use super::*;
use crate::durability::Durability;
use crate::groups::Claim;

/// Whose transaction nobody coordinates.
const NOBODYS: ProducerInstance = ProducerInstance { producer_id: 1 << 40, epoch: 3 };

/// Writes as if the coordinator had forgotten that it permitted this.
async fn write(broker: &Broker, to: &TopicPartition, producer: ProducerInstance, value: &str) {
    let ProducerInstance { producer_id: id, epoch } = producer;
    let batch = batch_of(value, &BatchProducer { id, epoch, base_sequence: 0, is_transactional: true });
    let appending = broker.start_append_in_transaction(to, vec![batch], 0).unwrap();
    appending.durable().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_will_end_is_aborted_at_open_and_what_somebody_will_is_left() {
    let storage = MemoryStorage::new();
    let broker = open(storage.clone(), TransactionConfig::default()).unwrap();
    broker.create_topic("lines", 3, BTreeMap::new()).await.unwrap();
    let mut open_one = broker.transactional(TransactionalConfig::new("open")).await.unwrap();
    write(&broker, &lines(0), NOBODYS, "nobody's").await;
    open_one.append(&lines(0), vec![batch("open")]).await.unwrap();
    write(&broker, &lines(1), NOBODYS, "nobody's").await;
    broker.append(&lines(1), vec![batch("behind it")]).await.unwrap();
    // Of a producer that has a transaction open, but not here.
    write(&broker, &lines(2), open_one.instance(), "not added").await;
    let groups = broker.groups();
    groups.prepare_commits().await.unwrap();
    let offsets = [(lines(0), at(5))];
    let pending = groups.start_commit_in_transaction("g", &Claim::nobody(), NOBODYS, &offsets).unwrap();
    pending.durable().await.unwrap();
    assert!(committed_values(&broker, &lines(1)).await.is_empty());
    broker.close().await.unwrap();

    let broker = open(storage.clone(), TransactionConfig::default()).unwrap();
    assert_eq!(committed_values(&broker, &lines(1)).await, ["behind it"]);
    assert!(!broker.is_commit_pending("g", &lines(0)).unwrap());
    assert_eq!(broker.committed("g", &lines(0)).unwrap(), None);
    let held = broker.offsets(&lines(0)).unwrap();
    assert_eq!(
        (held.last_stable_offset, held.high_watermark),
        (1, 3),
        "the one that has a coordinator is open"
    );
    let held = broker.offsets(&lines(2)).unwrap();
    assert_eq!((held.last_stable_offset, held.high_watermark), (2, 2));
    let transactions = broker.transactions();
    transactions.end("open", open_one.instance(), TransactionResult::Commit).await.unwrap();
    settle(&broker).await;
    assert_eq!(committed_values(&broker, &lines(0)).await, ["open"]);
    assert!(committed_values(&broker, &lines(2)).await.is_empty());
    assert_nothing_open(&broker, "ended");
    // Once is enough.
    let ends =
        |broker: &Broker| [0, 1, 2].map(|partition| broker.offsets(&lines(partition)).unwrap().log_end);
    let before = ends(&broker);
    broker.close().await.unwrap();
    let broker = open(storage, TransactionConfig::default()).unwrap();
    assert_eq!(ends(&broker), before);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_only_a_partition_knows_is_fenced_by_the_next_instance() {
    let storage = MemoryStorage::new();
    let broker = open(storage.clone(), TransactionConfig::default()).unwrap();
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    let mut first = broker.transactional(TransactionalConfig::new("p")).await.unwrap();
    first.append(&lines(0), vec![batch("first")]).await.unwrap();
    let ProducerInstance { producer_id, epoch } = first.instance();
    // The end of the first transaction, and the instance of this one, were lost from the coordinator's log.
    let marker = EndTransactionMarker {
        producer_id,
        producer_epoch: epoch,
        coordinator_epoch: 0,
        result: TransactionResult::Commit,
    };
    broker.append_marker(&lines(0), &marker, 0).unwrap().durable().await.unwrap();
    write(&broker, &lines(0), ProducerInstance { producer_id, epoch: epoch + 2 }, "forgotten").await;
    broker.close().await.unwrap();

    let broker = open(storage, TransactionConfig::default()).unwrap();
    assert_eq!(committed_values(&broker, &lines(0)).await, ["first"]);
    let mut next = broker.transactional(TransactionalConfig::new("p")).await.unwrap();
    assert_eq!(next.instance(), ProducerInstance { producer_id, epoch: epoch + 3 });
    next.append(&lines(0), vec![batch("next")]).await.unwrap();
    next.commit().await.unwrap();
    assert_eq!(committed_values(&broker, &lines(0)).await, ["first", "next"]);
    assert_nothing_open(&broker, "taken over");
}

/// Nothing of the broker's own, or of anybody's, waits for a sync.
fn open_unsynced(disk: &SimulatedDisk) -> Result<Broker, BrokerError> {
    let mut config = BrokerConfig::default();
    config.topic_defaults.durability = Durability::Os;
    Broker::open_on(Arc::new(disk.clone()), Path::new("/data"), config)
}

/// How many transactions the partitions hold open, no broker having looked at them.
fn open_in_logs(disk: &SimulatedDisk) -> usize {
    let dirs = ["lines/0", "lines/1", "__consumer_offsets/0"].map(|dir| Path::new("/data/topics").join(dir));
    let there = dirs.iter().filter(|dir| disk.list(dir).is_ok_and(|names| !names.is_empty()));
    let count = |dir| {
        let log =
            topo_log::Partition::open(Arc::new(disk.clone()), dir, topo_log::PartitionConfig::default());
        let producers = log.unwrap().0.producers();
        producers.iter().filter(|producer| producer.transaction_start.is_some()).count()
    };
    there.map(|dir| count(dir)).sum()
}

/// How many transactions the partitions of a broker hold open.
fn open_in(broker: &Broker) -> usize {
    let topics = broker.topics();
    let producers = topics.iter().flat_map(|topic| topic.partitions()).flat_map(|p| p.producers().unwrap());
    producers.filter(|producer| producer.transaction_start.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_synced_the_power_may_go_anywhere_and_nothing_stays_open() {
    let operations = {
        let disk = SimulatedDisk::new(0);
        run_on(open_unsynced(&disk).unwrap()).await;
        disk.operations()
    };
    let mut hung = 0;
    for after in 0..operations {
        for seed in 0..6 {
            let (context, disk) = (format!("after {after}, seed {seed}"), SimulatedDisk::new(seed));
            disk.inject(Fault::PowerLoss { after });
            if let Ok(broker) = open_unsynced(&disk) {
                run_on(broker).await;
            }
            disk.crash();
            // Looking repairs what a broker would have to repair: only now and then.
            let open_before = if seed == 0 { open_in_logs(&disk) } else { 0 };
            let broker = open_unsynced(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            hung += open_before.saturating_sub(open_in(&broker));
            match broker.create_topic("lines", 2, BTreeMap::new()).await {
                Ok(_) | Err(BrokerError::TopicExists(_)) => {}
                Err(error) => panic!("{context}: {error}"),
            }
            // Whatever has an instance is taken over by the next; whatever has none is at its end.
            let mut producer = broker.transactional(config()).await.unwrap();
            assert_nothing_open(&broker, &context);
            let seen = see(&broker).await;
            for aborted in ["2a", "4a", "4b"] {
                assert!(!seen.values.iter().flatten().any(|value| value == aborted), "{context}: {seen:?}");
            }
            producer.append(&lines(0), vec![batch("again")]).await.unwrap();
            producer.commit_offsets("g", &Claim::nobody(), &[(lines(0), at(100))]).await.unwrap();
            producer.commit().await.unwrap();
            let after = see(&broker).await;
            assert_eq!(after.values[0].last().map(String::as_str), Some("again"), "{context}");
            assert_eq!(after.offset, Some(100), "{context}");
            assert_nothing_open(&broker, &context);
            broker.close().await.unwrap();
        }
    }
    assert!(hung > 10, "only {hung} were hanging");
}
