//! Look-ups in a table, against what the topic says at the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use topo::prelude::*;
use topo_core::log::{Log, LogError, TopicPartition, TopicSpec};
use topo_core::metrics::TopologySnapshot;
use topo_core::schedule::Scheduler;
use topo_tests::memory_log::{Call, Fate, MemoryLog};

use crate::lab::{Lab, Trouble, for_seeds, troubled};
use crate::sorted;

const PARTITIONS: u64 = 3;

/// A lab whose log has topic `names`.
fn lab(seed: u64) -> Lab {
    let lab = Lab::new(seed);
    let spec = TopicSpec { partitions: PARTITIONS as u32, ..TopicSpec::default() };
    lab.scheduler.block_on(lab.log.create_topic("names", &spec)).expect("a new topic");
    lab
}

fn names(lab: &Lab) -> Table<u64, String> {
    Table::of(lab.log.clone(), "names")
}

/// What is written of `user`: the text of both, or a null.
async fn write(log: &MemoryLog, user: u64, name: Option<&str>) {
    let value = name.map(|name| packed(name).expect("a text"));
    let record = Record { key: Some(packed(&user).expect("a number")), value, ..Record::default() };
    append(log, user, record).await;
}

async fn append(log: &MemoryLog, user: u64, record: Record) {
    let at = TopicPartition::new("names", (user % PARTITIONS) as u32);
    log.append(&at, vec![record]).await.expect("the log takes it");
}

fn users(users: impl IntoIterator<Item = u64>) -> Vec<Timed<u64>> {
    users.into_iter().map(|user| Timed { at: 0, value: user }).collect()
}

fn found(out: Vec<Timed<(u64, Option<String>)>>) -> Vec<(u64, Option<String>)> {
    out.into_iter().map(|timed| timed.value).collect()
}

/// What the step named `names` says of trouble, on any of its tasks.
fn trouble(numbers: &TopologySnapshot) -> Vec<String> {
    let step = numbers.components.iter().find(|component| &*component.name == "names").expect("the step");
    step.tasks.iter().filter_map(|task| Some(format!("{:?}", task.last_error.as_ref()?))).collect()
}

#[test]
fn every_task_finds_what_the_topic_held_at_the_start_and_so_does_the_next_run() {
    for_seeds(8, |seed| {
        let lab = lab(seed);
        lab.log.limit_fetches(1 + seed as usize);
        let (mut model, table) = (HashMap::new(), names(&lab));
        let given: Vec<u64> = (0..60).collect();
        for run in 0..3_u64 {
            for user in (run..50).step_by(1 + run as usize) {
                // Some are removed, of some there are several.
                let name = (!(user + run).is_multiple_of(7)).then(|| format!("{user} of {run}"));
                lab.scheduler.block_on(write(&lab.log, user, name.as_deref()));
                model.insert(user, name);
            }
            let trouble = if run == 1 { Trouble::Some } else { Trouble::None };
            let (out, numbers) = lab.run(&users(given.clone()), |stream| {
                let stream = troubled(stream, trouble, seed, |user| *user);
                stream.lookup(&table, |user| *user).name("names").tasks(1 + seed as usize % 3)
            });
            let expected = given.iter().map(|user| (*user, model.get(user).cloned().flatten()));
            assert_eq!(sorted(found(out)), expected.collect::<Vec<_>>());
            assert_eq!(self::trouble(&numbers), [""; 0]);
        }
    });
}

/// Has `act` done before each value goes on, with time before and after. One value at a time, since a value that is done
/// may wait for others of its batch.
fn after<Fut: Future<Output = ()> + Send + 'static>(
    lab: &Lab,
    stream: &DataStream<u64>,
    act: impl Fn(u64, Arc<MemoryLog>) -> Fut + Clone + Send + Sync + 'static,
) -> DataStream<u64> {
    let (scheduler, log) = (lab.scheduler.clone(), lab.log.clone());
    let step = stream.map_async(1, Order::Kept, move |number| {
        let (scheduler, log, act) = (scheduler.clone(), log.clone(), act.clone());
        async move {
            scheduler.sleep_until(scheduler.clock().now().after(Duration::from_millis(50))).await;
            act(number, log).await;
            scheduler.sleep_until(scheduler.clock().now().after(Duration::from_millis(100))).await;
            Ok(number)
        }
    });
    step.tasks(1)
}

#[test]
fn what_is_written_while_it_runs_is_found_and_what_is_removed_is_not() {
    for_seeds(8, |seed| {
        let mut lab = lab(seed);
        lab.max_pending = 1;
        lab.scheduler.block_on(write(&lab.log, 1, Some("first")));
        let table = names(&lab);
        let (out, _) = lab.run(&users(0..40), |stream| {
            let written = after(&lab, stream, |number, log| async move {
                match number % 4 {
                    0 => {}
                    1 => write(&log, 1, Some(&format!("{number}"))).await,
                    2 => write(&log, 1, None).await,
                    _ => write(&log, number, Some("new")).await,
                }
            });
            written.lookup(&table, |number| if number % 4 == 3 { *number } else { 1 }).name("names")
        });
        let expected = (0..40).map(|number| {
            let name = match number % 4 {
                0 if number == 0 => Some("first".to_owned()),
                0 | 2 => None,
                1 => Some(format!("{number}")),
                _ => Some("new".to_owned()),
            };
            (number, name)
        });
        assert_eq!(found(out), expected.collect::<Vec<_>>());
    });
}

