//! Random histories against a list of batches.

use std::sync::{Arc, RwLock};

use proptest::prelude::*;
use topo_log::storage::{FileStorage, MemoryStorage, Storage};
use topo_log::{LogError, Partition, PartitionConfig};
use topo_protocol::{BatchError, BatchHeader, Compression, TransactionResult};

use crate::history::{DIR, History, batch, open, small, sync};

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    /// A producer's next batch, and all that it sent last once more.
    Idempotent(u8),
    /// The next batch of a producer's transaction.
    InTransaction(u8),
    /// The end of a producer's transaction: whether it is committed, and whether under the next epoch.
    End(u8, bool, bool),
    Sync,
    Close,
    Drop,
    /// Where from, how much, and up to where, in 256ths of the log.
    Read(u8, u16, u8),
    /// Up to where, in 256ths of the log.
    Times(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..6_u8).prop_map(Step::Append),
        4 => (0..3_u8).prop_map(Step::Idempotent),
        4 => (10..13_u8).prop_map(Step::InTransaction),
        4 => (10..13_u8, any::<bool>(), any::<bool>()).prop_map(|(id, commits, next)| {
            Step::End(id, commits, next)
        }),
        3 => Just(Step::Sync),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
        1 => any::<u8>().prop_map(Step::Times),
        6 => any::<(u8, u16, u8)>().prop_map(|(from, bytes, to)| Step::Read(from, bytes % 2_000, to)),
    ];
    prop::collection::vec(step, 1..60)
}

/// Reads and compares: whole batches, at least one, within the limits.
fn read(partition: &Partition, history: &History, from: u8, max_bytes: usize, to: u8) {
    let end = history.end();
    let (offset, up_to) = (end * i64::from(from) / 255, end * i64::from(to) / 255);
    let at_hand = partition.read_at_hand(offset, max_bytes, up_to);
    let batches = partition.read_batches(offset, max_bytes, up_to).unwrap();
    // What is at hand may be found only once a read has passed by.
    for at_hand in [at_hand, partition.read_at_hand(offset, max_bytes, up_to)].into_iter().flatten() {
        assert_eq!(at_hand, batches, "{offset}, {max_bytes} bytes, up to {up_to}");
    }
    let bytes = batches.bytes;
    let count = history.assert_serves(offset, &bytes);
    let batches = history.from(offset);
    let fits = |batch: &Vec<u8>| BatchHeader::parse(batch).unwrap().next_offset() <= up_to;
    assert_eq!(count == 0, offset >= up_to || !fits(&batches[0]), "from {offset} up to {up_to}");
    assert!(batches[..count].iter().all(fits));
    assert!(bytes.len() <= max_bytes || count == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_partition_is_a_list_of_batches(
        steps in steps(),
        segment_bytes in prop_oneof![Just(1), 100..3_000_u32],
        index_interval_bytes in 0..700_u32,
        preallocate_bytes in prop_oneof![Just(0), 1..3_000_u32, Just(1 << 20)],
    ) {
        let config = PartitionConfig {
            segment_bytes,
            index_interval_bytes,
            preallocate_bytes,
            ..PartitionConfig::default()
        };
        let storage = MemoryStorage::new();
        let (mut history, mut durable) = (History::default(), 0);
        let mut partition = open(&storage, &config).unwrap().0;
        for step in steps {
            match step {
                Step::Append(count) => (0..count).for_each(|_| history.append(&mut partition).unwrap()),
                Step::Idempotent(producer) => {
                    history.append_from(producer.into(), false, &mut partition).unwrap();
                    history.assert_known(&mut partition, "model");
                }
                Step::InTransaction(producer) => {
                    history.append_in_transaction(producer.into(), &mut partition).unwrap();
                }
                Step::End(producer, commits, next) => {
                    let result =
                        if commits { TransactionResult::Commit } else { TransactionResult::Abort };
                    history.end_transaction(producer.into(), result, next, &mut partition).unwrap();
                }
                Step::Sync => durable = sync(&mut partition).unwrap(),
                Step::Read(from, bytes, to) => read(&partition, &history, from, bytes.into(), to),
                Step::Times(to) => {
                    history.assert_times(&partition, history.end() * i64::from(to) / 255, "model");
                }
                Step::Close | Step::Drop => {
                    if matches!(step, Step::Close) {
                        partition.close().unwrap();
                        durable = history.end();
                    } else {
                        drop(partition);
                    }
                    let (opened, recovery) = open(&storage, &config).unwrap();
                    prop_assert_eq!(recovery.recovery_point, Some(durable));
                    prop_assert_eq!((recovery.truncated_bytes, recovery.rebuilt_indexes), (0, 0));
                    partition = opened;
                    durable = history.end();
                }
            }
            prop_assert_eq!((partition.log_end(), partition.durable_end()), (history.end(), durable));
            history.assert_transactions(&partition, "model");
        }
        prop_assert_eq!(history.assert_holds(&partition), history.end());
        history.assert_times(&partition, i64::MAX, "at the end");
        let bytes: usize = history.batches.iter().map(Vec::len).sum();
        prop_assert_eq!(partition.bytes(), bytes as u64);
        prop_assert!(partition.segments() > 1 || bytes <= segment_bytes as usize || history.batches.len() < 2);
    }
}

#[test]
fn offsets_that_are_not_held_and_batches_that_are_none_are_refused() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    let mut history = History::default();
    history.append(&mut partition).unwrap();
    assert!(partition.read(1, 100, i64::MAX).unwrap().is_empty(), "the end is a place to wait at");
    for asked in [-1, 2, i64::MAX] {
        let refused = partition.read(asked, 100, i64::MAX).unwrap_err().to_string();
        assert_eq!(refused, format!("the partition holds offsets 0 to 1, not {asked}"));
    }
    let sound = batch(7, Compression::None);
    for bit in 8 * 8..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // The leader epoch is the log's to write.
        let accepted = (12 * 8..16 * 8).contains(&bit);
        assert_eq!(partition.append(&mut damaged).is_ok(), accepted, "bit {bit}");
    }
    let torn = &mut sound.clone()[..80];
    assert!(matches!(partition.append(torn), Err(LogError::Batch(BatchError::Truncated { .. }))));
}

