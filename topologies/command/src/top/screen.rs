//! What `topo top` draws: as many columns as fit, and the rows that it was moved to.

use std::collections::HashMap;
use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap};

use crate::describe::{Row, Topology, micros, none, percent};
use crate::lines::{cut, shown};

/// A share from which on a component is pointed at.
const HIGH: f64 = 0.8;
/// What the columns are.
const HEAD: [&str; 10] =
    ["COMPONENT", "KIND", "TASKS", "EMITTED/s", "EXECUTED/s", "ACKED", "FAILED", "CAPACITY", "P99", "QUEUED"];
/// Those that are left out where there is no room for all, the first ones first. The others tell who is slow.
const LEFT_OUT: [usize; 8] = [1, 2, 5, 3, 9, 6, 4, 8];
/// Between two columns.
const GAP: usize = 2;
/// What a name is cut to: at the most, before a number is left out for it, and where nothing else can go.
const NAMES: [usize; 3] = [40, 16, 8];

/// What is shown: the newest numbers, and how fast they move.
pub(super) struct Shown {
    topology: Topology,
    at: Instant,
    /// Emitted and executed each second, by component, once there are two looks to tell.
    rates: HashMap<String, (f64, Option<f64>)>,
    /// The first row that is shown.
    first: usize,
    /// How many there were room for.
    room: usize,
}

impl Shown {
    pub(super) fn new(topology: Topology) -> Self {
        Self { topology, at: Instant::now(), rates: HashMap::new(), first: 0, room: 1 }
    }

    /// What is shown after another look.
    pub(super) fn next(&self, topology: Topology) -> Self {
        let now = Instant::now();
        let seconds = now.duration_since(self.at).as_secs_f64().max(1e-3);
        let before: HashMap<String, Row> =
            self.topology.rows().into_iter().map(|row| (row.name.clone(), row)).collect();
        let rate = |row: &Row| {
            let past = before.get(&row.name)?;
            let grown = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            let executed = row.executed.zip(past.executed).map(|(now, then)| grown(now, then));
            Some((row.name.clone(), (grown(row.emitted, past.emitted), executed)))
        };
        let rates = topology.rows().iter().filter_map(rate).collect();
        Self { topology, at: now, rates, first: self.first, room: self.room }
    }

    /// Moves on by so many rows, or back.
    pub(super) fn go(&mut self, rows: isize) {
        self.first = self.first.saturating_add_signed(rows);
    }

    /// How many rows a page is.
    pub(super) fn room(&self) -> isize {
        isize::try_from(self.room).unwrap_or(isize::MAX).max(1)
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let width = usize::from(frame.area().width);
        let Topology { id, status, uptime, topology_stats, .. } = &self.topology;
        let title = format!("{}  {}  up {}", shown(id), shown(status), shown(uptime));
        let sums = topology_stats.first().map_or_else(String::new, |stats| {
            let p99 = micros(stats.complete_latency_micros.p99);
            format!(
                "acked {}  failed {}  pending {}  complete p99 {p99}",
                stats.acked, stats.failed, stats.pending
            )
        });
        let tall = |text: &str| Constraint::Length(if text.chars().count() > width { 2 } else { 1 });
        let [head, all, _, table, foot] = Layout::vertical([
            tall(&title),
            tall(&sums),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let paragraph = |text: String| Paragraph::new(text).wrap(Wrap { trim: true });
        frame.render_widget(paragraph(title).style(Modifier::BOLD), head);
        frame.render_widget(paragraph(sums), all);

        let rows = self.topology.rows();
        self.room = usize::from(table.height.saturating_sub(1)).max(1);
        self.first = self.first.min(rows.len().saturating_sub(self.room));
        let last = rows.len().min(self.first + self.room);
        let text = if self.room < rows.len() {
            format!("q ends  ↑↓ move: {}-{last} of {}", self.first + 1, rows.len())
        } else {
            "q ends this view; the topology goes on".to_owned()
        };
        frame.render_widget(self.table(&rows, width), table);
        frame.render_widget(Line::styled(text, Modifier::DIM), foot);
    }

    /// The rows from the first that is shown on; the columns are as wide as all of them need, so that nothing jumps.
    fn table(&self, rows: &[Row], width: usize) -> Table<'static> {
        let cells: Vec<[(String, bool); 10]> = rows.iter().map(|row| self.cells(row)).collect();
        let widest = |column: usize| {
            let cells = cells.iter().map(|row| row[column].0.chars().count());
            cells.chain([HEAD[column].len()]).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..HEAD.len()).map(widest).collect();
        widths[0] = widths[0].min(NAMES[0]);
        let columns = fitting(&mut widths, width);
        let aligned = |column: usize, text: String| {
            let line = Line::raw(if column == 0 { cut(&text, widths[0], false) } else { text });
            if column > 1 { line.right_aligned() } else { line }
        };
        let head = columns.iter().map(|column| Cell::from(aligned(*column, HEAD[*column].to_owned())));
        let head = TableRow::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED));
        let row = |row: &[(String, bool); 10]| {
            TableRow::new(columns.iter().map(|column| {
                let (text, is_bad) = row[*column].clone();
                let style = if is_bad { Style::new().fg(Color::Red) } else { Style::new() };
                Cell::from(aligned(*column, text)).style(style)
            }))
        };
        let constraints = columns.iter().map(|column| Constraint::Length(widths[*column] as u16));
        Table::new(cells.iter().skip(self.first).map(row), constraints)
            .header(head)
            .column_spacing(GAP as u16)
    }

    /// What each column says of a component, and whether that is bad.
    fn cells(&self, row: &Row) -> [(String, bool); 10] {
        let rate = self.rates.get(&row.name);
        let spelled = |rate: Option<f64>| rate.map_or_else(none, |rate| format!("{rate:.0}"));
        [
            (row.name.clone(), false),
            (row.kind.to_owned(), false),
            (row.tasks.to_string(), false),
            (spelled(rate.map(|(emitted, _)| *emitted)), false),
            (spelled(rate.and_then(|(_, executed)| *executed)), false),
            (row.acked.to_string(), false),
            (row.failed.to_string(), row.failed > 0),
            (percent(row.capacity), row.capacity >= Some(HIGH)),
            (micros(row.p99), false),
            (row.queued.map_or_else(none, |queued| queued.to_string()), false),
        ]
    }
}

