//! Values as records: what `to` writes, and what it reads back.
//!
//! Text is written as text, so that every Kafka client reads it at once; all else is MessagePack with named fields. A pair is
//! a record's key and value.

use bytes::Bytes;
use compact_str::CompactString;
use serde::Serialize;
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

    /// The record's value: MessagePack with named fields, or text, unless given.
    ///
    /// # Errors
    /// A [`Fail`], which fails the value's tree.
    fn value(&self) -> Result<Option<Bytes>, Fail> {
        packed(self).map(Some)
    }
}

/// MessagePack with named fields; text as it stands.
///
/// # Errors
/// [`Fail::Reject`] for what MessagePack cannot hold.
pub fn packed<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, Fail> {
    let packed = Bytes::from(rmp_serde::to_vec_named(value).map_err(Fail::reject)?);
    Ok(match text_at(&packed) {
        Some(at) => packed.slice(at..),
        None => packed,
    })
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
        assert_eq!(pair.value().expect("a value"), Some(Bytes::from_static(&[3])));
    }

    #[test]
    fn what_was_packed_reads_back() {
        let value = (-7_i64, vec![Some("a"), None]);
        let bytes = packed(&value).expect("a value");
        let back: (i64, Vec<Option<String>>) = rmp_serde::from_slice(&bytes).expect("the same");
        assert_eq!(back, (-7, vec![Some("a".to_owned()), None]));
    }
}
