//! The client against librdkafka's mock cluster, which can be made to fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use topo_core::log::{Consumed, Header, Isolation};

use super::*;

/// The mock cluster, which is driven from one thread, and a client of it.
struct Lab {
    cluster: MockCluster<'static, DefaultProducerContext>,
    brokers: Brokers,
    log: KafkaLog,
}

/// The kinds of requests that are made to fail.
mod key {
    use rdkafka::types::RDKafkaApiKey;

    pub(super) const PRODUCE: RDKafkaApiKey = RDKafkaApiKey::Produce;
    pub(super) const FETCH: RDKafkaApiKey = RDKafkaApiKey::Fetch;
}

/// A cluster with topic `t` of 3 partitions.
async fn lab() -> Lab {
    lab_with(KafkaConfig::default()).await
}

async fn lab_with(config: KafkaConfig) -> Lab {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 3, 1).unwrap();
    let brokers: Brokers = cluster.bootstrap_servers().parse().unwrap();
    let log = KafkaLog::connect(&brokers, config).await.unwrap();
    Lab { cluster, brokers, log }
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|n| Record { value: Some(format!("{n}").into()), ..Record::default() }).collect()
}

const AT_ONCE: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadCommitted };

/// Everything from `offset` on, fetch by fetch.
async fn read_on(log: &KafkaLog, at: &TopicPartition, mut offset: i64, max_bytes: usize) -> Vec<Consumed> {
    let mut all = Vec::new();
    loop {
        let fetched = log.fetch(at, offset, FetchLimit { max_bytes, ..AT_ONCE }).await.unwrap();
        if fetched.next_offset == offset {
            return all;
        }
        all.extend(fetched.records);
        offset = fetched.next_offset;
    }
}

