//! What is refused, and in which words.

use bytes::Bytes;

use super::{CHANGELOG, World};
use crate::log::{Log, Record, TopicPartition, TopicSpec};
use crate::state::key_group::{key_group, partition_of_group};
use crate::state::{State, StateError};

fn pack(value: &impl serde::Serialize) -> Option<Bytes> {
    Some(rmp_serde::to_vec_named(value).unwrap().into())
}

#[test]
fn a_record_that_no_state_wrote_is_named_by_its_place() {
    let (key, group) = (7_u16, key_group(&7_u16));
    let count = || pack(&super::Visits::default());
    let cases = [
        (None, count(), "it has no key"),
        (Some(Bytes::from_static(b"text")), count(), "its key is not that of a key group"),
        (pack(&(group.wrapping_add(1), key)), count(), "its key does not belong to key group"),
        (pack(&(key_group("7"), "7")), count(), "its key is of another type"),
        (pack(&(group, key)), pack(&"text"), "its value is of another type"),
        (pack(&(group, key)), Some(Bytes::from_static(b"\x82")), "its value is of another type"),
        (
            pack(&(group, key)),
            Some([&pack(&super::Visits::default()).unwrap()[..], b"!"].concat().into()),
            "1 bytes too many",
        ),
    ];
    for (key, value, reason) in cases {
        for world in World::each() {
            let mut life = world.start(1, None).unwrap();
            life.visit(key_of(group));
            world.flush(&life).unwrap();
            drop(life);
            let at = TopicPartition::new(CHANGELOG, partition_of_group(group, 8));
            let record = Record { key: key.clone(), value: value.clone(), ..Record::default() };
            let offset = world.block_on(world.log.append(&at, vec![record])).unwrap();
            let error = world.start(1, None).err().expect("it is no change");
            let sentence = error.to_string();
            let place =
                format!("{CHANGELOG}-{} at offset {offset} is no change of state `visits`: ", at.partition);
            assert!(sentence.starts_with(&place) && sentence.contains(reason), "{sentence}");
        }
    }
}

/// A key of that group.
fn key_of(group: u8) -> u16 {
    (0..).find(|key| key_group(key) == group).unwrap()
}

#[test]
fn a_key_of_another_task_is_refused_with_advice() {
    for world in World::each() {
        let mut life = world.start(2, None).unwrap();
        let key = (0..).find(|key: &u16| key_group(key) >= 128).unwrap();
        let error = life.tasks[0].1.put(key, super::Visits::default()).unwrap_err();
        assert!(matches!(error, StateError::ForeignKey { task: 0, owner: 1, .. }), "{error}");
        assert!(error.to_string().contains("`key_groups`"), "{error}");
        assert_eq!(life.len(), 0);
    }
}

#[test]
fn names_and_types_of_states_are_one_component_s() {
    let world = World::new();
    let shared = world.shared();
    let (count, sum) = (world.task(&shared, "count", 0, 1), world.task(&shared, "sum", 0, 1));
    world.block_on(async {
        let _first: State<String, u64> = count.state("n").await.unwrap();
        let taken = sum.state::<String, u64>("n").await.unwrap_err();
        assert!(matches!(&taken, StateError::Taken { by, .. } if &**by == "count"), "{taken}");
        let other = count.state::<String, String>("n").await.unwrap_err();
        assert!(matches!(other, StateError::OtherType { .. }), "{other}");
        for name in ["", "a/b", "a b", "ä"] {
            let error = count.state::<String, u64>(name).await.unwrap_err();
            assert!(matches!(error, StateError::Name(_)), "{error}");
        }
    });
}

#[test]
fn a_changelog_of_too_many_partitions_is_refused() {
    let world = World::new();
    let spec = TopicSpec { partitions: 257, ..TopicSpec::default() };
    world.block_on(world.log.create_topic(CHANGELOG, &spec)).unwrap();
    let error = world.start(1, None).err().expect("it has too many partitions");
    assert!(error.to_string().starts_with("changelog `shop.visits.changelog` has 257 partitions"), "{error}");
}

#[cfg(not(feature = "fjall"))]
#[test]
fn where_the_disk_is_not_built_in_it_says_so() {
    let mut world = World::new();
    world.settings.backend = crate::StateBackend::disk("/nowhere");
    let error = world.start(1, None).err().expect("there is no disk");
    assert!(matches!(error, StateError::NoDisk), "{error}");
}
