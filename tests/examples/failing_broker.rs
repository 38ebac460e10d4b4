//! A broker on the file system that ends, or fails, at an operation of its storage that the command line names.
//!
//! ```text
//! failing_broker DIR ADDRESS [kill-before=N | kill-within=N | fail-sync=N]
//! ```
//!
//! Operations that change the disk are counted from 1 as the broker begins them: writes, syncs, truncations, and changes of
//! names. `kill-before` ends the process by SIGKILL as operation N begins, `kill-within` behind the first half of what it
//! writes; `fail-sync` has the Nth sync of a file fail with EIO. While a file `full` lies in DIR, writes fail with ENOSPC.
//! Told to stop, it closes and says on standard output how many syncs of files there were.

#![expect(clippy::unwrap_used, reason = "a test's tool fails by panicking")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use topo_broker::{Broker, BrokerConfig, Server, ServerConfig, Sockets};
use topo_log::storage::{FileStorage, Storage, StorageFile};

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Nothing,
    KillBefore(u64),
    KillWithin(u64),
    FailSync(u64),
}

impl Plan {
    fn parse(text: &str) -> Self {
        let (what, number) = text.split_once('=').unwrap();
        let number = number.parse().unwrap();
        match what {
            "kill-before" => Self::KillBefore(number),
            "kill-within" => Self::KillWithin(number),
            "fail-sync" => Self::FailSync(number),
            other => panic!("`{other}` is no plan"),
        }
    }
}

#[derive(Debug)]
struct Counted {
    plan: Plan,
    operations: AtomicU64,
    syncs: AtomicU64,
    /// The file that stands for a full disk.
    full: PathBuf,
}

impl Counted {
    /// Counts an operation, and ends the process before it where that is planned. Whether it is to be cut short.
    fn begin(&self) -> bool {
        let number = 1 + self.operations.fetch_add(1, Ordering::SeqCst);
        if self.plan == Plan::KillBefore(number) {
            kill();
        }
        self.plan == Plan::KillWithin(number)
    }
}

fn kill() -> ! {
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL).unwrap();
    loop {
        std::thread::park();
    }
}

#[derive(Debug, Clone)]
struct FailingStorage(Arc<Counted>);

impl FailingStorage {
    fn name_change(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let cut_short = self.0.begin();
        let changed = change();
        if cut_short {
            kill();
        }
        changed
    }

    fn file(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(FailingFile { file, counted: Arc::clone(&self.0) })
    }
}

impl Storage for FailingStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        FileStorage.open(path).map(|file| self.file(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let cut_short = self.0.begin();
        let file = FileStorage.create(path);
        if cut_short {
            kill();
        }
        file.map(|file| self.file(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        FileStorage.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.name_change(|| FileStorage.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.name_change(|| FileStorage.remove(path))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.name_change(|| FileStorage.create_dir(dir))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.name_change(|| FileStorage.remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.name_change(|| FileStorage.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        FileStorage.lock(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn StorageFile>,
    counted: Arc<Counted>,
}

impl FailingFile {
    fn refuse_if_full(&self) -> io::Result<()> {
        if self.counted.full.exists() { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.refuse_if_full()?;
        if self.counted.begin() {
            self.file.write_all_at(&bytes[..bytes.len() / 2], position)?;
            kill();
        }
        self.file.write_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        let cut_short = self.counted.begin();
        let number = 1 + self.counted.syncs.fetch_add(1, Ordering::SeqCst);
        if self.counted.plan == Plan::FailSync(number) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let synced = self.file.sync();
        if cut_short {
            kill();
        }
        synced
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let cut_short = self.counted.begin();
        let truncated = self.file.truncate(bytes);
        if cut_short {
            kill();
        }
        truncated
    }

    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        self.refuse_if_full()?;
        if self.counted.begin() {
            self.file.preallocate(position, bytes / 2)?;
            kill();
        }
        self.file.preallocate(position, bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, address, plan @ ..] = &arguments[..] else { panic!("DIR ADDRESS [PLAN]") };
    let plan = plan.first().map_or(Plan::Nothing, |plan| Plan::parse(plan));
    let dir = PathBuf::from(dir);
    let full = dir.join("full");
    let counted = Arc::new(Counted { plan, operations: AtomicU64::new(0), syncs: AtomicU64::new(0), full });
    let storage = Arc::new(FailingStorage(Arc::clone(&counted)));
    let mut told = signal(SignalKind::terminate()).unwrap();
    // So often that a short run is compacted while it lasts.
    let compaction_check_interval = Duration::from_millis(10);
    let config = BrokerConfig { compaction_check_interval, ..BrokerConfig::default() };
    let broker = Broker::open_on(storage, &dir, config).unwrap();
    let wall_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    broker.keep_compaction(wall_ms);
    let sockets = Sockets::bind(&[address.parse().unwrap()]).unwrap();
    let server = Server::start(broker.clone(), sockets, ServerConfig::default());
    eprintln!("serving");
    told.recv().await;
    server.shutdown().await;
    let closed = broker.close().await;
    println!("{}", counted.syncs.load(Ordering::SeqCst));
    if let Err(error) = closed {
        eprintln!("{error}");
    }
}
