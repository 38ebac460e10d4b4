//! Retention by age and size: what goes, what stays, and that nothing comes back, wherever the power goes.

use std::time::Duration;

use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk};
use topo_log::{LogError, PartitionConfig, Retention};

use crate::history::{History, open, small, small_by, sync};

fn keeping(max_age_ms: Option<u64>, max_bytes: Option<u64>) -> PartitionConfig {
    let retention = Retention {
        max_age: max_age_ms.map(Duration::from_millis),
        max_bytes,
        roll_after: Duration::from_millis(1_000),
    };
    PartitionConfig { retention, ..small() }
}

#[test]
fn whole_segments_go_by_age_once_they_are_durable() {
    let config = keeping(Some(10), None);
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut history = History::default();
    while partition.segments() < 6 {
        history.append(&mut partition).unwrap();
    }
    assert_eq!(partition.retain(900).unwrap(), 0, "not durable yet");
    sync(&mut partition).unwrap();
    assert_eq!(partition.retain(0).unwrap(), 0, "not old yet");
    let (mut start, end) = (0, partition.log_end());
    for now_ms in 0..200 {
        partition.retain(now_ms).unwrap();
        assert!(partition.log_start() >= start && partition.log_end() == end);
        start = partition.log_start();
        history.assert_holds(&partition);
        history.assert_times(&partition, i64::MAX, "after retention");
        // Every segment that is left has a record that is young enough, or is the active one.
        let youngest = history.times().iter().filter(|at| at.offset >= start).map(|at| at.timestamp_ms).max();
        assert!(partition.segments() == 1 || youngest.unwrap() + 10 >= now_ms, "at {now_ms}");
    }
    assert_eq!(partition.segments(), 1, "the active one stays");
    assert!(start > 0 && start < end);
    for offset in 0..start {
        let refused = partition.read(offset, 100, i64::MAX).unwrap_err();
        assert!(matches!(refused, LogError::OffsetOutOfRange { log_start, .. } if log_start == start));
    }

    // Once it is old enough to be rolled, its records go as well, and the log is empty from there on.
    assert_eq!(partition.retain(2_000).unwrap(), 1);
    assert_eq!((partition.log_start(), partition.log_end(), partition.bytes()), (end, end, 0));
    for _ in 0..2 {
        drop(partition);
        partition = open(&storage, &config).unwrap().0;
        assert_eq!((partition.log_start(), partition.log_end()), (end, end));
    }
    history.append(&mut partition).unwrap();
    assert_eq!(partition.log_end(), history.end());
}

#[test]
fn the_oldest_segments_go_while_the_rest_is_enough() {
    for max_bytes in (0..4_000).step_by(150) {
        let config = keeping(None, Some(max_bytes));
        let storage = MemoryStorage::new();
        let (mut partition, _) = open(&storage, &config).unwrap();
        let mut history = History::default();
        while partition.segments() < 7 {
            history.append(&mut partition).unwrap();
        }
        sync(&mut partition).unwrap();
        let before = partition.bytes();
        let gone = partition.retain(0).unwrap();
        assert!(partition.bytes() >= max_bytes.min(before), "{max_bytes}: too much went");
        assert!(
            partition.segments() == 1 || partition.bytes() < max_bytes + 600,
            "{max_bytes}: too little went"
        );
        assert_eq!(gone + partition.segments(), 7);
        history.assert_holds(&partition);
        partition.close().unwrap();
        let (partition, recovery) = open(&storage, &config).unwrap();
        assert_eq!((partition.segments(), recovery.expired_segments), (7 - gone, 0));
        history.assert_holds(&partition);
    }
}

#[test]
fn a_reader_keeps_what_it_read_and_the_next_one_is_refused() {
    let config = keeping(None, Some(0));
    let dir = tempfile::tempdir().unwrap();
    let storage = std::sync::Arc::new(topo_log::storage::FileStorage);
    let at = dir.path().join("lines-0");
    let (mut partition, _) = topo_log::Partition::open(storage.clone(), &at, config.clone()).unwrap();
    let mut history = History::default();
    while partition.segments() < 4 {
        history.append(&mut partition).unwrap();
    }
    sync(&mut partition).unwrap();
    let read = partition.read(0, 1 << 20, i64::MAX).unwrap();
    let start = partition.begin_retention(0).unwrap().unwrap();
    assert_eq!(start.log_start(), partition.log_end() - i64::from(read_records(&history, start.log_start())));
    start.run().unwrap();
    assert_eq!(partition.read(0, 1 << 20, i64::MAX).unwrap(), read, "until it is settled, nothing is gone");
    let expired = partition.finish_retention(&start);
    assert!(partition.read(0, 1 << 20, i64::MAX).is_err());
    assert_eq!((expired.segments(), expired.bytes() > 0), (3, true));
    expired.remove().unwrap();
    let left = std::fs::read_dir(&at)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log"));
    assert_eq!(left.count(), 1);
    history.assert_serves(0, &read);
}