#[test]
fn the_topic_is_not_read_for_every_value() {
    let lab = lab(1);
    let fetches = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fetches);
    lab.log.judge(move |call| {
        if matches!(call, Call::Fetch(at, _) if &*at.topic == "names") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Fate::default()
    });
    let table = names(&lab);
    let begun = lab.scheduler.clock().now();
    // Nobody is there, so that each is looked for.
    let (out, _) = lab.run(&users(0..3_000), |stream| stream.lookup(&table, |user| *user).name("names"));
    assert_eq!(out.len(), 3_000);
    let took = lab.scheduler.clock().now().since(begun);
    let most = PARTITIONS * (2 + took.as_millis() as u64 / 10);
    let fetches = fetches.load(Ordering::Relaxed);
    assert!(fetches <= most && fetches < 1_000, "{fetches} fetches in {took:?}");
}

#[test]
fn records_that_are_no_rows_are_told_of_and_passed_over() {
    let lab = lab(1);
    let table = names(&lab);
    let record = |key: Option<&'static str>, value: &'static [u8]| Record {
        key: key.map(|key| key.as_bytes().into()),
        value: Some(value.into()),
        ..Record::default()
    };
    lab.scheduler.block_on(async {
        append(&lab.log, 1, record(None, b"nobody")).await;
        append(&lab.log, 1, record(Some("one"), b"no number")).await;
        write(&lab.log, 1, Some("one")).await;
    });
    let run = |given, build: &dyn Fn(&DataStream<u64>) -> DataStream<u64>| {
        lab.run(&users(given), |stream| build(stream).lookup(&table, |user| *user).name("names"))
    };
    let (out, numbers) = run(1..3, &DataStream::clone);
    assert_eq!(found(out), [(1, Some("one".to_owned())), (2, None)]);
    let told = trouble(&numbers).concat();
    assert!(
        told.contains("names-1 at offset 0 is no row of the table, and is passed over: it has no key"),
        "{told}"
    );
    assert!(told.contains("as are 1 others"), "{told}");

    // While it runs, too.
    let (out, numbers) = run(1..3, &|stream| {
        after(&lab, stream, move |number, log| async move {
            append(&log, number, record(Some("2"), &[0xc1])).await;
        })
    });
    assert_eq!(found(out), [(1, Some("one".to_owned())), (2, None)]);
    let told = trouble(&numbers).concat();
    assert!(told.contains("names-2 at offset 0 is no row"), "{told}");
}

#[test]
fn while_the_log_is_away_what_is_known_is_found_and_what_is_not_waits() {
    for_seeds(4, |seed| {
        let mut lab = lab(seed);
        lab.max_pending = 1;
        lab.scheduler.block_on(write(&lab.log, 1, Some("one")));
        let table = names(&lab);
        let (out, numbers) = lab.run(&users([0, 1, 2]), |stream| {
            let away = after(&lab, stream, |number, log| async move {
                match number {
                    1 => {
                        write(&log, 1, Some("changed")).await;
                        log.judge(|call| match call {
                            Call::Fetch(..) => Fate::fails(),
                            _ => Fate::default(),
                        });
                    }
                    2 => {
                        write(&log, 2, Some("two")).await;
                        let mut fetches = 0;
                        log.judge(move |call| match call {
                            Call::Fetch(..) if fetches < 5 => {
                                fetches += 1;
                                Fate::fails()
                            }
                            _ => Fate::default(),
                        });
                    }
                    _ => {}
                }
            });
            away.lookup(&table, |user| *user).name("names")
        });
        let one = Some("one".to_owned());
        assert_eq!(found(out), [(0, None), (1, one), (2, Some("two".to_owned()))]);
        let told = trouble(&numbers).concat();
        assert!(told.contains("the table cannot be read on"), "{told}");
    });
}

#[test]
fn a_function_that_panics_has_the_table_read_again() {
    let lab = lab(1);
    lab.scheduler.block_on(async {
        for user in 0..20 {
            write(&lab.log, user, Some("name")).await;
        }
    });
    let table = names(&lab);
    let panicked = AtomicU64::new(0);
    let (out, _) = lab.run(&users(0..20), |stream| {
        stream.lookup(&table, move |user| {
            assert!(*user != 7 || panicked.fetch_add(1, Ordering::Relaxed) > 0, "as it was told to");
            *user
        })
    });
    let expected: Vec<_> = (0..20).map(|user| (user, Some("name".to_owned()))).collect();
    assert_eq!(sorted(found(out)), expected);
}

#[test]
fn a_topic_that_is_not_there_is_named_at_the_start() {
    let lab = Lab::new(1);
    let topology = Topology::new("test");
    let source = topology.spout("source", topo::testing::given(users([1])));
    DataStream::of(&source).lookup(&names(&lab), |user| *user).for_each(drop);
    let refused = lab.scheduler.block_on(topology.launch(lab.scheduler.clone(), lab.config()));
    let refused = refused.expect_err("there is no table").to_string();
    assert!(refused.contains(&LogError::UnknownTopic("names".into()).to_string()), "{refused}");
}
