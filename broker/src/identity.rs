//! What tells this broker from others, and idempotent producers from each other.
//!
//! ```text
//! DATA-DIR/identity      the cluster's id, and the producer ids that may have been given out
//! ```
//!
//! Invariant: a producer id is below the durable end of the reserved ones before it is given out, and none is given out
//! twice, across crashes as well: what was reserved and not used is left out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use topo_log::storage::Storage;

use crate::error::BrokerError;
use crate::sealed_text::{seal, verified};

const FILE: &str = "identity";
const UNFINISHED: &str = "identity.tmp";
/// The first line; a later form of the file has another number and is refused by an older reader.
const FIRST_LINE: &str = "topo identity 1";
/// Producer ids reserved at a time: as many cost one sync.
const BLOCK: i64 = 1000;
/// Far more than the file takes.
const MAX_BYTES: u64 = 1 << 10;

/// The identity.
#[derive(Debug)]
pub(crate) struct Identity {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    stored: Option<Stored>,
    /// The next producer id to give out, if it is reserved.
    next_producer_id: i64,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    cluster_id: Arc<str>,
    /// Producer ids below this may have been given out.
    reserved: i64,
}

impl Identity {
    /// Reads what there is; the file is written once something of it is needed.
    pub(crate) fn open(storage: Arc<dyn Storage>, dir: &Path) -> Result<Self, BrokerError> {
        let stored = read(&*storage, &dir.join(FILE))?;
        let next_producer_id = stored.as_ref().map_or(0, |stored| stored.reserved);
        let known = Mutex::new(Known { stored, next_producer_id });
        Ok(Self { storage, dir: dir.to_owned(), known })
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.dir
    }

    /// A producer id that needs no writing, if there is one.
    pub(crate) fn reserved_producer_id(&self) -> Option<i64> {
        self.known().take_reserved()
    }

    /// A producer id; reserves more of them where that is needed. Blocks.
    pub(crate) fn new_producer_id(&self) -> Result<i64, BrokerError> {
        let mut known = self.known();
        if let Some(id) = known.take_reserved() {
            return Ok(id);
        }
        let id = known.next_producer_id;
        let reserved = id.checked_add(BLOCK);
        let reserved = reserved.ok_or_else(|| BrokerError::Storage("no producer ids are left".to_owned()))?;
        let cluster_id =
            known.stored.as_ref().map_or_else(new_cluster_id, |stored| stored.cluster_id.clone());
        self.write(&mut known, Stored { cluster_id, reserved })?;
        known.next_producer_id = id + 1;
        Ok(id)
    }

    /// The cluster's id, if it was given one.
    pub(crate) fn known_cluster_id(&self) -> Option<Arc<str>> {
        self.known().stored.as_ref().map(|stored| stored.cluster_id.clone())
    }

    /// The cluster's id, which is given now if need be. Blocks.
    pub(crate) fn cluster_id(&self) -> Result<Arc<str>, BrokerError> {
        let mut known = self.known();
        if let Some(stored) = &known.stored {
            return Ok(stored.cluster_id.clone());
        }
        let cluster_id = new_cluster_id();
        let reserved = known.next_producer_id;
        self.write(&mut known, Stored { cluster_id: cluster_id.clone(), reserved })?;
        Ok(cluster_id)
    }

    /// Makes `stored` durable, then known.
    fn write(&self, known: &mut Known, stored: Stored) -> Result<(), BrokerError> {
        let (path, unfinished) = (self.dir.join(FILE), self.dir.join(UNFINISHED));
        let write = || {
            // An earlier attempt that was cut short leaves it.
            match self.storage.remove(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.storage.create(&unfinished)?;
            file.write_all_at(stored.encode().as_bytes(), 0)?;
            file.sync()?;
            self.storage.rename(&unfinished, &path)?;
            self.storage.sync_dir(&self.dir)
        };
        let failed =
            |error: io::Error| BrokerError::Storage(format!("cannot write {}: {error}", path.display()));
        write().map_err(failed)?;
        known.stored = Some(stored);
        Ok(())
    }

    // Changed only once what it says is written: a panic leaves it whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take_reserved(&mut self) -> Option<i64> {
        let id = self.next_producer_id;
        let reserved = self.stored.as_ref().map_or(0, |stored| stored.reserved);
        (id < reserved).then(|| {
            self.next_producer_id += 1;
            id
        })
    }
}

