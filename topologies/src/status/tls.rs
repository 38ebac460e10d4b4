//! Connections as the server takes them: plain ones, or those of TLS where it shows a certificate.
//!
//! Invariant: who connects and says nothing holds up nobody: handshakes run beside each other, so many at once, and end
//! after a time.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::access::Local;
use super::server::StatusError;

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, those that lead to its root behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

#[cfg(feature = "tls")]
pub(super) use with::{Acceptor, acceptor};
#[cfg(not(feature = "tls"))]
pub(super) use without::{Acceptor, acceptor};

/// A connection of either kind.
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// What the server accepts from.
pub(super) enum Listening {
    Plain(TcpListener),
    #[cfg(feature = "tls")]
    Tls(with::Handshakes),
}

impl Listening {
    #[cfg(feature = "tls")]
    pub(super) fn new(listener: TcpListener, tls: Option<Acceptor>) -> Self {
        match tls {
            None => Self::Plain(listener),
            Some(acceptor) => Self::Tls(with::Handshakes::start(listener, acceptor)),
        }
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn new(listener: TcpListener, _: Option<Acceptor>) -> Self {
        Self::Plain(listener)
    }
}

impl Listener for Listening {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self {
            Self::Plain(listener) => {
                let (stream, from) = Listener::accept(listener).await;
                (Stream::Plain(stream), from)
            }
            #[cfg(feature = "tls")]
            Self::Tls(handshakes) => handshakes.next().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(listener) => listener.local_addr(),
            #[cfg(feature = "tls")]
            Self::Tls(handshakes) => Ok(handshakes.local_addr),
        }
    }
}

impl Stream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }
}

impl Connected<IncomingStream<'_, Listening>> for Local {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        // Where the system cannot say, no address is the server's own.
        Local(stream.io().local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
    }
}

/// Hands each call on to the connection that it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use super::{StatusError, TlsFiles};

    /// There is none without the feature.
    pub(crate) enum Acceptor {}

    pub(crate) fn acceptor(_: &TlsFiles) -> Result<Acceptor, StatusError> {
        Err(StatusError::NoTls)
    }
}

#[cfg(feature = "tls")]
mod with {
    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::serve::Listener;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::{StatusError, Stream, TlsFiles};

    pub(crate) type Acceptor = TlsAcceptor;

    /// How long a handshake may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How many may be under way.
    const MOST: usize = 128;

    /// What shows the certificate.
    ///
    /// # Errors
    /// [`StatusError::Certificate`].
    pub(crate) fn acceptor(files: &TlsFiles) -> Result<Acceptor, StatusError> {
        let wrong = |path: &Path, reason: String| StatusError::Certificate { path: path.to_owned(), reason };
        let TlsFiles { certificate, key } = files;
        let chain =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(certificate, "it holds no certificate in PEM".to_owned()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| wrong(key, error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Handshakes under way.
    pub(crate) struct Handshakes {
        pub(super) local_addr: SocketAddr,
        done: mpsc::Receiver<(Stream, SocketAddr)>,
    }

    impl Handshakes {
        pub(super) fn start(listener: TcpListener, acceptor: Acceptor) -> Self {
            let local_addr = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
            let (finish, done) = mpsc::channel(1);
            tokio::spawn(accept_all(listener, acceptor, finish));
            Self { local_addr, done }
        }

        /// The next connection that is ready.
        pub(super) async fn next(&mut self) -> (Stream, SocketAddr) {
            match self.done.recv().await {
                Some(ready) => ready,
                // Whoever accepts is gone with the runtime.
                None => std::future::pending().await,
            }
        }
    }

    async fn accept_all(
        mut listener: TcpListener,
        acceptor: Acceptor,
        finish: mpsc::Sender<(Stream, SocketAddr)>,
    ) {
        let room = Arc::new(Semaphore::new(MOST));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            tokio::select! {
                (stream, from) = Listener::accept(&mut listener) => {
                    tokio::spawn(shake(acceptor.clone(), stream, from, finish.clone(), permit));
                }
                () = finish.closed() => return,
            }
        }
    }

    async fn shake(
        acceptor: Acceptor,
        stream: TcpStream,
        from: SocketAddr,
        finish: mpsc::Sender<(Stream, SocketAddr)>,
        _permit: OwnedSemaphorePermit,
    ) {
        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            // Where the server has stopped, nobody takes it.
            Ok(Ok(stream)) => drop(finish.send((Stream::Tls(Box::new(stream)), from)).await),
            Ok(Err(error)) => tracing::debug!(%error, %from, "no connection of TLS"),
            Err(_) => tracing::debug!(%from, "a handshake of TLS took too long"),
        }
    }
}
