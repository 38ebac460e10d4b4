//! A word count whose counts are keyed state, for `topo query`.

use std::process::ExitCode;

use topo::prelude::*;
use topo::ready_made::word_count::{Line, Split, Word, WordCount};

/// Counts words in a state.
#[derive(Default)]
struct Count {
    counts: Option<State<String, u64>>,
}

impl Bolt for Count {
    type In = Word;
    type Out = WordCount;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.counts = Some(task.state("counts").await?);
        Ok(())
    }

    async fn execute(&mut self, Word { word }: Word, out: &mut Emitter<WordCount>) -> Result<(), Fail> {
        let counts = self.counts.as_mut().ok_or_else(|| Fail::retry("not prepared"))?;
        let count = counts.update(word.as_str(), |count| {
            *count += 1;
            *count
        })?;
        out.emit(WordCount { word, count });
        Ok(())
    }
}

fn topology(environment: &Environment) -> Topology {
    let topology = Topology::new("stateful-count");
    let line = |record: &Consumed| {
        let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        Ok(Line { text })
    };
    let lines = topology.spout("lines", environment.log_spout("lines", line));
    let words = topology.bolt("split", || Split).shuffle(&lines);
    topology.bolt("count", Count::default).tasks(2).key_groups(&words, |word: &Word| word.word.as_str());
    topology
}

fn main() -> ExitCode {
    topo::main(Application::new("stateful-count", topology).reads("lines"))
}
