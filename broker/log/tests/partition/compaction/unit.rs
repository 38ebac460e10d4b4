//! What a pass does, one rule at a time, on a clock set by hand.

use std::path::Path;
use std::time::Duration;

use topo_log::storage::{MemoryStorage, SimulatedDisk, Storage};
use topo_log::{CompactionConfig, LogError, Partition, PartitionConfig, Retention};
use topo_protocol::{
    BatchBuilder, BatchHeader, Compression, EndTransactionMarker, NewRecord, Room, TimestampType,
    TransactionResult,
};

use super::keyed::read_all;
use crate::history::{DIR, open, stamp, sync};

const HOUR_MS: i64 = 3_600_000;

fn config() -> PartitionConfig {
    PartitionConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 300,
        compaction: Some(CompactionConfig::default()),
        retention: Retention::FOREVER,
        ..PartitionConfig::default()
    }
}

fn with(change: impl FnOnce(&mut CompactionConfig)) -> PartitionConfig {
    let mut compaction = CompactionConfig::default();
    change(&mut compaction);
    PartitionConfig { compaction: Some(compaction), ..config() }
}

fn batch(timestamp_ms: i64, records: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for (key, value) in records {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        let record = NewRecord { timestamp_ms, key, value, headers: &[] };
        assert_eq!(builder.append(&record), Ok(Room::Taken));
    }
    builder.finish(Compression::None).unwrap().to_vec()
}

fn put(partition: &mut Partition, timestamp_ms: i64, key: &str, value: Option<&str>) {
    partition.append(&mut batch(timestamp_ms, &[(key, value)])).unwrap();
}

/// Fills the active segment with records of one key until another follows, all of it durable.
fn fill(partition: &mut Partition, timestamp_ms: i64) {
    let segments = partition.segments();
    while partition.segments() == segments {
        put(partition, timestamp_ms, "filler", Some(&"x".repeat(200)));
    }
    sync(partition).unwrap();
}

/// Key and value of all that is left but the fillers.
fn left(partition: &Partition) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let all = read_all(partition, "left").into_iter();
    let all = all.map(|kept| (kept.offset, kept.key.map_or("-".into(), text), kept.value.map(text)));
    all.filter(|(_, key, _)| key != "filler").collect()
}

fn keys(partition: &Partition) -> Vec<String> {
    left(partition).into_iter().map(|(_, key, value)| key + if value.is_none() { "!" } else { "" }).collect()
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset_and_the_rest_gives_its_room_back() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config()).unwrap();
    for round in 0..20 {
        for key in ["a", "b", "c"] {
            put(&mut partition, round, key, Some(&format!("{key}{round} {}", "x".repeat(100))));
        }
    }
    fill(&mut partition, 20);
    let (before, segments) = (partition.bytes(), partition.segments());
    let done = partition.compact(21).unwrap().unwrap();
    assert!(done.is_complete && done.segments_before > done.segments_after, "{done:?}");
    assert_eq!(done.bytes_before - done.bytes_after, before - partition.bytes());
    assert!(partition.bytes() < before / 6 && partition.segments() < segments);
    let offsets: Vec<_> = left(&partition).into_iter().map(|(offset, key, _)| (offset, key)).collect();
    assert_eq!(offsets, [(57, "a".to_owned()), (58, "b".to_owned()), (59, "c".to_owned())]);
    assert_eq!(partition.compact(22).unwrap(), None, "all is clean");
    // From within what has gone, the reader is given what follows.
    let read = partition.read(3, 1, i64::MAX).unwrap();
    assert_eq!(BatchHeader::parse(&read).unwrap().base_offset, 57);
    let all = left(&partition);
    partition.close().unwrap();
    let (partition, recovery) = open(&storage, &config()).unwrap();
    assert_eq!((left(&partition), recovery.rebuilt_indexes), (all, 0));
    assert_eq!(partition.first_dirty(), done.first_dirty, "remembered");
}

#[test]
fn a_deletion_stays_its_time_counted_from_when_what_it_deletes_went() {
    let (mut partition, _) = open(&MemoryStorage::new(), &with(|c| c.min_dirty_ppm = 0)).unwrap();
    put(&mut partition, 0, "a", Some("1"));
    put(&mut partition, 0, "b", Some("1"));
    put(&mut partition, 0, "a", None);
    fill(&mut partition, 0);
    let first = 100 * HOUR_MS;
    partition.compact(first).unwrap().unwrap();
    assert_eq!(keys(&partition), ["b", "a!"]);
    for (after, expected) in [(23 * HOUR_MS, &["b", "a!"][..]), (24 * HOUR_MS, &["b"])] {
        fill(&mut partition, 0);
        partition.compact(first + after).unwrap().unwrap();
        assert_eq!(keys(&partition), expected, "after {after} ms");
    }
}

