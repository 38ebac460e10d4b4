//! Files that were cut or changed: wrong bytes are never served, and what was durable is never dropped in silence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use topo_log::storage::{MemoryStorage, Storage};
use topo_log::{LogError, Partition, PartitionConfig};
use topo_protocol::{BatchHeader, TransactionResult, check};

use crate::history::{DIR, History, open, small, sync};

/// The partition's files, to be laid out again and again.
struct Image(Vec<(PathBuf, Vec<u8>)>);

impl Image {
    fn of(storage: &MemoryStorage) -> Self {
        let names = storage.list(Path::new(DIR)).unwrap();
        let file = |name: &String| {
            let path = Path::new(DIR).join(name);
            let file = storage.open(&path).unwrap();
            let mut bytes = vec![0; file.length().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (path, bytes)
        };
        Self(names.iter().map(file).collect())
    }

    fn lay_out(&self, change: impl Fn(&Path, &mut Vec<u8>) -> bool) -> MemoryStorage {
        let storage = MemoryStorage::new();
        storage.create_dir(Path::new(DIR)).unwrap();
        for (path, bytes) in &self.0 {
            let mut bytes = bytes.clone();
            if change(path, &mut bytes) {
                storage.create(path).unwrap().write_all_at(&bytes, 0).unwrap();
            }
        }
        storage
    }

    fn last(&self, ending: &str) -> &(PathBuf, Vec<u8>) {
        self.0.iter().rfind(|(path, _)| path.to_string_lossy().ends_with(ending)).unwrap()
    }
}

/// A partition of three segments, half of its batches idempotent producers', some in transactions that are aborted, open at
/// the end or not: the last has two durable batches and some that are not.
fn partition() -> (Image, History, i64) {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    let mut history = History::default();
    let append = |history: &mut History, partition: &mut Partition| {
        let appended = match history.serial % 7 {
            0 | 1 => history.append(partition),
            2 | 3 => history.append_from(history.serial as i64 % 7 - 2, false, partition),
            4 => history.append_in_transaction(10, partition),
            5 => history.append_in_transaction(11, partition),
            _ => history.end_transaction(10, TransactionResult::Abort, false, partition),
        };
        appended.unwrap();
    };
    while partition.segments() < 3 {
        append(&mut history, &mut partition);
    }
    append(&mut history, &mut partition);
    let durable = sync(&mut partition).unwrap();
    while partition.segments() < 4 {
        append(&mut history, &mut partition);
    }
    // The batch that rolled makes a fourth segment; without it the third is the last.
    let end = partition.log_end();
    let last = BatchHeader::parse(history.batches.last().unwrap()).unwrap().base_offset;
    assert!(end > last);
    drop(partition);
    let mut image = Image::of(&storage);
    image.0.retain(|(path, _)| !path.to_string_lossy().contains(&format!("{last:020}")));
    history.truncate(last);
    (image, history, durable)
}

#[test]
fn the_last_segment_may_end_at_any_byte() {
    let (image, history, durable) = partition();
    let (path, bytes) = image.last(".log");
    let base = history.end() - i64::try_from(records_in(bytes)).unwrap();
    for cut in 0..=bytes.len() {
        for zeros in [0, 1, 100, bytes.len() - cut] {
            let mut left = bytes[..cut].to_vec();
            left.resize(cut + zeros, 0);
            let (whole, kept) = whole_batches(&left, base);
            // Zeros count as filled in ahead, be they the front of a batch.
            let torn = left[whole..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let changed = |file: &Path, bytes: &mut Vec<u8>| {
                if file == path {
                    bytes.clone_from(&left);
                }
                true
            };
            let what = format!("cut at {cut}, then {zeros} zeros");
            match open(&image.lay_out(changed), &small()) {
                Ok((partition, recovery)) => {
                    assert!(kept >= durable, "{what}: durable batches are gone");
                    assert_eq!(history.assert_holds(&partition), kept, "{what}");
                    assert_eq!(partition.bytes(), bytes_below(&history, kept), "{what}");
                    assert_eq!(recovery.truncated_bytes, torn as u64, "{what}");
                    history.assert_transactions(&partition, &what);
                }
                Err(LogError::Corrupt { file, position, offset, .. }) => {
                    assert!(kept < durable, "{what}: nothing durable is missing");
                    assert_eq!((&file, position, offset), (path, whole as u64, kept), "{what}");
                }
                Err(error) => panic!("{what}: {error}"),
            }

            // Without its checkpoint, the same partition gives what is left of it.
            let storage = image.lay_out(|file, bytes| changed(file, bytes) && !file.ends_with("checkpoint"));
            for _ in 0..2 {
                let (partition, _) = open(&storage, &small()).unwrap();
                assert_eq!(history.assert_holds(&partition), kept, "{what}");
            }
        }
    }
}

fn bytes_below(history: &History, end: i64) -> u64 {
    let below = |batch: &&Vec<u8>| BatchHeader::parse(batch).unwrap().base_offset < end;
    history.batches.iter().filter(below).map(|batch| batch.len() as u64).sum()
}

#[test]
fn zeros_behind_a_sealed_segment_are_cut_off_and_never_met() {
    let (image, history, _) = partition();
    let logs = || image.0.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".log"));
    for (path, sound) in logs() {
        for (zeros, indexed) in [(1, true), (60, true), (5_000, true), (5_000, false)] {
            let what = format!("{zeros} zeros behind {}, indexed: {indexed}", path.display());
            let storage = image.lay_out(|file, bytes| {
                if file == path {
                    bytes.resize(bytes.len() + zeros, 0);
                }
                indexed || !file.to_string_lossy().ends_with("index")
            });
            let (mut partition, recovery) = open(&storage, &small()).unwrap();
            assert_eq!(recovery.truncated_bytes, 0, "{what}");
            assert_eq!(partition.bytes(), bytes_below(&history, i64::MAX), "{what}");
            assert_eq!(history.assert_holds(&partition), history.end(), "{what}");
            history.assert_times(&partition, i64::MAX, &what);
            history.assert_known(&mut partition, &what);
            assert_eq!(storage.open(path).unwrap().length().unwrap(), sound.len() as u64, "{what}");
        }
    }
}

