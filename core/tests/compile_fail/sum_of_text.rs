//! `sum` takes a number of each value.

use topo_core::DataStream;

fn lengths(words: &DataStream<String>) {
    words.key_by(|word| word).sum(|word| word.clone());
}

fn main() {}
