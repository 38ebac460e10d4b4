//! Topics that keep the last record of each key, the broker's own among them.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use topo_log::storage::MemoryStorage;
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room, records};

use super::*;
use crate::partition::Isolation;
use crate::topic::SettingKind;

const LIMIT: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadUncommitted };

fn open(storage: &MemoryStorage) -> Broker {
    Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), BrokerConfig::default()).unwrap()
}

async fn with_counts(config: &[(&str, &str)]) -> (MemoryStorage, Broker) {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    let compacted = [("cleanup.policy", "compact"), ("segment.bytes", "1024")];
    let config = compacted.iter().chain(config).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    broker.create_topic("counts", 1, config.collect()).await.unwrap();
    (storage, broker)
}

fn counts() -> TopicPartition {
    TopicPartition::new("counts", 0)
}

fn batch(key: Option<&str>, value: Option<&str>, timestamp_ms: i64) -> Vec<BytesMut> {
    let mut builder = BatchBuilder::new(1 << 10);
    let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
    let record = NewRecord { timestamp_ms, key, value, headers: &[] };
    assert_eq!(builder.append(&record).unwrap(), Room::Taken);
    vec![builder.finish(Compression::None).unwrap()]
}

/// Counts from `from` to `to`, of three keys in turn.
async fn count(broker: &Broker, from: i64, to: i64) {
    for number in from..to {
        let (key, value) = (format!("key {}", number % 3), format!("{number} {}", "x".repeat(50)));
        broker.append(&counts(), batch(Some(&key), Some(&value), number)).await.unwrap();
    }
}

/// Offset and key of all that a reader finds.
async fn left(broker: &Broker, of: &TopicPartition) -> Vec<(i64, String)> {
    let held = broker.offsets(of).unwrap();
    let (mut offset, mut left) = (held.log_start, Vec::new());
    while offset < held.high_watermark {
        let mut batches = broker.fetch(of, offset, LIMIT).await.unwrap().batches;
        assert!(!batches.is_empty(), "nothing at {offset}");
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches).unwrap();
            let all = records(batches.split_to(header.total_bytes()), 1 << 20).unwrap().map(Result::unwrap);
            let text = |key: Bytes| String::from_utf8_lossy(&key).into_owned();
            left.extend(all.map(|record| (record.offset, record.key.map_or(String::new(), text))));
            offset = header.next_offset();
        }
    }
    left
}

#[tokio::test(start_paused = true)]
async fn the_last_record_of_each_key_is_kept_in_the_background() {
    let (storage, broker) = with_counts(&[]).await;
    count(&broker, 0, 300).await;
    let before = broker.topic("counts").unwrap().partition(0).unwrap().bytes().unwrap();
    let wall_ms = Arc::new(AtomicI64::new(1_000));
    let clock = wall_ms.clone();
    broker.keep_compaction(move || clock.load(Ordering::Relaxed));
    tokio::time::sleep(BrokerConfig::default().compaction_check_interval * 2).await;
    let after = broker.topic("counts").unwrap().partition(0).unwrap().bytes().unwrap();
    assert!(after < before / 10, "{after} of {before}");
    let all = left(&broker, &counts()).await;
    assert_eq!(all[all.len() - 3..], [297, 298, 299].map(|n| (n, format!("key {}", n % 3))));
    assert!(all.len() < 20 && all.is_sorted(), "{all:?}");
    broker.close().await.unwrap();
    assert_eq!(left(&open(&storage), &counts()).await, all);
}

#[tokio::test]
async fn a_record_without_a_key_is_refused_by_a_topic_that_keeps_the_last_of_each() {
    let (_, broker) = with_counts(&[]).await;
    let refused = broker.append(&counts(), batch(None, Some("v"), 0)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the batch is refused: a record has no key, and the topic keeps the last record of each key; give it one, or \
         have the topic's cleanup.policy be delete"
    );
    assert_eq!(broker.offsets(&counts()).unwrap().log_end, 0);
    let policy =
        |value: &str| ConfigChange::Incremental([("cleanup.policy".into(), Some(value.into()))].into());
    broker.alter_config("counts", policy("delete")).await.unwrap();
    broker.append(&counts(), batch(None, Some("v"), 0)).await.unwrap();
    broker.alter_config("counts", policy("compact")).await.unwrap();
    assert!(broker.append(&counts(), batch(None, Some("v"), 0)).await.is_err());
}

