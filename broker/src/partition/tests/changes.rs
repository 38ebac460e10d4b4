//! Settings that change while appends go on, and records that are deleted.

use super::*;

#[tokio::test(start_paused = true)]
async fn whoever_waited_for_an_interval_does_not_hold_up_those_who_sync_first_from_now_on() {
    let disk = SimulatedDisk::new(3);
    let hour = Duration::from_secs(3600);
    let partition = open_as(Arc::new(disk.clone()), Durability::Interval(hour), PartitionConfig::default());
    partition.append(batch("unsynced")).await.unwrap();
    let before = tokio::time::Instant::now();
    partition.reconfigure(PartitionConfig::default(), Durability::Fsync);
    assert_eq!(partition.offsets().unwrap().high_watermark, 1, "what was read is not taken back");
    partition.append(batch("synced")).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited for the hour to pass");
    assert_eq!(partition.read_state().log.as_ref().unwrap().durable_end(), 2);

    // And the other way round: what waits for a sync is acknowledged as it is.
    partition.reconfigure(PartitionConfig::default(), Durability::Interval(hour));
    partition.append(batch("unsynced again")).await.unwrap();
    assert_eq!(partition.offsets().unwrap().high_watermark, 3);
    pass(hour * 2).await;
    while partition.read_state().log.as_ref().unwrap().durable_end() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!partition.write_state().syncing || partition.offsets().unwrap().log_end == 3);
    partition.reconfigure(PartitionConfig::default(), Durability::Os);
    partition.append(batch("left to the system")).await.unwrap();
    partition.close().await.unwrap();
    disk.crash();
    let (log, _) = Log::open(Arc::new(disk), Path::new("/lines-0"), PartitionConfig::default()).unwrap();
    assert_eq!(log.log_end(), 4);
}

#[tokio::test]
async fn an_append_that_waits_for_its_sync_is_acknowledged_once_the_topic_does_not_wait_any_more() {
    let (partition, gate) = gated();
    let appends = spawn_appends(&partition, 3).await;
    partition.reconfigure(PartitionConfig::default(), Durability::Os);
    for append in appends {
        append.await.unwrap().unwrap();
    }
    gate.set(true);
    partition.close().await.unwrap();
}

#[tokio::test]
async fn deleted_records_are_durable_first_and_gone_for_good() {
    for durability in [Durability::Fsync, Durability::Os] {
        let disk = SimulatedDisk::new(4);
        let config = PartitionConfig { segment_bytes: 300, ..PartitionConfig::default() };
        let partition = open_as(Arc::new(disk.clone()), durability, config.clone());
        for number in 0..10 {
            partition.append(batch(&number.to_string())).await.unwrap();
        }
        assert_eq!(partition.delete_records(Some(4)).await.unwrap(), 4);
        assert_eq!(partition.delete_records(Some(2)).await.unwrap(), 4, "it never goes back");
        assert_eq!(values(&partition.fetch(4, SOON).await.unwrap())[0], "4");
        for asked in [3, 11] {
            assert!(partition.fetch(asked, SOON).await.is_err());
        }
        for asked in [-1, 11] {
            let refused = partition.delete_records(Some(asked)).await.unwrap_err().to_string();
            assert_eq!(refused, format!("lines-0 holds offsets 4 to 10, not {asked}"));
        }
        let bytes = partition.bytes().unwrap();
        disk.crash();
        let again = open_as(Arc::new(disk.clone()), durability, config.clone());
        let held = again.offsets().unwrap();
        assert!(held.log_start == 4 && held.log_end >= 4, "{durability}: {held:?}");
        again.append(batch("more")).await.unwrap();
        let end = again.offsets().unwrap().log_end;
        assert_eq!(again.delete_records(None).await.unwrap(), end);
        assert!(again.bytes().unwrap() == 0 && bytes > 0);
        assert!(values(&again.fetch(end, SOON).await.unwrap()).is_empty());
        assert_eq!(again.append(batch("next")).await.unwrap().base_offset, end);
    }
}

#[tokio::test]
async fn records_whose_deletion_could_not_be_written_are_there() {
    for after in 0..3 {
        let disk = SimulatedDisk::new(after);
        let config = PartitionConfig { segment_bytes: 300, ..PartitionConfig::default() };
        let partition = open_as(Arc::new(disk.clone()), Durability::Fsync, config);
        for number in 0..10 {
            partition.append(batch(&number.to_string())).await.unwrap();
        }
        disk.inject(Fault::SyncError { after });
        let deleted = partition.delete_records(Some(5)).await;
        let start = partition.offsets().unwrap().log_start;
        assert_eq!(start, deleted.unwrap_or(0), "sync {after}");
        assert!(!values(&partition.fetch(start, SOON).await.unwrap()).is_empty());
    }
}
