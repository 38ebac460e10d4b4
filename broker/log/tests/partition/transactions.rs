//! Transactions: what is stable, who is fenced, what is named as aborted, and what retention leaves of it.

use std::path::Path;
use std::time::Duration;

use topo_log::storage::{MemoryStorage, Storage};
use topo_log::{LogError, Partition, PartitionConfig, ProducerError, Retention};
use topo_protocol::{Compression, EndTransactionMarker, TransactionResult};

use crate::history::{DIR, History, batch, open, small, stamp, stamp_transactional, sync};

const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;

fn in_transaction(producer_id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let mut bytes = batch(0, Compression::None);
    stamp_transactional(&mut bytes, producer_id, epoch, sequence);
    bytes
}

fn marker(producer_id: i64, producer_epoch: i16, result: TransactionResult) -> EndTransactionMarker {
    EndTransactionMarker { producer_id, producer_epoch, coordinator_epoch: 0, result }
}

fn stable(partition: &Partition) -> i64 {
    partition.last_stable_offset(partition.durable_end())
}

fn refusal<T: std::fmt::Debug>(result: Result<T, LogError>) -> ProducerError {
    match result.unwrap_err() {
        LogError::Producer(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn a_transaction_is_open_until_its_marker_is_durable() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &PartitionConfig::default()).unwrap();
    partition.append(&mut batch(0, Compression::None)).unwrap();
    partition.append(&mut in_transaction(1, 0, 0)).unwrap();
    partition.append(&mut in_transaction(2, 0, 0)).unwrap();
    assert_eq!(stable(&partition), 0, "nothing is durable");
    sync(&mut partition).unwrap();
    assert_eq!((stable(&partition), partition.durable_end()), (1, 3));
    partition.append_marker(&marker(1, 0, ABORT), 7).unwrap();
    assert_eq!(stable(&partition), 1, "its marker may be lost");
    sync(&mut partition).unwrap();
    assert_eq!(stable(&partition), 2);
    partition.append_marker(&marker(2, 0, COMMIT), 7).unwrap();
    sync(&mut partition).unwrap();
    assert_eq!(stable(&partition), 5);
    for _ in 0..2 {
        let aborted = partition.aborted(0, 5).unwrap();
        let named: Vec<_> = aborted
            .iter()
            .map(|a| (a.producer_id, a.first_offset, a.last_offset, a.last_stable_offset))
            .collect();
        assert_eq!(named, [(1, 1, 3, 2)]);
        assert!(partition.aborted(0, 1).unwrap().is_empty(), "it begins behind what is read");
        assert!(partition.aborted(4, 5).unwrap().is_empty(), "it ends before what is read");
        partition.close().unwrap();
        partition = open(&storage, &PartitionConfig::default()).unwrap().0;
    }
}

#[test]
fn a_marker_written_again_or_for_nobody_changes_nothing_but_the_epoch() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &PartitionConfig::default()).unwrap();
    partition.append(&mut in_transaction(1, 0, 0)).unwrap();
    for producer_id in [1, 1, 9] {
        partition.append_marker(&marker(producer_id, 0, ABORT), 0).unwrap();
    }
    sync(&mut partition).unwrap();
    assert_eq!((partition.aborted(0, 9).unwrap().len(), stable(&partition)), (1, 4));
    partition.append(&mut in_transaction(1, 0, 1)).unwrap();
    partition.append_marker(&marker(1, 1, ABORT), 0).unwrap();
    let fenced = ProducerError::Fenced { producer_id: 1, epoch: 0, current: 1 };
    assert_eq!(refusal(partition.append(&mut in_transaction(1, 0, 2))), fenced);
    assert_eq!(refusal(partition.append_marker(&marker(1, 0, COMMIT), 0)), fenced);
    let old = EndTransactionMarker { coordinator_epoch: -1, ..marker(1, 1, COMMIT) };
    assert!(matches!(
        refusal(partition.append_marker(&old, 0)),
        ProducerError::CoordinatorFenced { epoch: -1, current: 0, .. }
    ));
    partition.append(&mut in_transaction(1, 1, 0)).unwrap();

    let mut plain = batch(1, Compression::None);
    stamp(&mut plain, 1, 1, 1);
    assert_eq!(refusal(partition.append(&mut plain)), ProducerError::InTransaction { producer_id: 1 });
    partition.append_marker(&marker(1, 1, COMMIT), 0).unwrap();
    partition.append(&mut plain).unwrap();
    assert!(partition.append(&mut plain).unwrap().is_duplicate);
    let states = partition.producers();
    assert_eq!(states.iter().map(|state| state.producer_id).collect::<Vec<_>>(), [1, 9]);
    assert_eq!((states[0].epoch, states[0].last_sequence, states[0].coordinator_epoch), (1, 2, 0));
    assert_eq!(states[0].transaction_start, None);
}

