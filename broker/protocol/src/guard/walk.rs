//! Walks a request's body along its shape.
//!
//! Invariant: nothing is reserved, and no byte is read twice.

use super::shape::{Element, Field, Kind, Request, Structure};
use crate::varint::Cursor;

/// Why a request is not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The bytes end within a field, or its length or count goes beyond them.
    #[error("{0} reaches beyond the end of the request")]
    Truncated(&'static str),
    /// A length, count or tag that cannot be one.
    #[error("{0} has a length that no value has")]
    Length(&'static str),
    /// Decoding it would take far more memory than it has bytes.
    #[error("a request of {body} bytes would take {decoded} bytes of memory, more than is granted")]
    TooCostly {
        /// Bytes of the body.
        body: usize,
        /// Bytes that decoding it takes.
        decoded: usize,
    },
    /// The version is not described.
    #[error("version {version} of {api} is not supported")]
    Version {
        /// The API's name.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// The most memory that is granted to decode a body of `body` bytes: eight times as much, and 64 KiB; or 32 times as much,
/// while that is no more than 1 MiB.
///
/// A decoded element keeps its books, of 32 to 120 bytes, whatever its name: a topic of one letter, which takes three bytes
/// in Metadata, takes 72 in memory. Thousands of such names are asked for with good reason, and millions are not.
pub const fn most_decoded_bytes(body: usize) -> usize {
    let in_general = body.saturating_mul(8).saturating_add(64 << 10);
    let of_short_names = body.saturating_mul(32);
    let of_short_names = if of_short_names < SHORT_NAMES { of_short_names } else { SHORT_NAMES };
    if in_general > of_short_names { in_general } else { of_short_names }
}

/// What short names may take.
const SHORT_NAMES: usize = 1 << 20;

/// Checks that `body` begins with a request of that shape and version, and returns how many bytes of memory decoding it
/// takes besides the body's own. What follows is not looked at, by the decoder neither: librdkafka asks for all topics with
/// three bytes too many.
///
/// # Errors
/// The [`GuardError`] that says what is wrong.
pub fn check(request: &Request, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    if !request.versions.contains(version) {
        return Err(GuardError::Version { api: request.name, version });
    }
    let is_flexible = version >= request.flexible_from;
    let mut walk = Walk { cursor: Cursor::at(body, 0), version, is_flexible, decoded: 0 };
    walk.structure(&request.body)?;
    if walk.decoded > most_decoded_bytes(body.len()) {
        return Err(GuardError::TooCostly { body: body.len(), decoded: walk.decoded });
    }
    Ok(walk.decoded)
}

/// Tagged fields, for messages about them.
const TAGGED: &str = "a tagged field";
/// Bytes of a text that an array holds, once decoded: it points into the body.
const STRING_BYTES: usize = 32;
/// What the map of skipped tagged fields takes at most for each so many of them begun.
const TAGS_PER_NODE: usize = 5;
const NODE_BYTES: usize = 512;

struct Walk<'a> {
    cursor: Cursor<'a>,
    version: i16,
    is_flexible: bool,
    /// Bytes of memory that decoding takes.
    decoded: usize,
}

impl Walk<'_> {
    fn structure(&mut self, structure: &Structure) -> Result<(), GuardError> {
        for field in structure.fields {
            if field.versions.contains(self.version) {
                self.field(field)?;
            }
        }
        if self.is_flexible { self.tagged_fields(structure.tagged) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), GuardError> {
        self.value(field.name, &field.kind)
    }

    fn value(&mut self, name: &'static str, kind: &Kind) -> Result<(), GuardError> {
        match kind {
            Kind::Fixed(bytes) => self.skip(name, *bytes),
            Kind::String => self.text(name).and_then(|bytes| self.present(name, bytes)),
            Kind::NullableString => self.text(name).map(drop),
            Kind::Bytes => self.opaque(name).and_then(|bytes| self.present(name, bytes)),
            Kind::NullableBytes => self.opaque(name).map(drop),
            Kind::Array(element) => {
                let count = self.length(name)?;
                self.elements(name, count.ok_or(GuardError::Length(name))?, element)
            }
            Kind::NullableArray(element) => match self.length(name)? {
                Some(count) => self.elements(name, count, element),
                None => Ok(()),
            },
            Kind::Optional(structure) => match self.cursor.byte() {
                Some(1) => self.structure(structure),
                Some(0xff) => Ok(()),
                Some(_) => Err(GuardError::Length(name)),
                None => Err(GuardError::Truncated(name)),
            },
        }
    }

    fn elements(&mut self, name: &'static str, count: usize, element: &Element) -> Result<(), GuardError> {
        // Every element takes a byte at least, so a count that passes here cannot overflow what follows.
        if count > self.cursor.remaining() {
            return Err(GuardError::Truncated(name));
        }
        let bytes = match element {
            Element::Int32 => 4,
            Element::Int64 => 8,
            Element::String => STRING_BYTES,
            Element::Structure(structure) => structure.bytes,
        };
        self.decoded = self.decoded.saturating_add(count.saturating_mul(bytes));
        match element {
            Element::Int32 => self.skip(name, count * 4),
            Element::Int64 => self.skip(name, count.saturating_mul(8)),
            Element::String => (0..count).try_for_each(|_| self.value(name, &Kind::String)),
            Element::Structure(structure) => (0..count).try_for_each(|_| self.structure(structure)),
        }
    }

    fn tagged_fields(&mut self, known: &[(u32, Kind)]) -> Result<(), GuardError> {
        let count = self.unsigned(TAGGED)?;
        let mut skipped: usize = 0;
        for _ in 0..count {
            let tag = self.unsigned(TAGGED)?;
            let bytes = self.unsigned(TAGGED)? as usize;
            if bytes > self.cursor.remaining() {
                return Err(GuardError::Truncated(TAGGED));
            }
            let end = self.cursor.remaining() - bytes;
            match known.iter().find(|(known, _)| *known == tag) {
                // The decoder reads the value and not its length: they must agree.
                Some((_, kind)) => self.value(TAGGED, kind)?,
                None => {
                    skipped += 1;
                    self.skip(TAGGED, bytes)?;
                }
            }
            if self.cursor.remaining() != end {
                return Err(GuardError::Length(TAGGED));
            }
        }
        self.decoded = self.decoded.saturating_add(skipped.div_ceil(TAGS_PER_NODE) * NODE_BYTES);
        Ok(())
    }

    /// A text's bytes; `None` for null.
    fn text(&mut self, name: &'static str) -> Result<Option<usize>, GuardError> {
        if self.is_flexible {
            return self.opaque(name);
        }
        let length = self.fixed(name)?;
        self.bounded(name, i16::from_be_bytes(length).into())
    }

    /// Opaque bytes, or `None` for null.
    fn opaque(&mut self, name: &'static str) -> Result<Option<usize>, GuardError> {
        let bytes = self.length(name)?;
        if let Some(bytes) = bytes {
            self.skip(name, bytes)?;
        }
        Ok(bytes)
    }

    /// A length or count; `None` for null.
    fn length(&mut self, name: &'static str) -> Result<Option<usize>, GuardError> {
        if self.is_flexible {
            return Ok((self.unsigned(name)? as usize).checked_sub(1));
        }
        match i32::from_be_bytes(self.fixed(name)?) {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| GuardError::Length(name)),
        }
    }

    /// Skips as many bytes as a 16-bit length said, if it was one.
    fn bounded(&mut self, name: &'static str, length: i64) -> Result<Option<usize>, GuardError> {
        if length == -1 {
            return Ok(None);
        }
        let bytes = usize::try_from(length).map_err(|_| GuardError::Length(name))?;
        self.skip(name, bytes)?;
        Ok(Some(bytes))
    }

    fn present(&self, name: &'static str, bytes: Option<usize>) -> Result<(), GuardError> {
        bytes.map(drop).ok_or(GuardError::Length(name))
    }

    fn unsigned(&mut self, name: &'static str) -> Result<u32, GuardError> {
        if self.cursor.remaining() == 0 {
            return Err(GuardError::Truncated(name));
        }
        self.cursor.unsigned().ok_or(GuardError::Length(name))
    }

    fn fixed<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], GuardError> {
        self.cursor.array().ok_or(GuardError::Truncated(name))
    }

    fn skip(&mut self, name: &'static str, bytes: usize) -> Result<(), GuardError> {
        self.cursor.take(bytes).map(drop).ok_or(GuardError::Truncated(name))
    }
}
