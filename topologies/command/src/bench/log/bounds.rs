//! What the machine gives without us: the disk's rate for one writer, and the loopback's for one connection.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::tally::{Span, Tally};

/// Bytes that the loopback's ends write and read at a time.
const TRANSFER_BYTES: usize = 256 << 10;

/// Appends `bytes` to a plain file in `dir` and syncs, again and again: one writer, one `fdatasync` each.
///
/// # Errors
/// What the disk says.
pub(super) fn disk(dir: &Path, bytes: &[u8], records: u64, length: Duration) -> io::Result<Tally> {
    let path = dir.join("plain");
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let (span, mut tally) = (Span::begin(length), Tally::default());
    loop {
        let begun = Instant::now();
        file.write_all_at(bytes, tally.bytes)?;
        file.sync_data()?;
        tally.add(records, bytes.len(), begun.elapsed());
        if span.is_over(&tally) {
            break;
        }
    }
    let tally = span.end(tally);
    drop(file);
    std::fs::remove_file(path)?;
    Ok(tally)
}

/// Sends through a TCP connection from one thread to another, and counts what arrives.
///
/// # Errors
/// What the network says.
pub(super) fn loopback(length: Duration) -> io::Result<Tally> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut output = TcpStream::connect(listener.local_addr()?)?;
    let (mut input, _) = listener.accept()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            let bytes = vec![7; TRANSFER_BYTES];
            // Ends when the other end is closed.
            while output.write_all(&bytes).is_ok() {}
        });
        let mut buffer = vec![0; TRANSFER_BYTES];
        let (span, mut tally) = (Span::begin(length), Tally::default());
        loop {
            let begun = Instant::now();
            let count = input.read(&mut buffer)?;
            tally.add(0, count, begun.elapsed());
            if span.is_past() {
                break;
            }
        }
        drop(input);
        Ok(span.end(tally))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_and_loopback_move_what_they_count() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path(), &[1; 1_000], 10, Duration::from_millis(5)).unwrap();
        assert!(disk.bytes >= 1_000 && disk.records * 100 == disk.bytes);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        assert!(loopback(Duration::from_millis(5)).unwrap().bytes > 0);
    }
}
