//! Kills of the process and of the spout's instances.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use topo_connectors::StartAt;
use topo_tests::memory_log::Fate;

use crate::lab::{Answer, DEAD, Lab, OUT, for_seeds};

fn all(lab: &Lab, topic: &str) -> HashSet<String> {
    lab.values(topic).into_iter().collect()
}

#[test]
fn after_a_kill_reading_goes_on_at_the_committed_offset() {
    for_seeds(40, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.scheduler.set_step_cost(Duration::from_millis(1));
        lab.log.limit_fetches(11);
        lab.feed_all(1, 1_500);
        lab.setup.spout.commit_interval = Duration::from_millis(50);
        lab.launch();
        lab.pass(Duration::from_millis(100 + seed * 9));
        lab.crash();
        let committed = lab.committed(0).unwrap_or(0);
        assert!(committed < 1_500, "the kill came too late to show anything");
        lab.seen.lock().unwrap().clear();
        lab.launch();
        lab.finish();
        lab.stop();
        let first = lab.seen.lock().unwrap()[0].0.clone();
        assert_eq!(first, format!("0/{committed}"), "nothing below is done again");
        assert_eq!(all(&lab, OUT).len(), 1_500);
        assert_eq!(lab.committed(0), Some(1_500));
    });
}

#[test]
fn a_successor_goes_on_where_the_spout_that_panicked_was() {
    for start in [StartAt::Committed, StartAt::Start, StartAt::End] {
        for_seeds(20, |seed| {
            let mut lab = Lab::new(seed, 2);
            lab.setup.spout.start = start;
            lab.log.limit_fetches(6);
            lab.log.judge(|_| Fate { takes: Duration::from_millis(1), ..Fate::default() });
            lab.begins = i64::from(start == StartAt::End);
            lab.feed(0, ["before".to_owned()]);
            lab.feed(1, ["before".to_owned()]);
            lab.launch();
            lab.finish();
            lab.feed_all(2, 100);
            for (round, fuse) in [&lab.fuses.next, &lab.fuses.ack].into_iter().cycle().take(4).enumerate() {
                fuse.store((3 + seed * 5 + round as u64) as i64 % 60, Ordering::Relaxed);
                lab.pass(Duration::from_millis(40));
            }
            lab.finish();
            let numbers = lab.stop();
            assert!(numbers.components[0].total(|task| task.restarted) >= 1);
            let before = usize::from(start != StartAt::End);
            assert_eq!(all(&lab, OUT).len(), 200 + before, "from {start:?}");
            assert_eq!((lab.committed(0), lab.committed(1)), (Some(101), Some(101)));
        });
    }
}

#[test]
fn a_successor_hears_what_became_of_its_predecessors_records() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.feed_all(1, 60);
        lab.setup.work_tasks = 2;
        lab.answer(|value, times| match value {
            "0/7" => Answer::Reject,
            "0/11" if times < 3 => Answer::Retry,
            "0/13" if times == 1 => Answer::Panic,
            _ => Answer::Ok,
        });
        lab.fuses.ack.store(5 + seed as i64 % 20, Ordering::Relaxed);
        lab.launch();
        lab.finish();
        lab.stop();
        assert_eq!((all(&lab, OUT).len(), all(&lab, DEAD).len()), (59, 1));
        assert_eq!((lab.committed(0), lab.progress.exhausted()), (Some(60), 0));
    });
}
