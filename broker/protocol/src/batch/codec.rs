//! Compression and decompression of a batch's records.
//!
//! Invariant: decompression streams and stops at the caller's cap, so what a batch costs is bounded by the cap and not
//! by what the batch claims.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::attributes::Compression;
use super::error::BatchError;

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
        Compression::Gzip | Compression::Snappy => return Err(BatchError::CodecUnavailable(codec)),
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
        Compression::Gzip | Compression::Snappy => Err(BatchError::CodecUnavailable(codec)),
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
        for codec in [Compression::Lz4, Compression::Zstd] {
            let mut bomb = BytesMut::new();
            compress(codec, &zeros, &mut bomb).unwrap();
            assert!(bomb.len() < 1 << 20, "{codec}: {} bytes", bomb.len());
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
    fn codecs_that_are_not_built_in_are_refused_by_name() {
        for codec in [Compression::Gzip, Compression::Snappy] {
            let refused = BatchError::CodecUnavailable(codec);
            assert_eq!(compress(codec, b"x", &mut BytesMut::new()), Err(refused.clone()));
            assert_eq!(decompress(codec, &Bytes::from_static(b"x"), 10), Err(refused.clone()));
            assert!(refused.to_string().starts_with(&codec.to_string()), "{refused}");
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
