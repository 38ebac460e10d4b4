//! Topics, appends and committed offsets across reopening.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use topo_log::storage::MemoryStorage;
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room, check, records};

use super::*;
use crate::partition::Isolation;

const SOON: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadUncommitted };

fn open(storage: &MemoryStorage) -> Broker {
    Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), BrokerConfig::default()).unwrap()
}

fn batch_as(value: &[u8], compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 10);
    assert_eq!(
        builder.append(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap(),
        Room::Taken
    );
    builder.finish(compression).unwrap()
}

fn batch(value: &str) -> Vec<BytesMut> {
    vec![batch_as(value.as_bytes(), Compression::None)]
}

fn lines(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: -1, metadata: String::new(), commit_timestamp_ms: 7 }
}

fn config(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

fn committed(broker: &Broker, group: &str, of: &TopicPartition) -> Option<i64> {
    broker.committed(group, of).unwrap().map(|committed| committed.offset)
}

fn names(broker: &Broker) -> Vec<String> {
    broker.topics().iter().map(|topic| topic.name().to_string()).collect()
}

fn values(mut batches: Bytes) -> Vec<Bytes> {
    let mut values = Vec::new();
    while !batches.is_empty() {
        let bytes = BatchHeader::parse(&batches).unwrap().total_bytes();
        let records = records(batches.split_to(bytes), 1 << 20).unwrap();
        values.extend(records.map(|record| record.unwrap().value.unwrap()));
    }
    values
}

#[tokio::test]
async fn topics_records_and_offsets_are_there_after_reopening() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    let created = broker.create_topic("lines", 3, config("segment.bytes", "4096")).await.unwrap();
    broker.create_topic("counts", 1, BTreeMap::new()).await.unwrap();
    for round in 0..100 {
        let appended = broker.append(&lines(round % 3), batch(&round.to_string())).await.unwrap();
        assert_eq!(appended.base_offset, i64::from(round / 3));
    }
    broker.commit("g", &[(lines(0), at(10)), (lines(2), at(20))]).await.unwrap();
    broker.commit("g", &[(lines(0), at(11))]).await.unwrap();
    broker.close().await.unwrap();

    let broker = open(&storage);
    assert_eq!(names(&broker), [OFFSETS_TOPIC, "counts", "lines"]);
    let topic = broker.topic("lines").unwrap();
    assert_eq!((topic.id(), topic.partition_count()), (created.id(), 3));
    assert_eq!((topic.config().segment_bytes, topic.config_overrides().len()), (4096, 1));
    let read = values(broker.fetch(&lines(1), 5, SOON).await.unwrap().batches);
    assert_eq!((read.len(), &read[0][..]), (28, &b"16"[..]));
    assert_eq!(committed(&broker, "g", &lines(0)), Some(11));
    assert_eq!(committed(&broker, "g", &lines(1)), None);
    assert_eq!(committed(&broker, "g", &lines(2)), Some(20));
    assert_eq!(committed(&broker, "h", &lines(0)), None);
    assert_eq!(broker.committed("g", &lines(0)).unwrap(), Some(at(11)));
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    let second = Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), BrokerConfig::default());
    let refused = second.unwrap_err().to_string();
    assert!(refused.starts_with("data directory /data is in use by another topo"), "{refused}");
    broker.close().await.unwrap();
    open(&storage);
}

#[tokio::test]
async fn a_closed_broker_refuses_everything_and_closes_again() {
    let broker = open(&MemoryStorage::new());
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    broker.commit("g", &[(lines(0), at(0))]).await.unwrap();
    broker.close().await.unwrap();
    broker.close().await.unwrap();
    let closed = |result: Result<(), BrokerError>| assert!(matches!(result, Err(BrokerError::Closed)));
    closed(broker.create_topic("more", 1, BTreeMap::new()).await.map(drop));
    closed(broker.delete_topic("lines").await);
    closed(broker.append(&lines(0), batch("late")).await.map(drop));
    closed(broker.fetch(&lines(0), 0, SOON).await.map(drop));
    closed(broker.offsets(&lines(0)).map(drop));
    closed(broker.commit("g", &[(lines(0), at(0))]).await);
    closed(broker.committed("g", &lines(0)).map(drop));
}