fn records_in(mut bytes: &[u8]) -> u64 {
    let mut records = 0;
    while let Ok(header) = BatchHeader::parse(bytes) {
        (bytes, records) = (&bytes[header.total_bytes()..], records + header.record_count as u64);
    }
    records
}

/// Bytes of the whole batches at the front, and the offset behind them.
fn whole_batches(bytes: &[u8], base: i64) -> (usize, i64) {
    let (mut whole, mut next) = (0, base);
    while let Ok(header) = BatchHeader::parse(&bytes[whole..]) {
        if bytes[whole..].get(..header.total_bytes()).is_none_or(|batch| check(batch).is_err()) {
            break;
        }
        (whole, next) = (whole + header.total_bytes(), header.next_offset());
    }
    (whole, next)
}

/// Opens a damaged partition and reads it from every offset; says up to where all was served, and whether anything
/// was reported.
fn served(storage: &MemoryStorage, history: &History, what: &str) -> (i64, bool) {
    match open(storage, &small()) {
        Ok((partition, _)) => read_everywhere(&partition, history, what),
        Err(LogError::Corrupt { .. }) => (0, true),
        Err(error) => panic!("{what}: {error}"),
    }
}

fn read_everywhere(partition: &Partition, history: &History, what: &str) -> (i64, bool) {
    assert!(partition.log_end() <= history.end(), "{what}: batches from nowhere");
    let at_hand = |offset| {
        let batches = partition.read_at_hand(offset, 200, i64::MAX);
        batches.is_some_and(|batches| history.assert_serves(offset, &batches.bytes) > 0)
    };
    let whole = |offset| match (at_hand(offset), partition.read(offset, 200, i64::MAX), at_hand(offset)) {
        (_, Ok(bytes), _) => history.assert_serves(offset, &bytes) > 0,
        (true, Err(error), _) | (_, Err(error), true) => panic!("{what}: at hand, and {error}"),
        (_, Err(LogError::Corrupt { .. }), _) => false,
        (_, Err(LogError::OffsetOutOfRange { log_start, .. }), _) if offset < log_start => false,
        (_, Err(error), _) => panic!("{what}: {error}"),
    };
    let good: Vec<bool> = (0..partition.log_end()).map(whole).collect();
    let end = good.iter().take_while(|good| **good).count() as i64;
    (end, good.contains(&false))
}

/// The bits of a file to be flipped, some at a time: those that nobody reads between the slots of a checkpoint eight
/// together, all others each alone.
fn flips(path: &Path, bytes: &[u8]) -> Vec<(usize, u8)> {
    let each = |at: usize| (0..8).map(move |bit| (at, 1 << bit)).collect();
    let flips = |at: usize| match path.ends_with("checkpoint") && at % 4096 >= 20 {
        true => vec![(at, u8::MAX)],
        false => each(at),
    };
    (0..bytes.len()).flat_map(flips).collect()
}

