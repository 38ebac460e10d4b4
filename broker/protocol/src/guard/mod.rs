//! What stands between the network and the decoder of requests.
//!
//! The decoder of messages reserves memory for whatever count a frame claims. So every request is walked first, along the
//! [`Request`] shape of its API and version: lengths and counts are bounded by the bytes that remain, every byte is
//! accounted for, and what decoding will reserve is known before it happens.
//!
//! Invariant: a body that [`check`] accepts is decoded without running past it, without a byte left over, and with at most
//! the memory that [`check`] returned, which itself is at most [`most_decoded_bytes`]. Whether strings are UTF-8 is left
//! to the decoder, which reserves nothing for them.
//!
//! ```
//! use topo_protocol::guard::{self, Request};
//!
//! let metadata = guard::request(3).expect("Metadata is served");
//! assert_eq!(guard::check(metadata, 0, b"\x00\x00\x00\x01\x00\x05lines")?, 72);
//! // A claim of two thousand million topics.
//! assert!(guard::check(metadata, 0, b"\x7f\xff\xff\xff\x00\x05lines").is_err());
//! # Ok::<(), guard::GuardError>(())
//! ```

mod header;
mod requests;
mod shape;
mod walk;

pub use header::RequestHeader;
pub use requests::{ALL, request};
pub use shape::{Element, Field, Kind, Request, Structure, Versions};
pub use walk::{GuardError, check, most_decoded_bytes};
