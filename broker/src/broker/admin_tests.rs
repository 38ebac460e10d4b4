//! Topics that grow and change, records deleted, time, and what groups committed, listed and deleted.

use std::time::Duration;

use bytes::BytesMut;
use topo_log::storage::MemoryStorage;
use topo_protocol::{BatchBuilder, Compression, NewRecord, Room, check, records, stamp_append_time};

use super::*;
use crate::partition::Isolation;
use crate::topic::SettingKind;

const SOON: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadUncommitted };

fn open(storage: &MemoryStorage) -> Broker {
    Broker::open_on(Arc::new(storage.clone()), Path::new("/data"), BrokerConfig::default()).unwrap()
}

async fn with_lines(partitions: u32, config: &[(&str, &str)]) -> (MemoryStorage, Broker) {
    let storage = MemoryStorage::new();
    let broker = open(&storage);
    broker.create_topic("lines", partitions, overrides(config)).await.unwrap();
    (storage, broker)
}

fn overrides(config: &[(&str, &str)]) -> BTreeMap<String, String> {
    config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn incremental(changes: &[(&str, Option<&str>)]) -> ConfigChange {
    let change = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    ConfigChange::Incremental(changes.iter().map(change).collect())
}

fn lines(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

/// A batch of a record for each timestamp.
fn batch(timestamps: &[i64]) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 16);
    for &timestamp_ms in timestamps {
        let record = NewRecord { timestamp_ms, value: Some(&[7; 100]), ..NewRecord::default() };
        assert_eq!(builder.append(&record).unwrap(), Room::Taken);
    }
    builder.finish(Compression::None).unwrap()
}

#[tokio::test]
async fn a_topic_grows_and_keeps_what_it_had() {
    let (storage, broker) = with_lines(2, &[("segment.bytes", "4096")]).await;
    broker.append(&lines(1), vec![batch(&[1])]).await.unwrap();
    let before = broker.topic("lines").unwrap();
    let after = broker.create_partitions("lines", 5).await.unwrap();
    assert_eq!(
        (before.partition_count(), after.partition_count()),
        (2, 5),
        "a topic is as of when it was asked for"
    );
    assert!(Arc::ptr_eq(before.partition(1).unwrap(), after.partition(1).unwrap()));
    assert_eq!((after.id(), after.config_overrides()), (before.id(), before.config_overrides()));
    for partition in 2..5 {
        assert_eq!(broker.append(&lines(partition), vec![batch(&[1])]).await.unwrap().base_offset, 0);
    }
    broker.commit("g", &[(lines(4), at(1))]).await.unwrap();
    let refused = |partitions| broker.check_partitions("lines", partitions).unwrap_err().to_string();
    for fewer in [1, 5] {
        assert_eq!(refused(fewer), "topic `lines` has 5 partitions already; ask for more than that");
    }
    assert_eq!(refused(0), "a topic cannot have 0 partitions; choose from 1 to 1024");
    assert!(broker.create_partitions("lines", 1025).await.is_err());
    assert!(matches!(broker.create_partitions("none", 2).await, Err(BrokerError::UnknownTopic(_))));
    assert!(matches!(broker.create_partitions(OFFSETS_TOPIC, 2).await, Err(BrokerError::InternalTopic(_))));
    broker.close().await.unwrap();

    let broker = open(&storage);
    assert_eq!(broker.topic("lines").unwrap().partition_count(), 5);
    assert!((1..5).all(|partition| broker.offsets(&lines(partition)).unwrap().log_end == 1));
    let before = broker.topic("lines").unwrap();
    broker.create_partitions("lines", 6).await.unwrap();
    broker.delete_topic("lines").await.unwrap();
    assert!(matches!(broker.append(&lines(4), vec![batch(&[1])]).await, Err(BrokerError::UnknownTopic(_))));
    let gone = before.partition(1).unwrap().offsets();
    assert!(matches!(gone, Err(BrokerError::UnknownTopic(_))), "also for who holds the topic of before");
}

