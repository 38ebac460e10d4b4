//! The embedded log as topologies use it.

use std::path::Path;
use std::time::Duration;

use topo_core::log::{Consumed, Header};
use topo_core::schedule::Moment;
use topo_protocol::{BatchBuilder, NewRecord, Room};

use super::*;

/// A clock that stands still.
struct At(i64);

impl Clock for At {
    fn now(&self) -> Moment {
        Moment::default()
    }

    fn wall_ms(&self) -> i64 {
        self.0
    }
}

fn open(dir: &Path, config: EmbeddedConfig) -> EmbeddedLog {
    EmbeddedLog::open(dir, config, Arc::new(At(1_000))).unwrap()
}

/// A log in a directory of its own, with a topic `lines` of 2 partitions.
async fn log(config: EmbeddedConfig, topic: &[(&str, &str)]) -> (EmbeddedLog, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), config);
    let config = topic.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    log.create_topic("lines", &TopicSpec { partitions: 2, config }).await.unwrap();
    (log, dir)
}

fn lines(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|n| Record { value: Some(format!("line {n}").into()), ..Record::default() }).collect()
}

/// Everything from `offset` on, fetch by fetch.
async fn read_on(log: &EmbeddedLog, mut offset: i64, max_bytes: usize) -> Vec<Consumed> {
    let mut all: Vec<Consumed> = Vec::new();
    loop {
        let limit = FetchLimit { max_bytes, ..FetchLimit::default() };
        let fetched = log.fetch(&lines(0), offset, limit).await.unwrap();
        assert!(fetched.next_offset > offset || offset == fetched.high_watermark);
        if fetched.next_offset == offset {
            return all;
        }
        all.extend(fetched.records);
        offset = fetched.next_offset;
    }
}

#[tokio::test]
async fn records_come_back_as_they_were_appended() {
    let (log, _dir) = log(EmbeddedConfig::default(), &[]).await;
    let headers =
        vec![Header { key: "h".into(), value: Some("x".into()) }, Header { key: "h".into(), value: None }];
    let full = Record {
        key: Some("k".into()),
        value: Some("v".into()),
        headers: headers.clone(),
        timestamp_ms: Some(-5),
    };
    let offset = log.append(&lines(1), vec![full, Record::default()]).await.unwrap();
    assert_eq!(offset, 0);
    let fetched = log.fetch(&lines(1), 0, FetchLimit::default()).await.unwrap();
    let first =
        Consumed { offset: 0, timestamp_ms: -5, key: Some("k".into()), value: Some("v".into()), headers };
    let second = Consumed { offset: 1, timestamp_ms: 1_000, key: None, value: None, headers: Vec::new() };
    assert_eq!(fetched, Fetched { records: vec![first, second], next_offset: 2, high_watermark: 2 });
    assert_eq!(
        log.offsets(&lines(1)).await.unwrap(),
        Offsets { log_start: 0, high_watermark: 2, log_end: 2 }
    );
    assert_eq!(
        log.offsets(&lines(0)).await.unwrap(),
        Offsets { log_start: 0, high_watermark: 0, log_end: 0 }
    );
}

#[tokio::test]
async fn reading_starts_at_any_offset_and_goes_on_to_the_end() {
    for compression in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let config = EmbeddedConfig { compression, batch_bytes: 500, ..EmbeddedConfig::default() };
        let (log, _dir) = log(config, &[("segment.bytes", "4096")]).await;
        for from in (0..1_000).step_by(100) {
            assert_eq!(log.append(&lines(0), numbered(from..from + 100)).await.unwrap(), i64::from(from));
        }
        for offset in (0..=1_000).step_by(37) {
            let read = read_on(&log, offset, 2_000).await;
            assert_eq!(read.len() as i64, 1_000 - offset);
            for (record, n) in read.iter().zip(offset..) {
                let line = format!("line {n}");
                assert_eq!((record.offset, record.value.as_deref()), (n, Some(line.as_bytes())));
            }
        }
    }
}

