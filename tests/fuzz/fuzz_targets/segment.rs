//! A partition's files with arbitrary bytes in them: two logs, an index, an index of times, a snapshot of producers and the
//! recovery point, each as a part of the input. Opening recovers or refuses; what it serves is read, appended to, and there
//! again after it is closed.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use topo_fuzz::{FILES, part, repair};
use topo_log::storage::{MemoryStorage, Storage};
use topo_log::{Partition, PartitionConfig};
use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord};

const DIR: &str = "/lines-0";
fuzz_target!(|data: &[u8]| {
    let Some((flags, mut data)) = data.split_first() else { return };
    let storage = Arc::new(MemoryStorage::new());
    storage.create_dir(Path::new(DIR)).expect("memory");
    for file in FILES {
        let mut bytes = part(&mut data).to_vec();
        if bytes.is_empty() {
            continue;
        }
        if file.ends_with(".log") && flags & 1 == 0 {
            repair(&mut bytes);
        }
        let file = storage.create(&Path::new(DIR).join(file)).expect("memory");
        file.write_all_at(&bytes, 0).expect("memory");
    }
    let config = PartitionConfig {
        max_decompressed_bytes: 64 << 10,
        index_interval_bytes: 64,
        preallocate_bytes: 0,
        ..PartitionConfig::default()
    };
    let open = || Partition::open(storage.clone(), Path::new(DIR), config.clone());
    let Ok((mut partition, _)) = open() else { return };
    read_all(&partition);
    let end = append(&mut partition);
    if partition.close().is_ok() {
        let (again, _) = open().expect("what was closed opens");
        assert!(end.is_none_or(|end| again.log_end() == end), "{} and {end:?}", again.log_end());
        read_all(&again);
    }
});

/// Follows the batches from the log's start, up to the first that is refused.
fn read_all(partition: &Partition) {
    let mut offset = partition.log_start();
    while offset < partition.log_end() {
        let Ok(mut batches) = partition.read(offset, 256, partition.log_end()) else { return };
        assert!(!batches.is_empty(), "nothing at {offset} of {}", partition.log_end());
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches).expect("whole batches");
            assert!(header.next_offset() > offset);
            offset = header.next_offset();
            drop(batches.split_to(header.total_bytes()));
        }
    }
}

/// Appends, and says where the log ends then.
fn append(partition: &mut Partition) -> Option<i64> {
    let mut builder = BatchBuilder::new(1 << 10);
    let _ =
        builder.append(&NewRecord { value: Some(b"a line"), ..NewRecord::default() }).expect("it is small");
    let mut batch = builder.finish(Compression::None).expect("it has a record");
    let appended = partition.append(&mut batch).ok()?;
    assert_eq!(partition.read(appended.base_offset, 1, i64::MAX).expect("it is there"), batch);
    Some(partition.log_end())
}
