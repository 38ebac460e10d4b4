//! Which data directory a verb works on, and its log while it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo_core::log::Log;
use topo_core::schedule::TokioScheduler;

use crate::failure::Failure;

/// The data directory, as verbs take it.
#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// The data directory; one process at a time may have it open
    #[arg(long, env = "TOPO_DATA_DIR", default_value = "topo-data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// A data directory that is open.
pub(crate) struct Opened {
    /// Its log.
    pub(crate) log: Arc<dyn Log>,
    embedded: EmbeddedLog,
}

impl DataDir {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.data_dir
    }

    /// Opens the directory, which must be there: a mistyped name should not begin a second log.
    ///
    /// # Errors
    /// [`Failure::NoDataDir`], or [`Failure::DataDir`] where it is in use or damaged.
    pub(crate) fn open(&self) -> Result<Opened, Failure> {
        if self.data_dir.is_dir() { self.create() } else { Err(Failure::NoDataDir(self.data_dir.clone())) }
    }

    /// Opens the directory, and creates it where there is none.
    ///
    /// # Errors
    /// [`Failure::DataDir`].
    pub(crate) fn create(&self) -> Result<Opened, Failure> {
        let clock = Arc::new(TokioScheduler::current());
        let embedded = EmbeddedLog::open(&self.data_dir, EmbeddedConfig::default(), clock)?;
        tracing::debug!(data_dir = %self.data_dir.display(), "the data directory is open");
        Ok(Opened { log: Arc::new(embedded.clone()), embedded })
    }
}

impl Opened {
    /// Closes the log, however the verb ended; what it ended with comes before what closing says.
    ///
    /// # Errors
    /// The verb's, else those of closing.
    pub(crate) async fn close<T>(self, ended: Result<T, Failure>) -> Result<T, Failure> {
        let closed = self.embedded.close().await;
        let ended = ended?;
        closed?;
        Ok(ended)
    }
}
