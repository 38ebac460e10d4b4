//! Load from outside: idempotent producers of librdkafka, which go on through every outage, and remember what was
//! acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::process::PATIENCE;

/// The topic that is loaded.
pub(crate) const TOPIC: &str = "load";
/// Records under way from each producer.
const UNDER_WAY: u64 = 500;

/// What was acknowledged: by partition and offset, which producer's record and its number.
pub(crate) type Acknowledged = BTreeMap<(i32, i64), (u32, u64)>;

#[derive(Debug, Default)]
struct Told {
    acknowledged: Mutex<Acknowledged>,
    answered: AtomicU64,
}

/// The client of one producer.
#[derive(Clone)]
pub(crate) struct Client(Arc<Told>);

impl ClientContext for Client {
    // An outage is what the test is about.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, error: KafkaError, reason: &str) {
        assert_ne!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal), "{reason}");
    }
}

impl ProducerContext for Client {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, _: ()) {
        let record = delivered.as_ref().unwrap_or_else(|(error, _)| panic!("given up: {error}"));
        let at = (record.partition(), record.offset());
        let before = self.0.acknowledged.lock().unwrap().insert(at, parse(record.payload().unwrap()));
        assert_eq!(before, None, "two records were acknowledged at {at:?}");
        self.0.answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// A record's value: which producer's it is, and its number in its partition.
pub(crate) fn parse(value: &[u8]) -> (u32, u64) {
    let text = std::str::from_utf8(value).unwrap().trim_end_matches('.');
    let (producer, number) = text.split_once(':').unwrap();
    (producer.parse().unwrap(), number.parse().unwrap())
}

/// A producer of librdkafka, idempotent, that tries again at once and for as long as the test has patience.
pub(crate) fn producer(address: SocketAddr, told: Client) -> ThreadedProducer<Client> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("enable.idempotence", "true");
    config.set("linger.ms", "1").set("message.timeout.ms", PATIENCE.as_millis().to_string());
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    config.set("retry.backoff.ms", "5").set("retry.backoff.max.ms", "20");
    config.create_with_context(told).unwrap()
}

/// A client, whose acknowledgements are then taken.
pub(crate) fn client() -> Client {
    Client(Arc::default())
}

impl Client {
    pub(crate) fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn acknowledged(&self) -> Acknowledged {
        self.0.acknowledged.lock().unwrap().clone()
    }
}

/// Creates a topic with segments of so many bytes; it may be there.
pub(crate) fn create_topic(address: SocketAddr, topic: &str, partitions: i32, segment_bytes: &str) {
    create_topic_with(address, topic, partitions, &[("segment.bytes", segment_bytes)]);
}

/// Creates a topic with a configuration; it may be there.
pub(crate) fn create_topic_with(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("log_level", "0");
    config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
    let admin: AdminClient<_> = config.create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    loop {
        let created = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
        match created.map(|mut topics| topics.remove(0)) {
            Ok(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return,
            other => assert!(began.elapsed() < PATIENCE, "{other:?}"),
        }
    }
}

/// Producers that load a broker until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// How many records each producer may have sent.
    most: Arc<AtomicU64>,
    clients: Vec<Client>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins with so many producers, each to every partition.
    pub(crate) fn begin(address: SocketAddr, producers: u32, partitions: i32) -> Self {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
        let clients: Vec<Client> = (0..producers).map(|_| client()).collect();
        let begin = |(id, client): (u32, &Client)| {
            let (stop, most, client) = (Arc::clone(&stop), Arc::clone(&most), client.clone());
            std::thread::spawn(move || produce(address, id, partitions, &client, &stop, &most))
        };
        let threads = (0..).zip(&clients).map(begin).collect();
        Self { stop, most, clients, threads }
    }

    /// Lets each producer have sent so many records.
    pub(crate) fn allow(&self, most: u64) {
        self.most.store(most, Ordering::SeqCst);
    }

    /// How many records were acknowledged so far.
    pub(crate) fn answered(&self) -> u64 {
        self.clients.iter().map(Client::answered).sum()
    }

    /// Lets what is under way be acknowledged, and returns all that was.
    pub(crate) fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        self.allow(u64::MAX);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut all = Acknowledged::new();
        for client in self.clients {
            for (at, record) in client.acknowledged() {
                assert_eq!(all.insert(at, record), None, "two records were acknowledged at {at:?}");
            }
        }
        all
    }
}

fn produce(
    address: SocketAddr,
    id: u32,
    partitions: i32,
    client: &Client,
    stop: &AtomicBool,
    most: &AtomicU64,
) {
    let producer = producer(address, client.clone());
    let mut sent = 0;
    for number in 0.. {
        for partition in 0..partitions {
            while sent - client.answered() > UNDER_WAY || sent >= most.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(200));
            }
            send(&producer, id, partition, number);
            sent += 1;
        }
        if stop.load(Ordering::SeqCst) {
            break;
        }
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(client.answered(), sent);
}

/// Sends one record, with some of some length.
pub(crate) fn send(producer: &ThreadedProducer<Client>, id: u32, partition: i32, number: u64) {
    let value = format!("{id}:{number}{}", ".".repeat((number % 200) as usize));
    let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}
