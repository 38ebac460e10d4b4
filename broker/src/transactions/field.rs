//! The fields of flexible records: lengths and counts are unsigned varints, one more than they say, and 0 for null; every
//! structure ends with its tagged fields. Nothing that is read makes anything be reserved that is not there.

use bytes::{Buf, BufMut, Bytes};

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A length or a count, which is bounded far below 32 bits.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, length as u32 + 1);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.put_slice(text.as_bytes());
}

pub(super) fn get_varint(bytes: &mut Bytes) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            // The fifth byte has room for four bits.
            return (shift < 28 || byte < 0x10).then_some(value);
        }
    }
    None
}

/// `Some(None)` for null.
pub(super) fn get_length(bytes: &mut Bytes) -> Option<Option<usize>> {
    Some(get_varint(bytes)?.checked_sub(1).map(|length| length as usize))
}

pub(super) fn get_text(bytes: &mut Bytes) -> Option<String> {
    let length = get_length(bytes)??;
    let text = take(bytes, length)?;
    std::str::from_utf8(&text).ok().map(str::to_owned)
}

/// Each tagged field, by its number.
pub(super) fn get_tagged(bytes: &mut Bytes, mut field: impl FnMut(u32, Bytes) -> Option<()>) -> Option<()> {
    for _ in 0..get_varint(bytes)? {
        let (tag, length) = (get_varint(bytes)?, get_varint(bytes)? as usize);
        field(tag, take(bytes, length)?)?;
    }
    Some(())
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}