#[tokio::test]
async fn settings_change_while_the_topic_lives_and_are_there_after_reopening() {
    let (storage, broker) = with_lines(1, &[("max.message.bytes", "100000")]).await;
    let alter = async |changes: &[(&str, Option<&str>)]| {
        broker.alter_config("lines", incremental(changes)).await.map(|topic| topic.config_overrides().clone())
    };
    let large = batch(&[0; 100]);
    broker.append(&lines(0), vec![large.clone()]).await.unwrap();
    alter(&[("max.message.bytes", Some("500")), ("compression.type", Some("gzip"))]).await.unwrap();
    let refused = broker.append(&lines(0), vec![large.clone()]).await;
    assert!(matches!(refused, Err(BrokerError::BatchTooLarge { max: 500, .. })));
    broker.append(&lines(0), vec![batch(&[5])]).await.unwrap();
    let stored = broker.fetch(&lines(0), 100, SOON).await.unwrap().batches;
    assert_eq!(check(&stored).unwrap().attributes.compression(), Ok(Compression::Gzip));

    // Back to the default, and segments so small that retention has something to give up.
    let set =
        alter(&[("max.message.bytes", None), ("compression.type", None), ("segment.bytes", Some("1024"))]);
    assert_eq!(set.await.unwrap(), overrides(&[("segment.bytes", "1024")]));
    for _ in 0..3 {
        broker.append(&lines(0), vec![large.clone()]).await.unwrap();
    }
    assert_eq!(broker.retain(1_000).await.unwrap(), 0);
    alter(&[("retention.ms", Some("10")), ("retention.bytes", Some("-1"))]).await.unwrap();
    assert!(broker.retain(1_000).await.unwrap() > 0);
    alter(&[("retention.ms", Some("-1")), ("flush.ms", Some("50"))]).await.unwrap();
    broker.append(&lines(0), vec![large.clone()]).await.unwrap();
    assert_eq!(broker.retain(i64::MAX / 2).await.unwrap(), 0);

    // All at once, as the older request does.
    let all = overrides(&[("flush.ms", "0"), ("segment.ms", "7")]);
    let topic = broker.alter_config("lines", ConfigChange::All(all.clone())).await.unwrap();
    assert_eq!((topic.config_overrides(), topic.config().segment_bytes), (&all, 1 << 30));
    broker.close().await.unwrap();
    let broker = open(&storage);
    assert_eq!(broker.topic("lines").unwrap().config_overrides(), &all);
}

#[tokio::test]
async fn a_change_that_cannot_be_changes_nothing() {
    let (_, broker) = with_lines(1, &[("segment.ms", "7")]).await;
    for (changes, expected) in [
        (
            vec![("segment.ms", Some("8")), ("retention", Some("1"))],
            "`retention` is no topic setting that topo has; it has ",
        ),
        (
            vec![("segment.ms", Some("8")), ("nonsense", None)],
            "`nonsense` is no topic setting that topo has; it has ",
        ),
        (
            vec![("segment.ms", None), ("flush.messages", Some("1"))],
            "`flush.messages` is a topic setting of Kafka that topo does not have; leave it out",
        ),
        (
            vec![("segment.ms", Some("0"))],
            "`segment.ms` cannot be `0`; it takes a number of milliseconds from 1 on",
        ),
        (
            vec![("message.timestamp.type", Some("Now"))],
            "`message.timestamp.type` cannot be `Now`; it takes CreateTime or LogAppendTime",
        ),
    ] {
        let change = incremental(&changes);
        let refused = broker.check_config("lines", &change).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
        assert_eq!(broker.alter_config("lines", change).await.unwrap_err().to_string(), refused);
        assert_eq!(broker.topic("lines").unwrap().config_overrides(), &overrides(&[("segment.ms", "7")]));
    }
    let change = incremental(&[("segment.ms", Some("8"))]);
    broker.check_config("lines", &change).unwrap();
    assert_eq!(broker.topic("lines").unwrap().config().retention.roll_after, Duration::from_millis(7));
    assert!(matches!(
        broker.alter_config(OFFSETS_TOPIC, change.clone()).await,
        Err(BrokerError::InternalTopic(_))
    ));
    assert!(matches!(broker.alter_config("none", change).await, Err(BrokerError::UnknownTopic(_))));
}

#[tokio::test]
async fn a_number_that_is_written_at_length_does_not_make_the_metadata_too_large() {
    let long = format!("{}7", "0".repeat(100_000));
    let (storage, broker) = with_lines(1, &[("segment.ms", &long)]).await;
    broker.alter_config("lines", incremental(&[("retention.ms", Some(&long))])).await.unwrap();
    let broker = open_again(&storage, broker).await;
    let set = overrides(&[("retention.ms", "7"), ("segment.ms", "7")]);
    assert_eq!(broker.topic("lines").unwrap().config_overrides(), &set);
}

