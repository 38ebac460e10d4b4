//! The Kafka port of a run, bound before anything is started so that an address in use starts nothing.

use std::net::SocketAddr;

use topo_broker::{BindError, Broker, ListenAddress, Server, ServerConfig, Sockets};

use super::options::{ListenAddr, LogPlace, RunOptions};

/// Why there is no Kafka port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Somebody else listens there.
    #[error("{0} is in use; choose another with --listen ADDR")]
    InUse(SocketAddr),
    /// The log would be open to other machines.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it may read and write every topic; listen on \
         localhost, or add --insecure-bind if that is meant"
    )]
    Insecure(ListenAddress),
    /// The system refuses.
    #[error(transparent)]
    Bind(BindError),
}

/// Binds all of `addresses`, or none. Where other machines reach one, that must be meant: `insecure`.
///
/// # Errors
/// [`PortError`], a sentence for the user.
pub fn bind_port(addresses: &[ListenAddress], insecure: bool) -> Result<Sockets, PortError> {
    match addresses.iter().find(|address| !address.is_loopback()) {
        Some(open) if !insecure => Err(PortError::Insecure(*open)),
        _ => Sockets::bind(addresses).map_err(|error| match error {
            BindError::InUse(address) => PortError::InUse(address),
            error => PortError::Bind(error),
        }),
    }
}

/// A port that is bound, if there is to be one.
pub(super) struct Port(Option<Sockets>);

/// A port that is served.
pub(super) struct Served(Option<Server>);

impl Port {
    /// Binds what `options` say; a log elsewhere has a port of its own.
    pub(super) fn bind(options: &RunOptions) -> Result<Self, PortError> {
        match (&options.broker, options.listen) {
            (LogPlace::Kafka(_), _) | (_, ListenAddr::Off) => Ok(Self(None)),
            (LogPlace::Embedded, ListenAddr::At(address)) => {
                Ok(Self(Some(bind_port(&[address], options.insecure_bind)?)))
            }
        }
    }

    /// Serves `broker`, if there is one, from now on.
    pub(super) fn serve(self, broker: Option<&Broker>) -> Served {
        let bound = self.0.zip(broker);
        Served(bound.map(|(sockets, broker)| Server::start(broker.clone(), sockets, ServerConfig::default())))
    }
}

impl Served {
    /// Where it listens.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        self.0.as_ref().map_or(&[], Server::local_addrs)
    }

    /// Answers the requests under way and closes all connections.
    pub(super) async fn close(self) {
        if let Some(server) = self.0 {
            server.shutdown().await;
        }
    }
}
