//! Which lines fail at their first attempt, for the program that fails them and the test that kills it.

/// Whether `line` is one of the third that does.
pub(crate) fn fails(line: &str) -> bool {
    line.bytes().map(u32::from).sum::<u32>() % 3 == 0
}
