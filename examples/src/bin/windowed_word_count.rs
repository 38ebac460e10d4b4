//! The lecture's windowed word count, from topic to topic: the words of 5 seconds of topic `lines`, every second, to topic
//! `counts`.

use topo::prelude::*;

fn main() -> ExitCode {
    topo::stream("windowed-word-count", |log| {
        let words = log.lines("lines").flat_map(words).key_by(|word| word);
        words.window(Duration::from_secs(5)).every(Duration::from_secs(1)).count().to("counts");
    })
}
