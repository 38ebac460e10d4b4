//! How `consume` prints a record: text with `%` fields and `\` escapes.
//!
//! Invariant: keys and values are printed byte by byte as they are, but for MessagePack, which is printed as JSON.

use std::io::{self, Write};
use std::str::FromStr;

use topo_core::log::{Consumed, Header, TopicPartition};

use crate::json;
use crate::message_pack::readable;

/// The fields and escapes, for `--help`.
pub(crate) const HELP: &str = "\
Fields of the format: %k key, %v value, %t topic, %p partition, %o offset, %T timestamp in milliseconds since 1970, \
%h headers as name=value with commas between, %% a percent sign. A null key or value prints nothing; a header with a \
null value prints its name alone. A key or value that is a map or an array in MessagePack is printed as JSON. Escapes: \\n newline, \\t tab, \\r carriage return, \\0 a zero byte, \\\\ backslash. The format `json` prints each record as a JSON object on a line.";

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Key,
    Value,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
    Json,
}

/// What is wrong with a format or an escaped text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// A letter without a field.
    #[error("there is no field %{0}; there are %k %v %t %p %o %T %h and %%")]
    UnknownField(char),
    /// A letter without an escape.
    #[error("there is no escape \\{0}; there are \\n \\t \\r \\0 and \\\\")]
    UnknownEscape(char),
    /// A sign that introduces something, and nothing behind it.
    #[error("a single {0} stands at the end; write {0}{0} for the character itself")]
    Unfinished(char),
    /// Nothing where something is needed.
    #[error("it must not be empty")]
    Empty,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(format: &str) -> Result<Self, FormatError> {
        if format == "json" {
            return Ok(Self::json());
        }
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => match field(characters.next())? {
                    Some(piece) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(piece);
                    }
                    None => text.push(b'%'),
                },
                '\\' => text.push(escaped(characters.next())?),
                plain => push(&mut text, plain),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { pieces })
    }
}

/// The field of a letter; `None` for a percent sign.
fn field(letter: Option<char>) -> Result<Option<Piece>, FormatError> {
    Ok(Some(match letter {
        Some('k') => Piece::Key,
        Some('v') => Piece::Value,
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('T') => Piece::Timestamp,
        Some('h') => Piece::Headers,
        Some('%') => return Ok(None),
        Some(other) => return Err(FormatError::UnknownField(other)),
        None => return Err(FormatError::Unfinished('%')),
    }))
}

fn escaped(letter: Option<char>) -> Result<u8, FormatError> {
    match letter {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some(other) => Err(FormatError::UnknownEscape(other)),
        None => Err(FormatError::Unfinished('\\')),
    }
}

fn push(text: &mut Vec<u8>, character: char) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

impl Format {
    /// Each record as a JSON object on a line of its own.
    pub(crate) fn json() -> Self {
        Self { pieces: vec![Piece::Json, Piece::Text(b"\n".to_vec())] }
    }

    /// Prints `record`, read from `at`.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        at: &TopicPartition,
        record: &Consumed,
    ) -> io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Key => out.write_all(&readable(record.key.as_deref().unwrap_or_default()))?,
                Piece::Value => out.write_all(&readable(record.value.as_deref().unwrap_or_default()))?,
                Piece::Topic => out.write_all(at.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", at.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp_ms)?,
                Piece::Headers => write_headers(out, &record.headers)?,
                Piece::Json => json::record(out, at, record)?,
            }
        }
        Ok(())
    }
}

fn write_headers(out: &mut impl Write, headers: &[Header]) -> io::Result<()> {
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(header.key.as_bytes())?;
        if let Some(value) = &header.value {
            out.write_all(b"=")?;
            out.write_all(value)?;
        }
    }
    Ok(())
}

/// What stands between key and value in `produce`: text with the same escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Separator(Vec<u8>);

