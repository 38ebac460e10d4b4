//! Partitions that change hands: nothing is lost, and what is given up in order is not done twice.

use std::collections::HashSet;
use std::time::Duration;

use topo_tests::memory_log::Fate;

use crate::lab::{Answer, DEAD, GROUP, Lab, OUT, for_seeds};

fn lab(seed: u64, tasks: usize) -> Lab {
    let mut lab = Lab::new(seed, 3);
    (lab.setup.spout_tasks, lab.setup.work_tasks) = (tasks, 2);
    lab.scheduler.set_step_cost(Duration::from_micros(50));
    lab.log.limit_fetches(8);
    lab
}

#[test]
fn partitions_that_are_released_are_done_by_others_and_nothing_is_done_twice() {
    for_seeds(40, |seed| {
        let mut lab = lab(seed, 3);
        lab.feed_all(3, 200);
        lab.launch();
        for owners in [[0, 0, 0], [2, 1, 0], [1, 1, 2]] {
            lab.pass(Duration::from_millis(2));
            lab.log.divide(GROUP, &owners);
        }
        lab.finish();
        assert!(lab.executed().values().all(|times| *times == 1), "what was open was waited for");
        let emitted: Vec<u64> = lab.stop().components[0].tasks.iter().map(|task| task.emitted).collect();
        assert_eq!(emitted.iter().sum::<u64>(), 600);
        assert_eq!(lab.values(OUT).iter().collect::<HashSet<_>>().len(), 600);
    });
}

#[test]
fn what_does_not_complete_in_time_is_done_again_by_whoever_has_the_partition_next() {
    for_seeds(20, |seed| {
        let mut lab = lab(seed, 2);
        lab.setup.spout.attempts = 50;
        lab.setup.spout.release_wait = Duration::from_millis(300);
        lab.answer(|value, times| if value == "0/5" && times < 8 { Answer::Retry } else { Answer::Ok });
        lab.feed_all(3, 30);
        lab.launch();
        lab.pass(Duration::from_millis(200));
        lab.log.divide(GROUP, &[1, 0, 1]);
        lab.pass(Duration::from_millis(400));
        let committed: Vec<_> = (0..3).map(|partition| lab.committed(partition)).collect();
        assert_eq!(committed, [Some(5), Some(30), Some(30)], "committed before it was released");
        lab.finish();
        let executed = lab.executed();
        lab.stop();
        assert!(executed["0/5"] >= 8 && executed["0/6"] == 2, "{executed:?}");
        assert!(executed["0/4"] == 1 && executed["2/9"] == 1, "{executed:?}");
        assert_eq!((lab.committed(0), lab.progress.exhausted()), (Some(30), 0));
    });
}

#[test]
fn a_task_that_lost_its_partitions_commits_nothing_more() {
    for_seeds(40, |seed| {
        let mut lab = lab(seed, 2);
        lab.feed_all(3, 100);
        lab.log.judge(|_| Fate { takes: Duration::from_millis(3), ..Fate::default() });
        lab.launch();
        for owners in [[1, 0, 1], [0, 0, 1], [1, 1, 0]] {
            lab.pass(Duration::from_millis(5 + seed % 7));
            lab.log.seize(GROUP, &owners);
        }
        lab.finish();
        lab.stop();
        assert_eq!(lab.values(OUT).into_iter().collect::<HashSet<_>>().len(), 300);
        for partition in 0..3 {
            assert_eq!(lab.committed(partition), Some(100));
        }
    });
}

#[test]
fn dead_letters_under_way_are_durable_before_their_partition_is_released() {
    for_seeds(20, |seed| {
        let mut lab = lab(seed, 2);
        lab.answer(|value, _| if value.ends_with('7') { Answer::Reject } else { Answer::Ok });
        lab.log.judge(|_| Fate { takes: Duration::from_millis(2), ..Fate::default() });
        lab.feed_all(3, 40);
        lab.launch();
        lab.pass(Duration::from_millis(10 + seed));
        lab.log.divide(GROUP, &[1, 1, 0]);
        lab.finish();
        lab.stop();
        assert_eq!(lab.values(DEAD).len(), 12, "each once");
    });
}
