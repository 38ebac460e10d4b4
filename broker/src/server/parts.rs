//! A response as it is sent: parts that lie in different places, one behind the other.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Parts, none of them empty.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Parts {
    /// Puts a part behind the others.
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// Puts a part in front of the others.
    pub(crate) fn push_front(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_front(part);
        }
    }
}

impl From<Bytes> for Parts {
    fn from(part: Bytes) -> Self {
        let mut parts = Self::default();
        parts.push(part);
        parts
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.parts);
        pairs.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "there are only {} bytes", self.bytes);
        self.bytes -= count;
        while let Some(part) = self.parts.front_mut().filter(|_| count > 0) {
            let step = count.min(part.len());
            part.advance(step);
            count -= step;
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_like_one_however_they_are_taken() {
        for step in 1..12 {
            let mut parts = Parts::default();
            for part in ["de", "", "f", "ghijk"] {
                parts.push(Bytes::from(part));
            }
            parts.push_front(Bytes::from("abc"));
            parts.push_front(Bytes::new());
            let mut taken = Vec::new();
            while parts.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = parts.chunks_vectored(&mut slices);
                let whole: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(slices[0].to_vec(), parts.chunk());
                let count = step.min(whole.len());
                taken.extend_from_slice(&whole[..count]);
                parts.advance(count);
            }
            assert_eq!(taken, b"abcdefghijk", "{step} at a time");
        }
    }
}
