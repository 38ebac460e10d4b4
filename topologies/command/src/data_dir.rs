//! The data directory of a verb that serves it.

use std::path::{Path, PathBuf};

use clap::Args;

/// The data directory, as verbs take it.
#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// The data directory; one process at a time may have it open
    #[arg(long, env = "TOPO_DATA_DIR", default_value = DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Where the log is when nothing else is said.
pub(crate) const DEFAULT: &str = "topo-data";

impl DataDir {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.data_dir
    }
}
