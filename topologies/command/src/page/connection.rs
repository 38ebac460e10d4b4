//! One request on a connection of its own, plain or of TLS.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::Address;

/// Far more than a page answers.
const MOST_BYTES: usize = 16 << 20;

/// By which certificates a page is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    pub(super) file: Option<&'a Path>,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// Nobody listens.
    NotThere,
    /// Somebody does, and says something else.
    Other(String),
}

/// Asks once.
pub(super) async fn ask(
    address: &Address,
    trust: Trust<'_>,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let authority = address.authority();
    let request = Request::builder().method(method).uri(path).header(HOST, &authority);
    let request = match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    let request = request.body(Empty::new()).map_err(|error| NoAnswer::Other(error.to_string()))?;
    let stream = TcpStream::connect(authority).await.map_err(|_| NoAnswer::NotThere)?;
    if !address.is_tls {
        return send(stream, request).await.map_err(NoAnswer::Other);
    }
    let connector = trust.connector().map_err(NoAnswer::Other)?;
    let name = address.host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|error| NoAnswer::Other(error.to_string()))?;
    let stream = connector.connect(name, stream).await.map_err(|error| NoAnswer::Other(error.to_string()))?;
    send(stream, request).await.map_err(NoAnswer::Other)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // The connection is worked on while the answer is waited for; it may end first, with the answer's last bytes.
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

impl Trust<'_> {
    fn connector(self) -> Result<TlsConnector, String> {
        let Some(file) = self.file else {
            return Err(
                "nobody says by which certificates it is known; give them with --status-ca FILE".to_owned()
            );
        };
        let wrong = |reason: String| format!("{}: {reason}", file.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
