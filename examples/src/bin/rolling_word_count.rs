//! The lecture's rolling word count, from topic to topic: each word of topic `lines` gives its newest count to topic `counts`.
//!
//! `cargo run -p topo-examples --bin rolling_word_count -- --input README.md --until-idle`

use topo::prelude::*;

fn main() -> ExitCode {
    topo::stream("rolling-word-count", |log| {
        log.lines("lines").flat_map(words).key_by(|word| word).count().to("counts");
    })
}
