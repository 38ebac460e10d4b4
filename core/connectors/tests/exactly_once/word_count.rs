//! The topology that has to be exact, each step of which asks whether it is to fail.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use topo_core::log::{Consumed, Record};
use topo_core::metrics::WindowSnapshot;
use topo_core::state::State;
use topo_core::{
    Bolt, Emitter, EventTime, Fail, Failure, Fault, InputOffsets, LastBatch, Next, Spout, SpoutEmitter,
    TaskContext,
};

use crate::lab::text;
use crate::trouble::{Step, Trouble};

/// A spout that breaks where it is told to: as it has emitted, ends a batch, hears of a commit or goes back.
pub(crate) struct Breaking<S> {
    pub(crate) spout: S,
    pub(crate) trouble: Trouble,
}

impl<S> Breaking<S> {
    fn come_to(&self, step: Step) {
        assert!(!self.trouble.strikes(step), "the spout breaks at {step:?}");
    }
}

impl<S: Spout> Spout for Breaking<S> {
    type Out = S::Out;
    type Id = S::Id;
    const REPLAYS: bool = S::REPLAYS;

    async fn open(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.spout.open(task).await
    }

    fn next(&mut self, out: &mut SpoutEmitter<S::Out, S::Id>) -> Result<Next, Fault> {
        let next = self.spout.next(out)?;
        if next == Next::Emitted {
            self.come_to(Step::Emit);
        }
        Ok(next)
    }

    async fn ready(&mut self) {
        self.spout.ready().await;
    }

    fn ack(&mut self, id: S::Id) {
        self.spout.ack(id);
    }

    fn fail(&mut self, id: S::Id, failure: &Failure) {
        self.spout.fail(id, failure);
    }

    async fn last_batch(&mut self) -> Result<Option<LastBatch>, Fault> {
        self.spout.last_batch().await
    }

    fn end_batch(&mut self) -> Option<InputOffsets> {
        let ended = self.spout.end_batch();
        self.come_to(Step::Marker);
        ended
    }

    fn batch_committed(&mut self) {
        self.come_to(Step::AfterCommit);
        self.spout.batch_committed();
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        if self.trouble.strikes(Step::Cleanup) {
            return Err("the spout does not go back".into());
        }
        self.spout.rewind()
    }

    fn watermark(&self) -> Option<EventTime> {
        self.spout.watermark()
    }

    fn show_windows(&self, shown: &mut Vec<WindowSnapshot>) {
        self.spout.show_windows(shown);
    }

    fn activate(&mut self) {
        self.spout.activate();
    }

    fn deactivate(&mut self) {
        self.spout.deactivate();
    }

    async fn close(&mut self) {
        self.spout.close().await;
    }
}

pub(crate) fn decode(record: &Consumed) -> Result<String, Fail> {
    match text(record.value.clone()) {
        line if line.starts_with("garbled") => Err(Fail::reject("it is garbled")),
        line => Ok(line),
    }
}

pub(crate) fn encode((word, count): &(String, u64)) -> Record {
    let (key, value) = (Some(word.clone().into()), Some(count.to_string().into()));
    Record { key, value, ..Record::default() }
}

pub(crate) struct Split(pub(crate) Trouble);

impl Bolt for Split {
    type In = String;
    type Out = String;

    async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        if line.starts_with("poison") {
            return Err(Fail::reject("poison"));
        }
        for word in line.split_whitespace() {
            out.emit(word.to_owned());
        }
        assert!(!self.0.strikes(Step::Split), "the splitter breaks");
        Ok(())
    }
}

/// A number that may not be written out.
#[derive(Debug, Clone, Copy, Default)]
struct Written(u64);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if Trouble::strikes_here(Step::Flush) {
            return Err(ser::Error::custom("the count is not written"));
        }
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Self)
    }
}

pub(crate) struct Count {
    counts: Option<State<String, Written>>,
    trouble: Trouble,
}

impl Count {
    pub(crate) fn new(trouble: Trouble) -> Self {
        Self { counts: None, trouble }
    }
}

impl Bolt for Count {
    type In = String;
    type Out = (String, u64);

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        if self.trouble.strikes(Step::Prepare) {
            return Err("the counter does not start".into());
        }
        self.counts = Some(task.state("counts").await?);
        Ok(())
    }

    async fn execute(&mut self, word: String, out: &mut Emitter<(String, u64)>) -> Result<(), Fail> {
        let counts = self.counts.as_mut().ok_or_else(|| Fail::retry("not prepared"))?;
        let count = counts.update(&word, |count| {
            count.0 += 1;
            count.0
        })?;
        out.emit((word.clone(), count));
        if word.starts_with("bad") {
            return Err(Fail::reject("bad"));
        }
        if self.trouble.strikes(Step::Count) {
            return Err(Fail::retry("the counter fails"));
        }
        Ok(())
    }
}
