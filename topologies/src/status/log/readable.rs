//! Keys, values and headers made readable: JSON, MessagePack and text are told apart; whatever else is shown as bytes.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::state::Shown;

/// Bytes of a message that are shown where nothing else is; a row of them fits a line.
const MOST_BYTES: usize = 256;

/// A key or a value, as it is shown.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Readable {
    /// What it is: `null`, `json`, `messagepack`, `text` or `bytes`.
    form: &'static str,
    /// How it is read; for `bytes`, in hexadecimal.
    pub(crate) text: String,
    /// How long it is.
    bytes: usize,
    /// Whether there is more of it than is shown.
    cut: bool,
}

impl Readable {
    /// `bytes` as text of about `most` bytes.
    pub(crate) fn of(bytes: Option<&[u8]>, most: usize) -> Self {
        let Some(bytes) = bytes else {
            return Self { form: "null", text: String::new(), bytes: 0, cut: false };
        };
        let (form, text) = told(bytes);
        let end = text.floor_char_boundary(most);
        let cut = end < text.len() || form == "bytes" && bytes.len() > MOST_BYTES;
        Self { form, text: text[..end].to_owned(), bytes: bytes.len(), cut }
    }
}

/// What `bytes` are, and how they read.
fn told(bytes: &[u8]) -> (&'static str, String) {
    if let Some(value) = bytes.first().filter(|first| is_compound(**first)).and_then(|_| message_pack(bytes))
    {
        return ("messagepack", value.to_string());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
            let is_json = matches!(text.trim_start().chars().next(), Some('{' | '['))
                && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            (if is_json { "json" } else { "text" }, text.to_owned())
        }
        // A number in MessagePack, such as a count that is kept as state, is no text.
        _ => match message_pack(bytes) {
            Some(value) => ("messagepack", value.to_string()),
            None => ("bytes", hexadecimal(&bytes[..bytes.len().min(MOST_BYTES)])),
        },
    }
}

/// Whether a value of MessagePack that begins so is a map or an array, which no text begins like.
fn is_compound(first: u8) -> bool {
    matches!(first, 0x80..=0x9f | 0xdc..=0xdf)
}

/// The value that all of `bytes` are in MessagePack.
fn message_pack(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let Shown(value) = Shown::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).ok()?;
    rest.is_empty().then_some(value)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (&'static str, String) {
        let readable = Readable::of(Some(bytes), 1_000);
        (readable.form, readable.text)
    }

    #[test]
    fn every_form_is_told() {
        let packed = rmp_serde::to_vec_named(&(1, "a<b>", Option::<u8>::None)).unwrap();
        assert_eq!(read(&packed), ("messagepack", r#"[1,"a<b>",null]"#.to_owned()));
        assert_eq!(read(&rmp_serde::to_vec(&70_000_u64).unwrap()), ("messagepack", "70000".to_owned()));
        assert_eq!(read(br#"{"a": [1, 2]}"#), ("json", r#"{"a": [1, 2]}"#.to_owned()));
        assert_eq!(read(b"{nearly"), ("text", "{nearly".to_owned()));
        assert_eq!(read("größe\n".as_bytes()), ("text", "größe\n".to_owned()));
        assert_eq!(read(b""), ("text", String::new()));
        assert_eq!(read(b"\xff\x00\xfe"), ("bytes", "ff00fe".to_owned()));
        assert_eq!(Readable::of(None, 10).form, "null");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let long = Readable::of(Some("ä".repeat(100).as_bytes()), 51);
        assert_eq!((long.text.chars().count(), long.bytes, long.cut), (25, 200, true));
        let bytes = Readable::of(Some(&[0xff; 300]), 10_000);
        assert_eq!((bytes.text.len(), bytes.bytes, bytes.cut), (512, 300, true));
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_is_shown(bytes: Vec<u8>, most in 0_usize..100) {
            let shown = Readable::of(Some(&bytes), most);
            prop_assert!(shown.text.len() <= most && shown.bytes == bytes.len());
        }
    }
}
