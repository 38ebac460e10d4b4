//! Requests as they come in: a length, and that many bytes.
//!
//! Invariant: memory for a request grows with what has arrived of it, at most twofold, and is charged before it is taken.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::{Instant, timeout};

use super::memory::{Charge, Memory};
use crate::config::Limits;

/// What a connection that sends nothing costs for being read.
const BUFFER_BYTES: usize = 2 << 10;
/// What is charged for a request that has begun, if it is not smaller.
const FIRST_BYTES: usize = 2 << 10;
/// How often a transfer that stands still is looked at.
const LOOK: Duration = Duration::from_secs(1);
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// API, version and correlation id: no request is shorter.
const MIN_REQUEST_BYTES: i32 = 8;

/// Why a connection is read no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A length that no request has.
    #[error("a request states the length {0}")]
    Length(i32),
    /// The peer sends too slowly, or takes too slowly what it is sent.
    #[error("a transfer was too slow")]
    Slow,
}

/// A request's bytes, and what is charged for them.
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) charge: Charge,
}

/// Cuts what comes in into requests.
pub(super) struct Frames<R> {
    input: BufReader<R>,
    memory: Memory,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(input: R, memory: Memory) -> Self {
        Self { input: BufReader::with_capacity(BUFFER_BYTES, input), memory }
    }

    /// Waits until a request begins; `false` at the end. Cancel-safe.
    pub(super) async fn begins(&mut self) -> io::Result<bool> {
        Ok(!self.input.fill_buf().await?.is_empty())
    }

    /// The request that begins; `None` where it ends as well, within its length.
    pub(super) async fn next(&mut self, limits: &Limits) -> Result<Option<Frame>, FrameError> {
        let mut pace = Pace::begin(limits);
        let length = match pace.within(self.input.read_i32()).await? {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            length => length?,
        };
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= limits.request_bytes);
        let Some(bytes) = bytes.filter(|_| length >= MIN_REQUEST_BYTES) else {
            return Err(FrameError::Length(length));
        };
        let mut charge = self.memory.charge(bytes);
        let mut body = Vec::new();
        while body.len() < bytes {
            if body.len() == body.capacity() {
                let room = bytes.min(FIRST_BYTES.max(body.len() * 2));
                pace.within(charge.grow(room - body.len())).await?;
                body.reserve_exact(room - body.len());
            }
            let room = body.capacity() - body.len();
            let mut room = (&mut body).limit(room);
            let moved = room.get_ref().len();
            match pace.keep(&self.memory, moved, self.input.read_buf(&mut room)).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                _ => continue,
            }
        }
        Ok(Some(Frame { bytes: body.into(), charge }))
    }
}

/// How fast one transfer has to be: on average, and of late where others wait for memory.
pub(super) struct Pace<'a> {
    limits: &'a Limits,
    begun: Instant,
    /// When the last look was taken, and what had moved by then.
    looked: (Instant, usize),
    /// Whether too little moved between the last two looks.
    is_slow: bool,
}

impl<'a> Pace<'a> {
    pub(super) fn begin(limits: &'a Limits) -> Self {
        let begun = Instant::now();
        Self { limits, begun, looked: (begun, 0), is_slow: false }
    }

