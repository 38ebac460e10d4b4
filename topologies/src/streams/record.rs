//! Values as records: what `to` writes, and what it reads back.
//!
//! Text, numbers and truth values are written as text, so that every Kafka client reads them at once; all else is MessagePack
//! with named fields. A pair is a record's key and value.

use bytes::Bytes;
use compact_str::CompactString;
use rmp_serde::Deserializer;
use serde::Serialize;
use serde::de::value::{BorrowedStrDeserializer, Error as NotText};
use topo_core::state::Key;
use topo_core::window::Fired;
use topo_core::{Fail, Tuple};

/// A value that a topic can hold, as the key and the value of a record.
///
/// A type of your own needs no more than `impl ToRecord for Click {}` to be written without a key; give it a `key` where
/// its records shall keep their order by it, or be compacted.
///
/// ```
/// use topo::prelude::*;
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Click {
///     user: String,
///     page: String,
/// }
///
/// impl ToRecord for Click {
///     fn key(&self) -> Result<Option<Bytes>, Fail> {
///         packed(&self.user).map(Some)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no form as a record",
    note = "write `impl ToRecord for {Self} {{}}` for a value without a key, or make a pair of key and value first, with `map`"
)]
pub trait ToRecord: Tuple {
    /// The record's key; none unless given.
    ///
    /// # Errors
    /// A [`Fail`], which fails the value's tree.
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        Ok(None)
    }

    /// The record's value, as [`packed`] has it unless given.
    ///
    /// # Errors
    /// A [`Fail`], which fails the value's tree.
    fn value(&self) -> Result<Option<Bytes>, Fail> {
        packed(self).map(Some)
    }
}

/// MessagePack with named fields; text as it stands, and numbers and truth values as text too.
///
/// ```
/// use topo::prelude::*;
///
/// assert_eq!(packed("to be")?, "to be");
/// assert_eq!(packed(&3)?, "3");
/// assert_eq!(packed(&(3, "to"))?, &b"\x92\x03\xa2to"[..]);
/// # Ok::<(), Fail>(())
/// ```
///
/// # Errors
/// [`Fail::Reject`] for what MessagePack cannot hold.
pub fn packed<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, Fail> {
    let packed = Bytes::from(rmp_serde::to_vec_named(value).map_err(Fail::reject)?);
    if let Some(at) = text_at(&packed) {
        return Ok(packed.slice(at..));
    }
    // Fixed integers, then floats and other integers, then truth values.
    if !matches!(packed.first(), Some(0x00..=0x7f | 0xe0..=0xff | 0xca..=0xd3 | 0xc2 | 0xc3)) {
        return Ok(packed);
    }
    // JSON has no number that is none, nor an infinite one.
    Ok(match rmp_serde::from_slice(&packed).unwrap_or_default() {
        serde_json::Value::Null => packed,
        scalar => scalar.to_string().into(),
    })
}

/// The value that [`packed`] wrote, or that MessagePack or JSON holds.
///
/// # Errors
/// [`Fail::Reject`] for what is no such value.
pub fn unpacked<T: Tuple>(bytes: &[u8]) -> Result<T, Fail> {
    let mut rest = bytes;
    let unpacked = T::deserialize(&mut Deserializer::new(&mut rest)).map_err(Fail::reject);
    let unpacked = unpacked.and_then(|value| match rest {
        [] => Ok(value),
        rest => Err(Fail::reject(format!("{} bytes follow the value", rest.len()))),
    });
    // Text cannot be mistaken for a map or an array that is one of `T` to its last byte, but for a number it can.
    if unpacked.is_ok() && matches!(bytes.first(), Some(0x80..=0x9f | 0xdc..=0xdf)) {
        return unpacked;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return unpacked };
    let as_text = T::deserialize(BorrowedStrDeserializer::<NotText>::new(text));
    as_text.or_else(|_| serde_json::from_str(text)).or_else(|error| unpacked.or(Err(Fail::reject(error))))
}

/// Where the text of a MessagePack string begins; `None` for another value.
fn text_at(packed: &[u8]) -> Option<usize> {
    match packed.first()? {
        0xa0..=0xbf => Some(1),
        0xd9 => Some(2),
        0xda => Some(3),
        0xdb => Some(5),
        _ => None,
    }
}

impl ToRecord for String {}
impl ToRecord for CompactString {}

impl<K: Tuple, V: Tuple> ToRecord for (K, V) {
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.0).map(Some)
    }

    fn value(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.1).map(Some)
    }
}

/// The key is the result's; the value is all of the result: the window, what it gave, how often it did before.
impl<K: Key, V: Tuple> ToRecord for Fired<K, V> {
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.key).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_of_any_length_stays_text() {
        for length in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(length);
            assert_eq!(packed(&text).expect("a text"), text.as_bytes());
        }
    }

    #[test]
    fn a_pair_is_key_and_value() {
        let pair = ("to".to_owned(), 3_u64);
        assert_eq!(pair.key().expect("a key"), Some(Bytes::from_static(b"to")));
        assert_eq!(pair.value().expect("a value"), Some(Bytes::from_static(b"3")));
    }

    fn again<T: Tuple + PartialEq + fmt::Debug>(value: T) -> Bytes {
        let bytes = packed(&value).expect("a value");
        assert_eq!(unpacked::<T>(&bytes), Ok(value));
        bytes
    }

    #[test]
    fn numbers_and_truth_values_are_text() {
        for (written, text) in [
            (again(0_u8), "0"),
            (again(u64::MAX), "18446744073709551615"),
            (again(i64::MIN), "-9223372036854775808"),
            (again(-1_i8), "-1"),
            (again(0.1_f64), "0.1"),
            (again(true), "true"),
        ] {
            assert_eq!(written, text);
        }
        again(f64::INFINITY);
        again(0.1_f32);
        again(());
        again(Some(7_u32));
        again(None::<u32>);
    }

    #[test]
    fn messagepack_of_others_is_read_too() {
        assert_eq!(unpacked::<u64>(&[3]), Ok(3));
        assert_eq!(unpacked::<u64>(&[0xcc, 200]), Ok(200));
        assert!(unpacked::<u64>(b"three").is_err() && unpacked::<String>(&[0xc1]).is_err());
    }

    proptest! {
        #[test]
        fn what_was_packed_reads_back(
            text: String,
            numbers: Vec<u8>,
            pair: (i64, Vec<Option<String>>),
            named: BTreeMap<String, u32>,
        ) {
            prop_assert_eq!(again(text.clone()), text.as_bytes());
            again(CompactString::from(text));
            again(numbers);
            again(pair);
            again(named);
        }
    }

    #[test]
    fn a_list_that_is_text_by_chance_is_still_a_list() {
        // Its length, 0x8000, makes UTF-8 of its head.
        let list = vec![1_u8; 0x8000];
        assert!(std::str::from_utf8(&again(list)).is_ok());
    }
}
