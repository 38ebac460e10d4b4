//! Records of one partition in the pieces that appends take, so that none is copied on its way there, however many they are.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Record;

/// What one append takes at most.
const RECORDS: usize = 16_384;
const BYTES: usize = 4 << 20;

/// Records that wait to be appended, in their order.
///
/// Invariant: no piece is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    pieces: VecDeque<Vec<Record>>,
    /// Bytes of keys and values in the last piece.
    bytes: usize,
}

impl Pieces {
    /// Adds a record.
    pub(crate) fn push(&mut self, record: Record) {
        let bytes = [&record.key, &record.value].into_iter().flatten().map(Bytes::len).sum::<usize>();
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < RECORDS && self.bytes < BYTES => {
                piece.push(record);
                self.bytes += bytes;
            }
            _ => {
                self.pieces.push_back(vec![record]);
                self.bytes = bytes;
            }
        }
    }

    /// Adds all of another behind these.
    pub(crate) fn add(&mut self, mut other: Self) {
        if !other.is_empty() {
            self.pieces.append(&mut other.pieces);
            self.bytes = other.bytes;
        }
    }

    /// Takes what the next append is to have; `None` where all is taken.
    pub(crate) fn take(&mut self) -> Option<Vec<Record>> {
        self.pieces.pop_front()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// All that are left.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.pieces.iter().flatten()
    }
}

impl FromIterator<Record> for Pieces {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut pieces = Self::default();
        records.into_iter().for_each(|record| pieces.push(record));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Record {
        Record { value: Some(vec![7; bytes].into()), ..Record::default() }
    }

    fn sizes(mut pieces: Pieces) -> Vec<usize> {
        std::iter::from_fn(|| pieces.take()).map(|piece| piece.len()).collect()
    }

    #[test]
    fn a_piece_holds_so_many_records_or_bytes_and_a_larger_one_alone() {
        assert_eq!(sizes((0..2 * RECORDS + 1).map(|_| record(1)).collect()), [RECORDS, RECORDS, 1]);
        let large = [BYTES / 2, BYTES / 2, 1, BYTES * 3, 1].map(record);
        assert_eq!(sizes(large.into_iter().collect()), [2, 2, 1]);
    }

    #[test]
    fn those_of_another_come_behind_and_all_are_there_in_order() {
        let mut pieces: Pieces = [1, 2].map(record).into_iter().collect();
        pieces.add(Pieces::default());
        pieces.push(record(3));
        pieces.add([4, 5].map(record).into_iter().collect());
        pieces.push(record(6));
        assert_eq!((pieces.len(), pieces.is_empty()), (6, false));
        let values = |one: &Record| one.value.as_ref().map_or(0, Bytes::len);
        assert_eq!(pieces.iter().map(values).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(sizes(pieces), [3, 3]);
    }
}