#[test]
fn a_page_of_the_index_that_cannot_be_read_is_made_up_for_by_the_log() {
    let storage = MemoryStorage::new();
    let config = PartitionConfig { segment_bytes: 12_000, ..PartitionConfig::default() };
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut history = History::default();
    while partition.segments() < 3 {
        let producer = 10 + history.serial as i64 % 3;
        history.append_in_transaction(producer, &mut partition).unwrap();
        let result = if history.serial.is_multiple_of(5) { COMMIT } else { ABORT };
        history.end_transaction(producer, result, false, &mut partition).unwrap();
    }
    sync(&mut partition).unwrap();
    history.assert_transactions(&partition, "sound");
    let index = storage.open(&Path::new(DIR).join(format!("{:020}.txnindex", 0))).unwrap();
    assert!(index.length().unwrap() >= 3 * 512, "some pages are full");
    let named = partition.aborted(0, partition.log_end()).unwrap();
    index.write_all_at(&[0xff; 8], 520).unwrap();
    assert_eq!(partition.aborted(0, partition.log_end()).unwrap(), named);
    history.assert_transactions(&partition, "damaged");
    drop(partition);
    let (partition, recovery) = open(&storage, &config).unwrap();
    assert_eq!(recovery.rebuilt_indexes, 1);
    assert_eq!(partition.aborted(0, partition.log_end()).unwrap(), named);
}

#[test]
fn retention_gives_up_records_of_an_open_transaction_and_not_the_transaction() {
    let retention = Retention { max_age: None, max_bytes: Some(0), roll_after: Duration::MAX };
    let config = PartitionConfig { retention, producer_expiration: Duration::from_millis(1), ..small() };
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut history = History::default();
    history.append_in_transaction(10, &mut partition).unwrap();
    while partition.segments() < 4 {
        history.append(&mut partition).unwrap();
    }
    history.append_in_transaction(10, &mut partition).unwrap();
    sync(&mut partition).unwrap();
    assert_eq!(stable(&partition), 0);
    assert!(partition.retain(1_000_000).unwrap() > 0);
    assert!(partition.log_start() > 0);
    assert_eq!(stable(&partition), partition.log_start(), "nothing that is left is stable");
    let names = storage.list(Path::new(DIR)).unwrap();
    let indexes = names.iter().filter(|name| name.ends_with(".txnindex")).count();
    assert_eq!(indexes, partition.segments(), "the indexes went with their segments");
    let open_of = |partition: &Partition| partition.producers()[0].transaction_start;
    assert_eq!(open_of(&partition), Some(0));
    partition.close().unwrap();
    let (mut partition, _) = open(&storage, &config).unwrap();
    assert_eq!(open_of(&partition), Some(0));
    history.end_transaction(10, ABORT, false, &mut partition).unwrap();
    sync(&mut partition).unwrap();
    assert_eq!(stable(&partition), partition.log_end());
    history.assert_transactions(&partition, "after retention");
    assert_eq!(partition.aborted(partition.log_start(), partition.log_end()).unwrap().len(), 1);
}

#[test]
fn a_log_of_before_there_were_indexes_is_indexed_once() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    let mut history = History::default();
    while partition.segments() < 5 {
        history.append_in_transaction(10, &mut partition).unwrap();
        history.append(&mut partition).unwrap();
        history.end_transaction(10, ABORT, false, &mut partition).unwrap();
    }
    partition.close().unwrap();
    for name in storage.list(Path::new(DIR)).unwrap() {
        if name.ends_with(".txnindex") {
            storage.remove(&Path::new(DIR).join(name)).unwrap();
        }
    }
    for rebuilt in [5, 0] {
        let (partition, recovery) = open(&storage, &small()).unwrap();
        assert_eq!((recovery.rebuilt_indexes, recovery.truncated_bytes), (rebuilt, 0));
        history.assert_transactions(&partition, "indexed");
    }
}
