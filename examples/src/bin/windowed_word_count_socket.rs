//! The lecture's windowed word count, from a socket to the terminal: behind `nc -lk 9999`, the words of 5 seconds, every
//! second.

use topo::prelude::*;

fn main() -> ExitCode {
    topo::stream("windowed-word-count", |log| {
        let words = log.socket("127.0.0.1:9999", "lines").flat_map(words).key_by(|word| word);
        words.window(Duration::from_secs(5)).every(Duration::from_secs(1)).count().print();
    })
}
