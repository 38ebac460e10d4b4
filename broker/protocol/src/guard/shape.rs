//! How a request lies on the wire, for each of its versions.
//!
//! Invariant: shapes are constants and finite, so a walk along one nests no deeper than its table is written.

use std::ops::RangeInclusive;

/// One API's request, in all the versions that are served.
#[derive(Debug)]
pub struct Request {
    /// The API's number.
    pub key: i16,
    /// The API's name.
    pub name: &'static str,
    /// The versions described.
    pub versions: Versions,
    /// From this version on, lengths are varints and every structure ends with tagged fields.
    pub flexible_from: i16,
    /// The message; its [`Structure::bytes`] are 0, since it is not kept in an array.
    pub body: Structure,
}

/// A first and a last version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub first: i16,
    /// The newest.
    pub last: i16,
}

impl Versions {
    /// Whether `version` is among them.
    pub const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// All of them.
    pub const fn range(self) -> RangeInclusive<i16> {
        self.first..=self.last
    }
}

/// Fields behind each other.
#[derive(Debug)]
pub struct Structure {
    /// Bytes that an element of this kind takes in memory once it is decoded, without what it points to.
    pub bytes: usize,
    /// The fields, in order.
    pub fields: &'static [Field],
    /// The tagged fields that the decoder knows, by tag; others are skipped.
    pub tagged: &'static [(u32, Kind)],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its name in the protocol.
    pub name: &'static str,
    /// The versions that have it.
    pub versions: Versions,
    /// What it is.
    pub kind: Kind,
}

/// What a field is.
#[derive(Debug)]
pub enum Kind {
    /// So many bytes, all of whose values are legal: integers, booleans, ids.
    Fixed(usize),
    /// Text, length first.
    String,
    /// Text or null.
    NullableString,
    /// Opaque bytes, length first.
    Bytes,
    /// Opaque bytes or null.
    NullableBytes,
    /// A count, and that many elements.
    Array(Element),
    /// A count and its elements, or null.
    NullableArray(Element),
    /// A byte that says whether a structure follows.
    Optional(&'static Structure),
}

/// What an array holds.
#[derive(Debug)]
pub enum Element {
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// Texts.
    String,
    /// Structures.
    Structure(&'static Structure),
}

// What tables are written with.

pub(super) const INT8: Kind = Kind::Fixed(1);
pub(super) const BOOL: Kind = Kind::Fixed(1);
pub(super) const INT16: Kind = Kind::Fixed(2);
pub(super) const INT32: Kind = Kind::Fixed(4);
pub(super) const INT64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const INT32S: Kind = Kind::Array(Element::Int32);
pub(super) const INT64S: Kind = Kind::Array(Element::Int64);
pub(super) const STRINGS: Kind = Kind::Array(Element::String);

/// A field of all versions.
pub(super) const fn f(name: &'static str, kind: Kind) -> Field {
    Field { name, versions: Versions { first: 0, last: i16::MAX }, kind }
}

/// An array of structures that take `bytes` each once decoded.
pub(super) const fn structures(structure: &'static Structure) -> Kind {
    Kind::Array(Element::Structure(structure))
}

/// Such an array, or null.
pub(super) const fn nullable_structures(structure: &'static Structure) -> Kind {
    Kind::NullableArray(Element::Structure(structure))
}

/// An element of `bytes` bytes in memory.
pub(super) const fn element(bytes: usize, fields: &'static [Field]) -> Structure {
    Structure { bytes, fields, tagged: &[] }
}

/// A message without tagged fields that the decoder knows.
pub(super) const fn message(fields: &'static [Field]) -> Structure {
    element(0, fields)
}

impl Field {
    /// Only from `version` on.
    pub(super) const fn from(mut self, version: i16) -> Self {
        self.versions.first = version;
        self
    }

    /// Only up to `version`.
    pub(super) const fn until(mut self, version: i16) -> Self {
        self.versions.last = version;
        self
    }
}
