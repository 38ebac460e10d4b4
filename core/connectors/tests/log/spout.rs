//! What the spout emits, and how far it commits.

use std::time::Duration;

use topo_connectors::{LogSink, StartAt};
use topo_core::log::{Log, Record, TopicPartition};
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{Answer, IN, Lab, OUT, for_seeds};

#[test]
fn records_are_emitted_in_order_and_all_is_committed() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.feed_all(1, 100);
        lab.log.limit_fetches(7);
        lab.launch();
        lab.finish();
        let expected: Vec<String> = (0..100).map(|number| format!("0/{number}")).collect();
        assert_eq!(lab.values(OUT), expected);
        assert!(lab.seen.lock().unwrap().iter().map(|(value, _)| value).eq(&expected));
        assert_eq!(lab.committed(0), Some(100));
        lab.feed(0, ["0/100".to_owned()]);
        lab.finish();
        let numbers = lab.stop();
        assert_eq!(lab.committed(0), Some(101));
        let spout = &numbers.components[0];
        assert_eq!((spout.total(|task| task.emitted), spout.total(|task| task.acked)), (101, 101));
        assert_eq!(spout.total(|task| task.restarted), 0);
        assert!(lab.log.commits().is_sorted_by_key(|commit| commit.offset));
    });
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let mut lab = Lab::new(0, 2);
    lab.launch();
    lab.finish();
    assert_eq!(lab.stop().components[0].total(|task| task.emitted), 0);
    assert_eq!(lab.log.commits(), [], "there is nothing to commit");
}

#[test]
fn tasks_share_the_partitions() {
    for (partitions, tasks) in [(1, 1), (3, 2), (2, 3), (5, 2), (4, 4)] {
        for_seeds(5, |seed| {
            let mut lab = Lab::new(seed, partitions);
            (lab.setup.spout_tasks, lab.setup.work_tasks, lab.setup.sink_tasks) = (tasks, 2, 2);
            lab.feed_all(partitions, 40);
            lab.log.limit_fetches(9);
            lab.launch();
            lab.finish();
            let mut values = lab.values(OUT);
            values.sort();
            values.dedup();
            assert_eq!(values.len(), 40 * partitions as usize);
            let numbers = lab.stop();
            let emitted: Vec<u64> = numbers.components[0].tasks.iter().map(|task| task.emitted).collect();
            let shares = (0..tasks).map(|task| (0..partitions as usize).skip(task).step_by(tasks).count());
            assert!(emitted.iter().copied().eq(shares.map(|share| share as u64 * 40)), "{emitted:?}");
        });
    }
}

/// A spout that reads all that one partition has before it looks at the next would let the others starve.
#[test]
fn a_partition_that_always_has_records_does_not_keep_the_others_back() {
    let mut lab = Lab::new(3, 2);
    lab.feed_all(2, 400);
    lab.log.limit_fetches(20);
    lab.launch();
    lab.finish();
    let seen: Vec<String> = lab.seen.lock().unwrap().iter().map(|(value, _)| value.clone()).collect();
    for half in seen.chunks(400) {
        let of_first = half.iter().filter(|value| value.starts_with("0/")).count();
        assert!((120..=280).contains(&of_first), "{of_first} of {} are of partition 0", half.len());
    }
    lab.stop();
}

/// The commit is due while there is always something to emit.
#[test]
fn commits_go_on_while_records_flow() {
    for_seeds(10, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.scheduler.set_step_cost(Duration::from_millis(4));
        lab.feed_all(1, 5_000);
        lab.log.judge(|call| {
            let takes = if matches!(call, Call::Commit(_)) { 7 } else { 0 };
            Fate { takes: Duration::from_millis(takes), ..Fate::default() }
        });
        lab.launch();
        lab.finish();
        let took = crate::lab::now(&lab).since(Default::default());
        let due = took.as_millis() / lab.setup.spout.commit_interval.as_millis();
        let commits = lab.log.commits().len() as u128;
        assert!(due >= 5, "the run took only {took:?}");
        assert!(commits * 10 >= due * 7, "{commits} commits in {took:?}");
        lab.stop();
    });
}

