//! The words of a text.

use compact_str::CompactString;

/// The words of `text`: its longest runs of characters that are not white space, as they stand.
///
/// ```
/// use topo::prelude::*;
///
/// assert!(words("to be, or\tnot".to_owned()).eq(["to", "be,", "or", "not"]));
/// ```
pub fn words(text: String) -> Words {
    Words { text, at: 0 }
}

/// The words of a text, which it owns; see [`words`]. Short ones are made without allocating.
#[derive(Debug, Clone)]
pub struct Words {
    text: String,
    /// Where the rest begins, in bytes.
    at: usize,
}

impl Iterator for Words {
    type Item = CompactString;

    fn next(&mut self) -> Option<CompactString> {
        let rest = self.text[self.at..].trim_start();
        let begin = self.text.len() - rest.len();
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        self.at = begin + length;
        (length > 0).then(|| CompactString::new(&rest[..length]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_are_what_lies_between_white_space(text in "[ab \\t\\r\\n\u{2003}é🦀]{0,40}") {
            let given: Vec<CompactString> = words(text.clone()).collect();
            prop_assert!(given.iter().eq(text.split_whitespace()), "{given:?} of {text:?}");
        }
    }
}
