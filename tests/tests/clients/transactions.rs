//! A topic is processed into another in transactions, by clients of several languages; all read what is committed, once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::client::{ALL, Client, Member, PATIENCE, are_installed, wait_until};
use crate::group::wait_until_committed;
use crate::record::{Record, bytes, corpus, text};
use crate::round_trip::assert_same;

const PARTITIONS: i32 = 3;
const RECORDS: usize = 600;
/// Records in one transaction at most.
const IN_ONE: usize = 20;

/// Puts records into `in` from where each partition ends; what they are to become in the other topic.
fn produce(broker: &Broker, seed: u64) -> Vec<Record> {
    let mut records = corpus(seed, RECORDS, PARTITIONS, Client::KafkaPython.without());
    records.retain(|record| record.value.as_ref().is_none_or(|value| value.len() < 10_000));
    Client::KafkaPython.produce(broker.address(), "in", "gzip", &records);
    records
}

/// What `process` makes of all that was put into `in`, by partition, with `end` behind it.
fn processed(all: &[Record]) -> Vec<Record> {
    let mut expected = Vec::new();
    for partition in 0..PARTITIONS {
        let of = all.iter().filter(|record| record.partition == partition);
        expected.extend(of.enumerate().map(|(offset, record)| {
            let backwards = |value: &String| text(&bytes(value).into_iter().rev().collect::<Vec<_>>());
            let headers = [("from", offset.to_string()), ("is", "committed".to_owned())];
            Record {
                value: record.value.as_ref().map(backwards),
                headers: headers.map(|(name, value)| (name.into(), Some(text(value.as_bytes())))).into(),
                ..record.clone()
            }
        }));
        expected.push(end(partition));
    }
    expected
}

/// What is written behind everything: where a reader has come to it, there is nothing more.
fn end(partition: i32) -> Record {
    let value = Some(text(b"end"));
    Record { partition, offset: None, timestamp: 1_700_000_000_000, key: None, value, headers: Vec::new() }
}

/// Without offsets, which transactions' markers have some of, too.
fn without_offsets(mut records: Vec<Record>) -> Vec<Record> {
    records.iter_mut().for_each(|record| record.offset = None);
    records
}

/// Holds what all clients read of `to` against what went into `in`; so many records of it are in aborted transactions, where
/// that is known.
fn check(broker: &Broker, to: &str, all: &[Record], aborted: Option<usize>) {
    // Up to here partitions end in markers.
    let printed =
        broker.topo(&["consume", to, "--from-beginning", "-e", "-g", &format!("{to}.printed"), "-f", "%o\n"]);
    assert_eq!(printed.lines().count(), all.len(), "topo consume");
    let ends: Vec<Record> = (0..PARTITIONS).map(end).collect();
    Client::Confluent.produce(broker.address(), to, "none", &ends);
    let expected = processed(all);
    for reader in ALL {
        let read = reader.consume_at("read_committed", broker.address(), to, expected.len());
        assert_same(&without_offsets(read), &expected, &format!("{reader} read what is committed of {to}"));
        let Some(aborted) = aborted else { continue };
        let read = reader.consume_at("read_uncommitted", broker.address(), to, expected.len() + aborted);
        let is_aborted = |record: &Record| record.headers.contains(&("is".into(), Some(text(b"aborted"))));
        let (unwanted, rest): (Vec<Record>, Vec<Record>) = read.into_iter().partition(is_aborted);
        assert_eq!(unwanted.len(), aborted, "{reader}: aborted in {to}");
        assert_same(&without_offsets(rest), &expected, &format!("{reader} read all of {to} but aborted"));
    }
}

fn started() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.topo(&["topic", "create", "in", "--partitions", "3"]);
    (dir, broker)
}

/// Each makes its topic of the same one.
#[test]
fn what_clients_process_in_transactions_is_read_once_by_all() {
    if !are_installed() {
        return;
    }
    let (_dir, broker) = started();
    let all = produce(&broker, 1);
    for client in [Client::Confluent, Client::Kafkajs] {
        let to = client.to_string();
        broker.topo(&["topic", "create", &to, "--partitions", "3"]);
        let mut member = client.process(broker.address(), "in", &to, "id");
        wait_until(&mut [&mut member], "all is processed", |members| members[0].committed == all.len());
        wait_until_committed(&broker, "id", PARTITIONS);
        member.leave();
        assert!(member.aborted > 0 && member.committed == all.len(), "{client}");
        check(&broker, &to, &all, Some(member.aborted));
        broker.topo(&["group", "delete", "id"]);
    }
}

