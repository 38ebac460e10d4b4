//! From a key to its key group, from a group to its task and to its partition of a changelog.
//!
//! Invariant: none of the three ever changes, on any machine: changelogs are laid out by them. The hash is xxHash64 (Collet,
//! "xxHash fast digest algorithm"), with seed 0, of the key's MessagePack form with named fields.

use std::io;
use std::ops::Range;

use serde::Serialize;
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// How many key groups there are: as many tasks at most share a keyed state.
pub const KEY_GROUPS: usize = 256;

/// Longer forms are hashed in pieces.
const SHORT_BYTES: usize = 64;

/// The key group of `key`: the lowest byte of the hash of its MessagePack form. Allocates nothing.
///
/// Keys that are equal must have the same form; so no key holds a `HashMap` or a `HashSet`, whose order is by chance. What
/// is borrowed has the group of what is owned, and a number that of the same number in a wider type.
///
/// ```
/// use topo_core::state::key_group;
/// assert_eq!(key_group("to be"), key_group(&String::from("to be")));
/// assert_eq!(key_group(&7_u8), key_group(&7_i64));
/// ```
#[inline]
pub fn key_group<K: Serialize + ?Sized>(key: &K) -> u8 {
    let mut form = Form { short: [0; SHORT_BYTES], bytes: 0, long: None };
    // Writing to it cannot fail. What serde cannot serialize is hashed as far as it got, the same every time; it fails where
    // it is stored.
    let _ = key.serialize(&mut rmp_serde::Serializer::new(&mut form).with_struct_map());
    form.hash() as u8
}

/// The group that `form`, a key in MessagePack, belongs to.
pub(crate) fn group_of_form(form: &[u8]) -> u8 {
    xxh64(form, 0) as u8
}

/// The task, of `tasks`, that has `group`: tasks have ranges of groups, in order.
#[inline]
pub fn task_of_group(group: u8, tasks: usize) -> usize {
    group as usize * tasks / KEY_GROUPS
}

/// The groups that task `task` of `tasks` has; none where there are more tasks than groups.
pub fn groups_of_task(task: usize, tasks: usize) -> Range<usize> {
    let first = |task: usize| (task * KEY_GROUPS).div_ceil(tasks.max(1));
    first(task)..first(task + 1)
}

/// The changelog's partition, of `partitions`, that `group` is kept in: partitions have ranges of groups too, so that a task
/// reads few partitions that it shares with others.
pub fn partition_of_group(group: u8, partitions: u32) -> u32 {
    (u64::from(group) * u64::from(partitions) / KEY_GROUPS as u64) as u32
}

/// A MessagePack form on its way to its hash: short ones are hashed in one go, which is several times as fast.
struct Form {
    short: [u8; SHORT_BYTES],
    bytes: usize,
    long: Option<Xxh64>,
}

impl Form {
    #[inline]
    fn hash(&self) -> u64 {
        match &self.long {
            Some(long) => long.digest(),
            None => xxh64(&self.short[..self.bytes], 0),
        }
    }

    #[cold]
    fn lengthen(&mut self, bytes: &[u8]) {
        let long = self.long.get_or_insert_with(|| {
            let mut long = Xxh64::new(0);
            long.update(&self.short[..self.bytes]);
            long
        });
        long.update(bytes);
    }
}

impl io::Write for Form {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.bytes + bytes.len();
        if self.long.is_none() && end <= SHORT_BYTES {
            self.short[self.bytes..end].copy_from_slice(bytes);
            self.bytes = end;
        } else {
            self.lengthen(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Wide {
        name: String,
        parts: Vec<(u32, Option<String>)>,
    }

    /// The group of a form that was written to the heap first.
    fn slowly<K: Serialize + ?Sized>(key: &K) -> u8 {
        group_of_form(&rmp_serde::to_vec_named(key).unwrap())
    }

    proptest! {
        #[test]
        fn the_form_s_length_and_pieces_change_nothing(
            text in ".{0,200}", number: i64, parts in prop::collection::vec(any::<(u32, Option<String>)>(), 0..9),
        ) {
            prop_assert_eq!(key_group(&text), slowly(&text));
            prop_assert_eq!(key_group(text.as_str()), slowly(&text));
            prop_assert_eq!(key_group(&number), slowly(&number));
            let wide = Wide { name: text, parts };
            prop_assert_eq!(key_group(&wide), slowly(&wide));
        }

        #[test]
        fn every_group_has_one_task_and_one_partition(tasks in 1_usize..400, group: u8, partitions in 1_u32..=256) {
            let task = task_of_group(group, tasks);
            prop_assert!(task < tasks && groups_of_task(task, tasks).contains(&usize::from(group)));
            let owners = (0..tasks).filter(|&one| groups_of_task(one, tasks).contains(&usize::from(group)));
            prop_assert_eq!(owners.count(), 1);
            prop_assert!(partition_of_group(group, partitions) < partitions);
        }
    }

    // What was written by an older version is where this one looks for it.
    #[test]
    fn groups_never_change() {
        assert_eq!([key_group("to"), key_group(&0_u64), key_group(&(1, "a"))], [229, 104, 204]);
    }

    #[test]
    fn tasks_have_as_many_groups() {
        assert_eq!((groups_of_task(0, 4), groups_of_task(3, 4)), (0..64, 192..256));
        assert_eq!((groups_of_task(0, 3), groups_of_task(2, 3)), (0..86, 171..256));
        assert!((0..300).any(|task| groups_of_task(task, 300).is_empty()));
    }
}