#[tokio::test]
async fn every_setting_is_described() {
    let (_, broker) = with_lines(1, &[("segment.ms", "7"), ("retention.bytes", "-1")]).await;
    let settings = broker.describe_config("lines").unwrap();
    let shown = |name: &str| settings.iter().find(|setting| setting.name == name).unwrap();
    let segment_ms = shown("segment.ms");
    assert_eq!((&*segment_ms.value, &*segment_ms.default, segment_ms.is_set), ("7", "604800000", true));
    assert_eq!(segment_ms.kind, SettingKind::Long);
    assert!(shown("retention.bytes").is_set, "set to the default is set");
    assert_eq!((&*shown("flush.ms").value, shown("flush.ms").is_set), ("0", false));
    assert_eq!(shown("message.timestamp.type").default, "CreateTime");
    assert_eq!(shown("max.message.bytes").default, "1048588");
    assert_eq!(settings.len(), 13);
    assert!(matches!(broker.describe_config("none"), Err(BrokerError::UnknownTopic(_))));
}

#[tokio::test]
async fn the_broker_gives_records_its_time_where_the_topic_wants_that() {
    let (storage, broker) = with_lines(2, &[("message.timestamp.type", "LogAppendTime")]).await;
    for (now_ms, compression) in [(1_000, "producer"), (2_000, "zstd"), (3_000, "uncompressed")] {
        broker.alter_config("lines", incremental(&[("compression.type", Some(compression))])).await.unwrap();
        let appended =
            broker.append_at(&lines(0), vec![batch(&[9_000, 1]), batch(&[0])], now_ms).await.unwrap();
        assert_eq!(appended.log_append_time_ms, Some(now_ms));
        let stored = broker.fetch(&lines(0), appended.base_offset, SOON).await.unwrap().batches;
        let first = stored.slice(..topo_protocol::BatchHeader::parse(&stored).unwrap().total_bytes());
        let times = records(first, 1 << 20).unwrap().map(|record| record.unwrap().timestamp_ms);
        assert_eq!(times.collect::<Vec<_>>(), [now_ms, now_ms], "{compression}");
    }
    for reopened in [false, true] {
        let broker = if reopened {
            broker.close().await.unwrap();
            open(&storage)
        } else {
            broker.clone()
        };
        for (asked, expected) in
            [(0, Some(0)), (1_000, Some(0)), (1_001, Some(3)), (3_000, Some(6)), (3_001, None)]
        {
            let found = broker.offset_for_time(&lines(0), asked, Isolation::ReadUncommitted).await.unwrap();
            assert_eq!(found.map(|found| found.offset), expected, "{asked}");
        }
        let latest = broker.max_timestamp(&lines(0), Isolation::ReadUncommitted).await.unwrap().unwrap();
        assert_eq!((latest.offset, latest.timestamp_ms), (6, 3_000));
    }

    // What a producer sends again was appended when it was appended first.
    let broker = open_again(&storage, broker).await;
    let mut idempotent = batch(&[5]);
    idempotent[43..57].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
    let crc = crc32c::crc32c(&idempotent[21..]);
    idempotent[17..21].copy_from_slice(&crc.to_be_bytes());
    for now_ms in [4_000, 5_000] {
        let appended = broker.append_at(&lines(1), vec![idempotent.clone()], now_ms).await.unwrap();
        assert_eq!((appended.base_offset, appended.log_append_time_ms), (0, Some(4_000)));
    }

    // From now on the producers' again, who may not claim that theirs is the broker's.
    broker.alter_config("lines", incremental(&[("message.timestamp.type", None)])).await.unwrap();
    let appended = broker.append_at(&lines(0), vec![batch(&[7])], 6_000).await.unwrap();
    assert_eq!(appended.log_append_time_ms, None);
    let mut claims = batch(&[7]);
    stamp_append_time(&mut claims, 8).unwrap();
    let refused = broker.append(&lines(0), vec![claims]).await.unwrap_err().to_string();
    assert_eq!(refused, "the batch is refused: only the broker says when a batch was appended");
}

async fn open_again(storage: &MemoryStorage, broker: Broker) -> Broker {
    broker.close().await.unwrap();
    open(storage)
}

