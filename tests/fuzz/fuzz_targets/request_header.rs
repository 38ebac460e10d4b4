//! The header in front of every request, in both forms.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topo_protocol::guard::RequestHeader;

fuzz_target!(|frame: &[u8]| {
    let numbers = RequestHeader::parse_numbers(frame);
    for is_flexible in [false, true] {
        let Ok((header, body)) = RequestHeader::parse(frame, is_flexible) else { continue };
        assert!(body <= frame.len());
        assert_eq!(numbers, Ok(RequestHeader { client_id: None, ..header }));
        // Nothing behind it was looked at, and everything in front of it is needed.
        assert_eq!(RequestHeader::parse(&frame[..body], is_flexible), Ok((header, body)));
        assert!(RequestHeader::parse(&frame[..body - 1], is_flexible).is_err());
    }
});