#[test]
fn ratio_lag_and_durability_say_when() {
    let (mut partition, _) = open(&MemoryStorage::new(), &config()).unwrap();
    assert_eq!(partition.compact(0).unwrap(), None, "nothing there");
    while partition.segments() < 2 {
        put(&mut partition, 1, "a", Some(&"x".repeat(100)));
    }
    assert_eq!(partition.compact(1).unwrap(), None, "not durable");
    sync(&mut partition).unwrap();
    partition.set_config(with(|c| c.min_lag = Duration::from_millis(10)));
    assert_eq!(partition.compact(11).unwrap(), None, "too young");
    assert_eq!(partition.compaction_due(12).unwrap(), Some(1_000_000));
    partition.set_config(PartitionConfig { compaction: None, ..config() });
    assert_eq!(partition.compact(12).unwrap(), None, "not a compacted one");
    partition.set_config(config());
    partition.compact(12).unwrap().unwrap();

    // Much that is clean, and little that is not.
    for key in 0..60 {
        put(&mut partition, 20, &format!("k{key}"), Some(&"x".repeat(100)));
    }
    fill(&mut partition, 20);
    partition.compact(21).unwrap().unwrap();
    fill(&mut partition, 22);
    assert_eq!(partition.compact(23).unwrap(), None, "less than half");
    let config = with(|c| c.max_lag = Some(Duration::from_millis(100)));
    partition.set_config(config);
    assert_eq!(partition.compact(120).unwrap(), None);
    let segments = partition.segments();
    assert!(partition.compact(121).unwrap().unwrap().is_complete);
    put(&mut partition, 200, "last", Some("1"));
    assert_eq!(partition.segments(), segments, "the active one had a record from then, and was rolled");
}

#[test]
fn a_map_that_is_full_ends_the_pass_and_the_next_goes_on() {
    let config = with(|c| (c.map_bytes, c.min_dirty_ppm) = (24 * 50, 0));
    let (mut partition, _) = open(&MemoryStorage::new(), &config).unwrap();
    for round in 0..2 {
        for key in 0..100 {
            put(&mut partition, round, &format!("k{key:03}"), Some(&round.to_string()));
        }
    }
    fill(&mut partition, 2);
    let mut dirty = 0;
    for pass in 0.. {
        let Some(done) = partition.compact(3).unwrap() else { break };
        assert!(done.first_dirty > dirty && done.first_dirty <= dirty + 200, "pass {pass}: {done:?}");
        assert!(pass > 0 || done.first_dirty == 40, "{done:?}");
        dirty = done.first_dirty;
    }
    let expected: Vec<_> = (0..100).map(|key| format!("k{key:03}")).collect();
    assert_eq!(keys(&partition), expected);
}

#[test]
fn records_without_a_key_and_batches_that_nobody_can_decode_stay() {
    let (mut partition, _) = open(&MemoryStorage::new(), &with(|c| c.min_dirty_ppm = 0)).unwrap();
    let mut builder = BatchBuilder::new(1 << 10);
    assert_eq!(
        builder.append(&NewRecord { value: Some(b"no key"), ..NewRecord::default() }),
        Ok(Room::Taken)
    );
    partition.append(&mut builder.finish(Compression::None).unwrap()).unwrap();
    put(&mut partition, 0, "a", Some("old"));
    // The codec's bits of a batch that is not compressed, behind a right checksum.
    let mut opaque = batch(0, &[("a", Some("who knows"))]);
    opaque[22] = 4;
    stamp(&mut opaque, -1, -1, -1);
    let opaque_at = partition.append(&mut opaque).unwrap().base_offset;
    put(&mut partition, 0, "a", None);
    fill(&mut partition, 0);
    for hours in [0, 25, 50] {
        let done = partition.compact(hours * HOUR_MS).unwrap().unwrap();
        assert_eq!(done.opaque_batches, 1);
        fill(&mut partition, 0);
    }
    let held = |offset| BatchHeader::parse(&partition.read(offset, 1, i64::MAX).unwrap()).unwrap();
    assert_eq!(held(0).record_count, 1);
    assert_eq!((held(opaque_at).base_offset, held(opaque_at).record_count), (opaque_at, 1));
    assert_eq!(held(opaque_at + 1).base_offset, opaque_at + 1, "the deletion may delete something in it");
}

