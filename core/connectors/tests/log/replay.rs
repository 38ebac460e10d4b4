//! Dead letters that are fed in again.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use topo_connectors::dead_letters::{Fate as Became, Letter, Letters, Replay, Replayed, Unreplayable};
use topo_connectors::gather::{FileLines, Gather};
use topo_core::log::{Header, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{Answer, DEAD, IN, Lab, OUT, text};

const ALL: Letters = Letters { from: None, end: i64::MAX, most: u64::MAX };

/// Replays letters of partition 0; gives what became of each, by its offset.
fn try_replay(
    lab: &Lab,
    replay: &Replay,
    letters: Letters,
) -> Result<(Replayed, Vec<(i64, Became)>), LogError> {
    let mut fates = Vec::new();
    let mut told = |letter: &Letter, fate: &Became| fates.push((letter.offset(), fate.clone()));
    let at = TopicPartition::new(DEAD, 0);
    let replayed = lab.block_on(async {
        let end = lab.log.offsets(&at).await?.high_watermark.min(letters.end);
        replay.run(&*lab.log, &at, Letters { end, ..letters }, &mut told).await
    })?;
    Ok((replayed, fates))
}

fn replay(lab: &Lab, replay: &Replay, letters: Letters) -> (Replayed, Vec<(i64, Became)>) {
    try_replay(lab, replay, letters).unwrap()
}

fn replayed(replayed: u64, left: u64) -> Replayed {
    Replayed { replayed, left, ..Replayed::default() }
}

/// A lab whose bolt has rejected these values.
fn rejected(values: &[&str]) -> Lab {
    let mut lab = Lab::new(3, 1);
    lab.feed(0, values.iter().map(|value| (*value).to_owned()));
    lab.answer(|_, _| Answer::Reject);
    lab.launch();
    lab.finish();
    lab.stop();
    assert_eq!(lab.values(DEAD), values);
    lab
}

#[test]
fn letters_are_processed_again_as_they_were_and_no_second_time() {
    let mut lab = Lab::new(3, 2);
    let header = |key: &str, value: &'static str| Header { key: key.into(), value: Some(value.into()) };
    let record = Record {
        key: Some("k".into()),
        value: Some("bad".into()),
        headers: vec![header("own", "x"), header("topo.source", "1-2/0@7")],
        timestamp_ms: Some(77),
    };
    lab.feed_all(2, 5);
    lab.block_on(lab.log.append(&TopicPartition::new(IN, 1), vec![record])).unwrap();
    lab.answer(|value, times| if value == "bad" && times == 1 { Answer::Reject } else { Answer::Ok });
    lab.launch();
    lab.finish();
    assert_eq!((lab.values(DEAD), lab.progress.rejected()), (vec!["bad".to_owned()], 1));

    let to = Became::Replayed(TopicPartition::new(IN, 1));
    assert_eq!(replay(&lab, &Replay::default(), ALL), (replayed(1, 0), vec![(0, to)]));
    let again = lab.log.records(IN, 1).pop().unwrap();
    assert_eq!((again.offset, again.key.as_deref(), again.timestamp_ms), (6, Some(&b"k"[..]), 77));
    assert_eq!((text(&again).as_str(), &again.headers), ("bad", &vec![header("own", "x")]));
    lab.finish();
    assert_eq!(lab.executed()["bad"], 2);
    assert_eq!(lab.values(OUT).iter().filter(|value| *value == "bad").count(), 1);

    assert_eq!(replay(&lab, &Replay::default(), ALL), (replayed(0, 0), vec![]));
    assert_eq!(lab.log.records(IN, 1).len(), 7);
    lab.stop();
}

#[test]
fn a_replay_that_ends_before_its_commit_repeats_and_loses_nothing() {
    let lab = rejected(&["a", "b", "c"]);
    lab.log.limit_fetches(2);
    let mut commits = 0;
    lab.log.judge(move |call| {
        commits += usize::from(matches!(call, Call::Commit(_)));
        if commits == 2 { Fate::fails() } else { Fate::default() }
    });
    let failed = try_replay(&lab, &Replay::default(), ALL).unwrap_err();
    assert!(matches!(failed, LogError::Storage(_)));
    assert_eq!(lab.values(IN), ["a", "b", "c", "a", "b", "c"]);
    lab.log.be_kind();
    assert_eq!(replay(&lab, &Replay::default(), ALL).0, replayed(1, 0), "what was committed is not repeated");
    assert_eq!(lab.values(IN)[6..], ["c"]);
}

#[test]
fn an_append_that_fails_commits_nothing() {
    let lab = rejected(&["a", "b"]);
    lab.log.judge(|call| if matches!(call, Call::Append(..)) { Fate::fails() } else { Fate::default() });
    assert!(try_replay(&lab, &Replay::default(), ALL).is_err());
    lab.log.be_kind();
    assert_eq!(replay(&lab, &Replay::default(), ALL).0, replayed(2, 0));
}

#[test]
fn a_dry_run_changes_nothing() {
    let lab = rejected(&["a", "b"]);
    let commits = lab.log.commits().len();
    let dry = Replay { dry_run: true, ..Replay::default() };
    for _ in 0..2 {
        let (counts, fates) = replay(&lab, &dry, ALL);
        assert_eq!((counts, fates.len()), (replayed(2, 0), 2));
    }
    assert_eq!((lab.values(IN).len(), lab.log.commits().len()), (2, commits));
}

#[test]
fn an_offset_a_count_and_another_topic_are_obeyed() {
    let lab = rejected(&["a", "b", "c", "d"]);
    lab.block_on(lab.log.create_topic("other", &TopicSpec::default())).unwrap();
    let other = Replay { to: Some("other".into()), dry_run: false, ..Replay::default() };
    assert_eq!(replay(&lab, &other, Letters { most: 1, ..ALL }).0, replayed(1, 0));
    let (counts, _) = replay(&lab, &other, Letters { from: Some(2), most: 1, ..ALL });
    assert_eq!(counts, Replayed { passed_over: Some((1, 2)), ..replayed(1, 0) });
    assert_eq!(replay(&lab, &other, ALL).0, replayed(1, 0));
    assert_eq!(lab.values("other"), ["a", "c", "d"]);
    // What lies behind is replayed where it is asked for, and that moves nothing back.
    assert_eq!(replay(&lab, &other, Letters { from: Some(0), most: 2, ..ALL }).0, replayed(2, 0));
    assert_eq!(replay(&lab, &other, ALL).0, replayed(0, 0));
    assert_eq!(lab.values("other"), ["a", "c", "d", "a", "b"]);
    assert_eq!(lab.values(IN).len(), 4);
}

#[test]
fn a_letter_that_is_picked_leaves_those_in_front_of_it_to_wait() {
    let lab = rejected(&["a", "b", "c"]);
    let one = Replay { leaves_position: true, ..Replay::default() };
    let pick = |offset| Letters { from: Some(offset), end: offset + 1, most: 1 };
    let (counts, _) = replay(&lab, &one, pick(1));
    assert_eq!(counts, Replayed { passed_over: Some((0, 1)), ..replayed(1, 0) });
    // The next in the row is as good as replayed in it.
    assert_eq!(replay(&lab, &one, pick(0)).0, replayed(1, 0));
    assert_eq!(
        replay(&lab, &Replay::default(), ALL).0,
        replayed(2, 0),
        "b comes again, and c for the first time"
    );
    assert_eq!(lab.values(IN)[3..], ["b", "a", "b", "c"]);
}

#[test]
fn what_cannot_be_replayed_is_named_and_keeps_nobody_back() {
    let lab = rejected(&["a", "b"]);
    let stranger = Record { value: Some("no letter".into()), ..Record::default() };
    lab.block_on(lab.log.append(&TopicPartition::new(DEAD, 0), vec![stranger])).unwrap();
    lab.log.judge(|call| match call {
        Call::Append(_, records) if records.iter().any(|one| one.value.as_deref() == Some(b"a")) => {
            Fate { error: Some(LogError::Invalid("no a".into())), ..Fate::default() }
        }
        _ => Fate::default(),
    });
    let (counts, fates) = replay(&lab, &Replay::default(), ALL);
    assert_eq!(counts, replayed(1, 2));
    let expected = [
        (0, Became::Left(Unreplayable::Refused("no a".into()))),
        (1, Became::Replayed(TopicPartition::new(IN, 0))),
        (2, Became::Left(Unreplayable::NoOrigin)),
    ];
    assert_eq!(fates, expected);
    assert_eq!(replay(&lab, &Replay::default(), ALL).0, replayed(0, 0));

    let nowhere = Replay { to: Some("nowhere".into()), dry_run: false, ..Replay::default() };
    let (_, fates) = replay(&lab, &nowhere, Letters { from: Some(2), ..ALL });
    assert_eq!(fates, [(2, Became::Left(Unreplayable::NoTopic("nowhere".into())))]);
    lab.block_on(lab.log.delete_topic(IN)).unwrap();
    let (_, fates) = replay(&lab, &Replay::default(), Letters { from: Some(1), most: 1, ..ALL });
    assert_eq!(fates, [(1, Became::Left(Unreplayable::NoTopic(IN.into())))]);
}

#[test]
fn a_value_that_was_too_large_is_fetched_from_where_it_came_from() {
    let mut lab = Lab::new(9, 1);
    let large = |number: usize| format!("large {number} {}", "x".repeat(1_000));
    lab.feed(0, [large(0), "small".to_owned(), large(1)]);
    lab.answer(|_, _| Answer::Reject);
    lab.log.judge(|call| match call {
        Call::Append(at, records)
            if &*at.topic == DEAD && records.iter().flat_map(|one| &one.value).any(|v| v.len() > 999) =>
        {
            Fate { error: Some(LogError::Invalid("too large".into())), ..Fate::default() }
        }
        _ => Fate::default(),
    });
    lab.launch();
    lab.finish();
    // The demands on commits tell letters by their values.
    lab.block_on(lab.running().kill(Duration::from_secs(60))).unwrap();
    assert_eq!(lab.values(DEAD), ["", "small", ""]);
    lab.log.delete_before(&TopicPartition::new(IN, 0), 1);
    let (counts, fates) = replay(&lab, &Replay::default(), ALL);
    assert_eq!(counts, replayed(2, 1));
    let gone = Unreplayable::Gone { at: TopicPartition::new(IN, 0), offset: 0, bytes: 1_008 };
    assert_eq!(fates[0], (0, Became::Left(gone.clone())));
    assert_eq!(lab.values(IN)[2..], ["small".to_owned(), large(1)]);

    // Another record in its place is not taken for it.
    lab.block_on(async {
        lab.log.delete_topic(IN).await.unwrap();
        lab.log.create_topic(IN, &TopicSpec::default()).await.unwrap();
    });
    lab.feed(0, [large(7), large(8), large(9)]);
    lab.pass(Duration::from_secs(1));
    let (_, fates) = replay(&lab, &Replay::default(), Letters { from: Some(0), most: 1, ..ALL });
    assert_eq!(fates, [(0, Became::Left(gone))]);
}

/// Gathering reads files on a thread, which the seeded scheduler does not wait for.
#[test]
fn a_file_is_gathered_on_where_it_was_though_its_lines_were_replayed() {
    let mut lab = Lab::new(3, 1);
    let log = lab.log.clone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    // On a runtime of its own: within one, the lab's scheduler would use up the budget of a single poll.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let gather = |path: &Path| runtime.block_on(FileLines::open(path).unwrap().gather(&*log, IN)).unwrap();
    fs::write(&path, "one\nbad\nthree\n").unwrap();
    assert_eq!(gather(&path), 3);
    lab.answer(|value, _| if value == "bad" { Answer::Reject } else { Answer::Ok });
    lab.launch();
    lab.finish();
    lab.stop();
    assert_eq!(replay(&lab, &Replay::default(), ALL).0, replayed(1, 0));
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"four\n").unwrap();
    assert_eq!(gather(&path), 1);
    assert_eq!(lab.values(IN), ["one", "bad", "three", "bad", "four"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever counts they are replayed in and however much one fetch gives, each goes once and in order.
    #[test]
    fn in_any_portions_every_letter_goes_once(
        letters in 1usize..40,
        portions in prop::collection::vec(0u64..8, 1..30),
        per_fetch in 1usize..10,
    ) {
        let values: Vec<String> = (0..letters).map(|number| number.to_string()).collect();
        let lab = rejected(&values.iter().map(String::as_str).collect::<Vec<_>>());
        lab.log.limit_fetches(per_fetch);
        for most in portions {
            let (counts, _) = replay(&lab, &Replay::default(), Letters { most, ..ALL });
            prop_assert!(counts.replayed <= most);
        }
        replay(&lab, &Replay::default(), ALL);
        prop_assert_eq!(&lab.values(IN)[letters..], &values[..]);
    }
}
