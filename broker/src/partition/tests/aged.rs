//! Segments that are rolled for their age, with nobody who appends.

use topo_log::{CompactionConfig, Retention};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A quiet partition left to the system, of two records that were never synced, whose segments are rolled after an hour.
async fn quiet(
    retention: Retention,
    compaction: Option<CompactionConfig>,
) -> (SimulatedDisk, Arc<Partition>) {
    let disk = SimulatedDisk::new(5);
    let config = PartitionConfig { retention, compaction, ..PartitionConfig::default() };
    let partition = open_as(Arc::new(disk.clone()), Durability::Os, config);
    for value in ["first", "second"] {
        partition.append(keyed(value)).await.unwrap();
    }
    assert_eq!(partition.read_state().log.as_ref().unwrap().durable_end(), 0);
    (disk, partition)
}

/// A record at the beginning of time, whose key others have too.
fn keyed(value: &str) -> Vec<BytesMut> {
    let mut builder = BatchBuilder::new(1 << 10);
    let record = NewRecord { key: Some(b"key"), value: Some(value.as_bytes()), ..NewRecord::default() };
    assert_eq!(builder.append(&record).unwrap(), Room::Taken);
    vec![builder.finish(Compression::None).unwrap()]
}

async fn until_sealed_durable(partition: &Partition) {
    let waited = tokio::time::timeout(Duration::from_secs(90), partition.until_sealed_durable()).await;
    waited.expect("nobody syncs what was rolled").unwrap();
}

fn after(hours: u32) -> i64 {
    (HOUR * hours).as_millis() as i64 + 1
}

#[tokio::test]
async fn what_retention_rolls_is_synced_and_goes_when_it_is_too_old() {
    let retention = Retention { max_age: Some(HOUR * 2), max_bytes: None, roll_after: HOUR };
    let (disk, partition) = quiet(retention, None).await;
    assert_eq!(partition.retain(after(0)).unwrap(), 0);
    assert_eq!(partition.retain(after(1)).unwrap(), 0, "rolled, and not too old");
    until_sealed_durable(&partition).await;
    let ends = |partition: &Partition| {
        let state = partition.read_state();
        let log = state.log.as_ref().unwrap();
        (log.sealed_end(), log.durable_end())
    };
    assert_eq!(ends(&partition), (2, 2));
    assert_eq!(partition.retain(after(2)).unwrap(), 1);
    assert_eq!(partition.offsets().unwrap().log_start, 2);
    disk.crash();
    let again = open_as(Arc::new(disk), Durability::Os, PartitionConfig::default());
    assert_eq!(again.offsets().unwrap().log_start, 2);
}

#[tokio::test]
async fn what_is_rolled_and_too_old_at_once_goes_at_once() {
    let retention = Retention { max_age: Some(HOUR), max_bytes: None, roll_after: HOUR };
    let (_disk, partition) = quiet(retention, None).await;
    assert_eq!(partition.retain(after(1)).unwrap(), 1);
    until_sealed_durable(&partition).await;
}

#[tokio::test]
async fn what_compaction_rolls_is_synced_and_compacted() {
    let retention = Retention { max_age: None, max_bytes: None, roll_after: HOUR };
    let (_disk, partition) = quiet(retention, Some(CompactionConfig::default())).await;
    assert_eq!(partition.compaction_due(after(0)).unwrap(), None);
    assert!(partition.compaction_due(after(1)).unwrap().is_some());
    until_sealed_durable(&partition).await;
    let done = partition.compact(after(1), &|_| true).unwrap().expect("it is due");
    assert_eq!(done.removed_records, 1);
}

#[tokio::test]
async fn a_segment_that_is_rolled_and_cannot_be_synced_is_kept_and_says_so() {
    let retention = Retention { max_age: Some(HOUR), max_bytes: None, roll_after: HOUR };
    let (disk, partition) = quiet(retention, None).await;
    disk.inject(Fault::SyncError { after: 0 });
    assert!(matches!(partition.retain(after(1)), Err(BrokerError::Poisoned { .. })));
    until_refused(&partition).await;
    assert_eq!(values(&partition.fetch(0, SOON).await.unwrap()), ["first", "second"]);
}

async fn until_refused(partition: &Partition) {
    let waited = tokio::time::timeout(Duration::from_secs(90), partition.until_sealed_durable()).await;
    assert!(matches!(waited.expect("it does not end"), Err(BrokerError::Poisoned { .. })));
}
