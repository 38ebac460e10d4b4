//! A stream on the terminal.

use std::io::{self, Write};
use std::marker::PhantomData;

use topo_core::{Bolt, DataStream, Emitter, Fail, Step, Timed, Tuple};

/// Writes a stream to standard output.
pub trait Print {
    /// Ends the stream: writes each value as a line of JSON to standard output. What is replayed is written again.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// log.lines("lines").map(|line| line.len() as u64).print();
    /// # })
    /// # }
    /// ```
    fn print(&self) -> Step;
}

impl<T: Tuple> Print for DataStream<T> {
    fn print(&self) -> Step {
        // One task, so that lines come out in the order of the stream.
        let step = self.bolt(&self.step_name("print"), || Printer(PhantomData)).tasks(1);
        Step::from(step)
    }
}

struct Printer<T>(PhantomData<fn(T)>);

impl<T: Tuple> Bolt for Printer<T> {
    type In = Timed<T>;
    type Out = ();

    async fn execute(&mut self, timed: Timed<T>, _out: &mut Emitter<()>) -> Result<(), Fail> {
        let mut line = serde_json::to_vec(&timed.value).map_err(Fail::reject)?;
        line.push(b'\n');
        Ok(io::stdout().lock().write_all(&line)?)
    }
}
