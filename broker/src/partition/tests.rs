//! Group commit under a gate: what shares a sync, what waits, and what a failed sync does.

mod aged;
mod changes;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

use topo_log::PartitionConfig;
use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk, Storage, StorageFile};
use topo_protocol::{BatchBuilder, Compression, NewRecord, Room, records};

use super::*;

const SOON: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadUncommitted };
/// Longer than any test: who waits so long is woken by what happens.
const LONG: FetchLimit = FetchLimit {
    max_bytes: 1 << 20,
    max_wait: Duration::from_secs(3600),
    isolation: Isolation::ReadUncommitted,
};

impl Partition {
    /// Appends as the broker does.
    async fn append(self: &Arc<Self>, batches: Vec<BytesMut>) -> Result<Appended, BrokerError> {
        let appended = self.write(batches)?;
        self.until_durable(appended.next_offset).await?;
        Ok(appended)
    }
}

/// Memory whose log files sync only while the gate is open.
#[derive(Debug, Clone, Default)]
struct Gated {
    memory: MemoryStorage,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    /// Syncs that have come to the gate, and that have passed it.
    begun: AtomicU32,
    syncs: AtomicU32,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }

    fn syncs(&self) -> u32 {
        self.syncs.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn StorageFile>,
    gate: Arc<Gate>,
}

impl Gated {
    fn wrap(&self, path: &Path, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        if path.extension().is_none_or(|extension| extension != "log") {
            return file;
        }
        Arc::new(GatedFile { file, gate: self.gate.clone() })
    }
}

impl Storage for Gated {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(path, self.memory.open(path)?))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(path, self.memory.create(path)?))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.memory.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.memory.create_dir(dir)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.memory.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.memory.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        self.memory.lock(path)
    }
}

impl StorageFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.file.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.begun.fetch_add(1, Ordering::SeqCst);
        let mut open = self.gate.open.lock().unwrap();
        while !*open {
            open = self.gate.opened.wait(open).unwrap();
        }
        self.gate.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync()
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        self.file.preallocate(position, bytes)
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

fn open(storage: Arc<dyn Storage>) -> Arc<Partition> {
    open_as(storage, Durability::Fsync, PartitionConfig::default())
}

fn open_as(storage: Arc<dyn Storage>, durability: Durability, config: PartitionConfig) -> Arc<Partition> {
    let (log, _) = Log::open(storage, Path::new("/lines-0"), config).unwrap();
    Arc::new(Partition::new(TopicPartition::new("lines", 0), log, durability))
}

/// A partition behind a gate that is shut, and the gate.
fn gated() -> (Arc<Partition>, Arc<Gate>) {
    gated_as(Durability::Fsync, PartitionConfig::default())
}

fn gated_as(durability: Durability, config: PartitionConfig) -> (Arc<Partition>, Arc<Gate>) {
    let storage = Gated::default();
    storage.gate.set(true);
    let partition = open_as(Arc::new(storage.clone()), durability, config);
    storage.gate.set(false);
    storage.gate.begun.store(0, Ordering::SeqCst);
    storage.gate.syncs.store(0, Ordering::SeqCst);
    (partition, storage.gate)
}

fn batch(value: &str) -> Vec<BytesMut> {
    let mut builder = BatchBuilder::new(1 << 10);
    let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
    assert_eq!(builder.append(&record).unwrap(), Room::Taken);
    vec![builder.finish(Compression::None).unwrap()]
}

fn values(fetched: &Fetched) -> Vec<String> {
    let mut rest = fetched.batches.clone();
    let mut values = Vec::new();
    while !rest.is_empty() {
        let bytes = BatchHeader::parse(&rest).unwrap().total_bytes();
        let records = records(rest.split_to(bytes), 1 << 20).unwrap();
        values.extend(records.map(|r| String::from_utf8(r.unwrap().value.unwrap().into()).unwrap()));
    }
    values
}

/// Spawns `count` appends and returns once all have been written.
async fn spawn_appends(
    partition: &Arc<Partition>,
    count: i64,
) -> Vec<tokio::task::JoinHandle<Result<Appended, BrokerError>>> {
    let spawn = |number: i64| {
        let partition = partition.clone();
        tokio::spawn(async move { partition.append(batch(&number.to_string())).await })
    };
    let appends: Vec<_> = (0..count).map(spawn).collect();
    while partition.offsets().unwrap().log_end < count {
        tokio::task::yield_now().await;
    }
    appends
}

