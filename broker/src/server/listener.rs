//! Listening, and who gets a connection.
//!
//! Invariant: a connection holds a seat; there are never more than the limits say, in all and for each address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::{ListenAddress, Shared, connection};
use crate::config::Limits;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long nothing is accepted after accepting failed: a descriptor may be free by then.
const PAUSE: Duration = Duration::from_millis(100);
/// Ports to try where both families must have the same one.
const ATTEMPTS: usize = 8;

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{0} is in use by another process; stop that one, or listen elsewhere")]
    InUse(SocketAddr),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Sockets that listen, and at which nobody is answered yet.
///
/// Bound before anything else is begun, they see to it that an address in use begins nothing.
#[derive(Debug)]
pub struct Sockets(pub(super) Vec<(TcpListener, SocketAddr)>);

impl Sockets {
    /// Binds all of the addresses, or none.
    ///
    /// # Errors
    /// [`BindError`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn bind(addresses: &[ListenAddress]) -> Result<Self, BindError> {
        let mut bound = Vec::new();
        for address in addresses {
            let (first, second) = address.sockets();
            match second {
                None => bound.push(listen(first)?),
                Some(second) => bound.extend(listen_both(first, second.into())?),
            }
        }
        Ok(Self(bound))
    }

    /// Where they listen, in the order of the addresses; `localhost` may be two.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }
}

/// Listens on `first`, and with the same port on `second` where its family exists.
fn listen_both(first: SocketAddr, second: IpAddr) -> Result<Vec<(TcpListener, SocketAddr)>, BindError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let (listener, address) = listen(first)?;
        match listen(SocketAddr::new(second, address.port())) {
            Ok(second) => return Ok(vec![(listener, address), second]),
            // The system chose a port that is only half free.
            Err(BindError::InUse(_)) if first.port() == 0 && attempts > 0 => continue,
            Err(BindError::Refused { source, .. }) if is_family_missing(&source) => {
                return Ok(vec![(listener, address)]);
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_family_missing(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port whose last connections are still being forgotten can be taken at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Refused { address, source },
    })
}

/// Accepts connections until the server stops, then sees them end.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut stopping = std::pin::pin!(shared.stopping());
    loop {
        tokio::select! {
            biased;
            () = &mut stopping => break,
            Some(ended) = connections.join_next() => note_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match shared.seats.take(peer.ip()) {
                    Some(seat) => {
                        connections.spawn(connection::serve(stream, peer, shared.clone(), seat));
                    }
                    None => tracing::debug!(%peer, "refused: there are too many connections"),
                },
                Err(error) => {
                    // Of the one connection, or out of descriptors.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ends = async { while connections.join_next().await.map(note_end).is_some() {} };
    if timeout(shared.config.limits.shutdown, ends).await.is_err() {
        tracing::warn!("some requests were not answered before the server stopped");
    }
    connections.shutdown().await;
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// Who holds a connection.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    most_per_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    ip: IpAddr,
}

impl Seats {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let most = limits.connections.min(usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX));
        if most < limits.connections {
            tracing::info!(
                connections = most,
                descriptors,
                "fewer connections than configured: descriptors are short"
            );
        }
        let most_per_address = limits.connections_per_address;
        Arc::new(Self { most, most_per_address, taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        let mut taken = self.taken();
        let of_address = taken.get(&ip).copied().unwrap_or(0);
        // Few addresses hold many connections, or many hold few; either way this is short beside a connection.
        if of_address >= self.most_per_address || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(ip, of_address + 1);
        Some(Seat { seats: self.clone(), ip })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(of_address) = taken.get_mut(&self.ip) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_in_all_and_for_each_address() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let seats = Seats::new(&limits);
        let ip = |last| IpAddr::from([127, 0, 0, last]);
        let first = seats.take(ip(1)).unwrap();
        let second = seats.take(ip(1)).unwrap();
        assert!(seats.take(ip(1)).is_none());
        let third = seats.take(ip(2)).unwrap();
        assert!(seats.take(ip(3)).is_none());
        drop(first);
        let fourth = seats.take(ip(3)).unwrap();
        drop((second, third, fourth));
        assert!(seats.taken().is_empty());
    }

    #[tokio::test]
    async fn localhost_is_both_families_with_one_port_and_a_taken_port_is_named() {
        let bound = Sockets::bind(&[ListenAddress::localhost(0)]).unwrap().0;
        let port = bound[0].1.port();
        assert!(bound.iter().all(|(_, address)| address.port() == port && address.ip().is_loopback()));
        assert!(bound.len() == 2 || TcpListener::bind("[::1]:0").await.is_err());
        let refused = Sockets::bind(&[ListenAddress::localhost(port)]).unwrap_err().to_string();
        let sentence = format!("127.0.0.1:{port} is in use by another process; stop that one");
        assert!(refused.starts_with(&sentence), "{refused}");
    }
}
