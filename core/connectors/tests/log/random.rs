//! Everything at once, under many seeds: bolts that fail, reject and panic, spouts that panic, a log that is slow, fails
//! and lies, partitions that change hands, and kills of the whole process.
//!
//! Whatever happens, every record ends in `out` or, where a bolt refused it, in the dead letters; and at every commit all
//! below it was there already.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_tests::memory_log::Fate;

use crate::lab::{Answer, DEAD, GROUP, Lab, OUT, for_seeds};

const SEEDS: u64 = 150;

/// What becomes of the record of this value, at its so-and-so-manieth execute.
fn answer(seed: u64, value: &str, times: usize) -> Answer {
    let mixed = value.bytes().fold(seed | 1, |mixed, byte| {
        (mixed ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    });
    let patience = (mixed >> 32) as usize % 4;
    match mixed % 40 {
        0 => Answer::Reject,
        1..4 if times <= patience => Answer::Retry,
        4 if times <= patience => Answer::Panic,
        _ => Answer::Ok,
    }
}

fn lab(seed: u64, random: &mut Xoshiro256PlusPlus, partitions: u32) -> Lab {
    let mut lab = Lab::new(seed, partitions);
    lab.scheduler.set_step_cost(Duration::from_micros(random.random_range(0..200)));
    lab.log.limit_fetches(random.random_range(1..30));
    lab.setup.spout_tasks = random.random_range(1..4);
    lab.setup.work_tasks = random.random_range(1..4);
    lab.setup.sink_tasks = random.random_range(1..3);
    let spout = &mut lab.setup.spout;
    (spout.attempts, spout.longest_backoff) = (u32::MAX, Duration::from_millis(400));
    spout.commit_interval = Duration::from_millis(random.random_range(1..200));
    spout.window = random.random_range(5..200);
    lab.answer(move |value, times| answer(seed, value, times));
    lab
}

fn judge(lab: &Lab, seed: u64, failing: f64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(!seed);
    lab.log.judge(move |_| {
        let takes = Duration::from_micros(random.random_range(0..4_000));
        let fate = if random.random_bool(failing) { Fate::fails() } else { Fate::default() };
        Fate { takes, lies: random.random_bool(0.5), ..fate }
    });
}

#[test]
fn every_record_arrives_whatever_happens() {
    for_seeds(SEEDS, |seed| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (partitions, records) = (random.random_range(1..4), random.random_range(20..120));
        let mut lab = lab(seed, &mut random, partitions);
        lab.feed_all(partitions, records);
        judge(&lab, seed, random.random_range(0.0..0.3));
        lab.launch();
        for _ in 0..random.random_range(0..6) {
            let fuse = if random.random_bool(0.5) { &lab.fuses.next } else { &lab.fuses.ack };
            fuse.store(random.random_range(0..40), Ordering::Relaxed);
            lab.pass(Duration::from_millis(random.random_range(0..100)));
            let owners: Vec<u32> =
                (0..partitions).map(|_| random.random_range(0..lab.setup.spout_tasks as u32)).collect();
            match random.random_range(0..6) {
                0 | 1 => lab.log.divide(GROUP, &owners),
                2 => lab.log.seize(GROUP, &owners),
                _ => {}
            }
            if random.random_bool(0.4) {
                lab.crash();
                while lab.try_launch().is_err() {}
            }
        }
        lab.finish();
        lab.stop();
        let [out, dead] = [OUT, DEAD].map(|topic| lab.values(topic).into_iter().collect::<HashSet<_>>());
        for partition in 0..partitions {
            assert_eq!(lab.committed(partition), Some(records as i64));
            for number in 0..records {
                let value = format!("{partition}/{number}");
                let rejected = answer(seed, &value, usize::MAX) == Answer::Reject;
                assert_eq!((out.contains(&value), dead.contains(&value)), (!rejected, rejected), "{value}");
            }
        }
    });
}