#[test]
fn a_sync_covers_what_was_appended_before_it_began_rolls_included() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    let mut history = History::default();
    let mut append = |partition: &mut Partition, segments| {
        while partition.segments() < segments {
            history.append(partition).unwrap();
        }
        history.end()
    };
    let covered = append(&mut partition, 3);
    let ticket = partition.begin_sync();
    let end = append(&mut partition, 5);
    let result = ticket.run();
    append(&mut partition, 6);
    assert_eq!((partition.durable_end(), ticket.end()), (0, covered));
    assert_eq!(partition.finish_sync(ticket, result).unwrap(), covered);

    // A ticket that is dropped leaves its work to the next.
    drop(partition.begin_sync());
    assert!(sync(&mut partition).unwrap() > end);
    let nothing = partition.begin_sync();
    assert!(nothing.is_empty() && nothing.run().is_ok());

    // And one that was never run settles nothing.
    append(&mut partition, 7);
    let (ticket, durable) = (partition.begin_sync(), partition.durable_end());
    assert!(partition.finish_sync(ticket, Ok(())).is_err());
    assert_eq!(partition.durable_end(), durable);
    assert!(partition.poisoned().is_some());
}

#[test]
fn real_files_are_read_while_they_are_appended_to_and_synced() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join(DIR.trim_start_matches('/'));
    let storage: Arc<dyn Storage> = Arc::new(FileStorage);
    let opened = Partition::open(storage.clone(), &dir, small()).unwrap().0;
    let partition = RwLock::new(opened);
    let history = RwLock::new(History::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                // The history first: whoever sees an end in the partition finds it there.
                let mut next = history.read().unwrap().clone();
                let mut guard = partition.write().unwrap();
                next.append(&mut guard).unwrap();
                *history.write().unwrap() = next;
                let ticket = guard.begin_sync();
                drop(guard);
                let result = ticket.run();
                partition.write().unwrap().finish_sync(ticket, result).unwrap();
            }
        });
        scope.spawn(|| {
            let mut offset = 0;
            while offset < 119 {
                let guard = partition.read().unwrap();
                let bytes = guard.read(offset, 300, guard.durable_end()).unwrap();
                drop(guard);
                let history = history.read().unwrap();
                let count = history.assert_serves(offset, &bytes);
                if let Some(last) = count.checked_sub(1) {
                    offset = BatchHeader::parse(&history.from(offset)[last]).unwrap().next_offset();
                }
                drop(history);
                std::thread::yield_now();
            }
        });
    });
    let (mut partition, history) = (partition.into_inner().unwrap(), history.into_inner().unwrap());
    assert_eq!(history.assert_holds(&partition), history.end());
    assert_eq!(partition.durable_end(), history.end());
    history.clone().append(&mut partition).unwrap();
    drop(partition);
    let (partition, recovery) = Partition::open(storage, &dir, small()).unwrap();
    assert_eq!(recovery.recovery_point, Some(history.end()));
    assert!(partition.log_end() > history.end());
}

#[test]
fn opening_reads_no_more_than_the_last_segment() {
    let config = PartitionConfig { segment_bytes: 4_000, ..small() };
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut history = History::default();
    while partition.segments() < 20 {
        history.append(&mut partition).unwrap();
        sync(&mut partition).unwrap();
    }
    drop(partition);
    let (partition, recovery) = open(&storage, &config).unwrap();
    assert!(recovery.scanned_bytes <= 4_000, "{recovery:?}");
    partition.close().unwrap();
    let (partition, recovery) = open(&storage, &config).unwrap();
    assert!(recovery.scanned_bytes <= 400, "{recovery:?}");
    assert_eq!(history.assert_holds(&partition), history.end());
}
