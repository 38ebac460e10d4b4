//! A disk that fails, and one that is full, as clients see them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::every_operation::SEGMENT_BYTES;
use crate::load::{TOPIC, create_topic};
use crate::process::{PATIENCE, Process, free_address};
use crate::reading::read;

/// One record, tried once: its offset, or why not.
fn produce(address: SocketAddr, value: &str) -> Result<i64, KafkaError> {
    struct Told(std::sync::Mutex<Option<Result<i64, KafkaError>>>);
    impl rdkafka::ClientContext for Told {
        fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
        fn error(&self, _: KafkaError, _: &str) {}
    }
    impl rdkafka::producer::ProducerContext for Told {
        type DeliveryOpaque = ();
        fn delivery(&self, delivered: &rdkafka::message::DeliveryResult<'_>, _: ()) {
            let outcome = delivered.as_ref().map(Message::offset).map_err(|(error, _)| error.clone());
            *self.0.lock().unwrap() = Some(outcome);
        }
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("acks", "all").set("retries", "0");
    let producer: BaseProducer<Told> = config.create_with_context(Told(None.into())).unwrap();
    let record = BaseRecord::<(), _>::to(TOPIC).partition(0).payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let outcome = producer.context().0.lock().unwrap().take();
    outcome.unwrap()
}

fn values(address: SocketAddr) -> Vec<u64> {
    read(address, TOPIC, 0..1).into_values().map(|(_, number)| number).collect()
}

/// Whichever sync fails: what it was for is not acknowledged, what was acknowledged is read, now and after a start.
#[test]
fn a_failed_sync_acknowledges_nothing_and_reads_go_on() {
    let mut failed = 0;
    for number in 1.. {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let (broker, serves) = Process::failing(dir.path(), address, &[format!("fail-sync={number}")]);
        if !serves {
            // The sync was part of the start, which says so and ends.
            let (status, _, said) = broker.stop();
            assert!(!status.success(), "{said}");
            continue;
        }
        create_topic(address, TOPIC, 1, SEGMENT_BYTES);
        let outcomes: Vec<_> = (0..6).map(|number| produce(address, &format!("0:{number}"))).collect();
        let acknowledged = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
        let refused = &outcomes[acknowledged..];
        assert!(
            refused.iter().all(Result::is_err),
            "sync {number}: acknowledged behind a failed sync: {outcomes:?}"
        );
        let held: Vec<u64> = (0..acknowledged as u64).collect();
        if acknowledged > 0 {
            assert_eq!(values(address), held, "sync {number}");
        }
        let (_, syncs, said) = broker.stop();
        if syncs.trim().parse::<u64>().unwrap() < number {
            assert!(refused.is_empty() && failed > 5, "no more than {failed} records met a failed sync");
            return;
        }
        if !refused.is_empty() {
            failed += 1;
            assert!(said.contains(".log") && said.contains("Input/output error"), "sync {number}: {said}");
        }
        let (broker, _) = Process::topo(dir.path(), address);
        assert!(values(address).starts_with(&held), "sync {number}: lost");
        drop(broker);
    }
}

/// A full disk: producers are told, readers are served, and it goes on once there is room, without a start.
#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let (broker, serves) = Process::failing(dir.path(), address, &[]);
    assert!(serves);
    create_topic(address, TOPIC, 1, SEGMENT_BYTES);
    assert_eq!(produce(address, "0:0").unwrap(), 0);
    let full = dir.path().join("full");
    std::fs::write(&full, "").unwrap();
    let refused = produce(address, "0:9").unwrap_err();
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::KafkaStorageError), "{refused}");
    assert_eq!(values(address), [0]);
    std::fs::remove_file(&full).unwrap();
    let began = Instant::now();
    while let Err(error) = produce(address, "0:1") {
        assert!(began.elapsed() < PATIENCE, "{error}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(values(address), [0, 1]);
    let (status, _, said) = broker.stop();
    assert!(status.success(), "{said}");
}
