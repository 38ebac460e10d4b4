//! Power loss at every step of appending, rolling, syncing and retention, and again at every step of recovering from it,
//! with files filled ahead and not.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_log::storage::{Fault, SimulatedDisk};
use topo_log::{LogError, Partition, PartitionConfig, Retention};

use topo_protocol::TransactionResult;

use crate::history::{History, open, small_by, sync};

/// Segments of a few batches, of which retention leaves some; filled ahead where the seed is odd.
fn config(seed: u64) -> PartitionConfig {
    let retention =
        Retention { max_age: None, max_bytes: Some(1_500), roll_after: Duration::from_millis(40) };
    PartitionConfig { retention, ..small_by(seed) }
}

/// What a life of the partition was told before the power went.
#[derive(Debug, Clone, Default)]
struct Life {
    history: History,
    /// Offsets below were acknowledged as durable.
    durable: i64,
    /// Offsets below were given up.
    start: i64,
}

impl Life {
    /// Appends, syncs, retains and deletes at random until an error, or for a while, and sometimes closes at the end.
    fn live(&mut self, mut partition: Partition, rng: &mut StdRng) -> Result<(), LogError> {
        for _ in 0..rng.random_range(4..16) {
            for _ in 0..rng.random_range(1..4) {
                self.append(&mut partition, rng)?;
            }
            match rng.random_range(0..6) {
                0 => {}
                // An append between the beginning and the end of a sync.
                1 => {
                    let ticket = partition.begin_sync();
                    self.append(&mut partition, rng)?;
                    let result = ticket.run();
                    self.durable = partition.finish_sync(ticket, result)?;
                }
                2 => {
                    let retained = partition.retain(self.history.serial as i64);
                    self.start = partition.log_start();
                    retained?;
                }
                3 => {
                    let offset = rng.random_range(partition.log_start()..=partition.durable_end());
                    let deleted = partition.delete_before(offset);
                    self.start = partition.log_start();
                    assert_eq!(deleted?, offset);
                }
                _ => self.durable = sync(&mut partition)?,
            }
        }
        if rng.random() {
            partition.close()?;
            self.durable = self.history.end();
        }
        Ok(())
    }

    /// Appends a batch, half of the time a producer's, in a transaction or not, or a marker that ends one; sometimes what
    /// producers sent last is sent again instead.
    fn append(&mut self, partition: &mut Partition, rng: &mut StdRng) -> Result<(), LogError> {
        let transactional = rng.random_range(10..13);
        match rng.random_range(0..12) {
            0..4 => self.history.append(partition),
            4..6 => self.history.append_in_transaction(transactional, partition),
            6..8 => {
                let result = if rng.random() { TransactionResult::Abort } else { TransactionResult::Commit };
                let next_epoch = rng.random_ratio(1, 4);
                self.history.end_transaction(transactional, result, next_epoch, partition)
            }
            8 => {
                self.history.assert_known(partition, "alive");
                self.history.assert_transactions(partition, "alive");
                Ok(())
            }
            _ => self.history.append_from(rng.random_range(0..3), rng.random_ratio(1, 12), partition),
        }
    }

    /// Opens after a power loss: what was durable is there, in order, and is served as durable; what was given up is not.
    fn recover(&mut self, disk: &SimulatedDisk, config: &PartitionConfig, what: &str) -> Partition {
        let (mut partition, recovery) = open(disk, config).unwrap_or_else(|error| panic!("{what}: {error}"));
        let end = self.history.assert_holds(&partition);
        assert!(end >= self.durable, "{what}: durable up to {}, recovered up to {end}", self.durable);
        assert!(recovery.recovery_point.is_none_or(|point| point <= end), "{what}: {recovery:?}");
        let start = partition.log_start();
        assert!((self.start..=end).contains(&start), "{what}: {start} after {} was given up", self.start);
        assert_eq!(partition.durable_end(), end, "{what}");
        (self.durable, self.start) = (end, start);
        self.history.truncate(end);
        self.history.assert_known(&mut partition, what);
        self.history.assert_transactions(&partition, what);
        // Decoding everything each time would take longer than all the rest.
        if end % 23 == 0 {
            self.history.assert_times(&partition, i64::MAX, what);
        }
        partition
    }
}

