//! Snappy as Kafka's clients write and read it: blocks behind a header that the Java library invented, or one bare block.
//!
//! Written is the Java form, which every client reads; both are read, told apart by the header as the clients do.
//!
//! Invariant: no block is decompressed before its length fits what is left of the caller's cap, and none is given
//! memory that its compressed bytes could not fill.

use bytes::{BufMut, BytesMut};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

/// Opens a stream of blocks, followed by two versions.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic, the version that wrote the stream and the oldest that can read it: 1 and 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes of records in a block, as the Java library cuts them.
const BLOCK_BYTES: usize = 32 << 10;
/// The densest element copies 64 bytes and takes 3.
const MAX_RATIO: usize = 22;

/// Why a stream does not decompress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    TooLarge,
    Malformed(String),
}

/// Appends `records` as a stream of blocks.
pub(super) fn compress(records: &[u8], out: &mut BytesMut) -> Result<(), snap::Error> {
    out.put_slice(&HEADER);
    let mut encoder = Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let from = length_at + 4;
        out.resize(from + max_compress_len(block.len()), 0);
        let bytes = encoder.compress(block, &mut out[from..])?;
        out.truncate(from + bytes);
        // At most the 38 KiB that a block can become.
        out[length_at..from].copy_from_slice(&(bytes as u32).to_be_bytes());
    }
    Ok(())
}

/// Decompresses a stream of blocks, or a bare block, to at most `max` bytes.
pub(super) fn decompress(compressed: &[u8], max: usize) -> Result<Vec<u8>, Refused> {
    let mut records = Vec::new();
    if !compressed.starts_with(&MAGIC) {
        block(compressed, max, &mut records)?;
        return Ok(records);
    }
    let mut rest = compressed;
    while !rest.is_empty() {
        // Streams that were put behind each other each bring their header.
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER.len()..).ok_or_else(|| malformed("it ends within its header"))?;
            continue;
        }
        let (length, behind) = rest.split_first_chunk().ok_or_else(|| malformed("a block has no length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > behind.len() {
            return Err(malformed("a block is longer than the batch"));
        }
        block(&behind[..length], max, &mut records)?;
        rest = &behind[length..];
    }
    Ok(records)
}

/// Appends what one block decompresses to.
fn block(compressed: &[u8], max: usize, records: &mut Vec<u8>) -> Result<(), Refused> {
    let bytes = decompress_len(compressed).map_err(|error| malformed(&error.to_string()))?;
    if bytes > compressed.len().saturating_mul(MAX_RATIO) {
        return Err(malformed("a block claims more than it can hold"));
    }
    let from = records.len();
    if bytes > max - from {
        return Err(Refused::TooLarge);
    }
    records.resize(from + bytes, 0);
    let filled = Decoder::new().decompress(compressed, &mut records[from..]);
    filled.map(drop).map_err(|error| malformed(&error.to_string()))
}

fn malformed(reason: &str) -> Refused {
    Refused::Malformed(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `abcd` four times, written out by hand: 16 bytes, a literal of 4, a copy of 12 from 4 back.
    const BARE: [u8; 9] = [16, 3 << 2, b'a', b'b', b'c', b'd', 11 << 2 | 2, 4, 0];
    const ABCD: &[u8] = b"abcdabcdabcdabcd";

    fn stream(blocks: &[&[u8]]) -> Vec<u8> {
        let mut stream = HEADER.to_vec();
        for block in blocks {
            stream.extend_from_slice(&(block.len() as u32).to_be_bytes());
            stream.extend_from_slice(block);
        }
        stream
    }

    fn compressed(records: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        compress(records, &mut out).unwrap();
        out
    }

    #[test]
    fn bare_blocks_and_streams_of_blocks_are_read() {
        assert_eq!(decompress(&BARE, 16).unwrap(), ABCD);
        assert_eq!(decompress(&stream(&[&BARE]), 16).unwrap(), ABCD);
        let behind_each_other = [stream(&[&BARE, &BARE]), stream(&[&BARE])].concat();
        assert_eq!(decompress(&behind_each_other, 48).unwrap(), ABCD.repeat(3));
        assert_eq!(decompress(&stream(&[]), 0).unwrap(), b"");
    }

    #[test]
    fn a_stream_is_laid_out_as_the_java_library_does() {
        let out = compressed(b"abc");
        assert_eq!(out[..], stream(&[&[3, 2 << 2, b'a', b'b', b'c']])[..]);
        let two_blocks = compressed(&vec![7; BLOCK_BYTES + 1]);
        let first = u32::from_be_bytes(*two_blocks[16..].first_chunk().unwrap()) as usize;
        assert_eq!(decompress_len(&two_blocks[20..20 + first]), Ok(BLOCK_BYTES));
        assert_eq!(two_blocks[20 + first..], [0, 0, 0, 3, 1, 0, 7]);
        assert_eq!(compressed(b"")[..], HEADER);
    }

    #[test]
    fn the_cap_counts_all_blocks_and_comes_before_the_memory() {
        let blocks = stream(&[&BARE, &BARE]);
        assert_eq!(decompress(&blocks, 32).unwrap().len(), 32);
        for max in [0, 15, 16, 31] {
            assert_eq!(decompress(&blocks, max), Err(Refused::TooLarge), "{max}");
        }
        // Nine bytes that claim 4 GiB.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'a', 0, 0];
        assert!(matches!(decompress(&claim, usize::MAX), Err(Refused::Malformed(_))));
    }

    #[test]
    fn every_truncation_is_refused_or_ends_between_blocks() {
        let whole = stream(&[&BARE, &BARE]);
        for end in 0..whole.len() {
            let read = decompress(&whole[..end], 100);
            match end {
                16 => assert_eq!(read.unwrap(), b""),
                29 => assert_eq!(read.unwrap(), ABCD),
                _ => assert!(matches!(read, Err(Refused::Malformed(_))), "{end}: {read:?}"),
            }
        }
    }
}
