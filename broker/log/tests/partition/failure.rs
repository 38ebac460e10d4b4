//! Disks that fail, stop half-way or fill up: no false acknowledgement, reads go on, appends where that is honest.

use topo_log::storage::{Fault, SimulatedDisk};
use topo_log::{LogError, Partition, PartitionConfig};

use crate::history::{History, open, small, small_by, sync};

/// Appends and syncs, twice each time around, until something fails or the log has `segments` segments.
fn fill(
    partition: &mut Partition,
    history: &mut History,
    durable: &mut i64,
    segments: usize,
) -> Result<(), LogError> {
    while partition.segments() < segments {
        history.append(partition)?;
        history.append(partition)?;
        *durable = sync(partition)?;
    }
    Ok(())
}

#[test]
fn after_a_failed_sync_nothing_is_appended_or_acknowledged_and_reads_go_on() {
    let mut failed = 0;
    for after in 0..40 {
        let disk = SimulatedDisk::new(after);
        let (mut partition, _) = open(&disk, &small_by(after)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        disk.inject(Fault::SyncError { after });
        // Where it is the recovery point that could not be synced, that costs time at most.
        let Err(error) = fill(&mut partition, &mut history, &mut durable, 5) else { continue };
        failed += 1;
        let what = format!("sync {after}, seed {after}");
        let sentence = error.to_string();
        assert!(sentence.starts_with("cannot sync /lines-0"), "{what}: {sentence}");
        assert_eq!(partition.durable_end(), durable, "{what}");
        let appended = history.batches.len();
        for _ in 0..3 {
            let refused = history.append(&mut partition).unwrap_err();
            assert!(matches!(refused, LogError::Poisoned { .. }), "{what}: {refused}");
            assert!(sync(&mut partition).is_err(), "{what}: a failed sync must not succeed on another try");
        }
        assert_eq!((partition.durable_end(), history.batches.len()), (durable, appended), "{what}");
        assert_eq!(history.assert_holds(&partition), history.end(), "{what}");
        assert!(partition.close().is_err(), "{what}");

        // The next process reads from a cache that calls lost pages clean. What it serves must be on the disk.
        let (partition, _) = open(&disk, &small()).unwrap();
        let served = history.assert_holds(&partition);
        assert!(served >= durable && partition.durable_end() == served, "{what}");
        disk.crash();
        let (partition, _) = open(&disk, &small()).unwrap();
        assert!(history.assert_holds(&partition) >= served, "{what}: served, then lost");
    }
    assert!(failed > 10, "only {failed} syncs were made to fail");
}

#[test]
fn a_failed_sync_is_not_forgotten_with_its_ticket() {
    let settle: [fn(&mut Partition, &SimulatedDisk); 2] = [
        // Run, and dropped with its error.
        |partition, disk| {
            disk.inject(Fault::SyncError { after: 0 });
            assert!(partition.begin_sync().run().is_err());
        },
        // Settled with an error that did not come from its run, such as a thread's that died.
        |partition, _| {
            let ticket = partition.begin_sync();
            assert!(ticket.run().is_ok());
            assert!(partition.finish_sync(ticket, Err(LogError::OffsetsExhausted)).is_err());
        },
    ];
    for settle in settle {
        let disk = SimulatedDisk::new(0);
        let (mut partition, _) = open(&disk, &small()).unwrap();
        let mut history = History::default();
        history.append(&mut partition).unwrap();
        settle(&mut partition, &disk);
        assert!(matches!(history.append(&mut partition), Err(LogError::Poisoned { .. })));
        assert!(sync(&mut partition).is_err());
        assert_eq!(partition.durable_end(), 0);
    }
}

#[test]
fn a_sync_that_fails_while_the_partition_is_opened_fails_the_open() {
    for seed in 0..10 {
        for after in 0.. {
            let disk = SimulatedDisk::new(seed);
            let (mut partition, _) = open(&disk, &small_by(seed)).unwrap();
            let (mut history, mut durable) = (History::default(), 0);
            fill(&mut partition, &mut history, &mut durable, 3).unwrap();
            history.append(&mut partition).unwrap();
            disk.inject(Fault::PowerLoss { after: 2 });
            drop(fill(&mut partition, &mut history, &mut durable, 9));
            disk.crash();
            disk.inject(Fault::SyncError { after });
            let opened = open(&disk, &small());
            disk.crash();
            let (partition, _) = open(&disk, &small()).unwrap();
            assert!(history.assert_holds(&partition) >= durable, "seed {seed}, sync {after}");
            match opened {
                Ok((before, _)) => {
                    assert_eq!(partition.log_end(), before.log_end(), "seed {seed}, sync {after}");
                    break;
                }
                Err(error) => assert!(matches!(error, LogError::Storage { .. }), "seed {seed}: {error}"),
            }
        }
    }
}

#[test]
fn a_failed_write_of_a_batch_ends_appends_and_of_anything_else_costs_nothing() {
    for after in 0.. {
        let disk = SimulatedDisk::new(after);
        let (mut partition, _) = open(&disk, &small_by(after)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        disk.inject(Fault::WriteError { after });
        let (operations, result) = (disk.operations(), fill(&mut partition, &mut history, &mut durable, 5));
        let what = format!("write {after}, seed {after}");
        if result.is_err() {
            assert!(partition.poisoned().is_some(), "{what}");
            assert!(matches!(history.append(&mut partition), Err(LogError::Poisoned { .. })), "{what}");
        } else if disk.operations() - operations < after {
            break;
        }
        drop(partition);
        disk.crash();
        let (partition, _) = open(&disk, &small()).unwrap();
        assert!(history.assert_holds(&partition) >= durable, "{what}");
    }
}

#[test]
fn short_writes_are_completed() {
    for after in 0..60 {
        let disk = SimulatedDisk::new(after);
        let (mut partition, _) = open(&disk, &small_by(after)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        disk.inject(Fault::ShortWrite { after });
        fill(&mut partition, &mut history, &mut durable, 5).unwrap();
        assert_eq!(history.assert_holds(&partition), durable, "write {after}");
        disk.crash();
        let (partition, _) = open(&disk, &small()).unwrap();
        assert_eq!(history.assert_holds(&partition), durable, "write {after}");
    }
}

#[test]
fn without_a_file_descriptor_nothing_is_rolled_and_nothing_is_lost() {
    for after in 0..12 {
        let disk = SimulatedDisk::new(after);
        let (mut partition, _) = open(&disk, &small_by(after)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        disk.inject(Fault::CreateError { after });
        match fill(&mut partition, &mut history, &mut durable, 5) {
            // A snapshot of producers that could not be created costs time at most.
            Ok(()) => {}
            Err(error) => {
                let sentence = error.to_string();
                assert!(sentence.starts_with("cannot create /lines-0/"), "create {after}: {sentence}");
                assert_eq!(partition.poisoned(), None, "create {after}: nothing was written");
                // It is not in the log, and not in doubt either.
                history.truncate(partition.log_end());
                fill(&mut partition, &mut history, &mut durable, 5).unwrap();
            }
        }
        assert_eq!(history.assert_holds(&partition), durable, "create {after}");
        disk.crash();
        let (partition, _) = open(&disk, &small()).unwrap();
        assert!(history.assert_holds(&partition) >= durable, "create {after}");
    }
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space_and_loses_nothing() {
    // The first part of every partition is its checkpoint.
    let overhead = 3 * 4096;
    for capacity in (overhead..overhead + 4_000).step_by(13) {
        let what = format!("capacity and seed {capacity}");
        let disk = SimulatedDisk::new(capacity);
        let (mut partition, _) = open(&disk, &small_by(capacity)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        disk.set_capacity(Some(capacity));
        let refused = fill(&mut partition, &mut history, &mut durable, 50).unwrap_err();
        assert!(matches!(refused, LogError::Full { .. }), "{what}: {refused}");
        for _ in 0..5 {
            // A smaller batch may still fit.
            let again = history.append(&mut partition);
            assert!(matches!(again, Ok(()) | Err(LogError::Full { .. })), "{what}: {again:?}");
        }
        assert_eq!(history.assert_holds(&partition), history.end(), "{what}: reads go on");
        assert_eq!(sync(&mut partition).unwrap(), history.end(), "{what}: so do syncs");

        disk.set_capacity(None);
        fill(&mut partition, &mut history, &mut durable, 12).unwrap();
        assert_eq!(history.assert_holds(&partition), durable, "{what}");
        disk.crash();
        let (partition, _) = open(&disk, &small()).unwrap();
        assert_eq!(history.assert_holds(&partition), durable, "{what}");
    }
}

#[test]
fn a_full_disk_that_cannot_take_back_half_a_batch_ends_appends() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let (mut partition, _) = open(&disk, &small_by(0)).unwrap();
        let (mut history, mut durable) = (History::default(), 0);
        fill(&mut partition, &mut history, &mut durable, 2).unwrap();
        // The write stops short, then there is no room, then the truncation is where the power goes.
        disk.set_capacity(Some(0));
        disk.inject(Fault::PowerLoss { after: 1 });
        let refused = history.append(&mut partition).unwrap_err();
        assert!(matches!(refused, LogError::Storage { .. }), "seed {seed}: {refused}");
        assert!(partition.poisoned().is_some());
        disk.crash();
        disk.set_capacity(None);
        let (partition, _) = open(&disk, &small()).unwrap();
        assert!(history.assert_holds(&partition) >= durable, "seed {seed}");
    }
}

#[test]
fn without_room_to_fill_ahead_the_batches_that_fit_are_taken() {
    let config = PartitionConfig { preallocate_bytes: 1 << 20, segment_bytes: 100_000, ..small() };
    for room in (100..4_000).step_by(50) {
        let disk = SimulatedDisk::new(room);
        let (mut partition, _) = open(&disk, &config).unwrap();
        let mut history = History::default();
        disk.set_capacity(Some(3 * 4096 + room));
        let refused = loop {
            if let Err(refused) = history.append(&mut partition) {
                break refused;
            }
        };
        assert!(matches!(refused, LogError::Full { .. }), "room {room}: {refused}");
        // An index entry's page and the next batch, which is smaller than that, are all that may be missing.
        assert!(partition.bytes() + 512 + 300 > room, "room {room}: only {} were used", partition.bytes());
        disk.set_capacity(None);
        history.append(&mut partition).unwrap();
        sync(&mut partition).unwrap();
        disk.crash();
        let (partition, recovery) = open(&disk, &config).unwrap();
        assert_eq!((history.assert_holds(&partition), recovery.truncated_bytes), (history.end(), 0));
    }
}