/// Lives once on a new disk that loses power after so many operations; whether it did.
fn first_life(seed: u64, after: u64) -> (SimulatedDisk, Life, bool) {
    let disk = SimulatedDisk::new(seed);
    disk.inject(Fault::PowerLoss { after });
    let mut life = Life::default();
    let lived = open(&disk, &config(seed))
        .and_then(|(partition, _)| life.live(partition, &mut StdRng::seed_from_u64(seed)));
    (disk, life, lived.is_err())
}

#[test]
fn power_may_go_at_any_step_and_at_any_step_of_the_recovery() {
    for seed in 0..6 {
        for after in 0.. {
            let (disk, life, lost) = first_life(seed, after);
            disk.crash();
            for again in 0.. {
                let what = format!("seed {seed}, power lost after {after}, then after {again}");
                let (disk, mut life) = (disk.fork(seed ^ again), life.clone());
                disk.inject(Fault::PowerLoss { after: again });
                let interrupted = open(&disk, &config(seed)).is_err();
                disk.crash();
                let end = life.recover(&disk, &config(seed), &what).log_end();

                // What was served once stays: everything recovered was synced first.
                disk.crash();
                let mut partition = life.recover(&disk, &config(seed), &what);
                assert_eq!(partition.log_end(), end, "{what}");
                life.history.append(&mut partition).unwrap();
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
fn power_may_go_at_any_step_of_the_recovery_from_a_recovery() {
    for seed in [10, 11] {
        for after in (0..).step_by(3) {
            let (disk, life, lost) = first_life(seed, after);
            disk.crash();
            for second in 0.. {
                let disk = disk.fork(second);
                disk.inject(Fault::PowerLoss { after: second });
                let interrupted = open(&disk, &config(seed)).is_err();
                disk.crash();
                for third in 0.. {
                    let what = format!("seed {seed}, power lost after {after}, {second}, {third}");
                    let (disk, mut life) = (disk.fork(third), life.clone());
                    disk.inject(Fault::PowerLoss { after: third });
                    let interrupted = open(&disk, &config(seed)).is_err();
                    disk.crash();
                    life.recover(&disk, &config(seed), &what);
                    if !interrupted {
                        break;
                    }
                }
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

/// How many seeds to play: 1,000, or what `TOPO_DISK_SEEDS` says.
fn seeds() -> u64 {
    std::env::var("TOPO_DISK_SEEDS").map_or(1_000, |seeds| seeds.parse().unwrap())
}

#[test]
fn many_lives_on_one_disk() {
    for seed in 0..seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::default();
        for number in 0..6 {
            let what = format!("seed {seed}, life {number}");
            let partition = life.recover(&disk, &config(seed), &what);
            // One life in three ends with its process alone: the next serves from the cache what it found there, and
            // when the power goes later, that must have been synced.
            let killed = rng.random_ratio(1, 3);
            if !killed && rng.random_ratio(7, 8) {
                disk.inject(Fault::PowerLoss { after: rng.random_range(0..60) });
            }
            // However it ended, the next life must find everything acknowledged.
            drop(life.live(partition, &mut rng));
            if killed {
                life.recover(&disk, &config(seed), &what);
            }
            disk.crash();
        }
    }
}

#[test]
fn a_process_that_dies_loses_nothing_and_has_little_to_check() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::default();
        let partition = open(&disk, &config(seed)).unwrap().0;
        life.live(partition, &mut StdRng::seed_from_u64(seed)).unwrap();
        let (partition, recovery) = open(&disk, &config(seed)).unwrap();
        assert_eq!(recovery.recovery_point, Some(life.durable), "seed {seed}");
        assert_eq!(life.history.assert_holds(&partition), life.history.end(), "seed {seed}");
        assert_eq!((recovery.truncated_bytes, recovery.rebuilt_indexes), (0, 0), "seed {seed}");
    }
}
