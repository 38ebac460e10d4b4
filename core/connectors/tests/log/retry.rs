//! What becomes of records that fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use topo_core::log::{Consumed, Header, Log, LogError, Record, TopicPartition};
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{Answer, DEAD, IN, Lab, OUT, for_seeds, text};

pub(crate) fn headers(record: &Consumed) -> BTreeMap<String, String> {
    let value =
        |header: &Header| String::from_utf8(header.value.as_deref().unwrap_or_default().to_vec()).unwrap();
    record.headers.iter().map(|header| (header.key.to_string(), value(header))).collect()
}

#[test]
fn what_fails_is_tried_again_with_growing_waits() {
    for_seeds(30, |seed| {
        let mut lab = Lab::new(seed, 1);
        lab.feed_all(1, 20);
        lab.answer(|value, times| if value == "0/5" && times < 5 { Answer::Retry } else { Answer::Ok });
        lab.launch();
        lab.finish();
        lab.stop();
        let seen = lab.seen.lock().unwrap();
        let times: Vec<_> = seen.iter().filter(|(value, _)| value == "0/5").map(|(_, at)| *at).collect();
        assert_eq!(times.len(), 5);
        for (retry, pair) in times.windows(2).enumerate() {
            let wait = pair[1].since(pair[0]);
            let longest = Duration::from_millis(100 << retry);
            let slack = Duration::from_millis(10);
            assert!((longest / 2..longest + slack).contains(&wait), "{wait:?} before attempt {}", retry + 2);
        }
        assert_eq!((lab.values(OUT).len(), lab.progress.exhausted()), (20, 0));
        assert!(lab.values(DEAD).is_empty());
    });
}

/// A record that waits for its next attempt holds back the window, and whoever looks can see by how much.
#[test]
fn the_window_of_each_partition_is_shown() {
    for_seeds(10, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.feed_all(2, 400);
        (lab.setup.spout.window, lab.setup.runtime.max_pending) = (100, 1_000);
        (lab.setup.spout.backoff, lab.setup.spout.longest_backoff) =
            (Duration::from_secs(20), Duration::from_secs(20));
        lab.answer(|value, times| match (value, times) {
            ("0/7" | "1/5" | "1/6", 1) => Answer::Retry,
            _ => Answer::Ok,
        });
        lab.setup.work_tasks = 4;
        lab.launch();
        lab.pass(Duration::from_secs(5));
        let windows = lab.running().snapshot().components[0].tasks[0].windows.clone();
        let shown: Vec<_> = windows
            .iter()
            .map(|one| (&*one.partition, one.oldest, one.span, one.limit, one.waiting))
            .collect();
        // The spout went on until the newest was a window's width ahead, and waits.
        assert_eq!(shown, [("in-0", Some(7), 100, 100, 1), ("in-1", Some(5), 100, 100, 2)]);
        lab.finish();
        let done = lab.running().snapshot().components[0].tasks[0].windows.clone();
        assert!(done.iter().all(|one| (one.oldest, one.span, one.waiting) == (None, 0, 0)), "{done:?}");
        assert_eq!((lab.progress.exhausted(), lab.values(OUT).len()), (0, 800));
        lab.stop();
    });
}

#[test]
fn jitter_keeps_apart_what_failed_together() {
    let mut lab = Lab::new(7, 1);
    lab.feed_all(1, 30);
    lab.answer(|_, times| if times == 1 { Answer::Retry } else { Answer::Ok });
    lab.launch();
    lab.finish();
    lab.stop();
    let seen = lab.seen.lock().unwrap();
    let mut again: Vec<_> = seen[30..].iter().map(|(_, at)| at.as_nanos() / 1_000_000).collect();
    again.dedup();
    assert!(again.len() > 15, "30 retries came at {again:?} ms");
}

