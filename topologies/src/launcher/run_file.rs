//! How the commands on a machine find the topologies that run there: a file for each, in a directory of the user's own.
//!
//! Invariant: only the user may read a file, since it holds the token that the page made for this run, which lets in whoever
//! shows it; the token that the run was started with, if any, stays out of it. The run keeps it locked, and the system lets go
//! of the lock whatever ends the run; so a file that can be locked is a stale one.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use topo_core::Running;

use crate::status::StatusServer;

/// Bytes of a file that are read.
const MOST_BYTES: u64 = 64 << 10;

/// A topology that runs on this machine, as its file tells.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The topology's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Where its page is.
    pub page: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
    /// What the page takes from whoever reads or changes something; made anew for each run.
    pub token: String,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("id", &self.id).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// The file of this process's run; goes with it.
pub(super) struct RunFile {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

/// `TOPO_RUNTIME_DIR`; else `topo` in the user's runtime directory; else one of the user's own among the temporary files.
fn directory() -> PathBuf {
    let named =
        |name| env::var_os(name).filter(|path: &std::ffi::OsString| !path.is_empty()).map(PathBuf::from);
    named("TOPO_RUNTIME_DIR")
        .or_else(|| named("XDG_RUNTIME_DIR").map(|path| path.join("topo")))
        .unwrap_or_else(|| env::temp_dir().join(format!("topo-{}", user())))
}

#[cfg(unix)]
fn user() -> u32 {
    use std::os::unix::fs::MetadataExt;
    // A process belongs to its user, and so does what the system says of it.
    fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid())
}

#[cfg(not(unix))]
fn user() -> String {
    env::var("USERNAME").unwrap_or_default()
}

/// Creates the directory, or finds that it is the user's own.
#[cfg(unix)]
fn own_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    let is_own = metadata.is_dir() && metadata.uid() == user() && metadata.permissions().mode() & 0o077 == 0;
    if is_own {
        return Ok(());
    }
    let sentence = "it is not a directory that only you may use; name another with TOPO_RUNTIME_DIR";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence))
}

#[cfg(not(unix))]
fn own_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// A new file that nobody else may read, whatever one of its name was.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Says which path it is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl RunFile {
    /// Tells of `running`, whose page is `server`.
    pub(super) fn write(running: &Running, server: &StatusServer) -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::write_in(
            &directory(),
            &Run {
                id: running.id().to_string(),
                name: running.name().to_string(),
                pid: process::id(),
                page: server.url(),
                started_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                token: server.page_token().reveal().to_owned(),
            },
        )
    }

    fn write_in(directory: &Path, run: &Run) -> io::Result<Self> {
        own_directory(directory).map_err(at(directory))?;
        // A process may run several topologies, each with a page of its own.
        let port = run.page.rsplit(':').next().unwrap_or_default();
        let path = directory.join(format!("{}-{port}.json", run.pid));
        // Locked before it has its name, so that nobody takes it for a stale one.
        let new = path.with_extension("new");
        let locked = || {
            let mut file = create(&new)?;
            file.lock()?;
            file.write_all(&serde_json::to_vec(run)?)?;
            fs::rename(&new, &path)?;
            Ok(file)
        };
        let file = locked().map_err(at(&new))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // What cannot be removed is stale from now on, and goes with the next look.
        let _ = fs::remove_file(&self.path);
    }
}

/// The topologies of this user that run on this machine with a page, the newest last. Removes what others left behind.
///
/// # Errors
/// Where the directory cannot be read, or is not the user's own.
pub fn runs() -> io::Result<Vec<Run>> {
    runs_in(&directory())
}

fn runs_in(directory: &Path) -> io::Result<Vec<Run>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(directory))?,
    };
    own_directory(directory).map_err(at(directory))?;
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            runs.extend(read(&path));
        }
    }
    runs.sort_by_key(|run: &Run| (run.started_ms, run.pid));
    Ok(runs)
}

/// The run whose file it is; a stale one is removed.
fn read(path: &Path) -> Option<Run> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) => {
            // Whose removal fails, is looked at again.
            let _ = fs::remove_file(path);
            return None;
        }
        Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pid: u32, started_ms: i64) -> Run {
        let page = "http://127.0.0.1:8080".to_owned();
        Run {
            id: format!("words-{pid}"),
            name: "words".into(),
            pid,
            page,
            started_ms,
            token: "secret-of-it".into(),
        }
    }

    fn ids(directory: &Path) -> Vec<String> {
        runs_in(directory).unwrap().into_iter().map(|run| run.id).collect()
    }

    #[test]
    fn what_runs_is_found_and_what_ended_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("topo");
        assert_eq!(ids(&directory), [""; 0]);
        let first = RunFile::write_in(&directory, &run(7, 2)).unwrap();
        let second = RunFile::write_in(&directory, &run(8, 1)).unwrap();
        assert_eq!(ids(&directory), ["words-8", "words-7"]);
        drop(second);
        assert_eq!(ids(&directory), ["words-7"]);
        drop(first);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn what_was_left_behind_is_removed_and_what_is_no_run_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("topo");
        let _kept = RunFile::write_in(&directory, &run(7, 1)).unwrap();
        fs::write(directory.join("9-80.json"), serde_json::to_vec(&run(9, 3)).unwrap()).unwrap();
        fs::write(directory.join("other.txt"), "x").unwrap();
        assert_eq!(ids(&directory), ["words-7"]);
        assert!(!directory.join("9-80.json").exists() && directory.join("other.txt").exists());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("topo");
        let file = RunFile::write_in(&directory, &run(7, 1)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&file.path)), (0o700, 0o600));
        assert!(!format!("{:?}", run(7, 1)).contains("secret"));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = RunFile::write_in(&directory, &run(8, 1)).map(drop).unwrap_err();
        let named = directory.display().to_string();
        for refused in [refused, runs_in(&directory).unwrap_err()] {
            let sentence = refused.to_string();
            assert!(sentence.starts_with(&named) && sentence.ends_with("TOPO_RUNTIME_DIR"), "{sentence}");
        }
        let missing = dir.path().join("none").join("topo");
        let refused = RunFile::write_in(&missing, &run(8, 1)).map(drop).unwrap_err().to_string();
        assert!(refused.starts_with(&missing.display().to_string()), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_in_its_place_does_not_say_who_reads_it() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("topo");
        drop(RunFile::write_in(&directory, &run(7, 1)).unwrap());
        let (new, elsewhere) = (directory.join("7-8080.new"), dir.path().join("elsewhere"));
        fs::write(&new, "").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        let file = RunFile::write_in(&directory, &run(7, 1)).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        fs::write(&elsewhere, "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &new).unwrap();
        let file = RunFile::write_in(&directory, &run(7, 1)).unwrap();
        assert!(fs::symlink_metadata(&file.path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
    }
}
