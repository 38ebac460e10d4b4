//! What every [`Log`] must do, to be run over each of them: the memory log, the embedded log, and a broker's behind the
//! Kafka client.
//!
//! [`log_contract!`](crate::log_contract!) makes a test of each clause.

#![expect(clippy::missing_panics_doc, reason = "that is how a clause says that it does not hold")]

mod transactions;

use std::time::Duration;

use futures_util::future::join_all;
use topo_core::log::{
    Change, Consumed, FetchLimit, Fetched, Header, Isolation, Joining, Log, LogError, Membership, Offsets,
    Record, TopicPartition, TopicSpec,
};

pub use transactions::*;

/// Makes a test of every clause that holds for any log. `$open` is an `async fn` that returns a log of its own, and
/// what must live as long. With `brokers`, also of those that ask for a broker's judgement.
#[macro_export]
macro_rules! log_contract {
    ($open:path) => {
        $crate::log_contract!($open;
            a_topic_lives_from_create_to_delete,
            records_come_back_as_they_were_appended,
            appends_keep_their_order_and_stay_together,
            reading_begins_anywhere_and_goes_on_to_the_end,
            offsets_that_are_not_held_are_refused,
            a_fetch_waits_for_what_comes_and_no_longer,
            what_was_acknowledged_can_be_read_at_once,
            offsets_are_found_by_time,
            groups_commit_apart_from_each_other,
            what_is_not_there_is_said_and_not_created,
            a_member_alone_has_all_and_commits_for_its_group,
            a_transaction_is_seen_whole_or_never,
            offsets_are_committed_with_the_records,
            a_member_that_has_left_commits_nothing_in_a_transaction,
            the_next_holder_aborts_what_is_open_and_fences,
            what_is_dropped_is_aborted,
            a_transaction_that_has_failed_can_only_be_aborted,
            what_was_given_up_is_not_committed,
        );
    };
    ($open:path, brokers) => {
        $crate::log_contract!($open);
        $crate::log_contract!($open;
            topics_that_cannot_be_are_refused,
            a_record_that_is_too_large_is_refused_and_its_neighbours_are_not_hurt,
            topics_may_take_small_batches_only,
            transactions_fit_topics_that_take_small_batches,
            members_share_a_topic_and_wait_for_each_other,
        );
    };
    ($open:path; $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                let (log, _lives) = $open().await;
                $crate::log_contract::$clause(log).await;
            }
        )*
    };
}

/// A log to be tried.
pub type Tried = std::sync::Arc<dyn Log>;

const AT_ONCE: FetchLimit =
    FetchLimit { max_bytes: 1 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadCommitted };
/// Longer than any test may take.
const FOR_LONG: FetchLimit = FetchLimit { max_wait: Duration::from_secs(600), ..AT_ONCE };

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("contract", partition)
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|n| Record { value: Some(format!("{n}").into()), ..Record::default() }).collect()
}

fn numbers(records: &[Consumed]) -> Vec<u32> {
    let number = |one: &Consumed| String::from_utf8_lossy(one.value.as_deref().unwrap_or_default()).parse();
    records.iter().map(|one| number(one).expect("the tests' values are numbers")).collect()
}

async fn create(log: &Tried, partitions: u32, config: &[(&str, &str)]) {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    log.create_topic("contract", &TopicSpec { partitions, config }).await.expect("it is not there yet");
}

async fn append(log: &Tried, partition: u32, records: Vec<Record>) -> i64 {
    log.append(&at(partition), records).await.expect("the topic takes them")
}

/// Everything from `offset` on, fetch by fetch.
async fn read_on(log: &Tried, at: &TopicPartition, mut offset: i64, max_bytes: usize) -> Vec<Consumed> {
    let mut all: Vec<Consumed> = Vec::new();
    loop {
        let fetched = log.fetch(at, offset, FetchLimit { max_bytes, ..AT_ONCE }).await.expect("it is held");
        if fetched.next_offset == offset {
            assert!(fetched.records.is_empty());
            return all;
        }
        assert!(fetched.next_offset <= fetched.high_watermark, "{fetched:?}");
        all.extend(fetched.records);
        offset = fetched.next_offset;
    }
}

