//! What every log must do with transactions.

use std::future::poll_fn;
use std::task::Poll;

use topo_core::log::{LogError, TransactionalConfig, TransactionalLog};

use super::*;

/// A holder of an id.
pub(super) async fn holder(log: &Tried, id: &str) -> Box<dyn TransactionalLog> {
    log.transactional(&TransactionalConfig::new(id)).await.expect("the log has transactions")
}

async fn write(of: &mut Box<dyn TransactionalLog>, partition: u32, records: Vec<Record>) {
    of.append(&at(partition), records).await.expect("the topic takes them");
}

/// The numbers from `offset` on, as soon as there are so many.
async fn read(log: &Tried, at: &TopicPartition, mut offset: i64, count: usize) -> Vec<u32> {
    let mut all = Vec::new();
    while all.len() < count {
        let fetched = log.fetch(at, offset, FOR_LONG).await.expect("it is held");
        all.extend(numbers(&fetched.records));
        offset = fetched.next_offset;
    }
    all
}

/// Records of several partitions are seen together or never, and nothing is seen behind what is not decided.
pub async fn a_transaction_is_seen_whole_or_never(log: Tried) {
    create(&log, 3, &[]).await;
    let mut one = holder(&log, "one").await;
    one.commit().await.expect("nothing is open");
    one.abort().await.expect("nothing is open");
    for round in 0..4 {
        write(&mut one, 0, numbered(round * 10..round * 10 + 3)).await;
        write(&mut one, 1, Vec::new()).await;
        write(&mut one, 1, numbered(round * 10 + 3..round * 10 + 5)).await;
        write(&mut one, 0, numbered(round * 10 + 5..round * 10 + 6)).await;
        if round % 2 == 0 {
            one.commit().await.expect("nobody else has the id");
        } else {
            one.abort().await.expect("nobody else has the id");
        }
    }
    assert_eq!(read(&log, &at(0), 0, 8).await, [0, 1, 2, 5, 20, 21, 22, 25]);
    assert_eq!(read(&log, &at(1), 0, 4).await, [3, 4, 23, 24]);

    write(&mut one, 0, numbered(40..41)).await;
    write(&mut one, 2, numbered(41..42)).await;
    let behind = append(&log, 2, numbered(99..100)).await;
    let short = FetchLimit { max_wait: Duration::from_millis(100), ..AT_ONCE };
    let held = log.offsets(&at(2)).await.expect("it is there");
    assert!(held.high_watermark <= behind, "{held:?}");
    let fetched = log.fetch(&at(2), 0, short).await.expect("it is held");
    assert!(fetched.records.is_empty() || held.high_watermark > 0, "{fetched:?}");
    one.commit().await.expect("nobody else has the id");
    let mut seen = read(&log, &at(2), 0, 2).await;
    seen.sort_unstable();
    assert_eq!(seen, [41, 99]);
    // Beside transactions there is nothing to wait for.
    append(&log, 0, numbered(100..101)).await;
    assert_eq!(read(&log, &at(0), 0, 10).await, [0, 1, 2, 5, 20, 21, 22, 25, 40, 100]);
}

/// What a group goes on from is committed with the records, or not at all; a member's only while it is one.
pub async fn offsets_are_committed_with_the_records(log: Tried) {
    create(&log, 2, &[]).await;
    append(&log, 0, numbered(0..10)).await;
    append(&log, 1, numbered(0..10)).await;
    let committed =
        async |partition| log.committed("members", &at(partition)).await.expect("it can be asked");
    let mut one = holder(&log, "one").await;
    one.commit_offsets("members", None, &[(at(0), 2), (at(1), 3)]).await.expect("nobody else commits");
    one.commit().await.expect("nobody else has the id");
    assert_eq!((committed(0).await, committed(1).await), (Some(2), Some(3)));

    write(&mut one, 1, numbered(10..11)).await;
    one.commit_offsets("members", None, &[(at(0), 4)]).await.expect("nobody else commits");
    one.abort().await.expect("nobody else has the id");
    assert_eq!(committed(0).await, Some(2));

    let member = log.join(&joining("worker")).await.expect("the topic is there");
    assert_eq!(assigned(&*member).await, [at(0), at(1)]);
    write(&mut one, 1, numbered(11..12)).await;
    let offsets = [(at(0), 5), (at(1), 6)];
    one.commit_offsets("members", Some(&*member), &offsets).await.expect("they are the member's");
    one.commit().await.expect("nobody else has the id");
    assert_eq!((committed(0).await, committed(1).await), (Some(5), Some(6)));

    one.commit_offsets_noting("members", Some(&*member), &[(at(0), 5)], "as before")
        .await
        .expect("it is the member's");
    one.commit().await.expect("nobody else has the id");
    let noted = async |partition| log.noted("members", &at(partition)).await.expect("it can be asked");
    assert_eq!(noted(0).await, Some((5, "as before".to_owned())));
    assert_eq!(noted(1).await, Some((6, String::new())));

    member.leave().await;
    write(&mut one, 1, numbered(13..14)).await;
    one.commit_offsets("members", None, &[(at(0), 6)]).await.expect("nobody else commits");
    one.commit().await.expect("nobody else has the id");
    assert_eq!(noted(0).await, Some((6, String::new())), "a note goes with its offset");
    assert_eq!(read(&log, &at(1), 10, 2).await, [11, 13], "all but what was aborted");
}

