//! Files that were cut or changed: wrong bytes are never served, and what was durable is never dropped in silence.

use std::path::{Path, PathBuf};

use topo_log::storage::{MemoryStorage, Storage};
use topo_log::{LogError, Partition, PartitionConfig};
use topo_protocol::BatchHeader;

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

/// A partition of three segments: the last has two durable batches and some that are not.
fn partition() -> (Image, History, i64) {
    let storage = MemoryStorage::new();
    let (mut partition, _) = open(&storage, &small()).unwrap();
    let mut history = History::default();
    while partition.segments() < 3 {
        history.append(&mut partition).unwrap();
    }
    history.append(&mut partition).unwrap();
    let durable = sync(&mut partition).unwrap();
    while partition.segments() < 4 {
        history.append(&mut partition).unwrap();
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
        let (whole, kept) = whole_batches(&bytes[..cut], base);
        let changed = |file: &Path, bytes: &mut Vec<u8>| {
            if file == path {
                bytes.truncate(cut);
            }
            true
        };
        match open(&image.lay_out(changed), &small()) {
            Ok((partition, recovery)) => {
                assert!(kept >= durable, "cut at {cut}: durable batches are gone");
                assert_eq!(history.assert_holds(&partition), kept, "cut at {cut}");
                assert_eq!(recovery.truncated_bytes, (cut - whole) as u64, "cut at {cut}");
            }
            Err(LogError::Corrupt { file, position, offset, .. }) => {
                assert!(kept < durable, "cut at {cut}: nothing durable is missing");
                assert_eq!((&file, position, offset), (path, whole as u64, kept), "cut at {cut}");
            }
            Err(error) => panic!("cut at {cut}: {error}"),
        }

        // Without its checkpoint, the same partition gives what is left of it.
        let storage = image.lay_out(|file, bytes| changed(file, bytes) && !file.ends_with("checkpoint"));
        for _ in 0..2 {
            let (partition, _) = open(&storage, &small()).unwrap();
            assert_eq!(history.assert_holds(&partition), kept, "cut at {cut}");
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
        if bytes.len() - whole < header.total_bytes() {
            break;
        }
        (whole, next) = (whole + header.total_bytes(), header.next_offset());
    }
    (whole, next)
}

/// Opens a damaged partition and reads it from every offset; says up to where all was served, and whether anything
/// was reported.
fn served(storage: &MemoryStorage, history: &History, what: &str) -> (i64, bool) {
    let partition = match open(storage, &small()) {
        Ok((partition, _)) => partition,
        Err(LogError::Corrupt { .. }) => return (0, true),
        Err(error) => panic!("{what}: {error}"),
    };
    assert!(partition.log_end() <= history.end(), "{what}: batches from nowhere");
    let whole = |partition: &Partition, offset| match partition.read(offset, 200, i64::MAX) {
        Ok(bytes) => history.assert_serves(offset, &bytes) > 0,
        Err(LogError::Corrupt { .. }) => false,
        Err(LogError::OffsetOutOfRange { log_start, .. }) if offset < log_start => false,
        Err(error) => panic!("{what}: {error}"),
    };
    let good: Vec<bool> = (0..partition.log_end()).map(|offset| whole(&partition, offset)).collect();
    let end = good.iter().take_while(|good| **good).count() as i64;
    (end, good.contains(&false))
}

#[test]
fn every_flipped_bit_is_reported_or_harmless() {
    let (image, history, durable) = partition();
    let active = &image.last(".log").0;
    for (path, bytes) in &image.0 {
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        // A checkpoint's pages are empty but for their first bytes; an index's every bit is its own test's.
        let of_note =
            |bit: &usize| is_log || bytes.len() < 4096 && bit.is_multiple_of(7) || bit / 8 % 4096 < 20;
        let bits = (0..bytes.len() * 8).filter(of_note);
        for bit in bits {
            let what = format!("{} bit {bit}", path.display());
            let storage = image.lay_out(|file, bytes| {
                if file == path {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                true
            });
            let (end, reported) = served(&storage, &history, &what);
            if is_log {
                assert!(end < history.end(), "{what}: a damaged batch was served");
                assert!(
                    reported || end >= durable && path == active,
                    "{what}: dropped in silence, from {end} on"
                );
            } else {
                assert_eq!((end, reported), (history.end(), false), "{what}");
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
        .filter(|path| path.to_string_lossy().ends_with("index"))
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
        assert_eq!(recovery.truncated_bytes, (cut - whole) as u64, "cut at {cut}");
        if whole == cut {
            assert_eq!(history.assert_holds(&partition), kept, "cut at {cut}");
        }
    }
    assert_eq!(next, history.batches.len());
}
