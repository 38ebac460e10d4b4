//! What producers send twice is stored once: across restarts, crashes, lost and damaged snapshots.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk, Storage};
use topo_log::{LogError, Partition, PartitionConfig, ProducerError, Retention};
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, Room};

use crate::history::{DIR, open, small, stamp, sync};

/// A batch of `records` records from a producer.
fn batch(producer_id: i64, epoch: i16, sequence: i32, records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for record in 0..records {
        let value = format!("{producer_id}/{epoch}/{} {}", sequence + record, "x".repeat(20));
        let timestamp_ms = i64::from(sequence);
        let record = NewRecord { timestamp_ms, value: Some(value.as_bytes()), ..NewRecord::default() };
        assert_eq!(builder.append(&record), Ok(Room::Taken));
    }
    let mut batch = builder.finish(Compression::None).unwrap().to_vec();
    stamp(&mut batch, producer_id, epoch, sequence);
    batch
}

/// A batch as its producer sent it, and where it was put.
#[derive(Debug, Clone)]
struct Sent {
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    records: i32,
    base_offset: i64,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        batch(self.producer_id, self.epoch, self.sequence, self.records)
    }
}

/// Every batch that is in the log, in order.
#[derive(Debug, Clone, Default)]
struct Model {
    sent: Vec<Sent>,
}

impl Model {
    /// The next batch of a producer, sometimes of its next epoch.
    fn next(&self, rng: &mut StdRng) -> Sent {
        let producer_id = rng.random_range(0..3);
        let last = self.sent.iter().rfind(|sent| sent.producer_id == producer_id);
        let (mut epoch, mut sequence) =
            last.map_or((0, 0), |last| (last.epoch, last.sequence + last.records));
        if rng.random_ratio(1, 12) {
            (epoch, sequence) = (epoch + 1, 0);
        }
        Sent { producer_id, epoch, sequence, records: rng.random_range(1..4), base_offset: 0 }
    }

    fn append(&mut self, partition: &mut Partition, rng: &mut StdRng) -> Result<(), LogError> {
        let mut sent = self.next(rng);
        sent.base_offset = partition.log_end();
        let appended = partition.append(&mut sent.bytes());
        if matches!(appended, Ok(_) | Err(LogError::Storage { .. })) {
            self.sent.push(sent);
        }
        assert!(appended.as_ref().map_or(true, |appended| !appended.is_duplicate));
        appended.map(drop)
    }

    /// Requires that a partition knows what this model does: the last five of each producer's epoch, and what follows.
    fn assert_known(&mut self, partition: &mut Partition, what: &str) {
        let end = partition.log_end();
        self.sent.retain(|sent| sent.base_offset < end);
        let mut recent: BTreeMap<i64, Vec<&Sent>> = BTreeMap::new();
        for sent in &self.sent {
            let of_epoch = recent.entry(sent.producer_id).or_default();
            of_epoch.retain(|before| before.epoch == sent.epoch);
            of_epoch.push(sent);
        }
        for sent in recent.values().flat_map(|sent| sent.iter().rev().take(5)) {
            let again = partition.append(&mut sent.bytes()).unwrap();
            assert!(again.is_duplicate, "{what}: {sent:?} was stored twice");
            assert_eq!(again.base_offset, sent.base_offset, "{what}: {sent:?}");
            assert_eq!(again.last_offset, sent.base_offset + i64::from(sent.records) - 1, "{what}: {sent:?}");
        }
        for last in recent.values().filter_map(|sent| sent.last()) {
            let gap = Sent { sequence: last.sequence + last.records + 1, ..(*last).clone() };
            let refused = partition.append(&mut gap.bytes());
            let expected = last.sequence + last.records;
            assert!(
                matches!(&refused, Err(LogError::Producer(ProducerError::OutOfOrderSequence { expected: e, .. })) if *e == expected),
                "{what}: {gap:?}: {refused:?}"
            );
            if last.epoch > 0 {
                let late = Sent { epoch: last.epoch - 1, ..(*last).clone() };
                let refused = partition.append(&mut late.bytes());
                assert!(matches!(refused, Err(LogError::Producer(ProducerError::Fenced { .. }))), "{what}");
            }
        }
        assert_eq!(partition.log_end(), end, "{what}: nothing of that was appended");
    }
}

#[test]
fn producers_are_known_again_after_a_restart_however_it_came() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let storage = MemoryStorage::new();
        let mut model = Model::default();
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            let (mut partition, _) = open(&storage, &small()).unwrap();
            model.assert_known(&mut partition, &what);
            for _ in 0..rng.random_range(0..25) {
                model.append(&mut partition, &mut rng).unwrap();
                if rng.random() {
                    sync(&mut partition).unwrap();
                }
            }
            if rng.random() {
                partition.close().unwrap();
                let (_, recovery) = open(&storage, &small()).unwrap();
                let end = model.sent.last().map_or(0, |sent| sent.base_offset + i64::from(sent.records));
                assert!(end == 0 || recovery.producer_snapshot == Some(end), "{what}: {recovery:?}");
            }
        }
    }
}

