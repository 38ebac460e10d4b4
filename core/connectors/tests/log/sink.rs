//! What the sink appends, where, and when it answers.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_core::log::{Log, LogError, TopicSpec};
use topo_core::metrics::TaskSnapshot;
use topo_tests::memory_log::{Call, Fate};

use crate::lab::{DEAD, Lab, OUT, for_seeds, text};

/// A lab whose topic `out` has so many partitions.
fn lab(seed: u64, partitions: u32) -> Lab {
    let lab = Lab::new(seed, 1);
    lab.block_on(async {
        lab.log.delete_topic(OUT).await.unwrap();
        lab.log.create_topic(OUT, &TopicSpec { partitions, ..TopicSpec::default() }).await.unwrap();
    });
    lab
}

fn total(lab: &Lab, component: &str, counter: fn(&TaskSnapshot) -> u64) -> u64 {
    let numbers = lab.running().snapshot();
    numbers.components.iter().find(|one| &*one.name == component).unwrap().total(counter)
}

#[test]
fn inputs_are_acknowledged_once_their_records_are_durable() {
    let mut lab = lab(0, 1);
    lab.feed_all(1, 12);
    lab.log.judge(|call| {
        let takes = if matches!(call, Call::Append(..)) { 50 } else { 0 };
        Fate { takes: Duration::from_millis(takes), ..Fate::default() }
    });
    lab.launch();
    lab.pass(Duration::from_millis(49));
    assert_eq!(total(&lab, OUT, |task| task.acked), 0, "no append was given its time");
    assert_eq!(total(&lab, "in", |task| task.pending), 12);
    lab.finish();
    assert_eq!((total(&lab, OUT, |task| task.acked), lab.values(OUT).len()), (12, 12));
    lab.stop();
}

/// A log that is out for longer than all of a record's attempts last: no record is to blame.
#[test]
fn an_outage_holds_back_the_spout_and_fails_no_record() {
    for (seed, error) in [(1, LogError::Storage("out".into())), (2, LogError::Unavailable("out".into()))] {
        let mut lab = lab(seed, 2);
        lab.feed_all(1, 300);
        let numbers = (0..300).map(|number| format!("{}={number}", ["a", "b"][number % 2]));
        lab.feed(0, numbers);
        let fate = Fate { error: Some(error), takes: Duration::from_millis(5), ..Fate::default() };
        lab.log.judge(move |call| match call {
            Call::Append(at, _) if &*at.topic == OUT => fate.clone(),
            _ => Fate::default(),
        });
        lab.launch();
        // For longer than an execute, or an input that is held, may take elsewhere.
        lab.pass(Duration::from_secs(600));
        assert!(total(&lab, "in", |task| task.pending) <= 32, "the spout is held by what is open");
        assert_eq!(lab.committed(0), None);
        let numbers = lab.running().snapshot();
        let sink = numbers.components.iter().find(|one| &*one.name == OUT).unwrap();
        let said = &sink.tasks[0].last_error.as_ref().unwrap().message;
        assert!(said.ends_with(" records wait for the log: out"), "{said}");
        lab.log.be_kind();
        lab.finish();
        assert_eq!(total(&lab, "in", |task| task.failed), 0);
        lab.stop();
        assert_eq!((lab.values(DEAD).len(), lab.progress.exhausted()), (0, 0));
        let records: Vec<_> = (0..2).flat_map(|partition| lab.log.records(OUT, partition)).collect();
        assert_eq!(records.len(), 600, "nothing is doubled that was not appended");
        for key in [b"a", b"b"] {
            let keyed = records.iter().filter(|record| record.key.as_deref() == Some(key));
            let numbers: Vec<u32> = keyed.map(|record| text(record)[2..].parse().unwrap()).collect();
            assert!(numbers.len() == 150 && numbers.is_sorted(), "{numbers:?}");
        }
    }
}