#[tokio::test]
async fn appends_that_wait_share_the_next_sync() {
    let (partition, gate) = gated();
    let appends = spawn_appends(&partition, 100).await;

    assert!(appends.iter().all(|append| !append.is_finished()), "acknowledged before its sync");
    let held = partition.offsets().unwrap();
    assert_eq!((held.high_watermark, held.log_end), (0, 100));
    assert!(partition.fetch(0, SOON).await.unwrap().batches.is_empty(), "read before its sync");

    gate.set(true);
    let mut offsets = Vec::new();
    for append in appends {
        offsets.push(append.await.unwrap().unwrap().base_offset);
    }
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    // The one that was under way when the others were written, and one for all of those.
    assert!(gate.syncs() <= 2, "{} syncs", gate.syncs());
    let read = values(&partition.fetch(0, SOON).await.unwrap());
    assert_eq!(read, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fetch_waits_for_the_record_it_is_early_for() {
    let partition = open(Arc::new(MemoryStorage::new()));
    let (fetched, appended) = tokio::join!(partition.fetch(0, LONG), partition.append(batch("late")));
    assert_eq!(appended.unwrap(), Appended { base_offset: 0, next_offset: 1, log_append_time_ms: None });
    assert_eq!(values(&fetched.unwrap()), ["late"]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_waited_long_enough_returns_nothing() {
    let partition = open(Arc::new(MemoryStorage::new()));
    let before = tokio::time::Instant::now();
    let fetched = partition.fetch(0, LONG).await.unwrap();
    assert!(fetched.batches.is_empty());
    assert!(before.elapsed() >= LONG.max_wait);
}

#[tokio::test]
async fn offsets_outside_the_log_are_refused() {
    let partition = open(Arc::new(MemoryStorage::new()));
    partition.append(batch("only")).await.unwrap();
    for asked in [-1, 2] {
        let refused = partition.fetch(asked, LONG).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("lines-0 holds offsets 0 to 1, not {asked}"));
    }
}

#[tokio::test]
async fn closing_waits_for_appends_under_way_and_refuses_later_ones() {
    let (partition, gate) = gated();
    let appends = spawn_appends(&partition, 10).await;
    let waiting = partition.fetch(0, LONG);
    let closing = async {
        let late = async {
            tokio::task::yield_now().await;
            let late = partition.append(batch("late")).await;
            gate.set(true);
            late
        };
        tokio::join!(partition.close(), late)
    };
    let (waited, (closed, late)) = tokio::join!(waiting, closing);
    closed.unwrap();
    assert!(matches!(late, Err(BrokerError::Closed)));
    for append in appends {
        assert!(append.await.unwrap().is_ok(), "an append under way is completed");
    }
    // Whether the fetch saw the records or the end first, it does not wait on.
    assert!(waited.is_ok() || matches!(waited, Err(BrokerError::Closed)));
    assert!(matches!(partition.fetch(0, SOON).await, Err(BrokerError::Closed)));
    partition.close().await.unwrap();
}

#[tokio::test]
async fn deletion_wakes_who_waits() {
    let (partition, gate) = gated();
    let appends = spawn_appends(&partition, 3).await;
    let delete = async {
        tokio::task::yield_now().await;
        partition.delete();
    };
    let (fetched, ()) = tokio::join!(partition.fetch(0, LONG), delete);
    assert!(matches!(fetched, Err(BrokerError::UnknownTopic(_))));
    for append in appends {
        assert!(matches!(append.await.unwrap(), Err(BrokerError::UnknownTopic(_))));
    }
    assert!(matches!(partition.append(batch("late")).await, Err(BrokerError::UnknownTopic(_))));
    gate.set(true);
}

#[tokio::test]
async fn a_failed_sync_refuses_appends_and_keeps_reads() {
    let disk = SimulatedDisk::new(1);
    let partition = open(Arc::new(disk.clone()));
    partition.append(batch("durable")).await.unwrap();

    disk.inject(Fault::SyncError { after: 0 });
    let failed = partition.append(batch("lost")).await.unwrap_err();
    assert!(matches!(failed, BrokerError::Poisoned { .. }), "{failed}");
    let refused = partition.append(batch("later")).await.unwrap_err().to_string();
    assert!(refused.starts_with("lines-0 takes no appends since its storage failed"), "{refused}");

    let fetched = partition.fetch(0, SOON).await.unwrap();
    assert_eq!(values(&fetched), ["durable"]);
    assert_eq!(fetched.offsets.high_watermark, 1);
    assert!(partition.close().await.is_err(), "what was not made durable is said on closing");
}

#[tokio::test]
async fn a_failed_write_wakes_who_waits_for_an_earlier_one() {
    let disk = SimulatedDisk::new(2);
    let partition = open(Arc::new(disk.clone()));
    // No sync begins between the two writes.
    partition.write_state().syncing = true;
    let first = partition.write(batch("first")).unwrap();
    partition.write_state().syncing = false;
    disk.inject(Fault::WriteError { after: 0 });
    assert!(partition.write(batch("second")).is_err());
    // Refused with the second; never left waiting.
    let waited = partition.until_durable(first.next_offset).await;
    assert!(matches!(waited, Err(BrokerError::Poisoned { .. })), "{waited:?}");
}

/// Lets timers and the threads that they start do what is due within `wait`.
async fn pass(wait: Duration) {
    tokio::time::sleep(wait).await;
}

#[tokio::test(start_paused = true)]
async fn under_an_interval_appends_are_acknowledged_when_written_and_synced_when_it_is_over() {
    let every = Duration::from_secs(1);
    let (partition, gate) = gated_as(Durability::Interval(every), PartitionConfig::default());
    for number in 0..5 {
        partition.append(batch(&number.to_string())).await.unwrap();
    }
    let held = partition.offsets().unwrap();
    assert_eq!((held.high_watermark, held.log_end), (5, 5), "read as soon as written");
    assert_eq!(values(&partition.fetch(3, SOON).await.unwrap()), ["3", "4"]);
    gate.set(true);
    assert_eq!(gate.syncs(), 0);
    pass(every * 3).await;
    assert_eq!(gate.syncs(), 1, "one sync for all of them, and none while nothing is appended");
    let durable = |partition: &Partition| partition.read_state().log.as_ref().unwrap().durable_end();
    assert_eq!(durable(&partition), 5);
    partition.append(batch("later")).await.unwrap();
    assert_eq!((gate.syncs(), durable(&partition)), (1, 5));
    pass(every * 2).await;
    assert_eq!((gate.syncs(), durable(&partition)), (2, 6));
}

#[tokio::test(start_paused = true)]
async fn left_to_the_system_only_rolled_segments_and_closed_logs_are_synced() {
    let config = PartitionConfig { segment_bytes: 700, ..PartitionConfig::default() };
    let (partition, gate) = gated_as(Durability::Os, config);
    gate.set(true);
    while partition.read_state().log.as_ref().unwrap().segments() == 1 {
        pass(Duration::from_secs(60)).await;
        assert_eq!(gate.syncs(), 0);
        partition.append(batch("some text that fills a segment")).await.unwrap();
    }
    pass(Duration::from_secs(60)).await;
    assert_eq!(gate.syncs(), 2, "the sealed segment and the new one");
    partition.append(batch("last")).await.unwrap();
    pass(Duration::from_secs(60)).await;
    assert_eq!(gate.syncs(), 2);
    partition.close().await.unwrap();
    assert_eq!(gate.syncs(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_while_a_sync_is_under_way_is_synced_behind_it() {
    let config = PartitionConfig { segment_bytes: 700, ..PartitionConfig::default() };
    let (partition, gate) = gated_as(Durability::Os, config);
    let fill_to = async |segments| {
        while partition.read_state().log.as_ref().unwrap().segments() < segments {
            partition.append(batch("some text that fills a segment")).await.unwrap();
        }
    };
    fill_to(2).await;
    // The sync has taken down what there is, and stands at the gate.
    let begun = std::time::Instant::now();
    while gate.begun.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(90), "no sync begins");
        std::thread::yield_now();
    }
    fill_to(4).await;
    let ends = || {
        let state = partition.read_state();
        let log = state.log.as_ref().unwrap();
        (log.durable_end(), log.sealed_end())
    };
    assert!(ends().0 < ends().1);
    gate.set(true);
    tokio::time::timeout(LONG.max_wait, partition.until_sealed_durable()).await.expect("ends").unwrap();
    assert!(ends().0 >= ends().1, "{:?}", ends());
    partition.until_sealed_durable().await.unwrap();
    partition.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_later_ends_appends_all_the_same() {
    let disk = SimulatedDisk::new(3);
    let every = Duration::from_secs(1);
    let partition = open_as(Arc::new(disk.clone()), Durability::Interval(every), PartitionConfig::default());
    disk.inject(Fault::SyncError { after: 0 });
    partition.append(batch("written")).await.unwrap();
    pass(Duration::from_secs(3)).await;
    assert!(matches!(partition.append(batch("late")).await, Err(BrokerError::Poisoned { .. })));
    assert_eq!(values(&partition.fetch(0, SOON).await.unwrap()), ["written"]);
    assert!(partition.close().await.is_err());
}
