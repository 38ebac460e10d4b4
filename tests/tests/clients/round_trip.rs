//! What one client writes, every other reads the same: keys, values, headers, nulls, timestamps, order.

use crate::broker::Broker;
use crate::client::{ALL, Client, are_installed};
use crate::record::{Record, corpus};

/// Records of each corpus; kcat takes a process for each of its own.
const RECORDS: usize = 1_200;
const KCAT_RECORDS: usize = 25;
const PARTITIONS: i32 = 3;

/// What was written, as it should be read: by partition, with offsets.
fn expected(written: &[Record]) -> Vec<Record> {
    let mut next = [0; PARTITIONS as usize];
    let mut expected: Vec<Record> = written
        .iter()
        .map(|record| {
            let offset = &mut next[record.partition as usize];
            *offset += 1;
            Record { offset: Some(*offset - 1), ..record.clone() }
        })
        .collect();
    expected.sort_by_key(|record| (record.partition, record.offset));
    expected
}

/// A record as far as both of them can tell it.
fn as_told(mut record: Record, writer: Client, reader: Client) -> Record {
    if writer == Client::Kcat {
        // It stamps its records itself.
        record.timestamp = 0;
    }
    match reader {
        // It prints headers as text with commas between.
        Client::Kcat if writer != Client::Kcat => record.headers.clear(),
        // Headers are a map of names.
        Client::Kafkajs => record.headers.sort_by(|(one, _), (other, _)| one.cmp(other)),
        Client::Confluent | Client::KafkaPython | Client::Kcat => {}
    }
    record
}

#[test]
fn what_one_client_writes_every_other_reads_the_same() {
    if !are_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    for writer in ALL {
        for codec in writer.codecs() {
            let topic = format!("{writer}.{codec}");
            broker.topo(&["topic", "create", &topic, "--partitions", "3", "-c", "max.message.bytes=2000000"]);
            let records = if writer == Client::Kcat { KCAT_RECORDS } else { RECORDS };
            let seed = topic.bytes().map(u64::from).sum();
            let written = corpus(seed, records, PARTITIONS, writer.without());
            writer.produce(broker.address(), &topic, codec, &written);
            for reader in ALL.into_iter().filter(|reader| reader.codecs().contains(codec)) {
                let told = |records: Vec<Record>| -> Vec<Record> {
                    records.into_iter().map(|record| as_told(record, writer, reader)).collect()
                };
                let read = told(reader.consume(broker.address(), &topic, written.len()));
                let what = format!("{reader} read what {writer} wrote with {codec}");
                assert_same(&read, &told(expected(&written)), &what);
            }
        }
    }
}

pub(crate) fn assert_same(read: &[Record], expected: &[Record], what: &str) {
    let short = |record: &Record| format!("{record:?}").chars().take(400).collect::<String>();
    for (read, expected) in read.iter().zip(expected) {
        assert!(read == expected, "{what}:\nread     {}\nexpected {}", short(read), short(expected));
    }
    assert_eq!(read.len(), expected.len(), "{what}");
}
