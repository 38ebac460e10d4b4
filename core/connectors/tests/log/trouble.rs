//! A log that fails.

use std::collections::HashSet;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_core::log::LogError;
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{Lab, OUT, for_seeds};

#[test]
fn calls_that_fail_now_and_then_lose_nothing_and_restart_nobody() {
    for_seeds(40, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.feed_all(2, 150);
        lab.log.limit_fetches(10);
        (lab.setup.spout_tasks, lab.setup.spout.attempts) = (1 + seed as usize % 2, 1_000);
        lab.setup.spout.longest_backoff = Duration::from_secs(1);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        lab.log.judge(move |_| {
            let takes = Duration::from_micros(random.random_range(0..5_000));
            let fate = if random.random_bool(0.3) { Fate::fails() } else { Fate::default() };
            Fate { takes, lies: random.random_bool(0.5), ..fate }
        });
        lab.launch();
        lab.finish();
        let numbers = lab.stop();
        let values: HashSet<String> = lab.values(OUT).into_iter().collect();
        assert_eq!(values.len(), 300);
        for component in &numbers.components {
            assert_eq!(component.total(|task| task.restarted), 0, "{}", component.name);
        }
        assert_eq!((lab.committed(0), lab.committed(1)), (Some(150), Some(150)));
    });
}

/// Records before the damage are done once: an instance that began anew at every error would do them again and again.
#[test]
fn damage_in_the_log_does_not_repeat_what_lies_before_it() {
    let mut lab = Lab::new(4, 1);
    lab.feed_all(1, 30);
    lab.log.limit_fetches(10);
    lab.log.judge(|call| match call {
        Call::Fetch(_, 20..) => {
            Fate { error: Some(LogError::Corrupt("offset 20".into())), ..Fate::default() }
        }
        _ => Fate::default(),
    });
    lab.launch();
    lab.pass(Duration::from_secs(60));
    assert_eq!((lab.values(OUT).len(), lab.committed(0)), (20, Some(20)));
    lab.log.be_kind();
    lab.finish();
    lab.stop();
    assert_eq!(lab.values(OUT).len(), 30);
}

#[test]
fn a_commit_that_fails_is_made_again_and_everything_else_goes_on() {
    let mut lab = Lab::new(4, 1);
    lab.feed_all(1, 100);
    let mut left = 3;
    lab.log.judge(move |call| match call {
        Call::Commit(_) if left > 0 => {
            left -= 1;
            Fate::fails()
        }
        _ => Fate::default(),
    });
    lab.launch();
    lab.finish();
    assert_eq!((lab.values(OUT).len(), lab.committed(0)), (100, Some(100)));
    lab.stop();
}
