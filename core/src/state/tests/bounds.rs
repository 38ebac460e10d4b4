//! What a state on disk takes of memory and of the disk.

use std::fs;

use super::World;
use crate::config::StateBackend;

const CACHE_BYTES: usize = 64 << 10;

#[test]
fn however_many_keys_there_are_memory_holds_few() {
    let world = World::on_disk(CACHE_BYTES);
    let mut life = world.start(1, None).unwrap();
    let mut most = 0;
    for key in (0..20_000_u16).chain((0..20_000).rev().step_by(3)) {
        life.visit(key);
        let store = life.tasks[0].1.lock();
        most = most.max(store.cached_bytes());
        assert!(store.cached_keys() <= 2 * CACHE_BYTES / 128);
        drop(store);
        if life.tasks[0].0.states.wants_flush() {
            world.flush(&life).unwrap();
        }
    }
    // A change comes before the flush that it makes necessary.
    assert!(most <= CACHE_BYTES + 1_000, "{most} bytes");
    let all = life.all();
    assert_eq!((all.len(), life.len()), (20_000, 20_000));
    let wrong = all.iter().find(|(key, visits)| visits.count != if (19_999 - key) % 3 == 0 { 2 } else { 1 });
    assert_eq!(wrong, None);
}

#[test]
fn a_value_that_grows_is_counted_as_it_is() {
    let world = World::on_disk(CACHE_BYTES);
    let mut life = world.start(1, None).unwrap();
    for _ in 0..1_000 {
        life.of(1).update(&1, |visits| visits.last.push_str(&"x".repeat(200))).unwrap();
        if life.tasks[0].0.states.wants_flush() {
            return;
        }
    }
    panic!("{} bytes are no reason to flush", life.tasks[0].1.lock().cached_bytes());
}

#[test]
fn processes_have_their_own_directories_and_leave_none() {
    let world = World::on_disk(CACHE_BYTES);
    let StateBackend::Disk { directory, .. } = &world.settings.backend else { panic!("it is on disk") };
    let directories = || {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> =
            entries.filter(|one| one.path().is_dir()).map(|one| one.file_name()).collect();
        names.sort();
        names
    };
    // What an earlier process left when it was killed.
    fs::create_dir_all(directory.join("shop.0/rubbish")).unwrap();
    let mut first = world.start(1, None).unwrap();
    let mut second = world.start(1, None).unwrap();
    assert_eq!(directories(), ["shop.0", "shop.1"]);
    first.visit(1);
    second.visit(1);
    second.visit(1);
    assert_eq!((first.count(1), second.count(1)), (Some(1), Some(2)));
    drop(first);
    assert_eq!(directories(), ["shop.1"]);
    drop(second);
    assert!(directories().is_empty());
}