/// What a member was assigned is committed for its group while it is one.
pub async fn a_member_that_has_left_commits_nothing_in_a_transaction(log: Tried) {
    create(&log, 2, &[]).await;
    append(&log, 0, numbered(0..10)).await;
    let member = log.join(&joining("worker")).await.expect("the topic is there");
    assert_eq!(assigned(&*member).await, [at(0), at(1)]);
    member.leave().await;
    let mut one = holder(&log, "one").await;
    write(&mut one, 1, numbered(12..13)).await;
    let late = one.commit_offsets("members", Some(&*member), &[(at(0), 9)]).await;
    assert!(matches!(late, Err(LogError::CommitFailed(_))), "{late:?}");
    let refused = one.commit().await;
    assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
    one.abort().await.expect("nobody else has the id");
    assert_eq!(log.committed("members", &at(0)).await.expect("it can be asked"), None);
}

/// Whoever takes an id over aborts what was open, be its holder dead or only slow; the slow one changes nothing any more.
pub async fn the_next_holder_aborts_what_is_open_and_fences(log: Tried) {
    create(&log, 1, &[]).await;
    let mut old = holder(&log, "one").await;
    write(&mut old, 0, numbered(0..3)).await;
    old.commit_offsets("members", None, &[(at(0), 3)]).await.expect("nobody else commits");
    let mut new = holder(&log, "one").await;
    // Behind what was open something is seen at once: it is open no more.
    append(&log, 0, numbered(50..51)).await;
    assert_eq!(read(&log, &at(0), 0, 1).await, [50]);
    assert_eq!(log.committed("members", &at(0)).await.expect("it can be asked"), None);

    write(&mut new, 0, numbered(60..61)).await;
    // What it writes may be refused at once, or when it is to be committed.
    let written = old.append(&at(0), numbered(3..6)).await;
    assert!(matches!(written, Ok(()) | Err(LogError::Fenced(_))), "{written:?}");
    let ended = if written.is_ok() { old.commit().await } else { old.abort().await };
    assert!(matches!(ended, Err(LogError::Fenced(_))), "{ended:?}");
    let again = old.abort().await;
    assert!(matches!(again, Err(LogError::Fenced(_))), "{again:?}");
    drop(old);
    new.commit().await.expect("it has the id");
    let mut other = holder(&log, "other").await;
    write(&mut other, 0, numbered(70..71)).await;
    other.commit().await.expect("another id is another's");
    assert_eq!(read(&log, &at(0), 0, 3).await, [50, 60, 70]);
    let late = new.append(&at(0), numbered(80..81)).await;
    late.expect("it still has the id");
    new.commit().await.expect("it still has the id");
    assert_eq!(read(&log, &at(0), 0, 4).await, [50, 60, 70, 80]);
}

/// Without anybody to come, nothing stays open for long.
pub async fn what_is_dropped_is_aborted(log: Tried) {
    create(&log, 1, &[]).await;
    let mut one = holder(&log, "one").await;
    write(&mut one, 0, numbered(0..3)).await;
    append(&log, 0, numbered(50..51)).await;
    drop(one);
    assert_eq!(read(&log, &at(0), 0, 1).await, [50]);
}

/// Something missing is never committed, and an abort makes way for the next attempt.
pub async fn a_transaction_that_has_failed_can_only_be_aborted(log: Tried) {
    create(&log, 1, &[]).await;
    let none = TopicPartition::new("none", 0);
    let mut one = holder(&log, "one").await;
    for missing in [&none, &at(7)] {
        write(&mut one, 0, numbered(0..1)).await;
        let refused = one.append(missing, numbered(1..2)).await;
        let expected = matches!(refused, Err(LogError::UnknownTopic(_) | LogError::UnknownPartition(_)));
        assert!(expected, "{refused:?}");
        for refused in [one.commit().await, one.append(&at(0), numbered(2..3)).await] {
            assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
        }
        one.abort().await.expect("nobody else has the id");
    }
    write(&mut one, 0, numbered(3..4)).await;
    one.commit().await.expect("nothing is missing");
    assert_eq!(read(&log, &at(0), 0, 1).await, [3]);
    assert_eq!(log.topic("none").await.expect("the log answers"), None);
}

/// A call that was given up counts as failed.
pub async fn what_was_given_up_is_not_committed(log: Tried) {
    create(&log, 1, &[]).await;
    let mut one = holder(&log, "one").await;
    write(&mut one, 0, numbered(0..1)).await;
    let topic = at(0);
    let mut given_up = one.append(&topic, numbered(1..2));
    let is_done = poll_fn(|context| Poll::Ready(given_up.as_mut().poll(context).is_ready())).await;
    drop(given_up);
    if !is_done {
        let refused = one.commit().await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
    }
    one.abort().await.expect("nobody else has the id");
    write(&mut one, 0, numbered(2..3)).await;
    one.commit().await.expect("nothing is missing");
    assert_eq!(read(&log, &at(0), 0, 1).await, [2]);
}

/// Batches are as small as the topic wants them in a transaction too, and one that is too large is refused.
pub async fn transactions_fit_topics_that_take_small_batches(log: Tried) {
    create(&log, 1, &[("max.message.bytes", "2000")]).await;
    let mut one = holder(&log, "one").await;
    write(&mut one, 0, numbered(0..3_000)).await;
    one.commit().await.expect("they fit");
    let mut noise = 1_u32;
    let mut noisy = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    };
    let large = Record { value: Some((0..6_000).map(|_| noisy()).collect()), ..Record::default() };
    let appended = one.append(&at(0), vec![large]).await;
    let refused = if appended.is_ok() { one.commit().await } else { appended };
    assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
    one.abort().await.expect("nobody else has the id");
    write(&mut one, 0, numbered(3_000..3_001)).await;
    one.commit().await.expect("it fits");
    assert_eq!(read(&log, &at(0), 0, 3_001).await, (0..3_001).collect::<Vec<_>>());
}