#[tokio::test]
async fn offsets_are_listed_by_what_they_mean() {
    let (_, broker) = with_lines(1, &[]).await;
    let list = async |timestamp| {
        let spec = OffsetSpec::from_timestamp(timestamp).unwrap();
        let isolation = Isolation::ReadCommitted;
        broker
            .list_offset(&lines(0), spec, isolation)
            .await
            .unwrap()
            .map(|found| (found.offset, found.timestamp_ms))
    };
    assert_eq!((list(-1).await, list(-2).await), (Some((0, -1)), Some((0, -1))));
    assert_eq!((list(-3).await, list(0).await), (None, None));
    broker.append(&lines(0), vec![batch(&[5, 9, 2]), batch(&[9, 4])]).await.unwrap();
    broker.delete_records(&lines(0), Some(1)).await.unwrap();
    assert_eq!((list(-1).await, list(-2).await), (Some((5, -1)), Some((1, -1))));
    assert_eq!((list(-3).await, list(0).await, list(10).await), (Some((1, 9)), Some((1, 9)), None));
    broker.delete_records(&lines(0), Some(2)).await.unwrap();
    assert_eq!((list(-3).await, list(0).await, list(3).await), (Some((3, 9)), Some((2, 2)), Some((3, 9))));
    assert_eq!(OffsetSpec::from_timestamp(-4), None);

    let end = broker.epoch_end(&lines(0), 0).unwrap();
    assert_eq!(end, Some(EpochEnd { leader_epoch: 0, end_offset: 5 }));
    assert_eq!(
        (broker.epoch_end(&lines(0), 1).unwrap(), broker.epoch_end(&lines(0), -1).unwrap()),
        (None, None)
    );
    assert!(broker.epoch_end(&lines(1), 0).is_err());

    assert!(broker.log_bytes(&lines(0)).unwrap() > 500);
    assert_eq!(broker.delete_records(&lines(0), None).await.unwrap(), 5);
    assert_eq!(broker.log_bytes(&lines(0)).unwrap(), 0);
    assert!(matches!(
        broker.delete_records(&lines(0), Some(6)).await,
        Err(BrokerError::OffsetOutOfRange { .. })
    ));
    let own = TopicPartition::new(OFFSETS_TOPIC, 0);
    assert!(matches!(broker.delete_records(&own, None).await, Err(BrokerError::InternalTopic(_))));
}

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: 0, metadata: format!("of {offset}"), commit_timestamp_ms: 7 }
}

#[tokio::test]
async fn what_groups_committed_is_listed_and_deleted() {
    let (storage, broker) = with_lines(3, &[]).await;
    assert_eq!((broker.committed_groups().unwrap(), broker.all_committed("g").unwrap()), (vec![], vec![]));
    assert!(!broker.delete_committed("g", None).await.unwrap());
    broker.commit("g", &[(lines(2), at(20)), (lines(0), at(10))]).await.unwrap();
    broker.commit("g", &[(lines(0), at(11)), (lines(1), at(1))]).await.unwrap();
    broker.commit("a", &[(lines(0), at(5))]).await.unwrap();
    let all = vec![(lines(0), at(11)), (lines(1), at(1)), (lines(2), at(20))];
    assert_eq!(broker.all_committed("g").unwrap(), all, "metadata and epoch with it");
    let groups = |broker: &Broker| {
        broker.committed_groups().unwrap().iter().map(|g| g.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(groups(&broker), ["a", "g"]);

    let none = [TopicPartition::new("none", 0)];
    assert!(!broker.delete_committed("g", Some(&none)).await.unwrap());
    let some = [lines(1), lines(2), none[0].clone()];
    assert!(broker.delete_committed("g", Some(&some)).await.unwrap());
    assert!(broker.delete_committed("a", None).await.unwrap());
    for reopened in [false, true] {
        let broker = if reopened { open_again(&storage, broker.clone()).await } else { broker.clone() };
        assert_eq!(broker.all_committed("g").unwrap(), all[..1]);
        assert_eq!((groups(&broker), broker.all_committed("a").unwrap()), (vec!["g".to_owned()], vec![]));
        assert_eq!(broker.committed("a", &lines(0)).unwrap(), None);
        broker.commit("a", &[(lines(0), at(1))]).await.unwrap();
        assert!(broker.delete_committed("a", None).await.unwrap());
    }
}
