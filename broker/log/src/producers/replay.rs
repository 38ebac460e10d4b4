//! From a snapshot, or from nothing, to the producers as the log has them.

use std::path::Path;

use super::{Producers, snapshot};
use crate::cursor::{Cursor, Place, Stop};
use crate::error::LogError;
use crate::partition::Partition;
use crate::recovery::remove_if_there;
use crate::segment::{SEEK_CHUNK, Segment, offset_in};
use crate::storage::Storage;

/// Snapshots kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// The segments of a partition that is being opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replay<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) dir: &'a Path,
    /// All of them, oldest first; at least one.
    pub(crate) segments: &'a [&'a Segment],
    pub(crate) leader_epoch: i32,
    /// Below, the log is as it was whenever a snapshot of it was taken; `None` where nobody knows.
    pub(crate) durable: Option<i64>,
}

/// What a replay found.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) producers: Producers,
    /// The offsets of the snapshots that are left, lowest first.
    pub(crate) snapshots: Vec<i64>,
    /// The one that the replay began with.
    pub(crate) began_with: Option<i64>,
}

impl Replay<'_> {
    /// Reads the newest snapshot that the log agrees with and follows the log from there; removes the others but one.
    pub(crate) fn run(self, names: &[String]) -> Result<Replayed, LogError> {
        let mut offsets: Vec<i64> =
            names.iter().filter_map(|name| offset_in(name, snapshot::SUFFIX)).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let (mut producers, mut snapshots, mut began_with) = (Producers::default(), Vec::new(), None);
        for offset in offsets {
            // Above the durable end the log may have been another one: such a snapshot must not outlive this.
            let mut keep = self.may_be_true(offset) && snapshots.len() < KEPT;
            if keep && began_with.is_none() {
                match snapshot::read(self.storage, self.dir, offset).filter(|read| self.agrees(read, offset))
                {
                    Some(read) => (producers, began_with) = (read, Some(offset)),
                    None => keep = false,
                }
            }
            if keep {
                snapshots.insert(0, offset);
            } else {
                remove_if_there(self.storage, &snapshot::path(self.dir, offset))?;
            }
        }
        self.follow(&mut producers, began_with.unwrap_or(0))?;
        Ok(Replayed { producers, snapshots, began_with })
    }

    fn may_be_true(&self, offset: i64) -> bool {
        let starts = self.segments.first().map_or(0, |first| first.base_offset);
        self.durable.is_some_and(|durable| (starts..=durable).contains(&offset))
    }

    /// Whether the last batch that a snapshot covers is the one in the log.
    fn agrees(&self, read: &Producers, offset: i64) -> bool {
        let holds = |segment: &&&Segment| segment.base_offset < offset && offset <= segment.next_offset;
        // With the batch given up, nothing contradicts it.
        let Some(segment) = self.segments.iter().find(holds) else { return true };
        let from = segment.near(u32::try_from(offset - 1 - segment.base_offset).unwrap_or(u32::MAX));
        let mut cursor = self.cursor(segment, from);
        while let Ok(Some((_, header))) = cursor.next_header() {
            if header.next_offset() >= offset {
                // What compaction made of the batch says nothing of what it was.
                let is_same = header.next_offset() == offset && read.tip == Some(header.crc);
                return is_same || header.is_compacted();
            }
        }
        false
    }

    /// Notes every batch from `from` on, up to the log's end or the first flaw, which whoever reads there is told of.
    fn follow(&self, producers: &mut Producers, mut from: i64) -> Result<(), LogError> {
        for segment in self.segments {
            if segment.next_offset <= from {
                continue;
            }
            let near = segment.near(u32::try_from((from - segment.base_offset).max(0)).unwrap_or(u32::MAX));
            for start in [near, segment.start()] {
                let mut cursor = self.cursor(segment, start);
                loop {
                    match cursor.next_header() {
                        Ok(Some((_, header))) if header.base_offset >= from => {
                            producers.note(&header);
                            from = header.next_offset();
                        }
                        // Compaction may have left one batch where the snapshot saw several.
                        Ok(Some((_, header))) => from = from.max(header.next_offset()),
                        Err(Stop::Io(error)) => return Err(segment.stopped(Stop::Io(error))),
                        Ok(None) | Err(Stop::Flaw(_)) => break,
                    }
                }
                if from >= segment.next_offset {
                    break;
                }
            }
            if from < segment.next_offset {
                break;
            }
        }
        Ok(())
    }

    fn cursor<'b>(&self, segment: &'b Segment, from: Place) -> Cursor<'b> {
        Cursor::new(&*segment.log, from, segment.bytes, self.leader_epoch, SEEK_CHUNK)
    }
}

impl Partition {
    /// Writes a snapshot of the producers at the log's end and removes those that it makes superfluous.
    pub(crate) fn snapshot_producers(&mut self) {
        let offset = self.log_end();
        if self.snapshots.last() == Some(&offset) {
            return;
        }
        // Without it the next open goes the longer way.
        if snapshot::write(&*self.storage, &self.dir, offset, &self.producers).is_ok() {
            self.snapshots.push(offset);
        }
        while self.snapshots.len() > KEPT {
            let superfluous = self.snapshots.remove(0);
            drop(remove_if_there(&*self.storage, &snapshot::path(&self.dir, superfluous)));
        }
    }
}
