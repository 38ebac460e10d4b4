//! From a snapshot, or from nothing, to the producers and the indexes of aborted transactions as the log has them.
//!
//! Behind a flaw the log is followed on: a marker that is lost there leaves its transaction open, so that nobody is shown
//! what may have been aborted.

use std::path::Path;

use topo_protocol::{BatchHeader, EndTransactionMarker};

use super::{Producers, snapshot};
use crate::aborted::{self, AbortedTransaction, Digest};
use crate::cursor::{Cursor, Flaw, Place, Stop};
use crate::error::LogError;
use crate::index::Index;
use crate::partition::{Partition, marker_in};
use crate::recovery::remove_if_there;
use crate::segment::{SEEK_CHUNK, Segment, offset_in};
use crate::storage::Storage;

/// Snapshots kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// The segments of a partition that is being opened; their indexes of aborted transactions are opened here.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) dir: &'a Path,
    /// All but the last, oldest first.
    pub(crate) sealed: &'a mut [Segment],
    /// The last.
    pub(crate) active: &'a mut Segment,
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
    /// Segments whose index of aborted transactions was missing or damaged.
    pub(crate) rebuilt_indexes: usize,
}

impl Replay<'_> {
    /// Reads the newest snapshot that the log and the indexes of aborted transactions agree with, and follows the log from
    /// there; removes the others but one.
    pub(crate) fn run(self, names: &[String]) -> Result<Replayed, LogError> {
        let mut rebuilt_indexes = 0;
        for segment in &mut *self.sealed {
            let path = aborted::path(self.dir, segment.base_offset);
            let index = Index::open_sealed(self.storage, &path, segment.base_offset);
            segment.aborted = index.filter(Index::is_whole);
            rebuilt_indexes += usize::from(segment.aborted.is_none());
        }
        let mut offsets: Vec<i64> =
            names.iter().filter_map(|name| offset_in(name, snapshot::SUFFIX)).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let (mut producers, mut snapshots, mut began_with) = (Producers::default(), Vec::new(), None);
        for offset in offsets {
            // Above the durable end the log may have been another one: such a snapshot must not outlive this.
            let mut keep = self.may_be_true(offset) && snapshots.len() < KEPT;
            if keep && began_with.is_none() {
                let read = snapshot::read(self.storage, self.dir, offset);
                match read.filter(|(read, _)| self.agrees(read, offset)) {
                    Some((read, digest)) if self.is_indexed(offset, digest) => {
                        (producers, began_with) = (read, Some(offset));
                    }
                    // True, but behind what has to be indexed again.
                    Some(_) => {}
                    None => keep = false,
                }
            }
            if keep {
                snapshots.insert(0, offset);
            } else {
                remove_if_there(self.storage, &snapshot::path(self.dir, offset))?;
            }
        }
        let mut from = began_with.unwrap_or(0);
        let sealed = self.sealed.partition_point(|segment| segment.next_offset <= from);
        for segment in &mut self.sealed[sealed..] {
            Self::open_index(self.storage, self.dir, segment, from)?;
        }
        rebuilt_indexes += usize::from(Self::open_index(self.storage, self.dir, self.active, from)?);
        for segment in self.sealed[sealed..].iter_mut().chain([&mut *self.active]) {
            let followed = follow(segment, self.leader_epoch, &mut producers, &mut from)?;
            followed.aborted.iter().for_each(|aborted| segment.note_aborted(aborted));
            if followed.flaw.is_some() {
                segment.aborted = None;
            }
        }
        let indexes = self.sealed[sealed..].iter().filter_map(|segment| segment.aborted.as_ref());
        indexes.for_each(Index::seal);
        Ok(Replayed { producers, snapshots, began_with, rebuilt_indexes })
    }

    fn may_be_true(&self, offset: i64) -> bool {
        let starts = self.sealed.first().unwrap_or(self.active).base_offset;
        self.durable.is_some_and(|durable| (starts..=durable).contains(&offset))
    }

    /// Whether the last batch that a snapshot covers is the one in the log.
    fn agrees(&self, read: &Producers, offset: i64) -> bool {
        // With the batch given up, nothing contradicts it.
        let Some(segment) = self.holder(offset) else { return true };
        let from = segment.near(u32::try_from(offset - 1 - segment.base_offset).unwrap_or(u32::MAX));
        let mut cursor = cursor(segment, from, self.leader_epoch);
        while let Ok(Some((_, header))) = cursor.next_header() {
            if header.next_offset() >= offset {
                // What compaction made of the batch says nothing of what it was.
                let is_same = header.next_offset() == offset && read.tip == Some(header.crc);
                return is_same || header.is_compacted();
            }
        }
        false
    }

    /// Whether the indexes of aborted transactions hold all that have ended below a snapshot's offset.
    fn is_indexed(&self, offset: i64, digest: Digest) -> bool {
        let sealed = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let is_whole = self.sealed[..sealed].iter().all(|segment| segment.aborted.is_some());
        let next = self.sealed.get(sealed).unwrap_or(self.active);
        // Compaction may have written what was the active one's into another's.
        let is_complete = next.aborted.is_some() || self.digest(next, offset) == Some(digest);
        is_whole && (next.base_offset >= offset || is_complete)
    }

    /// What the file of a segment's index has of what ended below `offset`.
    fn digest(&self, segment: &Segment, offset: i64) -> Option<Digest> {
        let path = aborted::path(self.dir, segment.base_offset);
        let index = Index::open_to_look(self.storage, &path, segment.base_offset)?;
        Digest::of(&index, u32::try_from(offset - segment.base_offset).ok()?)
    }

    /// Opens a segment's index with what ended below `from`, for the rest to be noted anew; whether it was missing or
    /// damaged.
    fn open_index(
        storage: &dyn Storage,
        dir: &Path,
        segment: &mut Segment,
        from: i64,
    ) -> Result<bool, LogError> {
        let (base, path) = (segment.base_offset, aborted::path(dir, segment.base_offset));
        let below = u32::try_from((from - base).max(0)).unwrap_or(u32::MAX);
        let opened = Index::open_for_recovery(storage, &path, base, below.saturating_sub(1));
        let opened = opened.map_err(LogError::storage("read", &path))?;
        let (index, is_damaged) = match opened {
            Some((mut index, is_damaged)) => {
                if below == 0 && index.last().is_some() {
                    index.clear().map_err(LogError::storage("write", &path))?;
                }
                (index, is_damaged)
            }
            None => {
                let created = Index::create(storage, &path, base);
                (created.map_err(LogError::storage("create", &path))?, true)
            }
        };
        segment.aborted = Some(index);
        Ok(is_damaged)
    }

    /// The segment that holds the batch in front of `offset`.
    fn holder(&self, offset: i64) -> Option<&Segment> {
        let mut all = self.sealed.iter().chain([&*self.active]);
        all.find(|segment| segment.base_offset < offset && offset <= segment.next_offset)
    }
}

