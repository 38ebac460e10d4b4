//! How many files and connections the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets the process open as many descriptors as the system permits: each connection takes one, and each segment of a log a
/// few.
pub(crate) fn raise() {
    // Where that is refused, it is told once there are too few.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "the limit of descriptors stays at {soft}");
    }
}
