//! Outputs that the log does not take: the record that led to one is left out, and what nobody is to blame for ends the
//! topology.

use std::sync::Arc;
use std::time::Duration;

use topo_connectors::{LogSink, LogSpout, LogSpoutConfig};
use topo_core::log::{Log, LogError, Record};
use topo_core::{Bolt, Emitter, Fail, Fault, Topology};
use topo_tests::memory_log::{Call, Fate};
use topo_tests::seeds::for_seeds;

use crate::lab::{DEAD, IN, Lab, NAME, OUT, lines, text};
use crate::word_count::{decode, encode};

/// Why an append to `out` is refused that has a record of more than `most` bytes, or one of dead letters of more than
/// `most_dead`.
fn why_not(call: &Call<'_>, most: usize, most_dead: usize) -> Option<LogError> {
    let Call::Append(to, records) = call else { return None };
    let most = match &*to.topic {
        OUT => most,
        DEAD => most_dead,
        _ => usize::MAX,
    };
    let bytes = |one: &Record| [&one.key, &one.value].into_iter().flatten().map(bytes::Bytes::len).sum();
    let largest: Option<usize> = records.iter().map(bytes).max();
    (largest > Some(most)).then(|| LogError::Invalid(format!("a record is larger than {most} bytes")))
}

/// Refuses records that are too large.
fn limit(lab: &Lab, most: usize, most_dead: usize) {
    lab.log.judge(move |call| Fate { error: why_not(&call, most, most_dead), ..Fate::default() });
}

/// Refuses them as a client does that sends appends behind one's back: at whatever it is asked next.
fn limit_late(lab: &Lab, most: usize, most_dead: usize) {
    let mut refused = None;
    lab.log.judge(move |call| {
        let error = match call {
            Call::Append(..) => {
                refused = refused.take().or(why_not(&call, most, most_dead));
                None
            }
            Call::Flush | Call::Commit(_) | Call::CommitTransaction => refused.take(),
            Call::AbortTransaction => {
                refused = None;
                None
            }
            _ => None,
        };
        Fate { error, ..Fate::default() }
    });
}

/// Lines of which some lead to a record that is too large.
fn some_large(seed: u64) -> Vec<String> {
    let mut lines = lines(seed, 60);
    for (number, line) in lines.iter_mut().enumerate().filter(|(number, _)| number % 17 == 5) {
        *line += &format!(" {}-{number}", "large".repeat(30));
    }
    lines
}

fn is_large(line: &str) -> bool {
    line.contains("large")
}

#[test]
fn a_record_whose_output_is_refused_is_a_dead_letter_and_all_others_are_counted() {
    for_seeds(20, |seed| {
        for limit in [limit, limit_late] {
            let mut lab = Lab::new(seed, 2);
            lab.feed(some_large(seed));
            limit(&lab, 100, 1_000);
            lab.launch();
            lab.finish();
            lab.demand_truth(is_large);
            lab.stop();
            let letter = lab.log.records(DEAD, 0).into_iter().next().unwrap();
            let header = |name: &str| {
                let header = letter.headers.iter().find(|header| &*header.key == name);
                text(header.and_then(|header| header.value.clone()))
            };
            let why = header("topo.reason");
            assert!(why.contains("refused by out-0: a record is larger than 100 bytes"), "{why}");
            assert_eq!(header("topo.component"), OUT);
        }
    });
}

#[test]
fn a_letter_that_is_refused_too_is_written_without_what_it_was() {
    for limit in [limit, limit_late] {
        let mut lab = Lab::new(4, 1);
        lab.feed(some_large(4));
        limit(&lab, 100, 100);
        lab.launch();
        lab.finish();
        lab.stop();
        let letters = lab.log.records(DEAD, 0);
        assert_eq!((letters.len(), letters.iter().filter(|letter| letter.value.is_some()).count()), (4, 0));
        assert!(
            letters.iter().all(|one| one.headers.iter().any(|header| &*header.key == "topo.value-bytes"))
        );
    }
}

/// Makes a record that is always too large of nothing in particular.
struct Summary;

impl Bolt for Summary {
    type In = String;
    type Out = (String, u64);
    const ENDS_BATCHES: bool = true;

    async fn execute(&mut self, _line: String, _out: &mut Emitter<(String, u64)>) -> Result<(), Fail> {
        Ok(())
    }

    async fn end_batch(&mut self, out: &mut Emitter<(String, u64)>) -> Result<(), Fault> {
        out.emit(("large".repeat(100), 1));
        Ok(())
    }
}

#[test]
fn where_no_record_is_to_blame_the_topology_stops_and_says_why() {
    let mut lab = Lab::new(4, 1);
    lab.build(|lab| {
        let topology = Topology::new(NAME);
        let (log, progress) = (lab.log.clone() as Arc<dyn Log>, lab.progress.clone());
        let spout =
            move || LogSpout::new(Arc::clone(&log), LogSpoutConfig::new(IN, NAME), progress.clone(), decode);
        let lines = topology.spout("lines", spout);
        let summary = topology.bolt("summary", || Summary).shuffle(&lines);
        let log = lab.log.clone() as Arc<dyn Log>;
        let sink = move || LogSink::new(Arc::clone(&log), OUT, |_, _| 0, |count| Ok(encode(count)));
        topology.rich_bolt(OUT, sink).global(&summary);
        topology
    });
    lab.feed(lines(4, 20));
    limit(&lab, 100, 1_000);
    lab.launch();
    let why = lab.block_on(lab.running().stopped_itself());
    assert!(
        why.starts_with("a batch failed 20 times in a row, and no record is known to be to blame"),
        "{why}"
    );
    assert!(why.contains("a record is larger than 100 bytes"), "{why}");
    assert_eq!((lab.numbers().commits, lab.log.records(OUT, 0).len()), (0, 0));
    lab.stop();
}

#[test]
fn an_outage_of_the_log_ends_nothing_however_long_it_takes() {
    let mut lab = Lab::new(4, 1);
    lab.feed(lines(4, 20));
    lab.setup.runtime.transactions.attempts = 2;
    lab.launch();
    lab.log.judge(|call| match call {
        Call::Append(to, _) if &*to.topic == OUT => Fate::fails(),
        _ => Fate::default(),
    });
    lab.pass(Duration::from_secs(30));
    assert!(lab.numbers().aborts > 10, "{:?}", lab.numbers());
    lab.log.be_kind();
    lab.finish();
    lab.stop();
    lab.demand_truth(|_| false);
}
