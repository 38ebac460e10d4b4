//! A Kafka client from outside: librdkafka.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long the client waits for what comes within moments.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the client looks at what changes.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A record, as the client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// The header that says where in the generated day it came from.
    pub(crate) source: Option<String>,
}

fn client(broker: SocketAddr, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.to_string()).set("group.id", group);
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed");
    config.create().unwrap()
}

/// How many partitions a topic has; none where it is not there.
fn partitions(client: &BaseConsumer, topic: &str) -> i32 {
    let metadata = client.fetch_metadata(None, PATIENCE).unwrap();
    let found = metadata.topics().iter().find(|one| one.name() == topic);
    found.map_or(0, |topic| topic.partitions().len() as i32)
}

/// All records of a topic, each partition in order.
pub(crate) fn all(broker: SocketAddr, topic: &str) -> Vec<Seen> {
    let client = client(broker, "telecom-reader");
    let mut left = partitions(&client, topic);
    let mut assigned = TopicPartitionList::new();
    for partition in 0..left {
        assigned.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    client.assign(&assigned).unwrap();
    let (mut seen, begun) = (Vec::new(), Instant::now());
    while left > 0 {
        assert!(begun.elapsed() < PATIENCE, "{topic} does not come to its end");
        match client.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let source =
                    headers.filter(|header| header.key == "topo.source").find_map(|header| header.value);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                seen.push(Seen {
                    key: message.key().map(text).unwrap_or_default(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    source: source.map(text),
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
        }
    }
    seen
}

/// Looks at how much of a topic a group has committed.
pub(crate) struct Committed {
    client: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Committed {
    /// Waits until the topic is there.
    pub(crate) fn of(broker: SocketAddr, group: &str, topic: &str) -> Self {
        let (client, begun) = (client(broker, group), Instant::now());
        let count = loop {
            let count = partitions(&client, topic);
            assert!(count > 0 || begun.elapsed() < PATIENCE, "{topic} is not there");
            if count > 0 {
                break count;
            }
        };
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(topic, 0, count - 1);
        Self { client, partitions }
    }

    /// How much, over all partitions; waits for a broker that was killed.
    pub(crate) fn now(&self) -> i64 {
        let begun = Instant::now();
        let committed = loop {
            match self.client.committed_offsets(self.partitions.clone(), Duration::from_secs(5)) {
                Ok(committed) => break committed,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        };
        let offsets = committed.elements();
        offsets.iter().filter_map(|one| one.offset().to_raw()).filter(|offset| *offset > 0).sum()
    }

    /// How much the topic holds.
    fn held(&self) -> i64 {
        let ends = self.partitions.elements();
        let end = |of: &TopicPartitionListElem<'_>| {
            self.client.fetch_watermarks(of.topic(), of.partition(), PATIENCE).unwrap().1
        };
        ends.iter().map(end).sum()
    }

    /// Waits until the topic holds so much.
    pub(crate) fn holds(&self, enough: i64) {
        let begun = Instant::now();
        while self.held() < enough {
            assert!(begun.elapsed() < 3 * PATIENCE, "no more than {} of {enough} are there", self.held());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until it is so much.
    pub(crate) fn reaches(&self, enough: i64) {
        let begun = Instant::now();
        loop {
            let now = self.now();
            if now >= enough {
                return;
            }
            assert!(begun.elapsed() < 3 * PATIENCE, "no more than {now} of {enough} are committed");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
