//! The lecture's windowed word count: the words of the last 5 seconds, every second.

use topo::prelude::*;

fn main() -> ExitCode {
    topo::stream("windowed-word-count", |log| {
        let words =
            log.lines("lines").flat_map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>());
        words
            .key_by(|word| word)
            .window(Duration::from_secs(5))
            .every(Duration::from_secs(1))
            .count()
            .print();
    })
}
