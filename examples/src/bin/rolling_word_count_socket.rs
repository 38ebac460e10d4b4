//! The lecture's rolling word count, from a socket to the terminal: behind `nc -lk 9999`, each word that is typed there
//! gives its newest count.

use topo::prelude::*;

fn main() -> ExitCode {
    topo::stream("rolling-word-count", |log| {
        log.socket("127.0.0.1:9999", "lines").flat_map(words).key_by(|word| word).count().print();
    })
}