#[test]
fn out_of_attempts_a_record_goes_to_the_dead_letters_as_it_was() {
    for_seeds(10, |seed| {
        let mut lab = Lab::new(seed, 1);
        let header = |key: &str, value| Header { key: key.into(), value };
        let record = Record {
            key: Some("k".into()),
            value: Some("bad".into()),
            headers: vec![
                header("own", Some("x".into())),
                header("own", None),
                header("topo.reason", Some("an earlier death".into())),
            ],
            timestamp_ms: Some(77),
        };
        lab.feed_all(1, 3);
        lab.block_on(lab.log.append(&TopicPartition::new(IN, 0), vec![record])).unwrap();
        lab.feed(0, ["last".to_owned()]);
        lab.answer(|value, _| if value == "bad" { Answer::Retry } else { Answer::Ok });
        lab.launch();
        lab.finish();
        assert_eq!(lab.executed()["bad"], 5);
        assert_eq!((lab.progress.exhausted(), lab.progress.rejected()), (1, 0));
        let numbers = lab.stop();
        assert_eq!((numbers.components[0].total(|task| task.failed), lab.values(OUT).len()), (5, 4));
        let dead = lab.log.records(DEAD, 0);
        assert_eq!(dead.len(), 1);
        let dead = &dead[0];
        assert_eq!((dead.key.as_deref(), dead.timestamp_ms), (Some(&b"k"[..]), 77));
        assert_eq!(
            (text(dead).as_str(), &*dead.headers[0].key, &*dead.headers[1].key),
            ("bad", "own", "own")
        );
        assert_eq!(dead.headers[1].value, None);
        assert_eq!(dead.headers.len(), 2 + 8, "the earlier death's are replaced");
        let headers = headers(dead);
        let time_ms: i64 = headers["topo.time-ms"].parse().unwrap();
        assert!(time_ms >= 1_700_000_000_000);
        for (key, value) in [
            ("topo.reason", "not yet"),
            ("topo.kind", "exhausted"),
            ("topo.component", "work"),
            ("topo.attempt", "5"),
            ("topo.topic", IN),
            ("topo.partition", "0"),
            ("topo.offset", "3"),
        ] {
            assert_eq!(headers[key], value, "{key}");
        }
    });
}

#[test]
fn what_is_rejected_goes_to_the_dead_letters_at_once() {
    let mut lab = Lab::new(5, 3);
    lab.feed_all(3, 10);
    (lab.setup.spout_tasks, lab.setup.work_tasks) = (2, 2);
    lab.answer(|value, _| if value == "1/4" { Answer::Reject } else { Answer::Ok });
    lab.launch();
    lab.finish();
    assert_eq!(lab.executed()["1/4"], 1);
    assert_eq!((lab.progress.exhausted(), lab.progress.rejected()), (0, 1));
    lab.stop();
    let headers = headers(&lab.log.records(DEAD, 0)[0]);
    let expected = [("kind", "rejected"), ("attempt", "1"), ("partition", "1"), ("offset", "4")];
    assert!(expected.iter().all(|(key, value)| headers[&format!("topo.{key}")] == *value), "{headers:?}");
    assert_eq!(lab.values(OUT).len(), 29);
}

#[test]
fn what_cannot_be_decoded_goes_to_the_dead_letters() {
    let mut lab = Lab::new(5, 1);
    lab.feed(0, ["a", "garbled", "b", "bomb", "c"].map(str::to_owned));
    lab.launch();
    lab.finish();
    let numbers = lab.stop();
    assert_eq!(numbers.components[0].total(|task| task.restarted), 0);
    assert_eq!((lab.values(OUT), lab.progress.rejected()), (["a", "b", "c"].map(str::to_owned).to_vec(), 2));
    let dead = lab.log.records(DEAD, 0);
    for (dead, value, reason) in
        [(&dead[0], "garbled", "it is garbled"), (&dead[1], "bomb", "panicked: it went off")]
    {
        assert_eq!(text(dead), value);
        let headers = headers(dead);
        assert_eq!((headers["topo.reason"].as_str(), headers["topo.component"].as_str()), (reason, IN));
    }
}

#[test]
fn a_component_may_have_dead_letters_of_its_own_and_one_topics_trouble_is_not_the_others() {
    let mut lab = Lab::new(5, 1);
    lab.feed(0, ["a", "garbled", "bad", "b"].map(str::to_owned));
    lab.answer(|value, _| if value == "bad" { Answer::Reject } else { Answer::Ok });
    lab.setup.spout.dead_letters_of.insert(IN.into(), "in.garbled".into());
    let mut troubles = 3;
    lab.log.judge(move |call| match call {
        Call::Append(at, _) if &*at.topic == "in.garbled" && troubles > 0 => {
            troubles -= 1;
            Fate::fails()
        }
        _ => Fate::default(),
    });
    lab.launch();
    lab.finish();
    // The demands on commits know one topic of dead letters.
    lab.block_on(lab.running().kill(Duration::from_secs(60))).unwrap();
    assert_eq!((lab.values(DEAD), lab.values("in.garbled")), (vec!["bad".into()], vec!["garbled".into()]));
    assert_eq!(lab.committed(0), Some(4));
    let causes = lab.progress.causes();
    let told: Vec<_> =
        causes.groups().iter().map(|one| (&*one.component, &*one.reason, &*one.letters)).collect();
    assert_eq!(told, [("work", "never", DEAD), (IN, "it is garbled", "in.garbled")]);
    let example = &causes.groups()[1].example;
    assert_eq!((example.at.to_string().as_str(), example.offset, &*example.excerpt), ("in-0", 1, "garbled"));
}