#[test]
fn a_damaged_batch_stops_it_by_name_and_nothing_of_its_segment_is_rewritten() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config()).unwrap();
    while partition.segments() < 4 {
        put(&mut partition, 0, "a", Some(&"x".repeat(100)));
    }
    sync(&mut partition).unwrap();
    let second =
        storage.list(Path::new(DIR)).unwrap().into_iter().filter(|name| name.ends_with(".log")).nth(1);
    let path = Path::new(DIR).join(second.unwrap());
    let file = storage.open(&path).unwrap();
    let before = file.length().unwrap();
    file.write_all_at(b"?", 100).unwrap();
    let refused = partition.compact(1).unwrap_err();
    assert!(matches!(&refused, LogError::Corrupt { file, .. } if *file == path), "{refused}");
    assert_eq!(partition.uncompactable(), Some(&*refused.to_string()));
    assert_eq!(partition.compact(2).unwrap(), None, "not again and again");
    assert_eq!(storage.open(&path).unwrap().length().unwrap(), before);
    assert_eq!((partition.segments(), partition.first_dirty()), (4, 0));
    let names = storage.list(Path::new(DIR)).unwrap();
    assert!(!names.iter().any(|name| name.contains("cleaned") || name.contains("swap")), "{names:?}");
}

#[test]
fn a_disk_that_is_full_ends_the_pass_and_the_next_one_succeeds() {
    let disk = SimulatedDisk::new(1);
    let (mut partition, _) = open(&disk, &config()).unwrap();
    for key in 0..60 {
        put(&mut partition, 0, &key.to_string(), Some(&"x".repeat(100)));
    }
    fill(&mut partition, 0);
    disk.set_capacity(Some(partition.bytes() + 500));
    assert!(matches!(partition.compact(1), Err(LogError::Full { .. })));
    put(&mut partition, 2, "more", Some("1"));
    disk.set_capacity(None);
    assert!(partition.compact(3).unwrap().unwrap().is_complete);
    assert_eq!(left(&partition).len(), 61);
}

#[test]
fn appends_reads_syncs_and_retention_go_on_meanwhile() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config()).unwrap();
    while partition.segments() < 12 {
        put(&mut partition, 0, "a", Some(&"x".repeat(100)));
        let key = partition.log_end().to_string();
        put(&mut partition, 0, &key, Some(&"y".repeat(100)));
    }
    sync(&mut partition).unwrap();
    let mut pass = partition.begin_compaction(1).unwrap().unwrap();
    assert!(partition.begin_compaction(1).unwrap().is_none(), "one at a time");
    let cleaned = pass.next_segment(&|_| true).unwrap().unwrap();
    fill(&mut partition, 1);
    let swap = partition.replace(cleaned, &mut pass).unwrap();
    // What is on its way to its place cannot be given up yet.
    assert_eq!(partition.delete_before(5).unwrap(), 5);
    let end = partition.durable_end();
    assert_eq!(partition.delete_before(end).unwrap(), end);
    let segments = partition.segments();
    let ran = swap.run();
    partition.finish_swap(&swap, ran).unwrap();
    let cleaned = pass.next_segment(&|_| true).unwrap().unwrap();
    assert!(partition.replace(cleaned, &mut pass).is_some() == (segments > 3), "{segments}");
    let done = partition.finish_compaction(pass, Ok(())).unwrap();
    assert!(!done.is_complete);
    partition.retain(2).unwrap();
    put(&mut partition, 3, "b", Some("1"));
    sync(&mut partition).unwrap();
    assert_eq!(keys(&partition), ["b"]);
    partition.close().unwrap();
    let (partition, _) = open(&storage, &config()).unwrap();
    assert_eq!(keys(&partition), ["b"]);
}

#[test]
fn a_pass_that_is_told_to_stop_leaves_all_as_it_was() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config()).unwrap();
    for key in 0..40 {
        put(&mut partition, 0, &(key % 3).to_string(), Some(&"x".repeat(100)));
    }
    fill(&mut partition, 0);
    let names = storage.list(Path::new(DIR)).unwrap();
    let batches = std::cell::Cell::new(0);
    for stop_after in [0, 10, 60] {
        batches.set(0);
        let mut pass = partition.begin_compaction(1).unwrap().unwrap();
        let pace = |_| {
            batches.set(batches.get() + 1);
            batches.get() <= stop_after
        };
        assert!(pass.next_segment(&pace).unwrap().is_none());
        assert!(!partition.finish_compaction(pass, Ok(())).unwrap().is_complete);
        assert_eq!((left(&partition).len(), storage.list(Path::new(DIR)).unwrap()), (40, names.clone()));
    }
    assert!(partition.compact(1).unwrap().unwrap().is_complete);
}

