//! What a process says while it works: on standard error, warnings and worse unless the environment asks for more, or
//! somebody does for a time while it runs.

use std::env;
use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
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
    /// What goes back to the usual when the time is over.
    back: Option<AbortHandle>,
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
        // Only the first subscriber of a process is taken.
        let _ = LOGGING.set(Logging::new(handle, usual));
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
    let logging = LOGGING.get().ok_or(LevelError::NotOurs)?;
    logging.set_until(filter, async move { tokio::time::sleep(time).await })
}

/// Logs as the environment asks again.
///
/// # Errors
/// [`LevelError::NotOurs`].
pub(crate) fn reset() -> Result<(), LevelError> {
    let logging = LOGGING.get().ok_or(LevelError::NotOurs)?;
    logging.change(logging.usual.clone(), None).map(drop)
}

/// The filter that `text` means.
fn targets(text: &str) -> Result<Targets, LevelError> {
    let wrong = || LevelError::NotUnderstood(text.to_owned());
    if text.trim().is_empty() { Err(wrong()) } else { text.parse().map_err(|_| wrong()) }
}

impl Logging {
    fn new(handle: reload::Handle<Targets, Registry>, usual: Targets) -> Self {
        let now = Mutex::new(Now { filter: usual.clone(), change: 0, back: None });
        Self { handle, usual, now }
    }

    // No code panics while it holds the lock, so a poisoned one is still whole.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs by `filter` until `over`, unless something else is asked for before.
    fn set_until(
        &'static self,
        filter: &str,
        over: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), LevelError> {
        let change = self.change(targets(filter)?, None)?;
        let back = tokio::spawn(async move {
            over.await;
            // Where the subscriber is gone, so is its level.
            let _ = self.change(self.usual.clone(), Some(change));
        });
        let mut now = self.now();
        if now.change == change {
            now.back = Some(back.abort_handle());
        } else {
            back.abort();
        }
        Ok(())
    }

    /// Changes the filter, unless another change came after the one of number `only_after`. Gives this one's number.
    fn change(&self, filter: Targets, only_after: Option<u64>) -> Result<u64, LevelError> {
        let mut now = self.now();
        if only_after.is_none_or(|change| change == now.change) {
            self.handle.reload(filter.clone()).map_err(|_| LevelError::NotOurs)?;
            now.change += 1;
            now.filter = filter;
            // Nobody waits for hours for what no longer counts.
            if let Some(back) = now.back.take() {
                back.abort();
            }
        }
        Ok(now.change)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::str::FromStr;
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// Whether a debug line of `what` is written.
        fn has(&self, what: &str) -> bool {
            tracing::debug!(what);
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().contains(what)
        }
    }

    /// Logging that is this thread's alone.
    fn logging() -> (&'static Logging, Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let (filter, handle) = reload::Layer::new(Targets::from_str("warn").unwrap());
        let writer = lines.clone();
        let written = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let guard = tracing_subscriber::registry().with(filter).with(written).set_default();
        (Box::leak(Box::new(Logging::new(handle, "warn".parse().unwrap()))), lines, guard)
    }

    /// Lets the task that waits for the end of a level come to it.
    async fn until(logging: &Logging, filter: &str) {
        while logging.now().filter.to_string() != filter {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_level_counts_until_its_time_is_over() {
        let (logging, lines, _guard) = logging();
        assert!(!lines.has("before"));
        let (over, end) = oneshot::channel::<()>();
        logging.set_until("debug", async { end.await.unwrap() }).unwrap();
        assert!(lines.has("while it is set"));
        over.send(()).unwrap();
        until(logging, "warn").await;
        assert!(!lines.has("after"));
        assert!(matches!(logging.set_until(" ", async {}), Err(LevelError::NotUnderstood(_))));
        assert!(matches!(logging.set_until("=[", async {}), Err(LevelError::NotUnderstood(_))));
    }

    #[tokio::test]
    async fn of_several_levels_the_last_one_counts_and_for_its_own_time() {
        let (logging, lines, _guard) = logging();
        let (mut first_over, first) = oneshot::channel::<()>();
        logging.set_until("debug", async { _ = first.await }).unwrap();
        let (mut second_over, second) = oneshot::channel::<()>();
        logging.set_until("trace", async { _ = second.await }).unwrap();
        // Who waited for the first one's end is gone.
        first_over.closed().await;
        assert!(lines.has("the second"));
        logging.change(logging.usual.clone(), None).unwrap();
        assert!(!lines.has("reset"));
        second_over.closed().await;
        assert_eq!(logging.now().filter.to_string(), "warn");
    }
}
