//! The header in front of every request.

use super::walk::GuardError;
use crate::varint::Cursor;

/// Which API a request is for, and what its response is to be labelled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API's number.
    pub api_key: i16,
    /// The version of the request, and of its response.
    pub api_version: i16,
    /// Comes back with the response.
    pub correlation_id: i32,
    /// What the client calls itself; `None` where it is not said, or not in UTF-8.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// The three numbers that open every request, whatever its version; the client is not read.
    ///
    /// # Errors
    /// [`GuardError::Truncated`].
    pub fn parse_numbers(frame: &'a [u8]) -> Result<Self, GuardError> {
        let mut cursor = Cursor::at(frame, 0);
        Self::numbers(&mut cursor).ok_or(GuardError::Truncated(HEADER))
    }

    /// The whole header, and where the body begins. `is_flexible` says that tagged fields, which are skipped, follow it.
    ///
    /// # Errors
    /// [`GuardError::Truncated`] or [`GuardError::Length`].
    pub fn parse(frame: &'a [u8], is_flexible: bool) -> Result<(Self, usize), GuardError> {
        let mut cursor = Cursor::at(frame, 0);
        let mut header = Self::numbers(&mut cursor).ok_or(GuardError::Truncated(HEADER))?;
        let length = i16::from_be_bytes(cursor.array().ok_or(GuardError::Truncated(CLIENT_ID))?);
        if length != -1 {
            let length = usize::try_from(length).map_err(|_| GuardError::Length(CLIENT_ID))?;
            let bytes = cursor.take(length).ok_or(GuardError::Truncated(CLIENT_ID))?;
            header.client_id = str::from_utf8(&frame[bytes]).ok();
        }
        if is_flexible {
            let mut number = || cursor.unsigned().ok_or(GuardError::Length(HEADER));
            for _ in 0..number()? {
                let (_tag, bytes) = (cursor.unsigned(), cursor.unsigned());
                let bytes = bytes.ok_or(GuardError::Length(HEADER))?;
                cursor.take(bytes as usize).ok_or(GuardError::Truncated(HEADER))?;
            }
        }
        Ok((header, frame.len() - cursor.remaining()))
    }

    fn numbers(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            api_key: i16::from_be_bytes(cursor.array()?),
            api_version: i16::from_be_bytes(cursor.array()?),
            correlation_id: i32::from_be_bytes(cursor.array()?),
            client_id: None,
        })
    }
}

const HEADER: &str = "the header";
const CLIENT_ID: &str = "the client's id";

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x00\x03\x00\x01\x00\x00\x00\x07\x00\x04kcat";
    const FLEXIBLE: &[u8] = b"\x00\x03\x00\x09\x00\x00\x00\x07\x00\x04kcat\x01\x05\x02ab";

    #[test]
    fn both_forms_are_read_and_the_body_begins_behind_them() {
        let plain = RequestHeader { api_key: 3, api_version: 1, correlation_id: 7, client_id: Some("kcat") };
        let body = [PLAIN, b"body"].concat();
        assert_eq!(RequestHeader::parse(&body, false), Ok((plain, PLAIN.len())));
        let flexible = RequestHeader { api_version: 9, ..plain };
        let body = [FLEXIBLE, b"body"].concat();
        assert_eq!(RequestHeader::parse(&body, true), Ok((flexible, FLEXIBLE.len())));
        let nameless = [&PLAIN[..8], b"\xff\xff"].concat();
        assert_eq!(
            RequestHeader::parse(&nameless, false),
            Ok((RequestHeader { client_id: None, ..plain }, 10))
        );
        assert_eq!(RequestHeader::parse_numbers(&nameless).unwrap().correlation_id, 7);
    }

    #[test]
    fn every_truncation_is_refused() {
        for end in 0..FLEXIBLE.len() {
            assert!(RequestHeader::parse(&FLEXIBLE[..end], true).is_err(), "{end}");
        }
        assert!(RequestHeader::parse(b"\x00\x03\x00\x01\x00\x00\x00\x07\xff\xfe", false).is_err());
    }
}