#[tokio::test]
async fn what_no_topic_can_be_is_refused() {
    let broker = open(&MemoryStorage::new());
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    let refused = async |name: &str, partitions, config| {
        broker.create_topic(name, partitions, config).await.unwrap_err().to_string()
    };
    let none = BTreeMap::new();
    assert_eq!(refused("lines", 1, none.clone()).await, "topic `lines` exists already");
    assert_eq!(
        refused("../x", 1, none.clone()).await,
        "`../x` is no name for a topic; use 1 to 249 letters, digits, dots, underscores and hyphens, and more than \
         `.` or `..`"
    );
    assert_eq!(
        refused("x", 0, none.clone()).await,
        "a topic cannot have 0 partitions; choose from 1 to 1024"
    );
    assert!(refused("x", 1, config("retention", "1")).await.starts_with("`retention` is no topic setting"));
    assert!(refused(OFFSETS_TOPIC, 1, none).await.contains("kept by the broker itself"));
    assert_eq!(names(&broker), ["lines"]);

    assert_eq!(broker.delete_topic("x").await.unwrap_err().to_string(), "there is no topic `x`");
    assert!(broker.delete_topic(OFFSETS_TOPIC).await.is_err());
    let unknown = broker.append(&lines(1), batch("x")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "topic `lines` has no partition 1");
}

#[tokio::test]
async fn batches_that_producers_do_not_send_are_refused_before_any_is_written() {
    let broker = open(&MemoryStorage::new());
    broker.create_topic("lines", 1, config("max.message.bytes", "200")).await.unwrap();
    let refused = async |batch: BytesMut| {
        let good = batch_as(b"good", Compression::None);
        broker.append(&lines(0), vec![good, batch]).await.unwrap_err()
    };
    let large = refused(batch_as(&[7; 300], Compression::None)).await.to_string();
    assert!(
        large.ends_with("larger than the 200 bytes that topic `lines` takes; raise max.message.bytes"),
        "{large}"
    );

    let mut flipped = batch_as(b"x", Compression::None);
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(flipped).await, BrokerError::InvalidBatch(_)));
    assert!(matches!(refused(BytesMut::new()).await, BrokerError::InvalidBatch(_)));
    assert!(matches!(refused(resealed(|b| b[22] |= 1 << 5)).await, BrokerError::UnacceptableBatch(_)));
    assert!(matches!(refused(resealed(|b| b[60] = 0)).await, BrokerError::UnacceptableBatch(_)));
    assert!(matches!(refused(resealed(|b| b[22] = 7)).await, BrokerError::InvalidBatch(_)));
    let own = TopicPartition::new(OFFSETS_TOPIC, 0);
    assert!(matches!(broker.append(&own, batch("x")).await, Err(BrokerError::InternalTopic(_))));
    assert_eq!(broker.offsets(&lines(0)).unwrap().log_end, 0);
}

/// A batch of one record, changed, its checksum right again.
fn resealed(change: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut batch = batch_as(b"x", Compression::None);
    change(&mut batch);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[tokio::test]
async fn batches_are_stored_as_they_came_unless_the_topic_says_how() {
    let broker = open(&MemoryStorage::new());
    for (kind, wanted) in [
        ("producer", Compression::Lz4),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("zstd", Compression::Zstd),
        ("uncompressed", Compression::None),
    ] {
        broker.create_topic(kind, 1, config("compression.type", kind)).await.unwrap();
        let to = TopicPartition::new(kind, 0);
        let sent = batch_as(&[7; 500], Compression::Lz4);
        broker.append(&to, vec![sent.clone()]).await.unwrap();
        let stored = broker.fetch(&to, 0, SOON).await.unwrap().batches;
        let header = check(&stored).unwrap();
        assert_eq!(header.attributes.compression(), Ok(wanted), "{kind}");
        if kind == "producer" {
            assert_eq!(stored[16..], sent[16..], "all but offset and epoch, bit by bit");
        }
        assert_eq!(values(stored), [vec![7; 500]]);
    }
}

#[tokio::test]
async fn a_topic_of_the_same_name_starts_anew() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    let first = broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    broker.create_topic("kept", 1, BTreeMap::new()).await.unwrap();
    broker.append(&lines(0), batch("old")).await.unwrap();
    let kept = TopicPartition::new("kept", 0);
    broker.commit("g", &[(lines(0), at(1)), (kept.clone(), at(5))]).await.unwrap();
    broker.delete_topic("lines").await.unwrap();
    assert!(matches!(broker.topic("lines"), Err(BrokerError::UnknownTopic(_))));
    assert!(matches!(
        broker.commit("g", &[(kept.clone(), at(6)), (lines(0), at(2))]).await,
        Err(BrokerError::UnknownTopic(_))
    ));

    let second = broker.create_topic("lines", 2, BTreeMap::new()).await.unwrap();
    assert_ne!(first.id(), second.id());
    for reopened in [false, true] {
        let broker = if reopened {
            broker.close().await.unwrap();
            open(&storage)
        } else {
            broker.clone()
        };
        assert_eq!(broker.offsets(&lines(0)).unwrap().log_end, 0);
        assert_eq!(committed(&broker, "g", &lines(0)), None);
        assert_eq!(committed(&broker, "g", &kept), Some(5), "a refused commit commits nothing");
    }
}

