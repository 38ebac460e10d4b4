//! One viewer: a stream of events that is read as fast as it comes, and what the page's thread spends on it.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::failure::Failure;
use crate::page::encoded;

/// What the page's thread is called.
const THREAD: &str = "topo-status";

/// What a while of watching took.
pub(super) struct Share {
    /// Of one processor core; `None` where the system does not tell.
    pub(super) core_percent: Option<f64>,
    pub(super) kib_per_second: f64,
}

/// The views, and what the stream of events is asked for each of them.
pub(super) fn views(id: &str) -> Vec<(&'static str, String)> {
    let of = |view: &'static str, more: &str| (view, format!("view={view}&topology={}{more}", encoded(id)));
    vec![
        of("graph", ""),
        of("components", ""),
        of("component", "&component=bolt-2"),
        of("trees", ""),
        of("tap", "&edge=0"),
        of("errors", ""),
        of("log", ""),
        of("log", "&topic=records"),
        of("state", ""),
    ]
}

/// Reads the stream of events that `query` asks for, where it does, for `time`.
pub(super) async fn watch(page: SocketAddr, query: Option<&str>, time: Duration) -> Result<Share, Failure> {
    let mut stream = match query {
        Some(query) => Some(open(page, query).await.map_err(Failure::System)?),
        None => None,
    };
    let (begun, before) = (Instant::now(), thread_seconds());
    let (mut bytes, mut buffer) = (0, vec![0; 64 << 10]);
    while let Some(left) = time.checked_sub(begun.elapsed()) {
        let Some(stream) = &mut stream else {
            tokio::time::sleep(left).await;
            continue;
        };
        match tokio::time::timeout(left, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return Err(Failure::Topology("the stream of events ended".to_owned())),
            Ok(read) => bytes += read.map_err(Failure::System)?,
            Err(_) => {}
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let spent = before.zip(thread_seconds()).map(|(before, after)| after - before);
    Ok(Share {
        core_percent: spent.map(|spent| 100.0 * spent / seconds),
        kib_per_second: bytes as f64 / 1_024.0 / seconds,
    })
}

async fn open(page: SocketAddr, query: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(page).await?;
    let request = format!("GET /api/v1/events?{query} HTTP/1.1\r\nHost: {page}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Processor time of the page's thread so far.
fn thread_seconds() -> Option<f64> {
    let of_page = fs::read_dir("/proc/self/task").ok()?.filter_map(Result::ok).find(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() == THREAD)
    })?;
    let told = fs::read_to_string(of_page.path().join("schedstat")).ok()?;
    let nanos: u64 = told.split_whitespace().next()?.parse().ok()?;
    Some(nanos as f64 / 1e9)
}
