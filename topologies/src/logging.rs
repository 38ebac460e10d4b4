//! What a process says while it works: on standard error, warnings and worse unless the environment asks for more, or
//! somebody does for a time while it runs.

use std::env;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Said below the help of every command that logs.
pub const LOGGING_HELP: &str = "Logging goes to stderr; TOPO_LOG or RUST_LOG sets the level (error, warn, info, debug, \
                                trace) or a filter such as `warn,topo=debug`.";

/// Where the filter is looked for, in this order.
const VARIABLES: [&str; 2] = ["TOPO_LOG", "RUST_LOG"];

/// What the process logs, and what it goes back to.
struct Logging {
    handle: reload::Handle<Targets, Registry>,
    usual: Targets,
    now: Mutex<Now>,
}

struct Now {
    filter: Targets,
    /// Numbers the changes, so that only the newest one's end takes effect.
    change: u64,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

/// The environment's filter is not understood.
#[derive(Debug)]
pub(crate) struct BadFilter {
    pub(crate) variable: &'static str,
    pub(crate) reason: String,
}

/// Why the level stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LevelError {
    /// The filter means nothing.
    #[error(
        "`{0}` is not understood; a level such as `debug`, or a filter such as `warn,topo_core=debug`, will do"
    )]
    NotUnderstood(String),
    /// Somebody else's subscriber is at work.
    #[error("this process logs in a way of its own, which cannot be changed from here")]
    NotOurs,
}

/// Sets up logging as the environment asks. Where the process has set it up already, that stays.
///
/// # Errors
/// [`BadFilter`].
pub(crate) fn start() -> Result<(), BadFilter> {
    let asked =
        VARIABLES.iter().find_map(|name| Some((*name, env::var(name).ok().filter(|f| !f.is_empty())?)));
    let (variable, filter) = asked.unwrap_or((VARIABLES[0], "warn".to_owned()));
    let usual: Targets = filter.parse().map_err(|reason: tracing_subscriber::filter::ParseError| {
        BadFilter { variable, reason: reason.to_string() }
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let (filter, handle) = reload::Layer::new(usual.clone());
    // An application that is started by other means may have its own subscriber.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let now = Mutex::new(Now { filter: usual.clone(), change: 0 });
        // Only the first subscriber of a process is taken.
        let _ = LOGGING.set(Logging { handle, usual, now });
    }
    Ok(())
}

/// The filter in force; `None` where logging is not ours.
pub(crate) fn current() -> Option<String> {
    LOGGING.get().map(|logging| logging.now().filter.to_string())
}

/// Logs by `filter` for a time, then as the environment asks again. Needs a tokio runtime with timers that lasts as long.
///
/// # Errors
/// [`LevelError`].
pub(crate) fn set_for(filter: &str, time: Duration) -> Result<(), LevelError> {
    let wrong = || LevelError::NotUnderstood(filter.to_owned());
    let wanted: Targets = Some(filter)
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(wrong)?
        .parse()
        .map_err(|_| wrong())?;
    let logging = LOGGING.get().ok_or(LevelError::NotOurs)?;
    let change = logging.change(wanted, None)?;
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        // Where the subscriber is gone, so is its level.
        let _ = logging.change(logging.usual.clone(), Some(change));
    });
    Ok(())
}

/// Logs as the environment asks again.
///
/// # Errors
/// [`LevelError::NotOurs`].
pub(crate) fn reset() -> Result<(), LevelError> {
    let logging = LOGGING.get().ok_or(LevelError::NotOurs)?;
    logging.change(logging.usual.clone(), None).map(drop)
}

impl Logging {
    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the filter, unless another change came after the one of number `only_after`. Gives this one's number.
    fn change(&self, filter: Targets, only_after: Option<u64>) -> Result<u64, LevelError> {
        let mut now = self.now();
        if only_after.is_none_or(|change| change == now.change) {
            self.handle.reload(filter.clone()).map_err(|_| LevelError::NotOurs)?;
            now.change += 1;
            now.filter = filter;
        }
        Ok(now.change)
    }
}