/// Creation, description, deletion.
pub async fn a_topic_lives_from_create_to_delete(log: Tried) {
    create(&log, 3, &[("retention.ms", "123456789")]).await;
    let there = log.topic("contract").await.expect("the log answers").expect("it was created");
    assert_eq!((&*there.name, there.partitions), ("contract", 3));
    assert_eq!(there.config.into_iter().collect::<Vec<_>>(), [("retention.ms".into(), "123456789".into())]);
    let again = log.create_topic("contract", &TopicSpec::default()).await;
    assert!(matches!(&again, Err(LogError::TopicExists(name)) if &**name == "contract"), "{again:?}");
    log.create_topic("other", &TopicSpec::default()).await.expect("it is not there yet");
    let mut names: Vec<_> =
        log.topics().await.expect("the log answers").into_iter().map(|one| one.name).collect();
    names.sort();
    assert_eq!(names, ["contract".into(), "other".into()]);
    append(&log, 2, numbered(0..3)).await;
    log.delete_topic("contract").await.expect("it is there");
    assert_eq!(log.topic("contract").await.expect("the log answers"), None);
    assert!(matches!(log.delete_topic("contract").await, Err(LogError::UnknownTopic(_))));
    create(&log, 1, &[]).await;
    assert_eq!(log.offsets(&at(0)).await.expect("it is there").high_watermark, 0, "it begins anew");
    assert_eq!(append(&log, 0, numbered(0..1)).await, 0);
    assert_eq!(numbers(&read_on(&log, &at(0), 0, 1 << 20).await), [0]);
}

