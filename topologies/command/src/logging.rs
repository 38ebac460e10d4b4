//! What the command says while it works: on stderr, warnings and worse unless asked for more.

use std::env;
use std::io;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Said below the command's help.
pub(crate) const HELP: &str = "Logging goes to stderr; TOPO_LOG or RUST_LOG sets the level (error, warn, info, debug, \
                               trace) or a filter such as `warn,topo=debug`.";

/// Where the filter is looked for, in this order.
const VARIABLES: [&str; 2] = ["TOPO_LOG", "RUST_LOG"];

/// Sets up logging as the environment asks.
///
/// # Errors
/// [`Failure::LogFilter`] where the filter is not understood.
pub(crate) fn start() -> Result<(), Failure> {
    let asked =
        VARIABLES.iter().find_map(|name| Some((*name, env::var(name).ok().filter(|f| !f.is_empty())?)));
    let filter = match asked {
        Some((variable, filter)) => {
            let refused = |reason: tracing_subscriber::filter::ParseError| Failure::LogFilter {
                variable,
                reason: reason.to_string(),
            };
            EnvFilter::try_new(filter).map_err(refused)?
        }
        None => EnvFilter::new("warn"),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    Ok(())
}
