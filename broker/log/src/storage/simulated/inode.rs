//! One file of the simulated disk: what is on the platter, what the page cache shows, and what lies between.
//!
//! Invariant: applying every change of `unsynced` to `durable` gives `cached`, unless a sync has failed: then the
//! cache goes on showing bytes that no later sync will write, as Linux does.

use std::io;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::super::memory::overwrite;

/// A change of a file that no sync has covered yet.
#[derive(Debug, Clone)]
enum Change {
    Write { position: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        overwrite(&mut self.cached, bytes, position)?;
        self.unsynced.push(Change::Write { position, bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.cached.resize(length as usize, 0);
        self.unsynced.push(Change::Length(length));
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that failed: some of the bytes are written, and all of them count as clean from now on.
    pub(super) fn lose(&mut self, rng: &mut StdRng) {
        for change in std::mem::take(&mut self.unsynced) {
            survive(&mut self.durable, &change, rng);
        }
    }

    /// The power goes: of what was not synced, whatever the disk pleases is there afterwards.
    pub(super) fn crash(&mut self, rng: &mut StdRng) {
        self.lose(rng);
        self.cached.clone_from(&self.durable);
    }
}

fn apply(durable: &mut Vec<u8>, change: &Change) {
    match change {
        // The position was already written in the cache, so it fits.
        Change::Write { position, bytes } => drop(overwrite(durable, bytes, *position)),
        Change::Length(length) => durable.resize(*length as usize, 0),
    }
}

/// Applies all of a change, none of it, its length alone, its front, or any subset of its bytes.
fn survive(durable: &mut Vec<u8>, change: &Change, rng: &mut StdRng) {
    let Change::Write { position, bytes } = change else {
        if rng.random() {
            apply(durable, change);
        }
        return;
    };
    let from = *position as usize;
    match rng.random_range(0..6) {
        0 | 1 => {}
        2 | 3 => apply(durable, change),
        4 => {
            let front = bytes[..rng.random_range(0..=bytes.len())].to_vec();
            apply(durable, &Change::Write { position: *position, bytes: front });
        }
        _ => {
            let mut mask = vec![0; bytes.len()];
            rng.fill_bytes(&mut mask);
            let threshold = rng.random_range(0..=u8::MAX);
            if durable.len() < from + bytes.len() {
                durable.resize(from + bytes.len(), 0);
            }
            for (at, (&byte, &coin)) in bytes.iter().zip(&mask).enumerate() {
                if coin <= threshold {
                    durable[from + at] = byte;
                }
            }
        }
    }
}