#[test]
fn dead_letters_that_would_be_read_again_do_not_start() {
    let mut lab = Lab::new(5, 1);
    lab.setup.spout.dead_letters = IN.into();
    let refused = lab.try_launch().unwrap_err().to_string();
    assert!(refused.contains("dead letters of topic `in` cannot go to `in` itself"), "{refused}");
}

/// The runtime drops `ready` with every ack: what is on its way to the log must neither be lost nor sent twice.
#[test]
fn acks_that_arrive_all_the_time_neither_lose_nor_double_a_dead_letter() {
    for_seeds(20, |seed| {
        let mut lab = Lab::new(seed, 2);
        lab.scheduler.set_step_cost(Duration::from_micros(50));
        lab.log.limit_fetches(15);
        lab.feed_all(2, 300);
        lab.setup.spout.commit_interval = Duration::from_millis(20);
        lab.log.judge(|_| Fate { takes: Duration::from_millis(3), ..Fate::default() });
        lab.answer(|value, _| if value.ends_with('7') { Answer::Reject } else { Answer::Ok });
        lab.launch();
        lab.finish();
        lab.stop();
        let (mut dead, mut out) = (lab.values(DEAD), lab.values(OUT));
        assert_eq!((dead.len(), out.len(), lab.progress.rejected()), (60, 540, 60));
        for values in [&mut dead, &mut out] {
            values.sort();
            values.dedup();
        }
        assert_eq!((dead.len(), out.len()), (60, 540));
        assert!(lab.log.commits().len() > 3);
    });
}

/// A topic of nothing but bad records must not be gathered in memory.
#[test]
fn dead_letters_that_cannot_be_written_stop_the_emitting() {
    let mut lab = Lab::new(9, 1);
    lab.feed(0, (0..5_000).map(|number| format!("garbled {number}")));
    lab.log.judge(|call| match call {
        Call::Append(at, _) if &*at.topic == DEAD => Fate::fails(),
        _ => Fate::default(),
    });
    let decoded = Arc::new(AtomicUsize::new(0));
    lab.launch();
    lab.pass(Duration::from_secs(20));
    assert_eq!((lab.committed(0), lab.progress.rejected()), (None, 0));
    lab.log.judge({
        let decoded = Arc::clone(&decoded);
        move |call| {
            if let Call::Append(_, records) = call {
                decoded.fetch_max(records.len(), Ordering::Relaxed);
            }
            Fate::default()
        }
    });
    lab.finish();
    lab.stop();
    let most = decoded.load(Ordering::Relaxed);
    assert!(most <= 2_048, "{most} dead letters were held");
    assert_eq!((lab.values(DEAD).len(), lab.progress.rejected()), (5_000, 5_000));
}

/// With its headers a letter may be larger than the record was.
#[test]
fn a_dead_letter_that_is_too_large_says_where_its_record_is() {
    let mut lab = Lab::new(9, 1);
    let large = format!("large {}", "x".repeat(1_000));
    lab.feed(0, ["small".to_owned(), large.clone(), "fine".to_owned()]);
    lab.answer(|value, _| if value == "fine" { Answer::Ok } else { Answer::Reject });
    lab.log.judge(|call| match call {
        Call::Append(_, records) if records.iter().flat_map(|one| &one.value).any(|v| v.len() > 1_000) => {
            Fate { error: Some(LogError::Invalid("too large".into())), ..Fate::default() }
        }
        _ => Fate::default(),
    });
    lab.launch();
    lab.finish();
    // There is no value to tell it by, so the demands on commits are not met here.
    lab.block_on(lab.running().kill(Duration::from_secs(60))).unwrap();
    let dead = lab.log.records(DEAD, 0);
    assert_eq!((dead.len(), text(&dead[0]).as_str(), dead[1].value.as_deref()), (2, "small", None));
    let headers = headers(&dead[1]);
    assert_eq!((headers["topo.offset"].as_str(), headers["topo.value-bytes"].as_str()), ("1", "1006"));
    assert_eq!(lab.progress.rejected(), 2);
}

#[test]
fn a_record_that_waits_for_its_next_attempt_is_read_again_after_a_stop() {
    let mut lab = Lab::new(2, 1);
    lab.feed_all(1, 10);
    lab.answer(|value, times| if value == "0/4" && times < 3 { Answer::Retry } else { Answer::Ok });
    lab.launch();
    lab.pass(Duration::from_millis(120));
    lab.stop();
    assert_eq!((lab.committed(0), lab.values(OUT).len()), (Some(4), 9));
    lab.progress = Default::default();
    lab.launch();
    lab.finish();
    lab.stop();
    assert_eq!(lab.committed(0), Some(10));
    assert!(lab.values(OUT).contains(&"0/4".to_owned()));
}
