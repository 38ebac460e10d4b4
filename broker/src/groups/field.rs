//! The fields that records and members' own messages are made of: texts with 16-bit lengths, bytes and arrays with 32-bit
//! ones, -1 for null. Nothing that is read makes anything be reserved that is not there.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

/// Whether a text is short enough for a record.
pub(super) fn fits(text: &str) -> bool {
    i16::try_from(text.len()).is_ok()
}

/// A 16-bit length and the text; callers have checked that it [`fits`].
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

pub(super) fn put_nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.put_i16(-1),
    }
}

/// A 32-bit length and the bytes, which are bounded far below that.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            out.put_i32(bytes.len() as i32);
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

/// A count, which is bounded far below 32 bits, and each item.
pub(super) fn put_array<T>(
    out: &mut Vec<u8>,
    items: impl ExactSizeIterator<Item = T>,
    put: impl Fn(&mut Vec<u8>, T),
) {
    out.put_i32(items.len() as i32);
    items.for_each(|item| put(out, item));
}

/// `Some(None)` for null.
pub(super) fn get_text(bytes: &mut Bytes) -> Option<Option<Arc<str>>> {
    let length = bytes.try_get_i16().ok()?;
    if length == -1 {
        return Some(None);
    }
    let text = take(bytes, usize::try_from(length).ok()?)?;
    std::str::from_utf8(&text).ok().map(|text| Some(text.into()))
}

/// `Some(None)` for null. A copy, which does not keep in memory what it is a part of.
pub(super) fn get_bytes(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let length = bytes.try_get_i32().ok()?;
    if length == -1 {
        return Some(None);
    }
    take(bytes, usize::try_from(length).ok()?).map(|bytes| Some(Bytes::copy_from_slice(&bytes)))
}

/// Items until the count is reached or one cannot be read; each takes bytes that are there.
pub(super) fn get_array<T>(bytes: &mut Bytes, get: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(get(bytes)?);
    }
    Some(items)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}