#[tokio::test]
async fn the_policy_may_change_and_both_may_be_wanted() {
    let (_, broker) = with_counts(&[("cleanup.policy", "delete"), ("retention.ms", "1000")]).await;
    count(&broker, 0, 100).await;
    assert!(broker.compact(100).await.unwrap().is_empty());
    let change =
        |key: &str, value: &str| ConfigChange::Incremental([(key.into(), Some(value.into()))].into());
    broker.alter_config("counts", change("cleanup.policy", "compact")).await.unwrap();
    assert_eq!(broker.retain(100_000).await.unwrap(), 0, "nothing is too old to be the last of its key");
    let done = broker.compact(100).await.unwrap();
    assert_eq!(done.len(), 1);
    assert!(done[0].0 == counts() && done[0].1.removed_records > 80, "{done:?}");
    broker.alter_config("counts", change("cleanup.policy", "compact,delete")).await.unwrap();
    count(&broker, 100, 110).await;
    assert!(broker.retain(100_000).await.unwrap() > 0);
    let all = left(&broker, &counts()).await;
    assert!(
        all.len() < 13 && all.iter().all(|(offset, _)| *offset >= 97),
        "the active segment is left: {all:?}"
    );

    let setting = |settings: Vec<crate::topic::Setting>, name| {
        settings.into_iter().find(|setting| setting.name == name).unwrap()
    };
    let policy = setting(broker.describe_config("counts").unwrap(), "cleanup.policy");
    assert_eq!((policy.value.as_str(), policy.default.as_str()), ("compact,delete", "delete"));
    assert_eq!(policy.kind, SettingKind::List);
    let ratio = setting(broker.describe_config("counts").unwrap(), "min.cleanable.dirty.ratio");
    assert_eq!((ratio.value.as_str(), ratio.kind), ("0.5", SettingKind::Double));
}

#[tokio::test]
async fn committed_offsets_are_compacted_and_found_again() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    broker.create_topic("lines", 2, BTreeMap::new()).await.unwrap();
    let lines = |partition| TopicPartition::new("lines", partition);
    let at = |offset, bytes: usize| CommittedOffset {
        offset,
        leader_epoch: -1,
        metadata: "m".repeat(bytes),
        commit_timestamp_ms: offset,
    };
    broker.commit("once", &[(lines(1), at(7, 0))]).await.unwrap();
    for round in 0..400 {
        broker.commit("g", &[(lines(0), at(round, 30_000)), (lines(1), at(round, 0))]).await.unwrap();
    }
    let own = TopicPartition::new(OFFSETS_TOPIC, 0);
    let bytes = |broker: &Broker| broker.topic(OFFSETS_TOPIC).unwrap().partition(0).unwrap().bytes().unwrap();
    let before = bytes(&broker);
    let done = broker.compact(0).await.unwrap();
    assert!(done.len() == 1 && done[0].0 == own, "{done:?}");
    assert!(bytes(&broker) < before / 2, "{} of {before}", bytes(&broker));
    let settings = broker.describe_config(OFFSETS_TOPIC).unwrap();
    let policy = settings.iter().find(|setting| setting.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_str(), policy.is_set), ("compact", false));
    broker.close().await.unwrap();

    let broker = open(&storage);
    let committed = |group, partition| broker.committed(group, &lines(partition)).unwrap().unwrap().offset;
    assert_eq!((committed("g", 0), committed("g", 1), committed("once", 1)), (399, 399, 7));
    // What a topic of that name starts with is nothing, also after its deletion was compacted.
    broker.delete_topic("lines").await.unwrap();
    broker.create_topic("lines", 2, BTreeMap::new()).await.unwrap();
    broker.close().await.unwrap();
    let broker = open(&storage);
    assert_eq!(broker.committed("g", &lines(0)).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_deleting_wait_for_compaction_to_stop() {
    for delete in [false, true] {
        let storage = MemoryStorage::new();
        let slow = BrokerConfig { compaction_bytes_per_second: 2_000, ..BrokerConfig::default() };
        let broker = Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), slow).unwrap();
        let config = [("cleanup.policy", "compact"), ("segment.bytes", "1024")];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        broker.create_topic("counts", 1, config).await.unwrap();
        count(&broker, 0, 200).await;
        let compacting = broker.clone();
        let compaction = tokio::spawn(async move { compacting.compact(1_000).await });
        // It has about ten seconds to go once it has begun.
        while !broker.topic("counts").unwrap().partition(0).unwrap().is_compacting() {
            tokio::task::yield_now().await;
        }
        if delete {
            broker.delete_topic("counts").await.unwrap();
            assert!(compaction.await.unwrap().unwrap().is_empty());
            broker.create_topic("counts", 1, BTreeMap::new()).await.unwrap();
            assert_eq!(left(&broker, &counts()).await, []);
            continue;
        }
        broker.close().await.unwrap();
        assert!(compaction.await.unwrap().unwrap().is_empty());
        let broker = open(&storage);
        assert_eq!(left(&broker, &counts()).await.len(), 200, "nothing was changed by half");
        assert_eq!(broker.compact(1_000).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn appends_and_fetches_go_on_while_it_compacts() {
    let (_, broker) = with_counts(&[]).await;
    count(&broker, 0, 200).await;
    let of = counts();
    for round in 0..10 {
        let from = 200 + round * 30;
        let (done, (), all) =
            tokio::join!(broker.compact(1_000), count(&broker, from, from + 30), left(&broker, &of));
        done.unwrap();
        assert!(all.is_sorted());
    }
    let all = left(&broker, &counts()).await;
    assert_eq!(all[all.len() - 3..], [497, 498, 499].map(|n| (n, format!("key {}", n % 3))));
}