/// Keys, values, headers and timestamps, nulls and empty ones told apart.
pub async fn records_come_back_as_they_were_appended(log: Tried) {
    create(&log, 2, &[]).await;
    let header = |value: Option<&'static str>| Header { key: "h".into(), value: value.map(Into::into) };
    let full = Record {
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![header(Some("x")), header(None), header(Some(""))],
        timestamp_ms: Some(1_234_567),
    };
    let empty =
        Record { key: Some("".into()), value: Some("".into()), timestamp_ms: Some(5), ..Record::default() };
    let bytes =
        Record { value: Some(vec![0, 0xff, 0x80].into()), timestamp_ms: Some(4), ..Record::default() };
    let null = Record { timestamp_ms: Some(6), ..Record::default() };
    let records = vec![full, empty, bytes, null];
    assert_eq!(append(&log, 1, records.clone()).await, 0);
    let fetched = log.fetch(&at(1), 0, AT_ONCE).await.expect("it is held");
    let expected = records.into_iter().zip(0..).map(|(record, offset)| Consumed {
        offset,
        timestamp_ms: record.timestamp_ms.unwrap_or(-1),
        key: record.key,
        value: record.value,
        headers: record.headers,
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(fetched, Fetched { records: expected, next_offset: 4, high_watermark: 4 });
    assert_eq!(append(&log, 1, Vec::new()).await, 4, "nothing is at the end");
    append(&log, 1, numbered(0..1)).await;
    let stamped = log.fetch(&at(1), 4, AT_ONCE).await.expect("it is held").records[0].timestamp_ms;
    assert!(stamped > 0, "without a timestamp it has that of its append, not {stamped}");
}

/// Concurrent appends do not mix, and each says where it is.
pub async fn appends_keep_their_order_and_stay_together(log: Tried) {
    create(&log, 3, &[]).await;
    let appends = (0..24_u32).map(|n| {
        let (log, records) = (log.clone(), numbered(n * 500..(n + 1) * 500));
        tokio::spawn(async move { append(&log, n % 3, records).await })
    });
    let bases = join_all(appends).await;
    for partition in 0..3 {
        let records = read_on(&log, &at(partition), 0, 10_000).await;
        assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
        let values = numbers(&records);
        assert_eq!(values.len(), 4_000);
        for (n, base) in (0..).zip(&bases).filter(|(n, _)| n % 3 == partition) {
            let from = *base.as_ref().expect("no append panics") as usize;
            assert_eq!(values[from..from + 500], (n * 500..(n + 1) * 500).collect::<Vec<_>>());
        }
    }
}

/// From any offset, in any order, by fetches of any size.
pub async fn reading_begins_anywhere_and_goes_on_to_the_end(log: Tried) {
    create(&log, 1, &[]).await;
    for n in 0..10 {
        append(&log, 0, numbered(n * 50..(n + 1) * 50)).await;
    }
    for (from, max_bytes) in
        [(0, 1), (499, 700), (3, 700), (250, 1 << 20), (251, 50), (500, 700), (0, 1 << 20)]
    {
        let records = read_on(&log, &at(0), from, max_bytes).await;
        assert_eq!(numbers(&records), (from as u32..500).collect::<Vec<_>>(), "from {from}");
    }
}

/// No offset is chosen for the caller.
pub async fn offsets_that_are_not_held_are_refused(log: Tried) {
    create(&log, 1, &[]).await;
    append(&log, 0, numbered(0..7)).await;
    let held = Offsets { log_start: 0, high_watermark: 7, log_end: 7 };
    assert_eq!(log.offsets(&at(0)).await.expect("it is there"), held);
    for asked in [8, -1, -2, i64::MIN, i64::MAX] {
        match log.fetch(&at(0), asked, AT_ONCE).await {
            Err(LogError::OffsetOutOfRange { at: of, asked: said, held: told }) => {
                assert_eq!((of, said, told), (at(0), asked, held));
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
    assert_eq!(log.fetch(&at(0), 7, AT_ONCE).await.expect("the end is held").next_offset, 7);
}

/// A long poll ends with the first record, a short one by itself.
pub async fn a_fetch_waits_for_what_comes_and_no_longer(log: Tried) {
    create(&log, 2, &[]).await;
    let empty = log.fetch(&at(0), 0, AT_ONCE).await.expect("the end is held");
    assert_eq!(empty, Fetched { records: Vec::new(), next_offset: 0, high_watermark: 0 });
    let waits = log.clone();
    let fetch = tokio::spawn(async move { waits.fetch(&at(0), 0, FOR_LONG).await });
    append(&log, 1, numbered(5..6)).await;
    append(&log, 0, numbered(0..3)).await;
    let fetched = fetch.await.expect("it does not panic").expect("the end was held");
    assert_eq!(numbers(&fetched.records)[0], 0);
    let short = FetchLimit { max_wait: Duration::from_millis(30), ..AT_ONCE };
    let begun = std::time::Instant::now();
    assert!(log.fetch(&at(0), 3, short).await.expect("the end is held").records.is_empty());
    assert!(begun.elapsed() >= short.max_wait);
}

/// However short the fetch.
pub async fn what_was_acknowledged_can_be_read_at_once(log: Tried) {
    create(&log, 1, &[]).await;
    for n in 0..30 {
        let offset = append(&log, 0, numbered(n..n + 1)).await;
        assert_eq!(log.offsets(&at(0)).await.expect("it is there").high_watermark, offset + 1);
        let fetched = log.fetch(&at(0), offset, AT_ONCE).await.expect("it is held");
        assert_eq!(numbers(&fetched.records), [n]);
    }
}

/// Times need not rise with offsets.
pub async fn offsets_are_found_by_time(log: Tried) {
    create(&log, 1, &[]).await;
    assert_eq!(log.offset_for_time(&at(0), 0).await.expect("it is there"), None);
    for (n, time) in (0..).zip([1_000, 3_000, 2_000, 5_000]) {
        let mut records = numbered(n..n + 1);
        records[0].timestamp_ms = Some(time);
        append(&log, 0, records).await;
    }
    for (time, expected) in [
        (0, Some(0)),
        (1_000, Some(0)),
        (1_001, Some(1)),
        (3_000, Some(1)),
        (3_001, Some(3)),
        (5_000, Some(3)),
        (5_001, None),
        (i64::MAX, None),
    ] {
        assert_eq!(log.offset_for_time(&at(0), time).await.expect("it is there"), expected, "{time}");
    }
}

/// Committed offsets are a group's own and a partition's own, and the last one counts.
pub async fn groups_commit_apart_from_each_other(log: Tried) {
    create(&log, 3, &[]).await;
    for partition in 0..3 {
        append(&log, partition, numbered(0..10)).await;
    }
    let committed =
        async |group: &str, partition| log.committed(group, &at(partition)).await.expect("the log answers");
    assert_eq!(committed("one", 0).await, None);
    log.commit("one", &[(at(0), 5), (at(2), 7)]).await.expect("it has no members");
    log.commit("two", &[(at(0), 1)]).await.expect("it has no members");
    log.commit("one", &[(at(0), 4)]).await.expect("it has no members");
    log.commit("one", &[]).await.expect("nothing is to be done");
    assert_eq!((committed("one", 0).await, committed("one", 1).await), (Some(4), None));
    assert_eq!((committed("one", 2).await, committed("two", 0).await), (Some(7), Some(1)));
}

/// No call creates a topic but the one that is for it.
pub async fn what_is_not_there_is_said_and_not_created(log: Tried) {
    create(&log, 1, &[]).await;
    let none = TopicPartition::new("none", 0);
    let one = || numbered(0..1);
    assert!(matches!(log.append(&none, one()).await, Err(LogError::UnknownTopic(name)) if &*name == "none"));
    assert!(matches!(log.fetch(&none, 0, AT_ONCE).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.offsets(&none).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.offset_for_time(&none, 0).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.delete_topic("none").await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(log.append(&at(1), one()).await, Err(LogError::UnknownPartition(of)) if of == at(1)));
    assert!(matches!(log.fetch(&at(1), 0, AT_ONCE).await, Err(LogError::UnknownPartition(_))));
    assert!(matches!(log.offsets(&at(1)).await, Err(LogError::UnknownPartition(_))));
    assert!(matches!(log.offset_for_time(&at(1), 0).await, Err(LogError::UnknownPartition(_))));
    assert_eq!(log.topic("none").await.expect("the log answers"), None);
    assert_eq!(log.topics().await.expect("the log answers").len(), 1);
}

/// Names, counts and settings that no broker takes.
pub async fn topics_that_cannot_be_are_refused(log: Tried) {
    let spec = |partitions, key: Option<(&str, &str)>| TopicSpec {
        partitions,
        config: key.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    };
    for (name, spec) in [
        ("a b", spec(1, None)),
        ("", spec(1, None)),
        ("..", spec(1, None)),
        ("t", spec(0, None)),
        ("t", spec(1, Some(("no.such.setting", "1")))),
        ("t", spec(1, Some(("retention.ms", "soon")))),
    ] {
        let refused = log.create_topic(name, &spec).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{name} {spec:?}: {refused:?}");
    }
    assert!(log.topics().await.expect("the log answers").is_empty());
}

/// Nothing is in the log that was refused together with it, and what comes after is taken.
pub async fn a_record_that_is_too_large_is_refused_and_its_neighbours_are_not_hurt(log: Tried) {
    create(&log, 1, &[("max.message.bytes", "5000")]).await;
    // No codec makes these smaller.
    let mut noise = 1_u32;
    let mut noisy = |bytes: usize| -> Vec<u8> {
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    };
    let large = Record { value: Some(noisy(6_000).into()), ..Record::default() };
    let mut records = numbered(0..3);
    records.push(large.clone());
    for records in [records, vec![large]] {
        let refused = log.append(&at(0), records).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(log.offsets(&at(0)).await.expect("it is there").log_end, 0);
    assert_eq!(append(&log, 0, numbered(0..3)).await, 0);
    let fits = Record { value: Some(noisy(4_000).into()), ..Record::default() };
    assert_eq!(append(&log, 0, vec![fits]).await, 3);
}

/// Many records go into as many batches as they need.
pub async fn topics_may_take_small_batches_only(log: Tried) {
    create(&log, 1, &[("max.message.bytes", "1000")]).await;
    assert_eq!(append(&log, 0, numbered(0..5_000)).await, 0);
    assert_eq!(numbers(&read_on(&log, &at(0), 0, 1 << 20).await), (0..5_000).collect::<Vec<_>>());
}

/// What a spout's only task asks for.
fn joining(name: &str) -> Joining {
    let (group, topic) = ("members".into(), "contract".into());
    Joining { group, topic, client_id: name.to_owned(), task: 0, tasks: 1 }
}

/// The next assignment, whatever comes before it; what is revoked is released.
async fn assigned(member: &dyn Membership) -> Vec<TopicPartition> {
    loop {
        match member.changed().await.expect("nothing keeps it out") {
            Change::Assigned(mut partitions) => {
                partitions.sort();
                return partitions;
            }
            Change::Revoked => member.release(),
            Change::Lost => {}
        }
    }
}

/// Whoever is alone in a group reads all of its topic, and the group goes on where it committed.
pub async fn a_member_alone_has_all_and_commits_for_its_group(log: Tried) {
    let spec = TopicSpec { partitions: 3, ..TopicSpec::default() };
    log.create_topic("contract", &spec).await.expect("it is not there yet");
    let all = [at(0), at(1), at(2)];
    for round in 1..=2 {
        let member = log.join(&joining("alone")).await.expect("the topic is there");
        assert_eq!(assigned(&*member).await, all);
        for place in &all {
            log.append(place, vec![Record::default()]).await.expect("the topic takes it");
        }
        member.commit(&[(at(0), round), (at(2), round)]).await.expect("it has them");
        assert_eq!(log.committed("members", &at(0)).await.expect("it can be asked"), Some(round));
        assert_eq!(log.committed("members", &at(1)).await.expect("it can be asked"), None);
        member.leave().await;
    }
    let refused = log.join(&Joining { topic: "none".into(), ..joining("lost") }).await.map(drop);
    assert!(matches!(refused, Err(LogError::UnknownTopic(_))), "{refused:?}");
}

/// Nobody is given what another has not released; what a member has left goes to the others.
pub async fn members_share_a_topic_and_wait_for_each_other(log: Tried) {
    let spec = TopicSpec { partitions: 4, ..TopicSpec::default() };
    log.create_topic("contract", &spec).await.expect("it is not there yet");
    let first = log.join(&joining("first")).await.expect("the topic is there");
    assert_eq!(assigned(&*first).await.len(), 4);
    let second = log.join(&joining("second")).await.expect("the topic is there");
    assert_eq!(first.changed().await.expect("it is a member"), Change::Revoked);
    first.commit(&[(at(3), 0)]).await.expect("what is revoked may be committed until it is released");
    first.release();
    let (mut shares, other) = tokio::join!(assigned(&*first), assigned(&*second));
    assert!(!shares.is_empty() && !other.is_empty());
    shares.extend(other);
    shares.sort();
    assert_eq!(shares, [at(0), at(1), at(2), at(3)]);
    first.leave().await;
    drop(first);
    assert_eq!(assigned(&*second).await.len(), 4);
    second.leave().await;
}