/// Whoever stops the topology need not wait for the log; what was open comes again.
#[test]
fn an_outage_does_not_hold_up_a_stop() {
    for takes in [Duration::ZERO, Duration::from_secs(100_000)] {
        let mut lab = lab(3, 1);
        lab.feed_all(1, 50);
        lab.log.judge(move |call| match call {
            Call::Append(..) => Fate { takes, ..Fate::fails() },
            _ => Fate::default(),
        });
        lab.launch();
        lab.pass(Duration::from_secs(60));
        let begun = crate::lab::now(&lab);
        lab.block_on(lab.running().kill(Duration::from_secs(5))).unwrap();
        assert!(crate::lab::now(&lab).since(begun) < Duration::from_secs(7));
        assert_eq!(lab.committed(0), None);
        lab.log.be_kind();
        lab.progress = Default::default();
        lab.launch();
        lab.finish();
        lab.stop();
        assert_eq!((lab.values(OUT).len(), lab.committed(0)), (50, Some(50)));
    }
}

#[test]
fn keys_have_their_partition_and_the_others_take_turns() {
    for_seeds(10, |seed| {
        let mut lab = lab(seed, 4);
        let keyed = |number: usize| format!("{}={number}", ["a", "b", "c", "d", "e"][number % 5]);
        lab.feed(0, (0..200).map(|number| if number % 2 == 0 { keyed(number) } else { number.to_string() }));
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        lab.log.judge(move |_| Fate {
            takes: Duration::from_millis(random.random_range(0..20)),
            ..Fate::default()
        });
        lab.launch();
        lab.finish();
        lab.stop();
        let mut numbers: HashMap<String, Vec<usize>> = HashMap::new();
        for partition in 0..4 {
            let records = lab.log.records(OUT, partition);
            let (keyed, others): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.key.is_some());
            assert_eq!(others.len(), 25, "of 100 without a key");
            for record in keyed {
                let key = record.key.as_deref().unwrap();
                assert_eq!(u32::from(key[0]) % 4, partition);
                let value = text(record);
                let (key, number) = value.split_once('=').unwrap();
                numbers.entry(key.to_owned()).or_default().push(number.parse().unwrap());
            }
        }
        assert_eq!(numbers.values().map(Vec::len).collect::<Vec<_>>(), [20; 5]);
        assert!(numbers.values().all(|numbers| numbers.is_sorted()), "{numbers:?}");
    });
}

/// One record that no log would take must not take its neighbours to the dead letters.
#[test]
fn a_record_that_the_log_refuses_is_rejected_alone() {
    for_seeds(10, |seed| {
        let mut lab = lab(seed, 1);
        lab.feed(
            0,
            (0..40).map(|number| format!("{number}{}", if number % 13 == 5 { " too large" } else { "" })),
        );
        lab.log.judge(|call| match call {
            Call::Append(at, records) if &*at.topic == OUT => {
                let large = |value: &[u8]| value.ends_with(b"large");
                let invalid = records.iter().any(|one| one.value.as_deref().is_some_and(large));
                let error = invalid.then(|| LogError::Invalid("a record is too large".into()));
                Fate { error, takes: Duration::from_millis(1), ..Fate::default() }
            }
            _ => Fate::default(),
        });
        lab.launch();
        lab.finish();
        lab.stop();
        assert_eq!(lab.values(DEAD), ["5 too large", "18 too large", "31 too large"]);
        let numbers: Vec<u32> = lab.values(OUT).iter().map(|value| value.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!((numbers.len(), lab.progress.rejected()), (37, 3));
    });
}

#[test]
fn a_sink_without_its_topic_does_not_start() {
    let mut lab = Lab::new(0, 1);
    lab.block_on(lab.log.delete_topic(OUT)).unwrap();
    let refused = lab.try_launch().unwrap_err().to_string();
    assert!(refused.starts_with("`out` could not start: there is no topic `out`"), "{refused}");
}
