//! Varints, zigzag as records use them and plain as messages do, and a cursor that never reads past its bytes.

use bytes::{BufMut, BytesMut};

/// Bytes that `value` takes as a zigzag varint: 1 to 10.
pub(crate) const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value` as a zigzag varint.
pub(crate) fn put(out: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    if rest < 0x80 {
        out.put_u8(rest as u8);
        return;
    }
    let mut encoded = [0; 10];
    let mut n = 0;
    while rest >= 0x80 {
        encoded[n] = rest as u8 | 0x80;
        rest >>= 7;
        n += 1;
    }
    encoded[n] = rest as u8;
    out.put_slice(&encoded[..=n]);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Walks over bytes; every read that they do not cover is `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    /// The next `n` bytes, as a range of the whole.
    pub(crate) fn take(&mut self, n: usize) -> Option<std::ops::Range<usize>> {
        if n > self.remaining() {
            return None;
        }
        let start = self.position;
        self.position += n;
        Some(start..self.position)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.bytes.get(self.position..)?.first_chunk()?;
        self.position += N;
        Some(bytes)
    }

    /// A plain varint of up to 32 bits, as lengths and tags are written; `None` where the bytes end or the number does not.
    pub(crate) fn unsigned(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The fifth byte holds four bits.
                let overlong = shift == 28 && byte > 0xf;
                return (!overlong).then_some(value);
            }
        }
        None
    }

    /// A zigzag varint of up to 64 bits; `None` where the bytes end or the number does not.
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte holds the 64th bit alone.
                let overlong = shift == 63 && byte > 1;
                return (!overlong).then_some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    /// A zigzag varint that fits in 32 bits.
    pub(crate) fn varint(&mut self) -> Option<i32> {
        i32::try_from(self.varlong()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: i64) -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out, value);
        out
    }

    #[test]
    fn small_numbers_of_either_sign_are_short() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(&encoded(value)[..], bytes, "{value}");
        }
    }

    #[test]
    fn a_number_without_end_or_beyond_64_bits_is_none() {
        assert_eq!(Cursor::at(&[0xff; 11], 0).varlong(), None);
        assert_eq!(Cursor::at(&[0x80], 0).varlong(), None);
        let mut beyond = [0xff; 10];
        beyond[9] = 0x02;
        assert_eq!(Cursor::at(&beyond, 0).varlong(), None);
        assert_eq!(Cursor::at(&encoded(i64::from(i32::MAX) + 1), 0).varint(), None);
    }

    #[test]
    fn a_plain_varint_has_32_bits() {
        for (bytes, value) in [
            (&[0x00][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80, 0x01], Some(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], None),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(Cursor::at(bytes, 0).unsigned(), value, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_and_measured(value: i64, narrow: i32) {
            for value in [value, i64::from(narrow), value >> (narrow & 63)] {
                let bytes = encoded(value);
                prop_assert_eq!(bytes.len(), len(value));
                let mut cursor = Cursor::at(&bytes, 0);
                prop_assert_eq!(cursor.varlong(), Some(value));
                prop_assert_eq!(cursor.remaining(), 0);
            }
            prop_assert_eq!(Cursor::at(&encoded(i64::from(narrow)), 0).varint(), Some(narrow));
        }
    }
}
