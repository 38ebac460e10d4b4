//! A disk that is really full: a tmpfs of 1 MiB, in a mount namespace of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use topo_log::storage::FileStorage;
use topo_log::{LogError, Partition, PartitionConfig};
use topo_protocol::{BatchBuilder, Compression, NewRecord, Room};

/// Where the inner test finds the small disk.
const SMALL_DISK: &str = "TOPO_SMALL_DISK";

fn batch(serial: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    let record = NewRecord { value: Some(&[serial; 5_000]), ..NewRecord::default() };
    assert_eq!(builder.append(&record), Ok(Room::Taken));
    builder.finish(Compression::None).unwrap().to_vec()
}

fn open(dir: &Path) -> Partition {
    let config = PartitionConfig { segment_bytes: 100_000, ..PartitionConfig::default() };
    Partition::open(Arc::new(FileStorage), &dir.join("lines-0"), config).unwrap().0
}

fn sync(partition: &mut Partition) -> i64 {
    let ticket = partition.begin_sync();
    let result = ticket.run();
    partition.finish_sync(ticket, result).unwrap()
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        return on_a_small_disk(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$1" && exec "$2" --exact --nocapture "$3""#;
    let name = "a_full_disk_refuses_appends_until_there_is_space";
    let may_mount =
        Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none"]).arg(dir.path()).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this system lets nobody mount a small disk in a namespace of their own");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir.path()).arg(this).arg(name);
    let output = command.env(SMALL_DISK, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn on_a_small_disk(dir: &Path) {
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 300_000]).unwrap();
    let mut partition = open(dir);
    let mut serial = 0;
    let refused = loop {
        match partition.append(&mut batch(serial)) {
            Ok(_) => serial += 1,
            Err(error) => break error,
        }
        sync(&mut partition);
    };
    assert!(matches!(refused, LogError::Full { .. }), "{refused}");
    assert!(serial > 50 && partition.segments() > 2, "{serial} batches");
    let again = partition.append(&mut batch(serial));
    assert!(matches!(again, Err(LogError::Full { .. })), "{again:?}");
    let end = i64::from(serial);
    assert_eq!((partition.log_end(), partition.durable_end()), (end, end));
    let read = |partition: &Partition, offset: i64| partition.read(offset, 1, i64::MAX).unwrap().len();
    assert!((0..end).all(|offset| read(&partition, offset) > 5_000), "reads go on");

    std::fs::remove_file(&ballast).unwrap();
    partition.append(&mut batch(serial)).unwrap();
    assert_eq!(sync(&mut partition), end + 1, "appends go on, without a restart");
    drop(partition);
    let partition = open(dir);
    assert_eq!(partition.log_end(), end + 1);
    assert!((0..=end).all(|offset| read(&partition, offset) > 5_000));
}