#[tokio::test]
async fn values_share_the_fetched_batchs_buffer() {
    let (log, _dir) = log(EmbeddedConfig::default(), &[]).await;
    log.append(&lines(0), numbered(0..100)).await.unwrap();
    let records = log.fetch(&lines(0), 0, FetchLimit::default()).await.unwrap().records;
    let starts: Vec<_> = records.iter().map(|r| r.value.as_ref().unwrap().as_ptr().addr()).collect();
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "not one behind the other");
    assert!(starts[99] - starts[0] < 100 * 20, "not in one buffer");
}

#[tokio::test]
async fn a_fetch_waits_for_what_is_appended_next() {
    let (log, _dir) = log(EmbeddedConfig::default(), &[]).await;
    let limit = FetchLimit { max_wait: Duration::from_secs(3600), ..FetchLimit::default() };
    let (of, next) = (lines(0), numbered(0..1));
    let (fetched, appended) = tokio::join!(log.fetch(&of, 0, limit), log.append(&of, next));
    assert_eq!(appended.unwrap(), 0);
    assert_eq!(fetched.unwrap().records.len(), 1);
}

#[tokio::test]
async fn topics_and_commits_survive_a_restart() {
    let (log, dir) = log(EmbeddedConfig::default(), &[("segment.bytes", "4096")]).await;
    log.append(&lines(0), numbered(0..10)).await.unwrap();
    log.commit("g", &[(lines(0), 7)]).await.unwrap();
    log.close().await.unwrap();
    assert!(matches!(log.append(&lines(0), numbered(0..1)).await, Err(LogError::Closed)));

    let log = open(dir.path(), EmbeddedConfig::default());
    let info = log.topic("lines").await.unwrap().unwrap();
    assert_eq!((&*info.name, info.partitions, info.config["segment.bytes"].as_str()), ("lines", 2, "4096"));
    assert!(log.topics().await.unwrap().contains(&info));
    assert_eq!(log.committed("g", &lines(0)).await.unwrap(), Some(7));
    assert_eq!(log.committed("g", &lines(1)).await.unwrap(), None);
    assert_eq!(log.append(&lines(0), Vec::new()).await.unwrap(), 10, "nothing appended: where it would go");
    log.delete_topic("lines").await.unwrap();
    assert_eq!(log.topic("lines").await.unwrap(), None);
    assert_eq!(log.committed("g", &lines(0)).await.unwrap(), None);
}

#[tokio::test]
async fn batches_are_compressed_as_the_topic_or_the_setting_says() {
    let config = EmbeddedConfig { compression: Compression::Lz4, ..EmbeddedConfig::default() };
    for (kind, stored) in
        [("producer", Compression::Lz4), ("gzip", Compression::Gzip), ("snappy", Compression::Snappy)]
    {
        let (log, _dir) = log(config, &[("compression.type", kind)]).await;
        log.append(&lines(0), numbered(0..1_000)).await.unwrap();
        let isolation = topo_broker::Isolation::ReadUncommitted;
        let limit = topo_broker::FetchLimit { max_bytes: 1, max_wait: Duration::ZERO, isolation };
        let batches = log.broker().fetch(&there(&lines(0)), 0, limit).await.unwrap().batches;
        assert_eq!(topo_protocol::check(&batches).unwrap().attributes.compression(), Ok(stored));
        assert_eq!(read_on(&log, 0, 1 << 20).await.len(), 1_000);
    }
}

