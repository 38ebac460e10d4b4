//! Producers in this process.

use topo_log::storage::MemoryStorage;

use super::*;
use crate::groups::{Claim, GroupError, JoinRequest};

async fn with_lines(config: TransactionConfig) -> (MemoryStorage, Broker) {
    let storage = MemoryStorage::new();
    let broker = open(storage.clone(), config).unwrap();
    broker.create_topic("lines", 3, BTreeMap::new()).await.unwrap();
    (storage, broker)
}

async fn producer(broker: &Broker, id: &str) -> TransactionalProducer {
    broker.transactional(TransactionalConfig::new(id)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_seen_together_and_what_is_aborted_never() {
    let (storage, broker) = with_lines(TransactionConfig::default()).await;
    let mut one = producer(&broker, "one").await;
    one.commit().await.unwrap();
    one.abort().await.unwrap();
    for round in 0..3 {
        one.append(&lines(0), vec![batch(&format!("{round}a")), batch(&format!("{round}b"))]).await.unwrap();
        one.append(&lines(1), vec![batch(&format!("{round}c"))]).await.unwrap();
        one.commit_offsets("g", &Claim::nobody(), &[(lines(2), at(round))]).await.unwrap();
        let before = broker.committed("g", &lines(2)).unwrap().map(|committed| committed.offset);
        assert_eq!(before, (round > 0).then_some(0), "{round}");
        assert_eq!(committed_values(&broker, &lines(1)).await.len(), usize::from(round > 0));
        if round == 1 { one.abort().await.unwrap() } else { one.commit().await.unwrap() }
    }
    // Who only looks at what is committed does not see what is open.
    one.append(&lines(0), vec![batch("open")]).await.unwrap();
    for reopened in [false, true] {
        let broker = if reopened {
            broker.close().await.unwrap();
            open(storage.clone(), TransactionConfig::default()).unwrap()
        } else {
            broker.clone()
        };
        assert_eq!(committed_values(&broker, &lines(0)).await, ["0a", "0b", "2a", "2b"]);
        assert_eq!(committed_values(&broker, &lines(1)).await, ["0c", "2c"]);
        assert_eq!(broker.committed("g", &lines(2)).unwrap().unwrap().offset, 2);
        let described = broker.transactions().describe("one").unwrap();
        assert_eq!((described.state, described.producer), (TransactionState::Ongoing, one.instance()));
        assert_eq!(described.partitions, [lines(0)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_fenced_by_the_next_and_a_dropped_one_aborts() {
    let (_, broker) = with_lines(TransactionConfig::default()).await;
    let mut old = producer(&broker, "one").await;
    old.append(&lines(0), vec![batch("old")]).await.unwrap();
    let mut new = producer(&broker, "one").await;
    assert_nothing_open(&broker, "taken over");
    assert!(new.instance().epoch > old.instance().epoch);
    for refused in [
        old.append(&lines(0), vec![batch("zombie")]).await.map(drop),
        old.append(&lines(1), vec![batch("zombie")]).await.map(drop),
        old.commit_offsets("g", &Claim::nobody(), &[(lines(0), at(9))]).await,
        broker.transactions().end("one", old.instance(), TransactionResult::Commit).await,
    ] {
        assert!(matches!(refused, Err(TransactionError::Fenced(_))), "{refused:?}");
    }
    drop(old);
    new.append(&lines(0), vec![batch("new")]).await.unwrap();
    new.commit().await.unwrap();
    new.append(&lines(0), vec![batch("dropped")]).await.unwrap();
    drop(new);
    while broker.transactions().describe("one").unwrap().state != TransactionState::CompleteAbort {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(committed_values(&broker, &lines(0)).await, ["new"]);
    assert_nothing_open(&broker, "dropped");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_can_only_be_aborted_after_which_it_goes_on() {
    let (_, broker) = with_lines(TransactionConfig::default()).await;
    let mut one = producer(&broker, "one").await;
    one.append(&lines(0), vec![batch("a")]).await.unwrap();
    let mut damaged = batch("b");
    *damaged.last_mut().unwrap() ^= 1;
    assert!(one.append(&lines(0), vec![damaged]).await.is_err());
    let large = "x".repeat(2 << 20);
    assert!(one.append(&lines(0), vec![batch(&large)]).await.is_err());
    assert!(matches!(one.commit().await, Err(TransactionError::InvalidState { .. })));
    one.abort().await.unwrap();
    one.append(&lines(0), vec![batch("c")]).await.unwrap();
    one.commit().await.unwrap();
    let unknown = one.append(&TopicPartition::new("none", 0), vec![batch("d")]).await;
    assert!(matches!(&unknown, Err(TransactionError::Broker(_))), "{unknown:?}");
    let internal = one.append(&TopicPartition::new("__transaction_state", 0), vec![batch("d")]).await;
    assert!(internal.unwrap_err().to_string().contains("is kept by the broker itself"));
    one.abort().await.unwrap();
    assert!(matches!(
        one.start_append(&lines(2), vec![batch("e")], 0),
        Err(TransactionError::NotAdded(of)) if of == lines(2)
    ));
    one.add(&[lines(1), lines(2)]).await.unwrap();
    let appending = one.start_append(&lines(2), vec![batch("e"), batch("f")], 0).unwrap();
    one.commit().await.unwrap();
    assert_eq!(appending.durable().await.unwrap().base_offset, 0);
    assert_eq!(committed_values(&broker, &lines(0)).await, ["c"]);
    assert_eq!(committed_values(&broker, &lines(2)).await, ["e", "f"]);
    assert_nothing_open(&broker, "after all");
    // Nor is there another way into a partition for what is of a transaction.
    let ProducerInstance { producer_id: id, epoch } = one.instance();
    let late = BatchProducer { id, epoch, base_sequence: 2, is_transactional: true };
    assert!(broker.append(&lines(2), vec![batch_of("late", &late)]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_aborted_and_its_producer_fenced() {
    let (_, broker) = with_lines(TransactionConfig::default()).await;
    let mut slow = producer(&broker, "slow").await;
    slow.append(&lines(0), vec![batch("slow")]).await.unwrap();
    tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
    assert_eq!(broker.transactions().list()[0].state, TransactionState::Ongoing);
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(&broker).await;
    assert_eq!(broker.transactions().list()[0].state, TransactionState::CompleteAbort);
    assert_nothing_open(&broker, "timed out");
    assert!(matches!(slow.commit().await, Err(TransactionError::Fenced(_))));
    let refused = broker.transactional(TransactionalConfig {
        transactional_id: "slow".into(),
        timeout: Duration::from_mins(16),
    });
    let refused = refused.await.unwrap_err().to_string();
    assert_eq!(refused, "a transaction timeout of 960s is not accepted; choose more than 0 and at most 900s");
    let mut next = producer(&broker, "slow").await;
    next.append(&lines(0), vec![batch("next")]).await.unwrap();
    next.commit().await.unwrap();
    assert_eq!(committed_values(&broker, &lines(0)).await, ["next"]);
}

#[tokio::test(start_paused = true)]
async fn ids_are_bounded_and_expire() {
    let config = TransactionConfig {
        max_ids: 2,
        id_expiration: Duration::from_hours(1),
        max_partitions: 2,
        ..TransactionConfig::default()
    };
    let (storage, broker) = with_lines(config).await;
    let mut one = producer(&broker, "one").await;
    producer(&broker, "two").await;
    let refused = broker.transactional(TransactionalConfig::new("three")).await.unwrap_err().to_string();
    assert!(refused.starts_with("the broker keeps 2 transactional ids and takes no more"), "{refused}");
    let refused = one.add(&[lines(0), lines(1), lines(2)]).await.unwrap_err();
    assert!(matches!(refused, TransactionError::TooManyPartitions { max: 2 }));
    tokio::time::sleep(Duration::from_mins(40)).await;
    one.append(&lines(0), vec![batch("a")]).await.unwrap();
    one.commit().await.unwrap();
    tokio::time::sleep(Duration::from_mins(21)).await;
    let known = |broker: &Broker| {
        let names = broker.transactions().list().into_iter().map(|listing| listing.transactional_id);
        names.map(|id| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(known(&broker), ["one"], "what was used is kept");
    producer(&broker, "three").await;
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert!(known(&broker).is_empty());
    let expired = one.append(&lines(0), vec![batch("b")]).await;
    assert!(matches!(expired, Err(TransactionError::UnknownProducer(_))), "{expired:?}");
    assert!(matches!(broker.transactions().describe("one"), Err(TransactionError::NotFound(_))));
    broker.close().await.unwrap();
    assert!(known(&open(storage, config).unwrap()).is_empty());

    let config = TransactionConfig { max_total_bytes: 1000, ..TransactionConfig::default() };
    let (_, broker) = with_lines(config).await;
    producer(&broker, "one").await;
    let refused = broker.transactional(TransactionalConfig::new("two")).await.unwrap_err();
    assert!(matches!(refused, TransactionError::TooLarge { max: 1000 }));
    for id in [String::new(), "x".repeat(1 << 15)] {
        let refused = broker.transactional(TransactionalConfig::new(id)).await.unwrap_err();
        assert!(matches!(refused, TransactionError::InvalidId(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_groups_generation_counts_for_its_members_in_a_transaction_too() {
    let (_, broker) = with_lines(TransactionConfig::default()).await;
    let request = JoinRequest {
        member_id: "".into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/h".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(30),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), bytes::Bytes::new())],
        needs_known_id: false,
        can_skip_assignment: false,
    };
    let joined = broker.groups().join("g", request).await.unwrap();
    let member = Claim { member_id: joined.member_id, instance_id: None, generation: joined.generation };
    let mut one = producer(&broker, "one").await;
    let stale = Claim { generation: joined.generation - 1, ..member.clone() };
    let refused = one.commit_offsets("g", &stale, &[(lines(0), at(1))]).await;
    assert!(
        matches!(refused, Err(TransactionError::Group(GroupError::IllegalGeneration { .. }))),
        "{refused:?}"
    );
    one.abort().await.unwrap();
    one.commit_offsets("g", &member, &[(lines(0), at(2))]).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(broker.committed("g", &lines(0)).unwrap().unwrap().offset, 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_keeps_no_transaction_from_its_end() {
    let (_, broker) = with_lines(TransactionConfig::default()).await;
    broker.create_topic("other", 1, BTreeMap::new()).await.unwrap();
    let other = TopicPartition::new("other", 0);
    let mut one = producer(&broker, "one").await;
    one.append(&other, vec![batch("gone")]).await.unwrap();
    one.append(&lines(0), vec![batch("kept")]).await.unwrap();
    broker.delete_topic("other").await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(broker.transactions().list()[0].state, TransactionState::CompleteCommit);
    assert_eq!(committed_values(&broker, &lines(0)).await, ["kept"]);
    // What was open before is none of the new topic's.
    one.append(&lines(0), vec![batch("more")]).await.unwrap();
    broker.create_topic("other", 1, BTreeMap::new()).await.unwrap();
    one.append(&other, vec![batch("new")]).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(committed_values(&broker, &other).await, ["new"]);
    assert_nothing_open(&broker, "at the end");
}
