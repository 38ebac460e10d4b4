//! Small text files that are closed by their checksum.
//!
//! Invariant: what [`verified`] accepts is what [`seal`] closed.

/// Closes lines of text with a last one, their checksum.
pub(crate) fn seal(mut lines: String) -> String {
    let crc = crc32c::crc32c(lines.as_bytes());
    lines.push_str(&format!("crc32c={crc:08x}\n"));
    lines
}

/// What precedes the last line, if that is its checksum.
pub(crate) fn verified(text: &str) -> Option<&str> {
    let (lines, crc) = text.strip_suffix('\n')?.rsplit_once("\ncrc32c=")?;
    let lines = &text[..lines.len() + 1];
    (u32::from_str_radix(crc, 16) == Ok(crc32c::crc32c(lines.as_bytes()))).then_some(lines)
}