#[tokio::test]
async fn commits_that_race_leave_the_last_one_written() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    let mut commits = tokio::task::JoinSet::new();
    for offset in 0..200 {
        let broker = broker.clone();
        commits.spawn(async move { broker.commit("g", &[(lines(0), at(offset))]).await });
        if offset % 3 == 0 {
            // Some stop waiting: memory and topic must agree all the same.
            tokio::task::yield_now().await;
            commits.abort_all();
        }
    }
    while let Some(commit) = commits.join_next().await {
        assert!(commit.map_or_else(|stopped| stopped.is_cancelled(), |committed| committed.is_ok()));
    }
    broker.commit("h", &[(lines(0), at(0))]).await.unwrap();
    let seen = committed(&broker, "g", &lines(0));
    assert!(seen.is_some());
    broker.close().await.unwrap();
    assert_eq!(committed(&open(&storage), "g", &lines(0)), seen);
}

#[tokio::test]
async fn a_commit_is_bounded_and_deletion_is_not() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    broker.create_topic("lines", 600, BTreeMap::new()).await.unwrap();
    let of_metadata = |bytes| {
        let to = CommittedOffset { metadata: "m".repeat(bytes), ..at(1) };
        (0..600).map(|partition| (lines(partition), to.clone())).collect::<Vec<_>>()
    };
    let refused = broker.commit("g", &of_metadata(32_000)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "too much is committed at once; commit fewer partitions or less metadata"
    );
    broker.commit("g", &of_metadata(0)).await.unwrap();
    broker.delete_topic("lines").await.unwrap();
    broker.create_topic("lines", 600, BTreeMap::new()).await.unwrap();
    broker.close().await.unwrap();
    let broker = open(&storage);
    assert!((0..600).all(|partition| committed(&broker, "g", &lines(partition)).is_none()));
}

#[tokio::test]
async fn commits_that_cannot_be_are_refused() {
    let broker = open(&MemoryStorage::new());
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    let long = CommittedOffset { metadata: "x".repeat(40_000), ..at(0) };
    for (group, of, to) in [
        ("", lines(0), at(0)),
        (&*"g".repeat(40_000), lines(0), at(0)),
        ("g", lines(0), at(-1)),
        ("g", lines(0), long),
        ("g", lines(1), at(0)),
        ("g", TopicPartition::new("none", 0), at(0)),
    ] {
        let refused = broker.commit(group, &[(lines(0), at(3)), (of, to)]).await;
        assert!(refused.is_err(), "{group}");
    }
    broker.commit("g", &[]).await.unwrap();
    assert_eq!(committed(&broker, "g", &lines(0)), None);
}

#[tokio::test]
async fn damaged_metadata_is_named_and_left_alone() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    broker.close().await.unwrap();
    let file = storage.open(Path::new("/data/topics/lines/metadata")).unwrap();
    file.write_all_at(b"T", 0).unwrap();
    let refused = Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), BrokerConfig::default());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "/data/topics/lines/metadata cannot be used: it is damaged; restore it from a copy"
    );
    file.write_all_at(b"t", 0).unwrap();
    assert_eq!(names(&open(&storage)), ["lines"]);
}

#[tokio::test(start_paused = true)]
async fn retention_is_kept_in_the_background_by_the_clock_that_was_given() {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    let settings = [("segment.bytes", "1024"), ("retention.ms", "1000"), ("segment.ms", "1000")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    broker.create_topic("lines", 1, settings).await.unwrap();
    broker.commit("g", &[(lines(0), at(1))]).await.unwrap();
    for _ in 0..40 {
        broker.append(&lines(0), batch("a line of some length, so that segments fill")).await.unwrap();
    }
    let wall_ms = Arc::new(std::sync::atomic::AtomicI64::new(500));
    let clock = wall_ms.clone();
    broker.keep_retention(move || clock.load(Ordering::Relaxed));
    let checked = BrokerConfig::default().retention_check_interval * 2;
    tokio::time::sleep(checked).await;
    assert_eq!(broker.offsets(&lines(0)).unwrap().log_start, 0, "nothing is old enough");
    wall_ms.store(2_000, Ordering::Relaxed);
    tokio::time::sleep(checked).await;
    let held = broker.offsets(&lines(0)).unwrap();
    assert_eq!(
        (held.log_start, held.log_end),
        (40, 40),
        "the last segment was rolled, and went with the others"
    );
    let refused = broker.fetch(&lines(0), 39, SOON).await.unwrap_err();
    assert_eq!(refused.to_string(), "lines-0 holds offsets 40 to 40, not 39");
    assert_eq!(committed(&broker, "g", &lines(0)), Some(1), "what the broker keeps for itself stays");
    broker.close().await.unwrap();
    let broker = open(&storage);
    assert_eq!(broker.offsets(&lines(0)).unwrap().log_start, 40);
    assert_eq!(committed(&broker, "g", &lines(0)), Some(1));
}
