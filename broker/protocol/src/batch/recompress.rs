//! Rebuilds a batch with another codec, for topics that ask for one whatever the producer chose.

use bytes::{Bytes, BytesMut};

use super::attributes::Compression;
use super::codec;
use super::error::BatchError;
use super::header::{ATTRIBUTES, HEADER_BYTES, LENGTH, LENGTH_END, check, seal};

/// The batch with its records compressed by `to`; everything else in its header stays, length and checksum excepted.
///
/// # Errors
/// What [`check`] finds, or the [`BatchError`] of either codec, [`BatchError::DecompressedTooLarge`] among them.
pub fn recompress(batch: &Bytes, to: Compression, max_decompressed: usize) -> Result<BytesMut, BatchError> {
    let header = check(batch)?;
    let from = header.attributes.compression()?;
    let records = codec::decompress(from, &batch.slice(HEADER_BYTES..), max_decompressed)?;
    let mut rebuilt = BytesMut::from(&batch[..HEADER_BYTES]);
    codec::compress(to, &records, &mut rebuilt)?;
    let bytes = rebuilt.len();
    let length = i32::try_from(bytes - LENGTH_END).map_err(|_| BatchError::TooLarge { bytes })?;
    rebuilt[LENGTH].copy_from_slice(&length.to_be_bytes());
    rebuilt[ATTRIBUTES].copy_from_slice(&header.attributes.with_compression(to).bits().to_be_bytes());
    seal(&mut rebuilt);
    Ok(rebuilt)
}