impl Stored {
    fn encode(&self) -> String {
        let Self { cluster_id, reserved } = self;
        seal(format!("{FIRST_LINE}\ncluster-id={cluster_id}\nproducer-ids={reserved}\n"))
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = verified(text)?.lines().skip(1);
        let cluster_id = lines.next()?.strip_prefix("cluster-id=")?.into();
        let reserved = lines.next()?.strip_prefix("producer-ids=")?.parse().ok().filter(|id| *id >= 0)?;
        let stored = Self { cluster_id, reserved };
        // Another first line is another version.
        (stored.encode() == text).then_some(stored)
    }
}

fn new_cluster_id() -> Arc<str> {
    format!("{:032x}", rand::random::<u128>()).into()
}

fn read(storage: &dyn Storage, path: &Path) -> Result<Option<Stored>, BrokerError> {
    let failed = |error: io::Error| BrokerError::Storage(format!("cannot read {}: {error}", path.display()));
    let file = match storage.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let length = file.length().map_err(failed)?;
    let mut bytes = vec![0; length.min(MAX_BYTES) as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let stored = str::from_utf8(&bytes).ok().and_then(Stored::decode);
    stored.map(Some).ok_or_else(|| {
        BrokerError::Corrupt(format!(
            "{} is damaged, or of another version of topo; restore it from a copy",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk, create_dirs};

    use super::*;

    const DIR: &str = "/data";

    fn open(storage: &Arc<dyn Storage>) -> Identity {
        create_dirs(&**storage, Path::new(DIR)).unwrap();
        Identity::open(storage.clone(), Path::new(DIR)).unwrap()
    }

    #[test]
    fn ids_stay_and_producer_ids_go_on_across_reopening() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let first = open(&storage);
        assert_eq!(first.known_cluster_id(), None);
        let cluster_id = first.cluster_id().unwrap();
        assert_eq!(first.reserved_producer_id(), None);
        let ids: Vec<i64> = (0..BLOCK + 3).map(|_| first.new_producer_id().unwrap()).collect();
        assert_eq!(ids, (0..BLOCK + 3).collect::<Vec<_>>());
        assert_eq!(first.reserved_producer_id(), Some(BLOCK + 3));

        let second = open(&storage);
        assert_eq!(second.known_cluster_id(), Some(cluster_id));
        assert_eq!(second.new_producer_id().unwrap(), 2 * BLOCK, "what was reserved is left out");
    }

    #[test]
    fn no_producer_id_is_given_twice_across_power_losses_and_failures() {
        for seed in 0..200 {
            let disk = SimulatedDisk::new(seed);
            let mut given = HashSet::new();
            for round in 0..6 {
                let storage: Arc<dyn Storage> = Arc::new(disk.clone());
                let identity = open(&storage);
                if round % 2 == 1 {
                    disk.inject(Fault::SyncError { after: seed % 3 });
                }
                for _ in 0..BLOCK + 1 {
                    let Ok(id) = identity.new_producer_id() else { break };
                    assert!(given.insert(id), "{id} is given twice with seed {seed}");
                }
                disk.crash();
            }
            assert!(!given.is_empty());
        }
    }

    #[test]
    fn an_attempt_that_was_cut_short_is_in_nobodys_way() {
        let disk = SimulatedDisk::new(7);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let identity = open(&storage);
        disk.inject(Fault::SyncError { after: 0 });
        identity.new_producer_id().unwrap_err();
        assert_eq!(identity.new_producer_id().unwrap(), 0);

        // As a killed process leaves it: the file is there, whatever it holds.
        storage.create(&Path::new(DIR).join(UNFINISHED)).unwrap();
        assert_eq!(open(&storage).new_producer_id().unwrap(), BLOCK);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_begun_anew() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        open(&storage).new_producer_id().unwrap();
        let file = storage.open(&Path::new(DIR).join(FILE)).unwrap();
        let mut whole = vec![0; file.length().unwrap() as usize];
        file.read_exact_at(&mut whole, 0).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&bytes, 0).unwrap();
            let refused = Identity::open(storage.clone(), Path::new(DIR)).unwrap_err().to_string();
            assert!(refused.contains("/data/identity is damaged"), "{bit}: {refused}");
        }
    }
}