#[test]
fn every_flipped_bit_is_reported_or_harmless() {
    let (image, history, durable) = partition();
    let active = &image.last(".log").0;
    let times = history.times();
    let kind = |path: &Path| path.extension().unwrap_or_default().to_str().unwrap().to_owned();
    let kinds: BTreeSet<String> = image.0.iter().map(|(path, _)| kind(path)).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["", "index", "log", "snapshot", "timeindex", "txnindex"]
    );
    for (path, bytes) in &image.0 {
        for (at, mask) in flips(path, bytes) {
            let what = format!("{} byte {at} mask {mask:#x}", path.display());
            let storage = image.lay_out(|file, bytes| {
                if file == path {
                    bytes[at] ^= mask;
                }
                true
            });
            if kind(path) == "log" {
                let (end, reported) = served(&storage, &history, &what);
                assert!(end < history.end(), "{what}: a damaged batch was served");
                assert!(
                    reported || end >= durable && path == active,
                    "{what}: dropped in silence, from {end} on"
                );
                continue;
            }
            let opened = open(&storage, &small());
            let (mut partition, _) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            if kind(path) == "timeindex" {
                for at in times.iter().step_by(7) {
                    let first = times.iter().find(|before| before.timestamp_ms >= at.timestamp_ms).copied();
                    assert_eq!(
                        partition.offset_for_time(at.timestamp_ms, i64::MAX).unwrap(),
                        first,
                        "{what}"
                    );
                }
            }
            match &*kind(path) {
                "index" => {
                    let served = read_everywhere(&partition, &history, &what);
                    assert_eq!(served, (history.end(), false), "{what}");
                }
                _ => assert_eq!(history.assert_holds(&partition), history.end(), "{what}"),
            }
            history.assert_known(&mut partition, &what);
            history.assert_transactions(&partition, &what);
        }
    }
}

#[test]
fn an_index_of_aborted_transactions_that_is_missing_short_or_foreign_is_built_again() {
    let (image, history, _) = partition();
    let kind = |path: &Path, kind: &str| path.extension().is_some_and(|extension| extension == kind);
    let indexes: Vec<&PathBuf> =
        image.0.iter().map(|(path, _)| path).filter(|p| kind(p, "txnindex")).collect();
    assert_eq!(indexes.len(), 3, "one in each segment");
    assert!(history.transactions(i64::MAX).iter().filter(|t| t.end.is_some()).count() > 1);
    for (number, &index) in indexes.iter().enumerate() {
        let foreign = image.0.iter().find(|(path, _)| path == indexes[(number + 1) % 2]).unwrap().1.clone();
        for damage in ["missing", "short", "empty", "long", "foreign"] {
            for snapshots in [true, false] {
                let what = format!("{damage} {}, snapshots: {snapshots}", index.display());
                let storage = image.lay_out(|file, bytes| {
                    match damage {
                        _ if file != index => {}
                        "missing" => return false,
                        "short" => bytes.truncate(bytes.len().saturating_sub(1)),
                        "empty" => bytes.clear(),
                        "long" => bytes.push(0),
                        _ => bytes.clone_from(&foreign),
                    }
                    snapshots || !kind(file, "snapshot")
                });
                for again in [false, true] {
                    let (mut partition, recovery) = open(&storage, &small()).unwrap();
                    history.assert_transactions(&partition, &what);
                    history.assert_known(&mut partition, &what);
                    // That of the segment appended to may have no page yet.
                    let damaged = !again && (number < 2 || damage != "empty");
                    assert_eq!(recovery.rebuilt_indexes, usize::from(damaged), "{what}, again: {again}");
                }
            }
        }
    }
}

#[test]
fn an_index_that_is_missing_short_or_foreign_is_built_again() {
    let (image, history, _) = partition();
    let indexes: Vec<&PathBuf> = image
        .0
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|kind| kind == "index" || kind == "timeindex"))
        .collect();
    assert_eq!(indexes.len(), 6, "one by offset and one by time in each segment");
    for (number, &index) in indexes.iter().enumerate() {
        let foreign = image.0.iter().find(|(path, _)| path == indexes[(number + 2) % 6]).unwrap().1.clone();
        for damage in ["missing", "short", "empty", "long", "foreign"] {
            let storage = image.lay_out(|file, bytes| {
                match damage {
                    _ if file != index => {}
                    "missing" => return false,
                    "short" => bytes.truncate(bytes.len().saturating_sub(1)),
                    "empty" => bytes.clear(),
                    "long" => bytes.push(0),
                    _ => bytes.clone_from(&foreign),
                }
                true
            });
            let (partition, recovery) = open(&storage, &small()).unwrap();
            assert_eq!(history.assert_holds(&partition), history.end());
            let expected = match damage {
                // That of the segment appended to may have no page yet.
                "empty" => usize::from(number < 4),
                _ => 1,
            };
            assert_eq!(recovery.rebuilt_indexes, expected, "{damage} {}", index.display());
            history.assert_times(&partition, i64::MAX, damage);
            drop(partition);
            let (_, recovery) = open(&storage, &small()).unwrap();
            assert_eq!(recovery.rebuilt_indexes, 0, "{damage} {}", index.display());
        }
    }
}

