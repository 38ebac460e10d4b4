//! Topics that keep the last record of each key, as outside clients write and read them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::Instant;

use topo_tests::topo_binary;

use crate::broker::Broker;
use crate::client::{Client, PATIENCE, are_installed, wait_until};
use crate::record::{Record, text};

const RECORDS: usize = 1_000;
const KEYS: usize = 10;

/// A broker that looks often, and a topic `name` in small segments.
fn started() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(topo_binary());
    command.args(["broker", "--log-cleaner-backoff-ms", "50", "--listen", &free.to_string(), "--data-dir"]);
    let broker = Broker::start_with(command.arg(dir.path()), free);
    let config = ["cleanup.policy=compact", "segment.bytes=2048", "min.cleanable.dirty.ratio=0.01"];
    let mut create = vec!["topic", "create", "compacted"];
    create.extend(config.iter().flat_map(|setting| ["-c", setting]));
    broker.topo(&create);
    (dir, broker)
}

/// Values one after the other, each of a key in turn.
fn updates() -> Vec<Record> {
    let record = |number: usize| Record {
        partition: 0,
        offset: None,
        timestamp: 1_700_000_000_000 + number as i64,
        key: Some(text(format!("key-{}", number % KEYS).as_bytes())),
        value: Some(text(format!("value {number}").as_bytes())),
        headers: Vec::new(),
    };
    (0..RECORDS).map(record).collect()
}

/// Waits until most of what was written is gone.
fn wait_until_compacted(broker: &Broker) {
    let began = Instant::now();
    loop {
        let left =
            broker.topo(&["consume", "compacted", "--from-beginning", "-e", "-f", "%o\n"]).lines().count();
        if left < RECORDS / 2 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{left} records are left");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The last record of each key.
fn last(records: &[Record]) -> BTreeMap<&Option<String>, &Record> {
    records.iter().map(|record| (&record.key, record)).collect()
}

#[test]
fn the_last_update_of_each_key_stays_at_its_offset() {
    if !are_installed() {
        return;
    }
    let (_dir, broker) = started();
    let mut written = updates();
    // Some requests of some records, so that segments are rolled.
    written.chunks(50).for_each(|some| Client::Confluent.produce(broker.address(), "compacted", "lz4", some));
    wait_until_compacted(&broker);
    written.iter_mut().zip(0..).for_each(|(record, offset)| record.offset = Some(offset));
    for reader in [Client::KafkaPython, Client::Kcat] {
        let read = reader.consume_to_end(broker.address(), "compacted");
        assert!(read.len() < RECORDS / 2 && read.is_sorted_by_key(|record| record.offset), "{reader}");
        assert_eq!(last(&read), last(&written), "{reader}");
        for record in &read {
            assert_eq!(Some(record), written.get(record.offset.unwrap() as usize), "{reader}");
        }
    }
}

/// What was aborted is nobody's last update, and what was committed is not lost for it.
#[test]
fn the_last_update_that_is_committed_stays() {
    if !are_installed() {
        return;
    }
    let (_dir, broker) = started();
    broker.topo(&["topic", "create", "in"]);
    let written = updates();
    Client::Confluent.produce(broker.address(), "in", "none", &written);
    let mut member = Client::Confluent.process(broker.address(), "in", "compacted", "id");
    wait_until(&mut [&mut member], "all is processed", |members| members[0].committed == RECORDS);
    member.leave();
    assert!(member.aborted > 0);
    wait_until_compacted(&broker);
    for reader in [Client::KafkaPython, Client::Kcat] {
        let read = reader.consume_to_end(broker.address(), "compacted");
        let header = |record: &Record, name: &str| {
            let of = record.headers.iter().find(|(header, _)| header == name).unwrap();
            String::from_utf8(crate::record::bytes(of.1.as_ref().unwrap())).unwrap()
        };
        let from = |record: &Record| header(record, "from").parse::<usize>().unwrap();
        assert!(read.len() < RECORDS / 2 && read.is_sorted_by_key(from), "{reader}");
        assert!(read.iter().all(|record| header(record, "is") == "committed"), "{reader}");
        let lasts: Vec<usize> = last(&read).into_values().map(from).collect();
        assert_eq!(lasts, (RECORDS - KEYS..RECORDS).collect::<Vec<_>>(), "{reader}");
        for record in &read {
            let of = &written[from(record)];
            assert_eq!((record.timestamp, &record.key), (of.timestamp, &of.key), "{reader}");
        }
    }
}
