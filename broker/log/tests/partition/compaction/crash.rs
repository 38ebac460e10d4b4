//! Power loss at every step of a life with compaction, of one pass, and of the recovery from it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_log::storage::{Fault, SimulatedDisk};

use super::keyed::{DELETE_RETENTION_MS, Keyed, config};
use crate::history::{open, sync};

/// How many seeds to play: 150, or what `TOPO_DISK_SEEDS` says.
fn seeds() -> u64 {
    std::env::var("TOPO_DISK_SEEDS").map_or(150, |seeds| seeds.parse().unwrap())
}

#[test]
fn many_lives_on_one_disk() {
    for seed in 0..seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimulatedDisk::new(seed);
        let mut log = Keyed::default();
        for life in 0..6 {
            let what = format!("seed {seed}, life {life}");
            let partition = log.recover(&disk, &config(seed), &what);
            let killed = rng.random_ratio(1, 3);
            if !killed && rng.random_ratio(7, 8) {
                disk.inject(Fault::PowerLoss { after: rng.random_range(0..150) });
            }
            // However it ended, the next life must find everything acknowledged.
            drop(log.live(partition, &mut rng));
            if killed {
                log.recover(&disk, &config(seed), &what);
            }
            disk.crash();
        }
    }
}

/// A disk with a partition that has been compacted once and has more to do.
fn before_a_pass(seed: u64) -> (SimulatedDisk, Keyed) {
    let disk = SimulatedDisk::new(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut log = Keyed::default();
    let (mut partition, _) = open(&disk, &config(seed)).unwrap();
    for has_more in [false, true] {
        // What is compacted again is little, so that a pass has few steps.
        for _ in 0..if has_more { 6 } else { rng.random_range(15..30) } {
            log.append(&mut partition, &mut rng).unwrap();
        }
        log.end_all(&mut partition, &mut rng).unwrap();
        log.durable = sync(&mut partition).unwrap();
        log.now_ms += DELETE_RETENTION_MS / 2;
        if !has_more {
            partition.compact(log.now_ms).unwrap();
        }
    }
    log.now_ms += DELETE_RETENTION_MS;
    (disk, log)
}

#[test]
fn power_may_go_at_any_step_of_a_pass_and_of_the_recovery_from_it() {
    for seed in [1, 2, 3, 5] {
        let (before, log) = before_a_pass(seed);
        let config = config(seed);
        for after in 0.. {
            let (disk, log) = (before.fork(seed + after), log.clone());
            let (mut partition, _) = open(&disk, &config).unwrap();
            disk.inject(Fault::PowerLoss { after });
            let lost = partition.compact(log.now_ms).is_err();
            drop(partition);
            disk.crash();
            for again in 0.. {
                let what = format!("seed {seed}, power lost after {after}, then after {again}");
                let (disk, mut log) = (disk.fork(again), log.clone());
                disk.inject(Fault::PowerLoss { after: again });
                let interrupted = open(&disk, &config).is_err();
                disk.crash();
                let mut partition = log.recover(&disk, &config, &what);
                // What the power cut short is done again, to the same end.
                while partition
                    .compact(log.now_ms)
                    .unwrap()
                    .is_some_and(|done| done.first_dirty < log.end() - 40)
                {}
                log.assert_kept(&partition, &what);
                log.assert_known(&mut partition, &what);
                if !interrupted {
                    break;
                }
            }
            if !lost {
                break;
            }
        }
    }
}

#[test]
fn a_storage_that_fails_at_any_step_costs_no_record() {
    for seed in 0..6 {
        let (before, log) = before_a_pass(seed);
        let faults: [fn(u64) -> Fault; 3] = [
            |after| Fault::SyncError { after },
            |after| Fault::WriteError { after },
            |after| Fault::CreateError { after },
        ];
        for fault in faults {
            for after in 0.. {
                let what = format!("seed {seed}, {:?}", fault(after));
                let (disk, mut log) = (before.fork(seed + after), log.clone());
                let (mut partition, _) = open(&disk, &config(seed)).unwrap();
                disk.inject(fault(after));
                let failed = partition.compact(log.now_ms).is_err();
                log.assert_kept(&partition, &what);
                // A fault that is still due strikes here.
                if failed {
                    log.append(&mut partition, &mut StdRng::seed_from_u64(after)).unwrap();
                    log.durable = sync(&mut partition).unwrap();
                }
                drop(partition);
                disk.crash();
                log.recover(&disk, &config(seed), &what);
                if !failed && after > 40 {
                    break;
                }
            }
        }
    }
}