#[test]
fn a_failing_record_holds_back_the_commit_alone_and_no_further_than_the_window() {
    for_seeds(10, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.setup.spout.window = 24;
        lab.setup.spout.attempts = 50;
        lab.setup.spout.longest_backoff = Duration::from_secs(1);
        lab.feed_all(1, 200);
        lab.log.limit_fetches(10);
        lab.answer(|value, times| if value == "0/3" && times < 12 { Answer::Retry } else { Answer::Ok });
        lab.launch();
        lab.pass(Duration::from_secs(2));
        let executed = lab.executed();
        assert!(executed["0/3"] > 3);
        assert!(executed.contains_key("0/26"), "those behind it go on");
        assert!(!executed.contains_key("0/27"), "24 offsets from 3 on end at 26");
        assert_eq!(lab.committed(0), Some(3));
        lab.finish();
        assert_eq!((lab.committed(0), lab.values(OUT).len()), (Some(200), 200));
        lab.stop();
    });
}

#[test]
fn reading_goes_on_behind_records_that_were_deleted_unread() {
    for_seeds(10, |seed| {
        let at = TopicPartition::new(IN, 0);
        let mut lab = Lab::new(seed, 1);
        lab.feed_all(1, 100);
        lab.log.limit_fetches(10);
        lab.answer(|value, _| if value == "0/0" { Answer::Retry } else { Answer::Ok });
        lab.setup.spout.window = 20;
        lab.launch();
        lab.pass(Duration::from_millis(50));
        lab.log.delete_before(&at, 60);
        lab.finish();
        assert_eq!(lab.committed(0), Some(100));
        assert!((60..100).all(|number| lab.values(OUT).contains(&format!("0/{number}"))));
        // All of it, and nothing new behind it.
        lab.feed(0, (100..120).map(|number| format!("0/{number}")));
        lab.block_on(lab.running().kill(Duration::from_secs(60))).unwrap();
        lab.log.delete_before(&at, 120);
        lab.launch();
        lab.finish();
        lab.stop();
        assert_eq!(lab.committed(0), Some(120));
    });
}

#[test]
fn a_spout_begins_where_it_is_told_and_the_next_run_goes_on_there() {
    for (start, committed, begins) in [
        (StartAt::Committed, None, 0),
        (StartAt::Committed, Some(4), 4),
        (StartAt::Committed, Some(90), 10),
        (StartAt::Start, Some(4), 0),
        (StartAt::End, None, 10),
        (StartAt::End, Some(4), 10),
    ] {
        let mut lab = Lab::new(1, 1);
        lab.feed_all(1, 10);
        let at = TopicPartition::new(IN, 0);
        if let Some(offset) = committed {
            lab.block_on(lab.log.commit(crate::lab::GROUP, &[(at, offset)])).unwrap();
        }
        lab.setup.spout.start = start;
        lab.launch();
        lab.finish();
        let expected: Vec<String> = (begins..10).map(|number| format!("0/{number}")).collect();
        assert_eq!(lab.values(OUT), expected, "{start:?} with {committed:?}");
        // Killed, and started again without being told where to begin.
        lab.scheduler.abandon();
        lab.progress = Default::default();
        lab.setup.spout.start = StartAt::Committed;
        lab.feed(0, ["new".to_owned()]);
        lab.launch();
        lab.finish();
        assert_eq!(lab.values(OUT)[expected.len()..], ["new"], "{start:?} with {committed:?}");
    }
}

#[test]
fn a_topic_is_read_by_one_spout_of_a_topology() {
    let mut lab = Lab::new(1, 1);
    lab.progress = Default::default();
    lab.launch();
    let [first, second] = ["first", "second"].map(|name| (name, lab.progress.clone()));
    let topology = topo_core::Topology::new("twice");
    for (name, progress) in [first, second] {
        let (log, config) = (lab.log.clone(), lab.setup.spout.clone());
        let decode: crate::lab::Decode = |_| Ok(String::new());
        let lines = topology.spout(name, move || {
            topo_connectors::LogSpout::new(log.clone() as _, config.clone(), progress.clone(), decode)
        });
        let log = lab.log.clone();
        let sink = move || LogSink::new(log.clone() as _, OUT, |_, _| 0, |_: &String| Ok(Record::default()));
        topology.rich_bolt(&format!("{name}-out"), sink).shuffle(&lines);
    }
    let launched = lab.block_on(topology.launch(lab.scheduler.clone(), lab.setup.runtime.clone()));
    let refused = launched.expect_err("`in` reads the topic").to_string();
    assert!(refused.contains("spout `in` reads topic `in` already"), "{refused}");
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let mut lab = Lab::new(1, 1);
    lab.setup.spout.topic = "none".into();
    let refused = lab.try_launch().unwrap_err().to_string();
    assert_eq!(
        refused,
        "`in` could not start: there is no topic `none`; create it with `topo topic create none`"
    );
}
