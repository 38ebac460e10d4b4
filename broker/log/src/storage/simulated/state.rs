//! Everything behind the simulated disk's lock: names, files, faults due, and what a power loss leaves of them.
//!
//! Invariant: `live` is `durable` with every change of `unsynced` applied in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::parent_of;
use super::Fault;
use super::inode::Inode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(usize),
}

/// A change of a directory that no `sync_dir` has covered yet.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl NameChange {
    fn dir(&self) -> PathBuf {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::Rename(path, ..) => parent_of(path),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Put(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// What an operation that changes something is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Write,
    Sync,
    Other,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Short,
    Failed,
    Refused,
    PowerLost,
}

#[derive(Debug)]
pub(super) struct State {
    rng: StdRng,
    pub(super) inodes: Vec<Inode>,
    pub(super) live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    unsynced: Vec<NameChange>,
    pub(super) locks: BTreeMap<usize, Weak<()>>,
    /// Raised by every power loss; handles from before are dead.
    pub(super) boot: u64,
    powered: bool,
    pub(super) operations: u64,
    creates: u64,
    writes: u64,
    syncs: u64,
    /// Faults with the count of their kind at which they strike.
    due: Vec<(Fault, u64)>,
    pub(super) capacity: Option<u64>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            inodes: Vec::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced: Vec::new(),
            locks: BTreeMap::new(),
            boot: 0,
            powered: true,
            operations: 0,
            creates: 0,
            writes: 0,
            syncs: 0,
            due: Vec::new(),
            capacity: None,
        }
    }

    pub(super) fn fork(&self, seed: u64) -> Self {
        Self {
            inodes: self.inodes.clone(),
            live: self.live.clone(),
            durable: self.durable.clone(),
            unsynced: self.unsynced.clone(),
            boot: self.boot,
            powered: self.powered,
            ..Self::new(seed)
        }
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        let (count, after) = match fault {
            Fault::PowerLoss { after } => (self.operations, after),
            Fault::SyncError { after } => (self.syncs, after),
            Fault::CreateError { after } => (self.creates, after),
            Fault::WriteError { after } | Fault::ShortWrite { after } => (self.writes, after),
        };
        self.due.push((fault, count + after));
    }

    /// Fails every operation between a power loss and the reboot.
    pub(super) fn powered(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    /// Counts an operation and says what becomes of it.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<Outcome> {
        self.powered()?;
        let (operations, writes, syncs) = (self.operations, self.writes, self.syncs);
        let creates = self.creates;
        self.creates += u64::from(operation == Operation::Create);
        self.operations += 1;
        self.writes += u64::from(operation == Operation::Write);
        self.syncs += u64::from(operation == Operation::Sync);
        let mut outcome = Outcome::Done;
        self.due.retain(|(fault, at)| {
            let (strikes, what) = match fault {
                Fault::PowerLoss { .. } => (*at == operations, Outcome::PowerLost),
                Fault::CreateError { .. } => {
                    (operation == Operation::Create && *at == creates, Outcome::Refused)
                }
                Fault::SyncError { .. } => (operation == Operation::Sync && *at == syncs, Outcome::Failed),
                Fault::WriteError { .. } => (operation == Operation::Write && *at == writes, Outcome::Failed),
                Fault::ShortWrite { .. } => (operation == Operation::Write && *at == writes, Outcome::Short),
            };
            if strikes {
                outcome = what;
            }
            !strikes
        });
        self.powered = outcome != Outcome::PowerLost;
        Ok(outcome)
    }

    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || dir == Path::new(".") || self.live.get(dir) == Some(&Node::Dir)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The names in a directory.
    pub(super) fn names<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = String> + 'a {
        let inside = self.live.keys().filter(move |path| parent_of(path) == dir && path.as_path() != dir);
        inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
    }

    /// Fails unless a name can be given in an existing directory.
    pub(super) fn free(&self, path: &Path) -> io::Result<()> {
        if !self.has_dir(&parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.live.contains_key(path) || self.has_dir(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.room() == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Bytes left under the capacity.
    pub(super) fn room(&self) -> Option<u64> {
        let used = || self.live.values().map(|node| self.bytes_of(*node)).sum::<u64>();
        self.capacity.map(|capacity| capacity.saturating_sub(used()))
    }

    fn bytes_of(&self, node: Node) -> u64 {
        match node {
            Node::Dir => 0,
            Node::File(inode) => self.inodes[inode].cached.len() as u64,
        }
    }

    /// Changes names: at once in the cache, on the disk when their directory is synced.
    pub(super) fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (synced, rest) = std::mem::take(&mut self.unsynced).into_iter().partition(|c| c.dir() == dir);
        self.unsynced = rest;
        let synced: Vec<NameChange> = synced;
        synced.iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// A sync of `inode` that fails.
    pub(super) fn lose(&mut self, inode: usize) {
        self.inodes[inode].lose(&mut self.rng);
    }

    /// Power loss and reboot.
    pub(super) fn crash(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            if self.rng.random() {
                change.apply(&mut self.durable);
            }
        }
        // Nothing is left in a directory that did not survive; parents sort before what they hold.
        let mut reachable: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut self.durable) {
            let parent = parent_of(&path);
            let rooted = parent.parent().is_none() || parent == Path::new(".");
            if rooted || reachable.get(&parent) == Some(&Node::Dir) {
                reachable.insert(path, node);
            }
        }
        self.live = reachable.clone();
        self.durable = reachable;
        for inode in &mut self.inodes {
            inode.crash(&mut self.rng);
        }
        self.locks.clear();
        self.due.clear();
        self.boot += 1;
        self.powered = true;
    }
}
