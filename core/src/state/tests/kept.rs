//! What a changelog holds, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use super::{CHANGELOG, Visits, World, watch};
use crate::state::key_group::{key_group, partition_of_group};
use crate::state::{ListState, MapState, State};

#[test]
fn a_flush_writes_what_was_changed_and_nothing_else() {
    for world in World::each() {
        let mut life = world.start(1, None).unwrap();
        (0..100).for_each(|key| life.visit(key));
        world.flush(&life).unwrap();
        assert_eq!(world.log.records(CHANGELOG).len(), 100);
        life.visit(3);
        life.visit(3);
        life.of(4).remove(&4).unwrap();
        // Nobody was told of it, so nobody is told that it is gone.
        life.visit(1_000);
        life.of(1_000).remove(&1_000).unwrap();
        world.flush(&life).unwrap();
        world.flush(&life).unwrap();
        let records = world.log.records(CHANGELOG);
        assert_eq!(records.len(), 102);
        for (partition, record) in &records {
            let (group, key): (u8, u16) = rmp_serde::from_slice(record.key.as_ref().unwrap()).unwrap();
            assert_eq!((group, *partition), (key_group(&key), partition_of_group(group, 8)));
        }
        let of = |key: u16| {
            records
                .iter()
                .rev()
                .find(|(_, record)| record.key.as_ref().unwrap().ends_with(&[key as u8]))
                .unwrap()
        };
        let value: Visits = rmp_serde::from_slice(of(3).1.value.as_ref().unwrap()).unwrap();
        assert_eq!((value.count, of(4).1.value.clone()), (3, None));
        assert_eq!(world.log.config(CHANGELOG)["cleanup.policy"], "compact");
    }
}

#[test]
fn what_was_removed_stays_removed_though_the_flush_that_told_of_it_failed() {
    for world in World::each() {
        let mut life = world.start(1, None).unwrap();
        life.visit(1);
        // Most of the partitions take it, one does not; which of them, the state is not told.
        (2..50).for_each(|key| life.visit(key));
        *world.log.appends_left.lock().unwrap() = Some(7);
        world.flush(&life).unwrap_err();
        *world.log.appends_left.lock().unwrap() = None;
        (1..50).for_each(|key| drop(life.of(key).remove(&key).unwrap()));
        world.flush(&life).unwrap();
        drop(life);
        assert_eq!(world.start(3, None).unwrap().all(), []);
    }
}

#[test]
fn a_changed_key_is_flushed_again_after_a_failure() {
    for world in World::each() {
        let mut life = world.start(1, None).unwrap();
        life.visit(1);
        *world.log.appends_left.lock().unwrap() = Some(0);
        world.flush(&life).unwrap_err();
        life.visit(1);
        life.visit(2);
        world.flush(&life).unwrap_err();
        *world.log.appends_left.lock().unwrap() = None;
        world.flush(&life).unwrap();
        drop(life);
        let mut life = world.start(2, None).unwrap();
        assert_eq!((life.count(1), life.count(2), life.len()), (Some(2), Some(1), 2));
    }
}

#[test]
fn a_value_whose_time_is_over_gets_a_tombstone() {
    for world in World::each() {
        let ttl = Some(Duration::from_millis(100));
        let mut life = world.start(1, ttl).unwrap();
        life.visit(1);
        world.pass(60);
        life.visit(2);
        world.flush(&life).unwrap();
        world.pass(40);
        assert_eq!((life.count(1), life.count(2), life.len()), (None, Some(1), 2));
        world.flush(&life).unwrap();
        let last = world.log.records(CHANGELOG).into_iter().filter(|(_, record)| record.value.is_none());
        assert_eq!((last.count(), life.len()), (1, 1));
        // Time goes on while nothing runs, from when the value was written and not from when it was flushed.
        drop(life);
        world.pass(59);
        assert_eq!(world.start(2, ttl).unwrap().count(2), Some(1));
        world.pass(1);
        assert_eq!(world.start(2, ttl).unwrap().count(2), None);
        let mut life = world.start(1, ttl).unwrap();
        life.visit(2);
        assert_eq!(life.count(2), Some(1), "it begins anew");
    }
}