/// What following a segment found.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The transactions whose markers abort them, in order.
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// Where it could not go on; whoever reads there is told of it.
    pub(crate) flaw: Option<Flaw>,
}

/// Notes every batch of a segment from `from` on, up to its end or the first flaw, and moves `from` to the next segment.
pub(crate) fn follow(
    segment: &Segment,
    leader_epoch: i32,
    producers: &mut Producers,
    from: &mut i64,
) -> Result<Followed, LogError> {
    let mut followed = Followed::default();
    if segment.next_offset <= *from {
        return Ok(followed);
    }
    let near = segment.near(u32::try_from((*from - segment.base_offset).max(0)).unwrap_or(u32::MAX));
    for start in [near, segment.start()] {
        followed.flaw = None;
        let mut cursor = cursor(segment, start, leader_epoch);
        loop {
            let batch = cursor.next_header().and_then(|batch| {
                let Some((place, header)) = batch.filter(|(_, header)| header.base_offset >= *from) else {
                    return Ok(batch.map(|(_, header)| (header, None)));
                };
                let marker = marker_at(segment, place, &header, leader_epoch)?;
                Ok(Some((header, Some(marker))))
            });
            match batch {
                Ok(Some((header, Some(marker)))) => {
                    followed.aborted.extend(producers.note(&header, marker.as_ref()));
                    *from = header.next_offset();
                    producers.settle(*from);
                }
                // Compaction may have left one batch where the snapshot saw several.
                Ok(Some((header, None))) => *from = header.next_offset().max(*from),
                Err(Stop::Io(error)) => return Err(segment.stopped(Stop::Io(error))),
                Err(Stop::Flaw(flaw)) => {
                    followed.flaw = Some(flaw);
                    break;
                }
                Ok(None) => break,
            }
        }
        if *from >= segment.next_offset {
            return Ok(followed);
        }
    }
    let at = Place { position: segment.bytes, offset: *from };
    followed.flaw.get_or_insert(Flaw { at, reason: "the file ends before".into() });
    *from = segment.next_offset;
    Ok(followed)
}

/// The marker in the batch at `place`; `None` where it holds records.
fn marker_at(
    segment: &Segment,
    place: Place,
    header: &BatchHeader,
    leader_epoch: i32,
) -> Result<Option<EndTransactionMarker>, Stop> {
    if !header.attributes.is_control() {
        return Ok(None);
    }
    let mut cursor = Cursor::new(&*segment.log, place, segment.bytes, leader_epoch, 0);
    let Some(batch) = cursor.next_batch()? else { return Ok(None) };
    marker_in(batch.bytes, header).map_err(|error| Stop::Flaw(Flaw { at: place, reason: error.to_string() }))
}

fn cursor(segment: &Segment, from: Place, leader_epoch: i32) -> Cursor<'_> {
    Cursor::new(&*segment.log, from, segment.bytes, leader_epoch, SEEK_CHUNK)
}

impl Partition {
    /// Writes a snapshot of the producers at the log's end and removes those that it makes superfluous.
    pub(crate) fn snapshot_producers(&mut self) {
        let offset = self.log_end();
        if self.snapshots.last() == Some(&offset) {
            return;
        }
        let aborted = self.active.aborted.as_ref();
        // Without it the next open goes the longer way.
        let Some(digest) = aborted.and_then(|aborted| Digest::of(aborted, u32::MAX)) else { return };
        if snapshot::write(&*self.storage, &self.dir, offset, &self.producers, digest).is_ok() {
            self.snapshots.push(offset);
        }
        while self.snapshots.len() > KEPT {
            let superfluous = self.snapshots.remove(0);
            drop(remove_if_there(&*self.storage, &snapshot::path(&self.dir, superfluous)));
        }
    }
}
