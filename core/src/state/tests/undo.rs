//! Taking back what was not flushed.

use std::time::Duration;

use super::{Life, World};

fn discard(world: &World, life: &Life) {
    life.tasks.iter().for_each(|(task, _)| world.block_on(task.states.discard_unflushed()).unwrap());
}

/// Changes keys in every way, flushes, changes them again and takes that back.
fn there_and_back(world: &World, ttl: Option<Duration>) {
    let mut life = world.start(2, ttl).unwrap();
    (0..40).for_each(|key| life.visit(key));
    (0..10).for_each(|key| drop(life.of(key).remove(&key).unwrap()));
    world.flush(&life).unwrap();
    world.pass(10);
    (0..5).for_each(|key| life.visit(key));
    let before = life.all();
    world.flush(&life).unwrap();
    for round in 0..3 {
        world.pass(10);
        for key in 0..60 {
            match key % 3 {
                0 => life.visit(key),
                1 => drop(life.of(key).remove(&key).unwrap()),
                _ => life.of(key).modify(&key, |value| *value = None).unwrap(),
            }
        }
        if round > 0 {
            // What is on its way to the changelog and does not arrive is taken back with the rest.
            *world.log.appends_left.lock().unwrap() = Some(0);
            world.flush(&life).unwrap_err();
            *world.log.appends_left.lock().unwrap() = None;
        }
        if round == 2 {
            life.tasks.iter().for_each(|(_, state)| drop(state.lock().begin_flush().unwrap()));
            (0..60).for_each(|key| life.visit(key));
        }
        discard(world, &life);
        assert_eq!((life.all(), life.len()), (before.clone(), before.len() as u64), "round {round}");
    }
    // The state is of use: what comes next is kept.
    life.visit(20);
    world.flush(&life).unwrap();
    let after = life.all();
    drop(life);
    assert_eq!(world.start(3, ttl).unwrap().all(), after);
}

#[test]
fn what_was_not_flushed_is_taken_back() {
    for keeps_undo in [true, false] {
        for ttl in [None, Some(Duration::from_secs(60))] {
            for mut world in World::each() {
                world.settings.keeps_undo = keeps_undo;
                there_and_back(&world, ttl);
            }
        }
    }
}

#[test]
fn what_is_kept_nowhere_cannot_be_taken_back() {
    let mut world = World::new();
    world.settings.log = None;
    let mut life = world.start(1, None).unwrap();
    discard(&world, &life);
    life.visit(1);
    let error = world.block_on(life.tasks[0].0.states.discard_unflushed()).unwrap_err();
    assert!(matches!(error, crate::state::StateError::NotKept(_)), "{error}");
    world.settings.keeps_undo = true;
    let mut life = world.start(1, None).unwrap();
    life.visit(1);
    discard(&world, &life);
    assert_eq!(life.count(1), None);
}

/// A fresh instance knows what its earlier one does not, as a window's watermark.
#[test]
fn what_is_shown_of_a_value_is_what_was_said_last() {
    let world = World::new();
    let mut life = world.start(1, None).unwrap();
    let (task, state) = &mut life.tasks[0];
    let shelf = task.states.shelf("visits").unwrap();
    let (key, _) = shelf.find(&rmp_serde::to_vec(&7_u16).unwrap()).unwrap();
    let shown = || rmp_serde::from_slice::<u64>(&shelf.get(&key).unwrap().unwrap()).unwrap();
    state.update(&7, |visits| visits.count = 3).unwrap();
    state.show_as(|visits| visits.count);
    world.block_on(task.states.flush()).unwrap();
    assert_eq!(shown(), 3);
    state.update(&7, |visits| visits.count = 4).unwrap();
    world.block_on(task.states.discard_unflushed()).unwrap();
    state.show_as(|visits| visits.count + 100);
    assert_eq!(shown(), 103);
}