#[test]
fn a_restore_tells_how_far_it_is_and_reads_few_partitions_that_are_others() {
    let mut world = World::new();
    let mut life = world.start(1, None).unwrap();
    (0..1_000).for_each(|key| life.visit(key));
    world.flush(&life).unwrap();
    drop(life);
    let (on_restore, told) = watch();
    world.settings.on_restore = Some(on_restore);
    let life = world.start(4, None).unwrap();
    let told = told.lock().unwrap();
    for task in 0..4 {
        let told: Vec<_> = told.iter().filter(|(of, ..)| *of == task).collect();
        let (_, done, total) = **told.last().unwrap();
        assert!(told.len() > 2 && told.is_sorted_by_key(|(_, done, _)| *done));
        assert_eq!(
            (done, total),
            (total, life.tasks[task as usize].1.len()),
            "it reads its own records alone"
        );
    }
    let read: u64 = told.iter().filter(|(_, done, total)| done == total).map(|(_, _, total)| total).sum();
    assert_eq!((read, life.len()), (1_000, 1_000));
}

#[test]
fn without_a_log_state_lives_as_long_as_its_process() {
    for mut world in World::each() {
        world.settings.log = None;
        let mut life = world.start(2, None).unwrap();
        (0..100).for_each(|key| life.visit(key));
        world.flush(&life).unwrap();
        assert_eq!((life.count(1), life.len()), (Some(1), 100));
        life.of(1).remove(&1).unwrap();
        world.flush(&life).unwrap();
        assert_eq!((life.count(1), life.len()), (None, 99));
        drop(life);
        assert_eq!(world.start(1, None).unwrap().len(), 0);
    }
}

#[test]
fn lists_and_maps_are_values_too() {
    for world in World::each() {
        for round in 0..2_u64 {
            let task = world.task(&world.shared(), "count", 0, 1);
            let (mut list, mut map) = world.block_on(async {
                let list: ListState<String, u64> = task.list_state("list").await.unwrap();
                let map: MapState<String, String, u64> = task.map_state("map").await.unwrap();
                (list, map)
            });
            assert_eq!(list.get("a").unwrap(), (0..round).collect::<Vec<_>>());
            list.push("a", round).unwrap();
            assert_eq!(list.take("b").unwrap(), []);
            assert_eq!(map.get("k", "new").unwrap(), (round > 0).then_some(0));
            assert_eq!(map.get("k", "gone").unwrap(), None);
            map.put("k", "gone".to_owned(), 1).unwrap();
            map.update("k", "new".to_owned(), |value| *value = 0).unwrap();
            assert_eq!(map.remove("k", "gone").unwrap(), Some(1));
            map.put("sole", "one".to_owned(), 1).unwrap();
            assert_eq!(map.remove("sole", "one").unwrap(), Some(1));
            assert!(map.entries("sole").unwrap().is_empty() && map.as_state().len() == 1);
            world.block_on(task.states.flush()).unwrap();
        }
    }
}

#[test]
fn a_panic_amid_a_change_leaves_the_state_of_use() {
    for world in World::each() {
        let mut life = world.start(1, None).unwrap();
        life.visit(1);
        let state = life.of(1);
        let change = std::panic::AssertUnwindSafe(|| {
            state.modify(&1, |value| {
                *value = None;
                panic!("amid");
            })
        });
        let panicked: Result<Result<(), _>, _> = std::panic::catch_unwind(change);
        assert!(panicked.is_err());
        world.flush(&life).unwrap();
        assert_eq!((life.count(1), life.len()), (None, 0));
        life.visit(1);
        assert_eq!((life.count(1), life.len()), (Some(1), 1));
    }
}

#[test]
fn a_state_that_is_open_is_given_again() {
    let world = World::new();
    let task = world.task(&world.shared(), "count", 0, 1);
    let open = || world.block_on(async { task.state::<String, u64>("n").await.unwrap() });
    let mut first: State<String, u64> = open();
    first.put("a".into(), 1).unwrap();
    assert_eq!(open().get("a").unwrap(), Some(1));
    assert!(Arc::ptr_eq(&first.0, &open().0));
}
