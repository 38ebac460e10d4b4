//! Compression and decompression of a batch's records.
//!
//! Invariant: decompression streams and stops at the caller's cap, so what a batch costs is bounded by the cap and not
//! by what the batch claims.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::attributes::Compression;
use super::error::BatchError;
use super::snappy::{self, Refused};

/// Zstandard's own default, and that of Kafka's producers.
const ZSTD_LEVEL: i32 = 3;

/// Appends `records`, compressed, to `out`.
pub(super) fn compress(codec: Compression, records: &[u8], out: &mut BytesMut) -> Result<(), BatchError> {
    let failed = |error: io::Error| BatchError::Compress { codec, reason: error.to_string() };
    match codec {
        Compression::None => out.put_slice(records),
        Compression::Lz4 => {
            // What every Kafka client reads: independent blocks; Java's reader knows no others.
            let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(frame, out.writer());
            encoder.write_all(records).map_err(failed)?;
            encoder.finish().map_err(|error| failed(error.into()))?;
        }
        Compression::Zstd => {
            out.put_slice(&zstd::bulk::compress(records, ZSTD_LEVEL).map_err(failed)?);
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out.writer(), flate2::Compression::default());
            encoder.write_all(records).map_err(failed)?;
            encoder.finish().map_err(failed)?;
        }
        Compression::Snappy => {
            snappy::compress(records, out).map_err(|error| failed(error.into()))?;
        }
    }
    Ok(())
}

/// The records of a batch, decompressed to at most `max` bytes; uncompressed ones share `compressed`.
pub(super) fn decompress(codec: Compression, compressed: &Bytes, max: usize) -> Result<Bytes, BatchError> {
    let failed = |error: io::Error| BatchError::Decompress { codec, reason: error.to_string() };
    match codec {
        Compression::None if compressed.len() > max => Err(BatchError::DecompressedTooLarge { max }),
        Compression::None => Ok(compressed.clone()),
        Compression::Lz4 => read_capped(FrameDecoder::new(&compressed[..]), compressed.len(), max, failed),
        Compression::Zstd => {
            // The window a frame may ask for stays at the library's limit of 128 MiB, which the highest level needs;
            // its memory is touched only as records come out, so the cap bounds it as well.
            let decoder = zstd::stream::read::Decoder::with_buffer(&compressed[..]).map_err(failed)?;
            read_capped(decoder, compressed.len(), max, failed)
        }
        // One member behind another is one stream, as for Java's reader.
        Compression::Gzip => read_capped(MultiGzDecoder::new(&compressed[..]), compressed.len(), max, failed),
        Compression::Snappy => match snappy::decompress(compressed, max) {
            Ok(records) => Ok(records.into()),
            Err(Refused::TooLarge) => Err(BatchError::DecompressedTooLarge { max }),
            Err(Refused::Malformed(reason)) => Err(BatchError::Decompress { codec, reason }),
        },
    }
}

fn read_capped(
    decoder: impl Read,
    compressed_bytes: usize,
    max: usize,
    failed: impl Fn(io::Error) -> BatchError,
) -> Result<Bytes, BatchError> {
    // Text shrinks about fourfold; a wrong guess costs a copy, not memory without bound.
    let mut records = Vec::with_capacity(compressed_bytes.saturating_mul(4).min(max));
    let one_more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(one_more).read_to_end(&mut records).map_err(failed)?;
    if records.len() > max {
        return Err(BatchError::DecompressedTooLarge { max });
    }
    Ok(records.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_at_the_cap() {
        let zeros = vec![0_u8; 64 << 20];
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut bomb = BytesMut::new();
            compress(codec, &zeros, &mut bomb).unwrap();
            // Snappy cannot do better than 64 bytes in 3.
            assert!(bomb.len() < 4 << 20, "{codec}: {} bytes", bomb.len());
            let bomb = bomb.freeze();
            let max = 1 << 20;
            assert_eq!(decompress(codec, &bomb, max), Err(BatchError::DecompressedTooLarge { max }));
            assert_eq!(decompress(codec, &bomb, zeros.len()).unwrap().len(), zeros.len());
        }
        let plain = Bytes::from_static(b"1234");
        assert_eq!(
            decompress(Compression::None, &plain, 3),
            Err(BatchError::DecompressedTooLarge { max: 3 })
        );
    }

    #[test]
    fn gzip_of_another_implementation_is_read() {
        // By Python: `gzip.compress(b"one two two ", mtime=0) + gzip.compress(b"three", mtime=0)`.
        const MEMBERS: [u8; 53] = [
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0xcf, 0x4b, 0x55, 0x28, 0x29,
            0xcf, 0x07, 0x63, 0x00, 0x45, 0x38, 0xd0, 0xc3, 0x0c, 0x00, 0x00, 0x00, 0x1f, 0x8b, 0x08, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x2b, 0xc9, 0x28, 0x4a, 0x4d, 0x05, 0x00, 0xf5, 0xd8, 0xc5,
            0x46, 0x05, 0x00, 0x00, 0x00,
        ];
        let read = |bytes: &'static [u8], max| decompress(Compression::Gzip, &Bytes::from_static(bytes), max);
        assert_eq!(read(&MEMBERS, 17).unwrap()[..], b"one two two three"[..]);
        assert_eq!(read(&MEMBERS, 16), Err(BatchError::DecompressedTooLarge { max: 16 }));
        for end in 1..MEMBERS.len() {
            let cut = read(&MEMBERS[..end], 17);
            assert!(cut.is_err() || end == 28, "cut at {end}: {cut:?}");
        }
    }

    #[test]
    fn what_is_compressed_is_read_back_at_any_size() {
        let text: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            for bytes in [0, 1, 100, 32 << 10, (32 << 10) + 1, 200_000] {
                let mut out = BytesMut::from(&b"in front"[..]);
                compress(codec, &text[..bytes], &mut out).unwrap();
                let compressed = out.freeze().slice(8..);
                assert_eq!(
                    decompress(codec, &compressed, bytes).unwrap()[..],
                    text[..bytes],
                    "{codec} {bytes}"
                );
                if bytes > 0 {
                    let max = bytes - 1;
                    assert_eq!(
                        decompress(codec, &compressed, max),
                        Err(BatchError::DecompressedTooLarge { max })
                    );
                }
            }
        }
    }

    #[test]
    fn lz4_frames_are_laid_out_as_kafka_reads_them() {
        let mut out = BytesMut::new();
        compress(Compression::Lz4, &[7; 200_000], &mut out).unwrap();
        assert_eq!(out[..4], [0x04, 0x22, 0x4d, 0x18], "magic");
        // Version 1, independent blocks, no checksums, no content size, no dictionary; blocks of up to 64 KiB.
        assert_eq!(out[4..6], [0x60, 0x40]);
        assert_eq!(out[out.len() - 4..], [0; 4], "end mark");
    }
}
