//! A small client of Kafka's protocol that says exactly what it is told, right or wrong.
//!
//! Everything in it panics where a test has to fail.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub struct WireClient {
    stream: TcpStream,
    next_id: i32,
}

impl WireClient {
    /// Connects.
    ///
    /// # Panics
    /// Where nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("it is a socket");
        Self { stream, next_id: 1 }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// Where the connection is closed, or the answer is none.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    /// Sends a request, and says how it is numbered.
    ///
    /// # Panics
    /// Where the request cannot be said in that version, or the connection is closed.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_bytes(&frame(id, version, request)).await;
        id
    }

    /// Sends a request to a server that may close the connection meanwhile.
    ///
    /// # Panics
    /// Where the request cannot be said in that version.
    pub async fn try_send<R: Request>(&mut self, version: i16, request: &R) {
        let frame = frame(self.next_id, version, request);
        self.next_id += 1;
        // What it says of that shows when the answer is read.
        let _ = self.stream.write_all(&frame).await;
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// Where the connection is closed.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection is open");
    }

    /// Waits for the answer to request `id`, which must be the next one.
    ///
    /// # Panics
    /// Where another comes, or none.
    pub async fn receive<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut frame = self.receive_bytes().await.expect("an answer");
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version));
        assert_eq!(header.expect("a header").correlation_id, id, "answers come in the order of requests");
        let response = R::Response::decode(&mut frame, version).expect("an answer in that version");
        assert!(frame.is_empty(), "{} bytes follow the answer", frame.len());
        response
    }

    /// The next answer's bytes without its length; `None` where the connection is closed instead.
    ///
    /// # Panics
    /// Where neither happens for a minute.
    pub async fn receive_bytes(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).expect("a length")];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        timeout(PATIENCE, read).await.expect("an answer, or the end")
    }

    /// Ends sending, as a client that goes away.
    ///
    /// # Panics
    /// Where the connection is closed.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }
}

/// A request as it is sent, its length in front.
///
/// # Panics
/// Where the request cannot be said in that version.
pub fn frame<R: Request>(id: i32, version: i16, request: &R) -> BytesMut {
    try_frame(id, version, request).expect("the request can be said in that version")
}

/// A request as it is sent, its length in front; `None` where it cannot be said in that version.
///
/// # Panics
/// Where it is longer than a length can say.
pub fn try_frame<R: Request>(id: i32, version: i16, request: &R) -> Option<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("wire-client")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).ok()?;
    request.encode(&mut body, version).ok()?;
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_i32(i32::try_from(body.len()).expect("a small request"));
    frame.put(body.chunk());
    Some(frame)
}
