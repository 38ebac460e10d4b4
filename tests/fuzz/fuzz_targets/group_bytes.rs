//! What consumers tell each other, and a group's record as a broker finds it when it opens. One byte chooses which.

#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use topo_broker::{Assignment, Broker, BrokerConfig, CommittedOffset, Subscription, TopicPartition};
use topo_fuzz::part;
use topo_log::storage::{MemoryStorage, Storage};
use topo_protocol::{BatchBuilder, Compression, NewRecord};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Bytes of memory for each byte read: a partition of four is kept twice while its topic is put together.
const BYTES_PER_BYTE: usize = 32;
/// What the first elements of a list take.
const LIST_BYTES: usize = 1 << 10;
const DATA: &str = "/data";

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => within(data, |bytes| {
            let read = Subscription::decode(bytes)?;
            assert_eq!(Subscription::decode(read.encode()).map(|again| again.topics), Some(read.topics));
            Some(())
        }),
        1 => within(data, |bytes| {
            let read = Assignment::decode(bytes)?;
            let again = Assignment::decode(read.encode()).expect("what was written is read");
            assert_eq!(again.partitions.len(), read.partitions.len());
            Some(())
        }),
        _ => replay(data),
    }
});

/// Reads, within a multiple of the bytes; what is written again to compare counts as well.
fn within(data: &[u8], read: impl Fn(Bytes) -> Option<()>) {
    let bytes = Bytes::copy_from_slice(data);
    let region = Region::new(ALLOCATOR);
    let _ = read(bytes);
    let allocated = region.change().bytes_allocated;
    // Twice: once to read, once to write and read again.
    let most = 2 * (BYTES_PER_BYTE * data.len() + LIST_BYTES);
    assert!(allocated <= most, "{allocated} bytes for {}", data.len());
}

/// Opens a broker with a record that has `data`'s first part as its key, and the second as its value.
fn replay(mut data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let storage = Arc::new(MemoryStorage::new());
    let config = BrokerConfig { preallocate_bytes: 0, ..BrokerConfig::default() };
    let open = || Broker::open_on(storage.clone(), Path::new(DATA), config);
    runtime.block_on(async {
        let broker = open().expect("memory");
        broker.create_topic("lines", 1, BTreeMap::new()).await.expect("memory");
        let offset =
            CommittedOffset { offset: 0, leader_epoch: -1, metadata: String::new(), commit_timestamp_ms: 0 };
        broker.commit("group", &[(TopicPartition::new("lines", 0), offset)]).await.expect("memory");
        broker.close().await.expect("memory");
    });
    let (key, value) = (part(&mut data), part(&mut data));
    let mut builder = BatchBuilder::new(0);
    let record = NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() };
    let _ = builder.append(&record).expect("it is small");
    let batch = builder.finish(Compression::None).expect("it has a record");
    let file = storage.open(&offsets_log()).expect("a log");
    file.truncate(0).expect("memory");
    file.write_all_at(&batch, 0).expect("memory");
    runtime.block_on(async {
        if let Ok(broker) = open() {
            let _ = broker.groups().list();
            let _ = broker.close().await;
        }
    });
}

fn offsets_log() -> PathBuf {
    Path::new(DATA).join("topics/__consumer_offsets/0/00000000000000000000.log")
}