impl Separator {
    /// Splits `line` at the first separator; `None` where there is none.
    pub(crate) fn split(&self, line: &[u8]) -> Option<(usize, usize)> {
        let at = match &*self.0 {
            [byte] => line.iter().position(|b| b == byte),
            bytes => line.windows(bytes.len()).position(|window| window == bytes),
        }?;
        Some((at, at + self.0.len()))
    }
}

impl FromStr for Separator {
    type Err = FormatError;

    fn from_str(separator: &str) -> Result<Self, FormatError> {
        let mut text = Vec::new();
        let mut characters = separator.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => text.push(escaped(characters.next())?),
                plain => push(&mut text, plain),
            }
        }
        if text.is_empty() { Err(FormatError::Empty) } else { Ok(Self(text)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(format: &str) -> String {
        let at = TopicPartition::new("counts", 3);
        let record = Consumed {
            offset: 42,
            timestamp_ms: 1_700_000_000_123,
            key: Some("the".into()),
            value: Some("7".into()),
            headers: vec![
                Header { key: "trace".into(), value: Some("ab".into()) },
                Header { key: "null".into(), value: None },
            ],
        };
        let mut out = Vec::new();
        format.parse::<Format>().unwrap().write(&mut out, &at, &record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_field_and_escape_is_printed() {
        assert_eq!(printed(r"%k\t%v\n"), "the\t7\n");
        assert_eq!(printed("%t/%p@%o %T"), "counts/3@42 1700000000123");
        assert_eq!(printed("[%h] 100%% é"), "[trace=ab,null] 100% é");
        assert_eq!(printed(r"\\\r\0"), "\\\r\0");
        assert_eq!(printed(""), "");
    }

    #[test]
    fn nulls_print_nothing() {
        let record = Consumed { offset: 0, timestamp_ms: -1, key: None, value: None, headers: Vec::new() };
        let mut out = Vec::new();
        let format: Format = "<%k|%v|%h|%T>".parse().unwrap();
        format.write(&mut out, &TopicPartition::new("t", 0), &record).unwrap();
        assert_eq!(out, b"<|||-1>");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |format: &str| format.parse::<Format>().unwrap_err();
        assert_eq!(error("%s"), FormatError::UnknownField('s'));
        assert_eq!(error("%é"), FormatError::UnknownField('é'));
        assert_eq!(error("100%"), FormatError::Unfinished('%'));
        assert_eq!(error(r"\q"), FormatError::UnknownEscape('q'));
        assert_eq!(error("\\"), FormatError::Unfinished('\\'));
        assert_eq!("".parse::<Separator>(), Err(FormatError::Empty));
    }

    #[test]
    fn separators_split_at_their_first_place() {
        let split =
            |separator: &str, line: &str| separator.parse::<Separator>().unwrap().split(line.as_bytes());
        assert_eq!(split(":", "a:b:c"), Some((1, 2)));
        assert_eq!(split(r"\t", "key\tvalue"), Some((3, 4)));
        assert_eq!(split("=>", "a=b=>c"), Some((3, 5)));
        assert_eq!(split("=>", "a="), None);
        assert_eq!(split(":", ""), None);
    }

    proptest! {
        #[test]
        fn no_format_panics(format in r"([%\\]?.){0,12}") {
            if let Ok(format) = format.parse::<Format>() {
                let record = Consumed { offset: 0, timestamp_ms: 0, key: None, value: None, headers: Vec::new() };
                format.write(&mut Vec::new(), &TopicPartition::new("t", 0), &record).unwrap();
            }
            let _ = format.parse::<Separator>();
        }

        #[test]
        fn plain_text_prints_itself(text in r"[^%\\]{0,24}") {
            prop_assert_eq!(printed(&text), text);
        }

        #[test]
        fn escaped_text_prints_itself(text in ".{0,24}") {
            prop_assert_eq!(printed(&text.replace('\\', r"\\").replace('%', "%%")), text);
        }
    }
}