fn values(records: &[Consumed]) -> Vec<u32> {
    records
        .iter()
        .map(|one| std::str::from_utf8(one.value.as_deref().unwrap()).unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_back_as_they_were_appended() {
    let lab = lab().await;
    let header = |value: Option<&'static str>| Header { key: "h".into(), value: value.map(Into::into) };
    let full = Record {
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![header(Some("x")), header(None), header(Some(""))],
        timestamp_ms: Some(1_234_567),
    };
    let empty =
        Record { key: Some("".into()), value: Some("".into()), timestamp_ms: Some(5), ..Record::default() };
    let null = Record { timestamp_ms: Some(6), ..Record::default() };
    let records = vec![full, empty, null];
    assert_eq!(lab.log.append(&at(1), records.clone()).await.unwrap(), 0);
    let fetched = lab.log.fetch(&at(1), 0, AT_ONCE).await.unwrap();
    let expected = records.into_iter().zip(0..).map(|(record, offset)| Consumed {
        offset,
        timestamp_ms: record.timestamp_ms.unwrap(),
        key: record.key,
        value: record.value,
        headers: record.headers,
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(fetched, Fetched { records: expected, next_offset: 3, high_watermark: 3 });
    assert_eq!(lab.log.append(&at(1), Vec::new()).await.unwrap(), 3, "nothing is at the end");
    // The mock does not look into batches, so times cannot be looked up in it.
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_keep_their_order_and_stay_together() {
    let lab = lab().await;
    let appends = (0..20_u32).map(|n| {
        let (log, records) = (lab.log.clone(), numbered(n * 1_000..(n + 1) * 1_000));
        tokio::spawn(async move { log.append(&at(n % 3), records).await.unwrap() })
    });
    let bases = futures_util::future::join_all(appends).await;
    for partition in 0..3 {
        let records = read_on(&lab.log, &at(partition), 0, 10_000).await;
        assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
        let values = values(&records);
        for (n, base) in (0..).zip(&bases).filter(|(n, _)| n % 3 == partition) {
            let from = *base.as_ref().unwrap() as usize;
            let expected: Vec<u32> = (n * 1_000..(n + 1) * 1_000).collect();
            assert_eq!(values[from..from + 1_000], expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_anywhere_and_offsets_that_are_not_held_are_refused() {
    let lab = lab().await;
    lab.log.append(&at(0), numbered(0..500)).await.unwrap();
    for from in [0, 499, 3, 250, 251, 500, 0] {
        let records = read_on(&lab.log, &at(0), from, 700).await;
        assert_eq!(values(&records), (from as u32..500).collect::<Vec<_>>(), "from {from}");
    }
    let held = Offsets { log_start: 0, high_watermark: 500, log_end: 500 };
    assert_eq!(lab.log.offsets(&at(0)).await.unwrap(), held);
    for asked in [501, -1, -2, i64::MIN, i64::MAX] {
        match lab.log.fetch(&at(0), asked, AT_ONCE).await.unwrap_err() {
            LogError::OffsetOutOfRange { at: of, asked: said, held: told } => {
                assert_eq!((of, said, told), (at(0), asked, held));
            }
            error => panic!("{asked}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_what_comes_and_no_longer() {
    let lab = lab().await;
    let empty = lab.log.fetch(&at(0), 0, AT_ONCE).await.unwrap();
    assert_eq!(empty, Fetched { records: Vec::new(), next_offset: 0, high_watermark: 0 });
    let waits = FetchLimit { max_wait: Duration::from_secs(600), ..AT_ONCE };
    let log = lab.log.clone();
    let fetch = tokio::spawn(async move { log.fetch(&at(0), 0, waits).await.unwrap() });
    lab.log.append(&at(0), numbered(0..3)).await.unwrap();
    assert_eq!(fetch.await.unwrap().records[0].offset, 0);
    // What was acknowledged is there for the next fetch, however short.
    for n in 3..30 {
        lab.log.append(&at(0), numbered(n..n + 1)).await.unwrap();
        let fetched = lab.log.fetch(&at(0), n.into(), AT_ONCE).await.unwrap();
        assert_eq!(values(&fetched.records), [n]);
    }
    let begun = Instant::now();
    let short = FetchLimit { max_wait: Duration::from_millis(30), ..AT_ONCE };
    assert!(lab.log.fetch(&at(0), 30, short).await.unwrap().records.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_commits_without_members() {
    let lab = lab().await;
    assert_eq!(lab.log.committed("g", &at(0)).await.unwrap(), None);
    lab.log.commit("g", &[(at(0), 5), (at(2), 7)]).await.unwrap();
    lab.log.commit("other", &[(at(0), 1)]).await.unwrap();
    lab.log.commit("g", &[(at(0), 4)]).await.unwrap();
    let all = [at(0), at(1), at(2)];
    assert_eq!(lab.log.committed_all("g", &all).await.unwrap(), [Some(4), None, Some(7)]);
    let anew = KafkaLog::connect(&lab.brokers, KafkaConfig::default()).await.unwrap();
    assert_eq!(anew.committed("other", &at(0)).await.unwrap(), Some(1));
    assert!(matches!(lab.log.commit("g", &[(at(0), -1)]).await, Err(LogError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_created() {
    let lab = lab().await;
    let none = TopicPartition::new("none", 0);
    assert!(matches!(lab.log.append(&none, numbered(0..1)).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(lab.log.fetch(&none, 0, AT_ONCE).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(lab.log.offsets(&none).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(lab.log.append(&at(3), numbered(0..1)).await, Err(LogError::UnknownPartition(_))));
    assert!(matches!(lab.log.fetch(&at(3), 0, AT_ONCE).await, Err(LogError::UnknownPartition(_))));
    assert_eq!(lab.log.topic("none").await.unwrap(), None);
    let names: Vec<_> = lab.log.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["t".into()]);
    assert_eq!(lab.log.topic("t").await.unwrap().unwrap().partitions, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_no_topic_takes_are_refused_before_anything_is_sent() {
    let lab = lab().await;
    let header = Header { key: "zero\0byte".into(), value: None };
    let odd = Record { headers: vec![header], ..Record::default() };
    let large = Record { value: Some(vec![0; 2 << 20].into()), ..Record::default() };
    for bad in [odd, large] {
        let mut records = numbered(0..2);
        records.push(bad);
        assert!(matches!(lab.log.append(&at(0), records).await, Err(LogError::Invalid(_))));
    }
    assert_eq!(lab.log.offsets(&at(0)).await.unwrap().log_end, 0);
}

/// The broker refuses requests, loses its connections and comes back; nobody notices but by the time it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_is_invisible() {
    let lab = lab().await;
    lab.log.append(&at(0), numbered(0..100)).await.unwrap();
    let again = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    lab.cluster.request_errors(key::PRODUCE, &[again; 3]);
    lab.cluster.request_errors(key::FETCH, &[again; 3]);
    assert_eq!(lab.log.append(&at(0), numbered(100..200)).await.unwrap(), 100);
    assert_eq!(read_on(&lab.log, &at(0), 0, 1 << 20).await.len(), 200);

    lab.cluster.broker_down(1).unwrap();
    let appended = Arc::new(AtomicBool::new(false));
    let (log, done) = (lab.log.clone(), Arc::clone(&appended));
    let append = tokio::spawn(async move {
        let appended = log.append(&at(0), numbered(200..300)).await;
        done.store(true, Ordering::SeqCst);
        appended
    });
    let log = lab.log.clone();
    let waits = FetchLimit { max_wait: Duration::from_secs(600), ..AT_ONCE };
    let fetch = tokio::spawn(async move { log.fetch(&at(0), 200, waits).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!appended.load(Ordering::SeqCst), "nobody can have acknowledged it");
    lab.cluster.broker_up(1).unwrap();
    assert_eq!(append.await.unwrap().unwrap(), 200);
    assert_eq!(fetch.await.unwrap().unwrap().records[0].offset, 200);
    let records = read_on(&lab.log, &at(0), 0, 1 << 20).await;
    assert_eq!(values(&records), (0..300).collect::<Vec<_>>(), "nothing is lost, doubled or out of order");
}

/// Appends until the client has found the broker, which may take it longer than it is given for one append.
async fn append_at_last(log: &KafkaLog, n: u32) {
    while let Err(error) = log.append(&at(0), numbered(n..n + 1)).await {
        assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_given_up_says_that_its_fate_is_unknown() {
    let config = KafkaConfig { append_timeout: Duration::from_millis(300), ..KafkaConfig::default() };
    let lab = lab_with(config).await;
    append_at_last(&lab.log, 0).await;
    lab.cluster.broker_down(1).unwrap();
    let error = lab.log.append(&at(0), numbered(1..2)).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, LogError::Unavailable(_)), "{said}");
    assert!(said.contains("it may or may not be in the log"), "{said}");
    lab.cluster.broker_up(1).unwrap();
    append_at_last(&lab.log, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_broker_say_what_to_do() {
    // The port was free a moment ago, and nobody listens on it now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let brokers: Brokers = free.to_string().parse().unwrap();
    let said = KafkaLog::connect(&brokers, KafkaConfig::default()).await.unwrap_err().to_string();
    assert_eq!(said, format!("no broker answers at {free}; start one with `topo broker`, or check --broker"));

    let config = KafkaConfig { request_timeout: Duration::from_millis(300), ..KafkaConfig::default() };
    let lab = lab_with(config).await;
    append_at_last(&lab.log, 0).await;
    lab.cluster.broker_down(1).unwrap();
    for error in [
        lab.log.topics().await.unwrap_err(),
        lab.log.offsets(&at(0)).await.unwrap_err(),
        lab.log.fetch(&at(0), 0, AT_ONCE).await.unwrap_err(),
        lab.log.commit("g", &[(at(0), 0)]).await.unwrap_err(),
        lab.log.committed("g", &at(0)).await.unwrap_err(),
    ] {
        assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_reads_the_partitions_of_its_group_and_commits_for_it() {
    let lab = lab().await;
    for partition in 0..3 {
        lab.log.append(&at(partition), numbered(0..10)).await.unwrap();
    }
    let member = lab.log.member("g", &["t"], true).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 30 {
        seen.extend(member.next().await.unwrap());
    }
    let mut places: Vec<_> = seen.iter().map(|(at, record)| (at.partition, record.offset)).collect();
    places.sort_unstable();
    let expected: Vec<_> =
        (0..3).flat_map(|partition| (0..10).map(move |offset| (partition, offset))).collect();
    assert_eq!(places, expected);
    member.commit(&[(at(0), 10), (at(1), 4), (at(2), 10)]).await.unwrap();
    member.leave().await;
    assert_eq!(lab.log.committed("g", &at(1)).await.unwrap(), Some(4));
}
