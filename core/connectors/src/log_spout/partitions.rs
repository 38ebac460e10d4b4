//! The partitions that a task has at the moment, found by their number.
//!
//! Invariant: a partition's place says where it stands among the others, and only those that are assigned have one.

use std::ops::{Index, IndexMut};

use super::partition::Partition;

/// What is assigned.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    assigned: Vec<Partition>,
    /// By the partition's number.
    places: Vec<Option<usize>>,
}

impl Partitions {
    /// These and no others.
    pub(super) fn assign(&mut self, assigned: Vec<Partition>) {
        self.places.clear();
        for (place, partition) in assigned.iter().enumerate() {
            let number = partition.at.partition as usize;
            if self.places.len() <= number {
                self.places.resize(number + 1, None);
            }
            self.places[number] = Some(place);
        }
        self.assigned = assigned;
    }

    pub(super) fn len(&self) -> usize {
        self.assigned.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Partition> {
        self.assigned.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Partition> {
        self.assigned.iter_mut()
    }

    /// The partition with this number, if it is assigned.
    pub(super) fn numbered(&mut self, number: u32) -> Option<&mut Partition> {
        let place = *self.places.get(number as usize)?;
        self.assigned.get_mut(place?)
    }
}

impl Index<usize> for Partitions {
    type Output = Partition;

    fn index(&self, place: usize) -> &Partition {
        &self.assigned[place]
    }
}

impl IndexMut<usize> for Partitions {
    fn index_mut(&mut self, place: usize) -> &mut Partition {
        &mut self.assigned[place]
    }
}