#[tokio::test]
async fn batches_fit_their_topic_even_where_nothing_compresses() {
    let (log, _dir) = log(EmbeddedConfig::default(), &[("max.message.bytes", "5000")]).await;
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let mut record =
        |bytes| Record { value: Some((0..bytes).map(|_| noise()).collect()), ..Record::default() };
    let records: Vec<_> = [100; 500].map(&mut record).into();
    log.append(&lines(0), records).await.unwrap();
    assert_eq!(read_on(&log, 0, 1 << 20).await.len(), 500);

    let large = Record { value: Some(vec![0; 400_000].into()), ..Record::default() };
    log.append(&lines(0), vec![large.clone()]).await.unwrap();
    let refused = log.append(&lines(0), vec![large, record(6_000)]).await;
    match refused {
        Err(LogError::Invalid(sentence)) => {
            assert!(sentence.ends_with("raise max.message.bytes"), "{sentence}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.offsets(&lines(0)).await.unwrap().log_end, 501, "nothing of it is appended");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_said_behind_what_can() {
    let (log, _dir) = log(EmbeddedConfig::default(), &[]).await;
    log.append(&lines(0), numbered(0..3)).await.unwrap();
    let mut builder = BatchBuilder::new(100);
    assert_eq!(builder.append(&NewRecord::default()).unwrap(), Room::Taken);
    let mut gzip = builder.finish(Compression::None).unwrap();
    gzip[22] = 1;
    let crc = crc32c(&gzip[21..]);
    gzip[17..21].copy_from_slice(&crc.to_be_bytes());
    log.broker().append(&there(&lines(0)), vec![gzip]).await.unwrap();

    let fetched = log.fetch(&lines(0), 1, FetchLimit::default()).await.unwrap();
    assert_eq!((fetched.records.len(), fetched.next_offset, fetched.high_watermark), (2, 3, 4));
    let refused = log.fetch(&lines(0), 3, FetchLimit::default()).await.unwrap_err().to_string();
    assert!(refused.starts_with("the gzip records of a batch do not decompress"), "{refused}");
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn errors_are_in_the_logs_words() {
    let (log, dir) = log(EmbeddedConfig::default(), &[]).await;
    let none = TopicPartition::new("none", 0);
    let sentence = log.append(&none, numbered(0..1)).await.unwrap_err().to_string();
    assert_eq!(sentence, "there is no topic `none`; create it with `topo topic create none`");
    assert!(matches!(
        log.fetch(&lines(2), 0, FetchLimit::default()).await,
        Err(LogError::UnknownPartition(_))
    ));
    let refused = log.fetch(&lines(0), 5, FetchLimit::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "lines-0 holds offsets 0 to 0, not 5");
    let spec = TopicSpec::default();
    assert!(matches!(log.create_topic("lines", &spec).await, Err(LogError::TopicExists(_))));
    assert!(matches!(log.create_topic("a b", &spec).await, Err(LogError::Invalid(_))));
    assert!(matches!(log.commit("g", &[(none, 0)]).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.commit("", &[(lines(0), 0)]).await, Err(LogError::Invalid(_))));
    let second = EmbeddedLog::open(dir.path(), EmbeddedConfig::default(), Arc::new(At(0))).err().unwrap();
    assert!(second.to_string().contains("is in use by another topo"), "{second}");
}

#[tokio::test]
async fn records_are_found_by_their_timestamps() {
    let (log, _dir) = log(EmbeddedConfig { batch_bytes: 300, ..EmbeddedConfig::default() }, &[]).await;
    let at = |timestamp_ms| Record { timestamp_ms: Some(timestamp_ms), ..Record::default() };
    assert_eq!(log.offset_for_time(&lines(0), 0).await.unwrap(), None);
    log.append(&lines(0), [30, 10, 20, 50, 40].map(at).into()).await.unwrap();
    log.append(&lines(0), (100..200).map(at).collect()).await.unwrap();
    for (timestamp_ms, offset) in
        [(-1, Some(0)), (30, Some(0)), (31, Some(3)), (51, Some(5)), (150, Some(55)), (200, None)]
    {
        assert_eq!(log.offset_for_time(&lines(0), timestamp_ms).await.unwrap(), offset, "{timestamp_ms}");
    }
    let latest = log
        .broker()
        .max_timestamp(&there(&lines(0)), topo_broker::Isolation::ReadCommitted)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((latest.offset, latest.timestamp_ms), (104, 199));
    let none = TopicPartition::new("none", 0);
    assert!(matches!(log.offset_for_time(&none, 0).await, Err(LogError::UnknownTopic(_))));
}