#[test]
fn producers_are_known_again_wherever_the_power_goes_and_goes_again() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimulatedDisk::new(seed);
        let mut model = Model::default();
        for life in 0..5 {
            let what = format!("seed {seed}, life {life}");
            if rng.random() {
                disk.inject(Fault::PowerLoss { after: rng.random_range(0..12) });
                drop(open(&disk, &small()));
                disk.crash();
            }
            let (mut partition, _) = open(&disk, &small()).unwrap_or_else(|error| panic!("{what}: {error}"));
            model.assert_known(&mut partition, &what);
            disk.inject(Fault::PowerLoss { after: rng.random_range(0..80) });
            let lived = (|| {
                for _ in 0..rng.random_range(5..40) {
                    model.append(&mut partition, &mut rng)?;
                    if rng.random_ratio(1, 3) {
                        sync(&mut partition)?;
                    }
                }
                if rng.random() { partition.close() } else { Ok(()) }
            })();
            drop(lived);
            disk.crash();
        }
    }
}

#[test]
fn snapshots_that_are_lost_damaged_or_of_another_log_are_not_believed() {
    let storage = MemoryStorage::new();
    let mut rng = StdRng::seed_from_u64(5);
    let mut model = Model::default();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    while partition.segments() < 4 {
        model.append(&mut partition, &mut rng).unwrap();
    }
    partition.close().unwrap();
    let snapshots = || {
        let mut names = storage.list(Path::new(DIR)).unwrap();
        names.retain(|name| name.ends_with(".snapshot"));
        names.into_iter().map(|name| Path::new(DIR).join(name)).collect::<Vec<_>>()
    };
    assert_eq!(snapshots().len(), 2);
    let newest = snapshots().pop().unwrap();
    let file = storage.open(&newest).unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    for bit in 0..bytes.len() * 8 {
        let file = storage.open(&newest).or_else(|_| storage.create(&newest)).unwrap();
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        file.truncate(0).unwrap();
        file.write_all_at(&damaged, 0).unwrap();
        let (mut partition, recovery) = open(&storage, &small()).unwrap();
        assert!(recovery.producer_snapshot < Some(partition.log_end()), "bit {bit} was believed");
        model.assert_known(&mut partition, &format!("bit {bit}"));
    }

    // All are gone: the log alone tells.
    for path in snapshots() {
        storage.remove(&path).unwrap();
    }
    let (mut partition, recovery) = open(&storage, &small()).unwrap();
    assert_eq!(recovery.producer_snapshot, None);
    model.assert_known(&mut partition, "without snapshots");
    drop(partition);

    // Of another log with as many records, and sound.
    let other = MemoryStorage::new();
    let (mut partition, _) = open(&other, &small()).unwrap();
    let end = model.sent.last().map_or(0, |sent| sent.base_offset + i64::from(sent.records));
    while partition.log_end() < end {
        partition.append(&mut batch(77, 0, partition.log_end() as i32, 1)).unwrap();
    }
    partition.close().unwrap();
    let foreign = other.open(&newest).unwrap();
    let mut bytes = vec![0; foreign.length().unwrap() as usize];
    foreign.read_exact_at(&mut bytes, 0).unwrap();
    storage.create(&newest).unwrap().write_all_at(&bytes, 0).unwrap();
    let (mut partition, recovery) = open(&storage, &small()).unwrap();
    assert_eq!(recovery.producer_snapshot, None);
    model.assert_known(&mut partition, "with a foreign snapshot");
}

#[test]
fn producers_outlive_their_batches_until_they_expire() {
    let retention = Retention { max_bytes: Some(0), ..Retention::FOREVER };
    let config =
        PartitionConfig { retention, producer_expiration: std::time::Duration::from_millis(500), ..small() };
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut first = batch(1, 0, 0, 1);
    let appended = partition.append(&mut first).unwrap();
    while partition.segments() < 3 {
        let sequence = partition.log_end() as i32 + 100;
        partition.append(&mut batch(2, 0, sequence, 1)).unwrap();
    }
    sync(&mut partition).unwrap();
    assert_eq!(partition.retain(200).unwrap(), 2);
    assert!(BatchHeader::parse(&first).unwrap().base_offset < partition.log_start());
    for _ in 0..2 {
        let again = partition.append(&mut batch(1, 0, 0, 1)).unwrap();
        assert_eq!((again.is_duplicate, again.base_offset), (true, appended.base_offset));
        partition.close().unwrap();
        partition = open(&storage, &config).unwrap().0;
    }
    partition.retain(502).unwrap();
    assert!(!partition.append(&mut batch(1, 0, 0, 1)).unwrap().is_duplicate, "forgotten");
}
