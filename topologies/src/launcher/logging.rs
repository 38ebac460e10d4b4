//! What a process says while it works: on standard error, warnings and worse unless the environment asks for more.

use std::env;
use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::process::StartError;

/// Said below the help of every command that logs.
pub const LOGGING_HELP: &str = "Logging goes to stderr; TOPO_LOG or RUST_LOG sets the level (error, warn, info, debug, \
                                trace) or a filter such as `warn,topo=debug`.";

/// Where the filter is looked for, in this order.
const VARIABLES: [&str; 2] = ["TOPO_LOG", "RUST_LOG"];

/// Sets up logging as the environment asks. Where the process has set it up already, that stays.
///
/// # Errors
/// [`StartError::LogFilter`] where the filter is not understood.
pub(super) fn start() -> Result<(), StartError> {
    let asked =
        VARIABLES.iter().find_map(|name| Some((*name, env::var(name).ok().filter(|f| !f.is_empty())?)));
    let (variable, filter) = asked.unwrap_or((VARIABLES[0], "warn".to_owned()));
    let filter: Targets = filter.parse().map_err(|reason: tracing_subscriber::filter::ParseError| {
        StartError::LogFilter { variable, reason: reason.to_string() }
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    // An application that is started by other means may have its own subscriber.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
    Ok(())
}
