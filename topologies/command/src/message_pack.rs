//! MessagePack made readable.

use std::borrow::Cow;

use serde::Deserialize;

/// A value as it is printed: a map or an array in MessagePack as JSON on one line, whatever else as it is.
///
/// The two cannot be mistaken for text: their first byte begins no character of UTF-8.
pub(crate) fn readable(value: &[u8]) -> Cow<'_, [u8]> {
    match parsed(value) {
        Some(json) => Cow::Owned(json.to_string().into_bytes()),
        None => Cow::Borrowed(value),
    }
}

/// The map or array that `value` is in MessagePack; `None` where it is anything else.
pub(crate) fn parsed(value: &[u8]) -> Option<serde_json::Value> {
    // Maps and arrays of up to 15 entries, then with a length of 16 or 32 bits.
    let is_compound = matches!(value.first()?, 0x80..=0x9f | 0xdc..=0xdf);
    if !is_compound || std::str::from_utf8(value).is_ok() {
        return None;
    }
    let mut rest = value;
    let parsed = serde_json::Value::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).ok()?;
    rest.is_empty().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Serialize)]
    struct Request<'a> {
        path: &'a str,
        status: u16,
        bytes: Option<u64>,
    }

    #[test]
    fn a_struct_is_shown_as_json_on_one_line() {
        let packed = rmp_serde::to_vec_named(&Request { path: "/a\nb", status: 200, bytes: None }).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&readable(&packed)).unwrap();
        assert_eq!(json, serde_json::json!({ "path": "/a\nb", "status": 200, "bytes": null }));
        assert!(!readable(&packed).contains(&b'\n'));
    }

    #[test]
    fn whatever_else_stays_as_it_is() {
        let mut cut = rmp_serde::to_vec_named(&Request { path: "/", status: 200, bytes: Some(1) }).unwrap();
        cut.pop();
        for value in [&b"text"[..], "ümläut".as_bytes(), b"", b"\xff\x00", b"\x81", &cut, b"\x90trailing"] {
            assert_eq!(&*readable(value), value);
        }
    }

    proptest! {
        #[test]
        fn no_value_panics_and_text_stays(bytes: Vec<u8>, text: String) {
            let _ = readable(&bytes);
            prop_assert_eq!(&*readable(text.as_bytes()), text.as_bytes());
        }
    }
}
