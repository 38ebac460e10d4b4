//! How far a segment's file is filled ahead, and that nothing of it is left, read or counted.

use std::path::Path;

use topo_log::PartitionConfig;
use topo_log::storage::{MemoryStorage, Storage};

use crate::history::{DIR, History, open, small, sync};

/// The least that a segment is filled ahead by.
const FIRST: u64 = 16 << 10;

/// The lengths of the segments' files, oldest first.
fn lengths(storage: &MemoryStorage) -> Vec<u64> {
    let names = storage.list(Path::new(DIR)).unwrap();
    let logs = names.iter().filter(|name| name.ends_with(".log"));
    logs.map(|name| storage.open(&Path::new(DIR).join(name)).unwrap().length().unwrap()).collect()
}

#[test]
fn a_segment_is_filled_ahead_by_as_much_as_it_holds_within_its_size_and_trimmed() {
    const MOST: u64 = 40 << 10;
    let config = PartitionConfig { segment_bytes: 150_000, preallocate_bytes: MOST as u32, ..small() };
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    assert_eq!(lengths(&storage), [0], "nothing is taken for a partition that holds nothing");
    let mut history = History::default();
    let mut filled = 0;
    while partition.segments() < 3 {
        let segments = partition.segments();
        history.append_large(&mut partition);
        let end = partition.log_end();
        assert!(partition.read(end, 1 << 20, i64::MAX).unwrap().is_empty(), "zeros were read");
        let lengths = lengths(&storage);
        let held = partition.bytes() - lengths[..lengths.len() - 1].iter().sum::<u64>();
        let length = *lengths.last().unwrap();
        assert!(held <= length && length <= 150_000, "{held} in a file of {length}");
        assert!(length <= (held + held.max(FIRST)).min(held + MOST), "{held} in a file of {length}");
        assert!(
            length == 150_000 || length > held || segments < partition.segments(),
            "not filled at {held}"
        );
        filled += u64::from(length > held);
    }
    assert!(filled > 100, "filled ahead {filled} times");
    assert_eq!(
        lengths(&storage)[..2].iter().filter(|length| **length >= 150_000).count(),
        0,
        "sealed, not trimmed"
    );
    sync(&mut partition).unwrap();
    let bytes = partition.bytes();
    partition.close().unwrap();
    assert_eq!(lengths(&storage).iter().sum::<u64>(), bytes, "closed, not trimmed");

    // A process that dies leaves it for the next one to trim.
    let (mut partition, _) = open(&storage, &config).unwrap();
    history.append_large(&mut partition);
    let bytes = partition.bytes();
    assert!(lengths(&storage).iter().sum::<u64>() > bytes);
    drop(partition);
    let (partition, recovery) = open(&storage, &config).unwrap();
    assert_eq!((lengths(&storage).iter().sum::<u64>(), recovery.truncated_bytes), (bytes, 0));
    assert_eq!(history.assert_holds(&partition), history.end());
}

#[test]
fn nothing_is_filled_ahead_where_that_is_off_or_batches_are_larger() {
    for preallocate_bytes in [0, 100] {
        let config = PartitionConfig { segment_bytes: 150_000, preallocate_bytes, ..small() };
        let storage = MemoryStorage::new();
        let (mut partition, _) = open(&storage, &config).unwrap();
        let mut history = History::default();
        for _ in 0..20 {
            // Of some hundreds of bytes.
            history.append_large(&mut partition);
            assert_eq!(lengths(&storage), [partition.bytes()]);
        }
    }
}
