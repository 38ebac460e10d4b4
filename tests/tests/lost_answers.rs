//! Transactions of the Kafka client through a proxy that delays and drops answers, that to a commit above all, and cuts
//! connections: what is committed is every number once, whatever the client was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
use topo_connectors::kafka::{KafkaConfig, KafkaLog};
use topo_core::log::{
    FetchLimit, Log, LogError, Record, TopicPartition, TopicSpec, TransactionalConfig, TransactionalLog,
};
use topo_tests::proxy::{Passage, ProxyAddress};
use topo_tests::seeds::for_seeds;

const NUMBERS: u32 = 40;
const GROUP: &str = "g";

/// How long one seed may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(600);

fn out(partition: u32) -> TopicPartition {
    TopicPartition::new("out", partition)
}

fn input() -> TopicPartition {
    TopicPartition::new("in", 0)
}

/// What goes wrong between the client and the broker.
fn trouble(seed: u64, lost_ends: Arc<AtomicU32>) -> impl FnMut(ApiKey) -> Passage + Send {
    let mut random = SmallRng::seed_from_u64(seed);
    move |key| match key {
        ApiKey::EndTxn if random.random_ratio(1, 3) => {
            lost_ends.fetch_add(1, Ordering::Relaxed);
            Passage::Unanswered
        }
        // librdkafka gives up where the first thing that it asks is not answered again and again.
        ApiKey::ApiVersions => Passage::Answered(Duration::ZERO),
        _ => match random.random_range(0..100) {
            0 => Passage::Unanswered,
            1 => Passage::Unheard,
            2..30 => Passage::Answered(Duration::from_millis(random.random_range(1..15))),
            _ => Passage::Answered(Duration::ZERO),
        },
    }
}

async fn take_over(log: &KafkaLog) -> Box<dyn TransactionalLog> {
    loop {
        match log.transactional(&TransactionalConfig::new("one")).await {
            Ok(holder) => return holder,
            Err(error) => eprintln!("not taken over: {error}"),
        }
    }
}

/// Where the next transaction begins.
async fn begin(log: &KafkaLog) -> u32 {
    loop {
        match log.committed(GROUP, &input()).await {
            Ok(committed) => return committed.unwrap_or(0) as u32,
            Err(error) => eprintln!("what is committed is not known: {error}"),
        }
    }
}

/// Writes numbers to both partitions, and that they are done.
async fn write(log: &mut dyn TransactionalLog, numbers: std::ops::Range<u32>) -> Result<(), LogError> {
    for parity in 0..2 {
        let of = numbers.clone().filter(|n| n % 2 == parity);
        let records = of.map(|n| Record { value: Some(n.to_string().into()), ..Record::default() });
        log.append(&out(parity), records.collect()).await?;
    }
    log.commit_offsets(GROUP, None, &[(input(), numbers.end.into())]).await
}

/// Commits, and asks until that is known: `Ok(false)` where nothing is committed.
async fn commit(log: &mut dyn TransactionalLog) -> Result<bool, LogError> {
    loop {
        match log.commit().await {
            Ok(()) => return Ok(true),
            Err(LogError::Unavailable(_)) => {}
            Err(error @ LogError::Fenced(_)) => return Err(error),
            Err(error) => {
                eprintln!("not committed: {error}");
                return abort(log).await.map(|()| false);
            }
        }
    }
}

async fn abort(log: &mut dyn TransactionalLog) -> Result<(), LogError> {
    loop {
        match log.abort().await {
            Ok(()) => return Ok(()),
            Err(error @ LogError::Fenced(_)) => return Err(error),
            Err(error) => eprintln!("not aborted: {error}"),
        }
    }
}

/// The numbers that are committed to a partition.
async fn read(log: &dyn Log, at: &TopicPartition) -> Vec<u32> {
    let limit = FetchLimit { max_wait: Duration::ZERO, ..FetchLimit::default() };
    let (mut numbers, mut offset) = (Vec::new(), 0);
    loop {
        let fetched = match log.fetch(at, offset, limit).await {
            Err(error @ LogError::Unavailable(_)) => {
                eprintln!("not read: {error}");
                continue;
            }
            fetched => fetched.expect("it is held"),
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).parse::<u32>().expect("a number");
        numbers.extend(fetched.records.iter().map(|one| text(one.value.as_deref().expect("a value"))));
        if fetched.next_offset == offset {
            return numbers;
        }
        offset = fetched.next_offset;
    }
}

async fn every_number_is_committed_once(seed: u64) -> u32 {
    eprintln!("seed {seed}");
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let broker = Broker::open(dir.path(), BrokerConfig::default()).expect("it is new");
    let (address, lost_ends) = (ProxyAddress::free().await, Arc::new(AtomicU32::new(0)));
    let advertise = Some(address.get().into());
    let listen = vec![ListenAddress::localhost(0)];
    let server = Server::bind(broker, ServerConfig { listen, advertise, ..ServerConfig::default() });
    let server = server.expect("a free port");
    let proxy = address.pass_to(server.local_addrs()[0], trouble(seed, Arc::clone(&lost_ends)));
    let config = KafkaConfig { request_timeout: Duration::from_secs(10), ..KafkaConfig::default() };
    let brokers = proxy.address().to_string().parse().expect("an address");
    let log = KafkaLog::connect(&brokers, config).await.expect("it listens");
    for (topic, partitions) in [("in", 1), ("out", 2)] {
        let spec = TopicSpec { partitions, ..TopicSpec::default() };
        while let Err(error) = log.create_topic(topic, &spec).await {
            if matches!(error, LogError::TopicExists(_)) {
                break;
            }
            eprintln!("not created: {error}");
        }
    }
    let mut random = SmallRng::seed_from_u64(seed ^ 1);
    let mut holder = take_over(&log).await;
    let mut next = begin(&log).await;
    let mut rounds = 0;
    while next < NUMBERS {
        let numbers = next..(next + random.random_range(1..6)).min(NUMBERS);
        let done = match write(&mut *holder, numbers.clone()).await {
            Ok(()) => commit(&mut *holder).await,
            Err(error) => {
                eprintln!("not written: {error}");
                abort(&mut *holder).await.map(|()| false)
            }
        };
        match done {
            Ok(true) => next = numbers.end,
            Ok(false) => {}
            Err(error) => {
                eprintln!("lost: {error}");
                holder = take_over(&log).await;
                next = begin(&log).await;
            }
        }
        rounds += 1;
        assert!(rounds < 1_000, "it does not come to its end");
    }
    for parity in 0..2 {
        let expected: Vec<u32> = (0..NUMBERS).filter(|n| n % 2 == parity).collect();
        assert_eq!(read(&log, &out(parity)).await, expected);
    }
    drop((holder, proxy));
    lost_ends.load(Ordering::Relaxed)
}

#[test]
fn lost_answers_and_cut_connections_neither_lose_nor_double_a_transaction() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads");
    let (mut runs, mut lost_ends) = (0, 0);
    for_seeds(2, |seed| {
        let run = async { tokio::time::timeout(PATIENCE, every_number_is_committed_once(seed)).await };
        runs += 1;
        lost_ends += runtime.block_on(run).unwrap_or_else(|_| panic!("seed {seed} does not come to its end"));
    });
    eprintln!("{runs} runs, {lost_ends} answers to EndTxn lost");
    assert!(lost_ends > 0, "no answer was lost");
}