/// Records from `offset` on.
fn read_records(history: &History, offset: i64) -> i32 {
    i32::try_from(history.end() - offset).unwrap()
}

#[test]
fn power_may_go_at_any_step_of_retention_and_of_the_recovery_from_it() {
    for seed in 0..6 {
        let config = PartitionConfig { retention: keeping(None, Some(900)).retention, ..small_by(seed) };
        for after in 0.. {
            let disk = SimulatedDisk::new(seed);
            let (mut partition, _) = open(&disk, &config).unwrap();
            let mut history = History::default();
            while partition.segments() < 5 {
                history.append(&mut partition).unwrap();
            }
            sync(&mut partition).unwrap();
            let (before, durable) = (partition.log_start(), partition.durable_end());
            disk.inject(Fault::PowerLoss { after });
            let retained = partition.retain(0);
            let given_up = partition.log_start();
            drop(partition);
            disk.crash();
            for again in 0.. {
                let what = format!("seed {seed}, power lost after {after}, then after {again}");
                let disk = disk.fork(seed ^ again);
                disk.inject(Fault::PowerLoss { after: again });
                let interrupted = open(&disk, &config).is_err();
                disk.crash();
                let (mut partition, _) =
                    open(&disk, &config).unwrap_or_else(|error| panic!("{what}: {error}"));
                let start = partition.log_start();
                assert!(start >= given_up && start >= before, "{what}: offset {start} came back");
                assert_eq!(history.assert_holds(&partition), durable, "{what}");
                // And the same retention goes on from here.
                partition.retain(0).unwrap();
                assert!(partition.bytes() < 900 + 600, "{what}");
                history.clone().append(&mut partition).unwrap();
                if !interrupted {
                    break;
                }
            }
            if retained.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_fails_gives_up_nothing_that_it_did_not_write_down() {
    let config = keeping(None, Some(900));
    for after in 0..6 {
        for fault in [Fault::SyncError { after }, Fault::WriteError { after }] {
            let disk = SimulatedDisk::new(after);
            let (mut partition, _) = open(&disk, &config).unwrap();
            let mut history = History::default();
            while partition.segments() < 5 {
                history.append(&mut partition).unwrap();
            }
            let durable = sync(&mut partition).unwrap();
            disk.inject(fault);
            let retained = partition.retain(0);
            assert_eq!(retained.is_ok(), partition.log_start() > 0, "{fault:?}");
            history.assert_holds(&partition);
            let start = partition.log_start();
            partition.retain(0).unwrap();
            assert!(partition.log_start() > 0, "{fault:?}: the next attempt succeeds");
            drop(partition);
            disk.crash();
            let (partition, _) = open(&disk, &config).unwrap();
            assert!(partition.log_start() >= start, "{fault:?}");
            assert_eq!(history.assert_holds(&partition), durable, "{fault:?}");
        }
    }
}

#[test]
fn records_are_deleted_up_to_any_offset_and_stay_deleted() {
    let storage = MemoryStorage::new();
    for seed in [0, 1] {
        let dir = std::path::PathBuf::from(format!("/lines-{seed}"));
        let (storage, config) = (std::sync::Arc::new(storage.clone()), small_by(seed));
        let open = || topo_log::Partition::open(storage.clone(), &dir, config.clone()).unwrap().0;
        let mut partition = open();
        let mut history = History::default();
        while partition.segments() < 5 {
            history.append(&mut partition).unwrap();
        }
        let durable = sync(&mut partition).unwrap();
        history.append(&mut partition).unwrap();
        for offset in [durable + 1, i64::MAX] {
            let refused = partition.delete_before(offset).unwrap_err();
            assert!(matches!(refused, LogError::OffsetOutOfRange { log_end, .. } if log_end == durable));
        }
        let end = sync(&mut partition).unwrap();
        let mut segments = partition.segments();
        for offset in 0..=end {
            assert_eq!(partition.delete_before(offset).unwrap(), offset);
            assert_eq!(partition.delete_before(offset / 2).unwrap(), offset, "it never goes back");
            if offset % 5 == 0 {
                partition.close().unwrap();
                partition = open();
            } else if offset % 3 == 0 {
                partition = open();
            }
            assert_eq!((partition.log_start(), partition.log_end()), (offset, end));
            assert!(partition.segments() <= segments);
            segments = partition.segments();
            history.assert_holds(&partition);
            for up_to in offset..=end {
                history.assert_times(&partition, up_to, "deleted");
            }
            for below in 0..offset {
                let refused = partition.read(below, 100, i64::MAX).unwrap_err();
                assert!(
                    matches!(refused, LogError::OffsetOutOfRange { log_start, .. } if log_start == offset)
                );
            }
        }
        assert_eq!(
            (partition.segments(), partition.bytes()),
            (1, 0),
            "with the last record, its bytes go too"
        );
        history.append(&mut partition).unwrap();
        assert_eq!(history.assert_holds(&partition), history.end());
    }
}