#[test]
fn what_rust_processes_in_transactions_is_read_once_by_all() {
    if !are_installed() {
        return;
    }
    let (_dir, broker) = started();
    let all = produce(&broker, 2);
    broker.topo(&["topic", "create", "out", "--partitions", "3"]);
    let (address, is_done) = (broker.address(), Arc::new(AtomicBool::new(false)));
    let told = is_done.clone();
    let processing = std::thread::spawn(move || process(address, &told));
    wait_until_committed(&broker, "rust", PARTITIONS);
    is_done.store(true, Ordering::SeqCst);
    let aborted = processing.join().unwrap();
    assert!(aborted > 0);
    check(&broker, "out", &all, Some(aborted));
}

/// `process` of the other clients: reads as a member of a group, and writes in transactions, of which it aborts every third
/// first. Returns how many records it aborted.
fn process(address: SocketAddr, is_done: &AtomicBool) -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("group.id", "rust");
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&["in"]).unwrap();
    let producer = producer(address, "rust");
    let (mut aborted, mut number) = (0, 0);
    while !is_done.load(Ordering::SeqCst) {
        let first = consumer.poll(Duration::from_millis(100));
        let rest = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
        let messages: Vec<_> = first.into_iter().chain(rest).take(IN_ONE).map(Result::unwrap).collect();
        if messages.is_empty() {
            continue;
        }
        number += 1;
        if number % 3 == 0 {
            write(&producer, &consumer, &messages, "aborted");
            producer.abort_transaction(PATIENCE).unwrap();
            aborted += messages.len();
        }
        write(&producer, &consumer, &messages, "committed");
        producer.commit_transaction(PATIENCE).unwrap();
    }
    aborted
}

fn producer(address: SocketAddr, id: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("transactional.id", id);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// All of a transaction but its end.
fn write(producer: &BaseProducer, consumer: &BaseConsumer, messages: &[BorrowedMessage<'_>], is: &str) {
    producer.begin_transaction().unwrap();
    let mut offsets = TopicPartitionList::new();
    for message in messages {
        let value: Option<Vec<u8>> = message.payload().map(|value| value.iter().rev().copied().collect());
        let from = message.offset().to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "from", value: Some(&from) });
        let mut record = BaseRecord::to("out")
            .partition(message.partition())
            .timestamp(message.timestamp().to_millis().unwrap())
            .headers(headers.insert(Header { key: "is", value: Some(is) }));
        (record.key, record.payload) = (message.key(), value.as_deref());
        producer.send(record).map_err(|(error, _)| error).unwrap();
        let next = Offset::Offset(message.offset() + 1);
        if offsets.set_partition_offset("in", message.partition(), next).is_err() {
            offsets.add_partition_offset("in", message.partition(), next).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let group = consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).unwrap();
}

/// An instance of a producer that another has taken over from: what it has not committed is nowhere to be seen.
#[test]
fn an_older_instance_is_fenced() {
    if !are_installed() {
        return;
    }
    for client in [Client::Confluent, Client::Kafkajs] {
        let (_dir, broker) = started();
        broker.topo(&["topic", "create", "out", "--partitions", "3"]);
        let join = || client.process(broker.address(), "in", "out", "id");
        let mut one = join();
        let mut all = produce(&broker, 3);
        wait_until(&mut [&mut one], "all is processed", |members| members[0].committed == all.len());
        let mut two = join();
        wait_until(&mut [&mut one, &mut two], "both have partitions", |members| {
            members.iter().all(|member| !member.partitions.is_empty() && member.partitions.len() < 3)
        });
        all.extend(produce(&broker, 4));
        // It takes over with its first transaction at the latest, which may be the first's last.
        wait_until(&mut [&mut one, &mut two], "the second works", |members| members[1].committed > 0);
        all.extend(produce(&broker, 5));
        wait_until(&mut [&mut one, &mut two], "the first is fenced", |members| members[0].is_fenced);
        one.end();
        let processed = |members: &[&mut Member]| -> usize { members.iter().map(|one| one.committed).sum() };
        wait_until(&mut [&mut one, &mut two], "the second has all", |members| {
            processed(members) == all.len()
        });
        wait_until_committed(&broker, "id", PARTITIONS);
        two.leave();
        // The first may have written some of a transaction before it was told.
        check(&broker, "out", &all, None);
    }
}

#[test]
fn an_older_instance_in_rust_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    broker.topo(&["topic", "create", "out"]);
    let send = |producer: &BaseProducer, value: &str| {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), _>::to("out").payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    };
    let older = producer(broker.address(), "id");
    send(&older, "of the older");
    let newer = producer(broker.address(), "id");
    let fenced = older.commit_transaction(PATIENCE).unwrap_err();
    let KafkaError::Transaction(fenced) = fenced else { panic!("{fenced}") };
    assert!(fenced.is_fatal() && fenced.code() == RDKafkaErrorCode::Fenced, "{fenced}");
    send(&newer, "of the newer");
    newer.commit_transaction(PATIENCE).unwrap();
    let printed = broker.topo(&["consume", "out", "--from-beginning", "-e"]);
    assert_eq!(printed, "of the newer\n");
}