#[test]
fn the_logs_own_time_stays_that_of_what_is_left() {
    let (mut partition, _) = open(&MemoryStorage::new(), &config()).unwrap();
    for now_ms in [5, 9] {
        let mut batch = batch(0, &[("a", Some("1")), ("b", None)]);
        topo_protocol::stamp_append_time(&mut batch, now_ms).unwrap();
        partition.append(&mut batch).unwrap();
    }
    fill(&mut partition, 10);
    partition.compact(11).unwrap().unwrap();
    let header = BatchHeader::parse(&partition.read(0, 1, i64::MAX).unwrap()).unwrap();
    assert_eq!((header.attributes.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 9));
    assert!(read_all(&partition, "").iter().take(2).all(|record| record.timestamp_ms == 9));
}

#[test]
fn of_transactions_what_was_aborted_goes_and_markers_stay_as_long_as_they_are_needed() {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &with(|c| c.min_dirty_ppm = 0)).unwrap();
    let begin = |partition: &mut Partition, producer_id, key: &str, value| {
        let mut batch = batch(0, &[(key, value)]);
        batch[22] |= 1 << 4;
        stamp(&mut batch, producer_id, 0, 0);
        partition.append(&mut batch).unwrap().base_offset
    };
    let end = |partition: &mut Partition, producer_id, result| {
        let marker = EndTransactionMarker { producer_id, producer_epoch: 0, coordinator_epoch: 0, result };
        partition.append_marker(&marker, 0).unwrap().base_offset
    };
    put(&mut partition, 0, "a", Some("before"));
    begin(&mut partition, 1, "a", None);
    begin(&mut partition, 2, "b", Some("committed"));
    let aborts = end(&mut partition, 1, TransactionResult::Abort);
    let commits = end(&mut partition, 2, TransactionResult::Commit);
    begin(&mut partition, 3, "a", Some("open"));
    fill(&mut partition, 0);
    assert_eq!(partition.compact(0).unwrap(), None, "a transaction is open");
    end(&mut partition, 3, TransactionResult::Abort);
    fill(&mut partition, 0);
    let markers = |partition: &Partition| {
        let all = read_all(partition, "markers").into_iter().filter(|kept| kept.is_marker);
        all.map(|kept| kept.offset).collect::<Vec<_>>()
    };
    let records = |partition: &Partition| {
        let all = read_all(partition, "records").into_iter();
        let all = all.filter(|kept| !kept.is_marker && kept.key.as_deref() != Some(b"filler"));
        all.map(|kept| kept.offset).collect::<Vec<_>>()
    };
    partition.compact(HOUR_MS).unwrap().unwrap();
    assert_eq!((records(&partition), markers(&partition).len()), (vec![0, 2], 3), "what was aborted is gone");
    fill(&mut partition, 0);
    partition.compact(26 * HOUR_MS).unwrap().unwrap();
    assert_eq!((records(&partition), markers(&partition)), (vec![0, 2], vec![commits]), "{aborts}");

    // Once nothing is left of what was committed, its marker goes as well, after the same time.
    put(&mut partition, 0, "b", Some("later"));
    fill(&mut partition, 0);
    partition.compact(27 * HOUR_MS).unwrap().unwrap();
    assert_eq!(markers(&partition), [commits]);
    fill(&mut partition, 0);
    partition.compact(52 * HOUR_MS).unwrap().unwrap();
    assert_eq!(markers(&partition), []);
    let known =
        |partition: &Partition| partition.producers().iter().map(|p| p.last_sequence).collect::<Vec<_>>();
    assert_eq!(known(&partition), [0, 0, 0]);
    let end = partition.log_end();
    sync(&mut partition).unwrap();
    drop(partition);
    // Without its snapshots, the log alone says who has appended what, and that nothing is open.
    for name in storage.list(Path::new(DIR)).unwrap().iter().filter(|name| name.ends_with(".snapshot")) {
        storage.remove(&Path::new(DIR).join(name)).unwrap();
    }
    let (partition, _) = open(&storage, &config()).unwrap();
    assert_eq!((known(&partition), partition.last_stable_offset(end)), (vec![0, 0, 0], end));
}