    /// Awaits what moves no bytes to speak of.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, FrameError> {
        timeout(self.left(0), work).await.map_err(|_| FrameError::Slow)
    }

    /// Awaits the next step of a transfer that has moved `moved` bytes and holds some of `memory`.
    pub(super) async fn keep<T>(
        &mut self,
        memory: &Memory,
        moved: usize,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, FrameError> {
        let mut step = std::pin::pin!(step);
        loop {
            let left = self.left(moved);
            if left.is_zero() || (self.is_slow(moved) && memory.is_wanted()) {
                return Err(FrameError::Slow);
            }
            let look = self.limits.wanted_grace.clamp(SHORTEST_LOOK, LOOK);
            if let Ok(done) = timeout(look.min(left), step.as_mut()).await {
                return Ok(done?);
            }
        }
    }

    /// How long the transfer may take from now on.
    fn left(&self, moved: usize) -> Duration {
        let earned = Duration::from_secs(moved as u64 / self.limits.bytes_per_second.max(1));
        (self.limits.transfer + earned).saturating_sub(self.begun.elapsed())
    }

    /// Whether it was slow of late; what the system's buffers took at once counts for one look only.
    fn is_slow(&mut self, moved: usize) -> bool {
        let (at, before) = self.looked;
        let passed = at.elapsed();
        if passed >= self.limits.wanted_grace {
            let due = self.limits.wanted_bytes_per_second as f64 * passed.as_secs_f64();
            self.is_slow = ((moved - before) as f64) < due;
            self.looked = (Instant::now(), moved);
        }
        self.is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn limits() -> Limits {
        Limits { request_bytes: 1 << 20, ..Limits::default() }
    }

    async fn read(sent: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut frames = Frames::new(sent, Memory::new(1 << 20));
        frames.next(&limits()).await
    }

    #[tokio::test]
    async fn frames_follow_each_other_and_end_between_them() {
        let sent = b"\x00\x00\x00\x08requests\x00\x00\x00\x0a0123456789";
        let memory = Memory::new(1 << 20);
        let mut frames = Frames::new(&sent[..], memory.clone());
        let first = frames.next(&limits()).await.unwrap().unwrap();
        let second = frames.next(&limits()).await.unwrap().unwrap();
        assert_eq!((&first.bytes[..], &second.bytes[..]), (&b"requests"[..], &b"0123456789"[..]));
        assert_eq!(memory.free(), (1 << 20) - 18);
        assert!(frames.next(&limits()).await.unwrap().is_none());
        drop((first, second));
        assert_eq!(memory.free(), 1 << 20);
    }

    #[tokio::test]
    async fn lengths_that_no_request_has_are_refused_unread() {
        for length in [-1, 0, 7, (1 << 20) + 1, i32::MAX] {
            let refused = read(&i32::to_be_bytes(length)).await;
            assert!(matches!(refused, Err(FrameError::Length(said)) if said == length), "{length}");
        }
        assert!(matches!(read(b"\x00\x00\x00\x08cut").await, Err(FrameError::Io(_))));
        assert!(read(b"\x00\x00").await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_follows_what_has_arrived() {
        let memory = Memory::new(1 << 20);
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let mut frames = Frames::new(server, memory.clone());
        client.write_all(&(1_i32 << 20).to_be_bytes()).await.unwrap();
        client.write_all(&[0; 5000]).await.unwrap();
        let limits = limits();
        let reading = frames.next(&limits);
        let slow = timeout(Duration::from_secs(59), reading).await;
        assert!(slow.is_err(), "still reading");
        assert_eq!(memory.free(), 1 << 20, "given back with the frame that was given up");

        let (mut client, server) = tokio::io::duplex(64 << 10);
        let mut frames = Frames::new(server, memory.clone());
        client.write_all(&(1_i32 << 20).to_be_bytes()).await.unwrap();
        client.write_all(&[0; 5000]).await.unwrap();
        let reading = frames.next(&limits);
        let looking = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            (1 << 20) - memory.free()
        };
        let (read, held) = tokio::join!(reading, looking);
        assert_eq!(held, 8 << 10, "for 5,000 bytes that have arrived");
        assert!(matches!(read, Err(FrameError::Slow)), "closed when its time is over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_while_others_wait_is_given_up() {
        let memory = Memory::new(4 << 10);
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let mut slow = Frames::new(server, memory.clone());
        client.write_all(&(100_000_i32).to_be_bytes()).await.unwrap();
        client.write_all(&[0; 3000]).await.unwrap();
        let limits = limits();
        let begun = Instant::now();
        let others = async {
            // One goes beyond the capacity, the next one waits.
            let (mut beyond, mut waits) = (memory.charge(usize::MAX), memory.charge(usize::MAX));
            tokio::time::sleep(Duration::from_secs(1)).await;
            beyond.grow(4 << 10).await;
            waits.grow(4 << 10).await;
            begun.elapsed()
        };
        let (read, waited) = tokio::join!(slow.next(&limits), others);
        assert!(matches!(read, Err(FrameError::Slow)));
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    }
}