/// The columns that fit into `room`; the name is shortened where even those that tell most do not.
fn fitting(widths: &mut [usize], room: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..widths.len()).collect();
    let taken = |columns: &[usize], widths: &[usize]| {
        columns.iter().map(|column| widths[*column]).sum::<usize>() + GAP * (columns.len() - 1)
    };
    for column in LEFT_OUT {
        let over = taken(&columns, widths).saturating_sub(room);
        if over <= widths[0].saturating_sub(NAMES[1]) {
            break;
        }
        columns.retain(|one| *one != column);
    }
    let over = taken(&columns, widths).saturating_sub(room);
    widths[0] = widths[0].saturating_sub(over).max(NAMES[2]);
    columns
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value, json};

    use super::*;

    fn bolt(name: &str, executed: u64) -> Value {
        let latency = json!({ "p99": 12.5 });
        json!({
            "boltId": name, "tasks": 2, "emitted": 0, "acked": 10, "failed": 3, "executed": executed,
            "capacity": "0.934", "executeLatencyMicros": latency, "queue": { "tuples": 3 },
        })
    }

    fn topology(bolts: Vec<Value>) -> Topology {
        let latency = json!({ "p99": 12.5 });
        serde_json::from_value(json!({
            "id": "words-1", "status": "ACTIVE", "uptime": "5s",
            "topologyStats": [{
                "acked": 1_234_567, "failed": 1, "pending": 20_000, "completeLatencyMicros": latency,
            }],
            "spouts": [], "bolts": bolts,
        }))
        .unwrap()
    }

    fn drawn(shown: &mut Shown, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| shown.draw(frame)).unwrap();
        let text = terminal.backend().to_string();
        text.lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect()
    }

    #[test]
    fn a_second_look_tells_how_fast_it_goes() {
        let mut first = Shown::new(topology(vec![bolt("count", 10)]));
        let text = drawn(&mut first, 100, 10);
        assert_eq!(text[0], "words-1  ACTIVE  up 5s");
        assert!(text[4].contains("93.4%"), "{text:?}");
        let mut second = first.next(topology(vec![bolt("count", 10_010)]));
        let rate = second.rates["count"].1.unwrap();
        let seconds = second.at.duration_since(first.at).as_secs_f64().max(1e-3);
        assert!((rate * seconds - 10_000.0).abs() < 1.0, "{rate} in {seconds} s");
        assert!(drawn(&mut second, 100, 10)[4].contains(&format!("{rate:.0}")));
    }

    #[test]
    fn a_number_is_whole_or_left_out() {
        let long = "a-component-with-a-name-that-is-longer-than-any-terminal-shows";
        let mut shown = Shown::new(topology(vec![bolt("count", 10), bolt(long, 7)]));
        for width in 30..140 {
            let text = drawn(&mut shown, width, 12);
            let head: Vec<&str> =
                text.iter().find(|line| line.starts_with("COMP")).unwrap().split_whitespace().collect();
            assert!(
                head[1..].iter().all(|title| HEAD.contains(title)) && head.contains(&"CAPACITY"),
                "{head:?}"
            );
            let row = text.iter().find(|line| line.starts_with("count ")).unwrap();
            let cells: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(cells.len(), head.len(), "{text:#?}");
            assert!(cells.contains(&"93.4%"), "{row}");
            // What does not fit into a line goes on in the next.
            let sums = text[1..3].join(" ");
            assert!(sums.contains("acked 1234567") && sums.contains("pending 20000"), "{text:#?}");
        }
        let head = |width| {
            let text = drawn(&mut Shown::new(topology(vec![bolt("count", 10)])), width, 9);
            text.into_iter().find(|line| line.starts_with("COMP")).unwrap()
        };
        assert_eq!(
            head(40).split_whitespace().collect::<Vec<_>>(),
            ["COMPONENT", "EXECUTED/s", "CAPACITY", "P99"]
        );
        assert!(head(80).contains("FAILED") && head(80).contains("QUEUED"), "{}", head(80));
        assert_eq!(head(100).split_whitespace().count(), HEAD.len());
    }

    #[test]
    fn rows_that_there_is_no_room_for_are_moved_to() {
        let bolts = (0..200).map(|number| bolt(&format!("bolt-{number}"), 1)).collect();
        let mut shown = Shown::new(topology(bolts));
        let rows = |shown: &mut Shown| {
            let text = drawn(shown, 80, 24);
            let names = text.iter().filter(|line| line.starts_with("bolt-"));
            let names: Vec<String> =
                names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
            (names[0].clone(), names[names.len() - 1].clone(), text[23].clone())
        };
        let (first, last, foot) = rows(&mut shown);
        assert_eq!((&*first, &*last, &*foot), ("bolt-0", "bolt-18", "q ends  ↑↓ move: 1-19 of 200"));
        shown.go(shown.room());
        assert_eq!(rows(&mut shown).0, "bolt-19");
        shown.go(1_000);
        assert_eq!(rows(&mut shown).1, "bolt-199");
        shown.go(-1_000);
        assert_eq!(rows(&mut shown).0, "bolt-0");
    }
}