#[test]
fn a_segment_that_is_missing_is_reported() {
    let (image, history, _) = partition();
    for (path, _) in image.0.iter().filter(|(path, _)| path.to_string_lossy().ends_with("log")) {
        let storage = image.lay_out(|file, _| file != path);
        let (end, reported) = served(&storage, &history, &path.to_string_lossy());
        assert!(reported && end < history.end(), "{}", path.display());
    }
}

#[test]
fn a_checkpoint_that_says_nothing_condemns_nothing_that_is_sound() {
    let (image, history, _) = partition();
    let scrambled = |file: &Path, bytes: &mut Vec<u8>| {
        if file.ends_with("checkpoint") {
            bytes.fill(0xA5);
        }
        true
    };
    let storage = image.lay_out(scrambled);
    let (partition, recovery) = open(&storage, &small()).unwrap();
    assert_eq!((history.assert_holds(&partition), recovery.recovery_point), (history.end(), None));
    drop(partition);
    assert_eq!(open(&storage, &small()).unwrap().1.recovery_point, Some(history.end()));

    // But where something is torn too, nobody knows whether it was durable.
    let (path, bytes) = image.last(".log");
    let storage = image.lay_out(|file, bytes| {
        if file == path {
            bytes.pop();
        }
        scrambled(file, bytes)
    });
    let error = open(&storage, &small()).unwrap_err();
    let LogError::Corrupt { position, .. } = error else { panic!("{error}") };
    assert!(position > 0 && position < bytes.len() as u64);
    assert!(error.to_string().contains("or remove /lines-0/checkpoint to keep only the records before it"));
    storage.remove(Path::new("/lines-0/checkpoint")).unwrap();
    let (partition, _) = open(&storage, &small()).unwrap();
    assert!(history.assert_holds(&partition) < history.end());
}

/// Opens what is left of one segment of more than 64 KiB, in every codec, cut at every byte.
#[test]
fn a_large_segment_may_end_at_any_byte() {
    let config = PartitionConfig { segment_bytes: 1 << 20, ..PartitionConfig::default() };
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &config).unwrap();
    let mut history = History::default();
    while partition.bytes() < 66_000 {
        history.append_large(&mut partition);
    }
    drop(partition);
    let bytes = history.batches.concat();
    let log = Path::new(DIR).join(format!("{:020}.log", 0));
    let (mut whole, mut kept, mut next) = (0, 0, 0);
    for cut in 0..=bytes.len() {
        if let Some(batch) = history.batches.get(next).filter(|batch| whole + batch.len() == cut) {
            (whole, kept, next) = (cut, BatchHeader::parse(batch).unwrap().next_offset(), next + 1);
        }
        let storage = MemoryStorage::new();
        storage.create_dir(Path::new(DIR)).unwrap();
        storage.create(&log).unwrap().write_all_at(&bytes[..cut], 0).unwrap();
        let (partition, recovery) = open(&storage, &config).unwrap();
        assert_eq!((partition.log_end(), partition.bytes()), (kept, whole as u64), "cut at {cut}");
        let torn = bytes[whole..cut].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        assert_eq!(recovery.truncated_bytes, torn as u64, "cut at {cut}");
        if whole == cut {
            assert_eq!(history.assert_holds(&partition), kept, "cut at {cut}");
        }
    }
    assert_eq!(next, history.batches.len());
}

/// Found by fuzzing: read, it looked like a batch that is not durable yet, so that a reader waited for ever.
#[test]
fn a_batch_that_says_it_ends_behind_its_segment_is_damaged_and_not_late() {
    const LAST_OFFSET_DELTA: usize = 23;
    let (image, _, durable) = partition();
    let (first, _) = image.0.iter().find(|(path, _)| path.ends_with("00000000000000000000.log")).unwrap();
    let storage = image.lay_out(|path, bytes| {
        if path == first {
            bytes[LAST_OFFSET_DELTA + 2] = 1;
        }
        true
    });
    let (partition, _) = open(&storage, &small()).unwrap();
    let read = partition.read(0, 256, durable);
    assert!(matches!(read, Err(LogError::Corrupt { .. })), "{read:?}");
}
