//! `topo top`: a topology live, in a terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row as TableRow, Table};
use serde_json::Value;

use crate::describe::{Row, Topology, micros, none, percent};
use crate::failure::Failure;
use crate::json;
use crate::lines::shown;
use crate::page::{Page, PageAt, encoded};

/// How often the page is asked.
const EVERY: Duration = Duration::from_secs(1);
/// A share from which on a component is pointed at.
const HIGH: f64 = 0.8;
/// What the columns are.
const HEAD: [&str; 10] =
    ["COMPONENT", "KIND", "TASKS", "EMITTED/s", "EXECUTED/s", "ACKED", "FAILED", "CAPACITY", "P99", "QUEUED"];

/// `topo top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The topology's name or id; may be left out where one is running
    topology: Option<String>,
    /// Print what the page answers as JSON, a line each second
    #[arg(long)]
    json: bool,
    /// With --json, end after so many lines
    #[arg(short = 'n', long, value_name = "N", requires = "json")]
    lines: Option<u64>,
    #[command(flatten)]
    page: Page,
}

/// What is shown: the newest numbers, and how fast they move.
struct Shown {
    topology: Topology,
    at: Instant,
    /// Emitted and executed each second, by component, once there are two looks to tell.
    rates: HashMap<String, (f64, Option<f64>)>,
}

impl Top {
    /// Shows the topology until it ends or q is pressed.
    ///
    /// # Errors
    /// Those of the page, of the terminal and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (page, id) = self.page.topology(self.topology.as_deref()).await?;
        let path = format!("/api/v1/topology/{}", encoded(&id));
        if self.json {
            return self.print(&page, &path).await;
        }
        if !io::stdout().is_terminal() {
            return Err(Failure::NoTerminal);
        }
        let first = Shown::new(page.json(&page.get(&path).await?)?);
        let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
        let ended = live(&mut terminal, &page, &path, first).await;
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
        ended
    }

    async fn print(&self, page: &PageAt, path: &str) -> Result<(), Failure> {
        let mut told = 0;
        loop {
            let answer: Value = page.json(&page.get(path).await?)?;
            let mut out = io::stdout().lock();
            json::line(&mut out, &answer).and_then(|()| out.flush()).map_err(Failure::Output)?;
            told += 1;
            if Some(told) == self.lines {
                return Ok(());
            }
            drop(out);
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn live(
    terminal: &mut DefaultTerminal,
    page: &PageAt,
    path: &str,
    mut shown: Shown,
) -> Result<(), Failure> {
    loop {
        terminal.draw(|frame| shown.draw(frame)).map_err(Failure::Output)?;
        let until = Instant::now() + EVERY;
        let is_over = tokio::task::spawn_blocking(move || told_to_end(until)).await;
        if is_over.map_err(|error| Failure::System(error.into()))?.map_err(Failure::Input)? {
            return Ok(());
        }
        shown = shown.next(page.json(&page.get(path).await?)?);
    }
}

/// Waits for a key that ends the view, until then.
fn told_to_end(until: Instant) -> io::Result<bool> {
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if event::poll(left)?
            && let Event::Key(key) = event::read()?
            && ends(key)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ends(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

impl Shown {
    fn new(topology: Topology) -> Self {
        Self { topology, at: Instant::now(), rates: HashMap::new() }
    }

    /// What is shown after another look.
    fn next(&self, topology: Topology) -> Self {
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
        Self { topology, at: now, rates }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, all, table, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let Topology { id, status, uptime, topology_stats, .. } = &self.topology;
        let title = format!("{}  {}  up {}", shown(id), shown(status), shown(uptime));
        frame.render_widget(Line::styled(title, Modifier::BOLD), head);
        if let Some(stats) = topology_stats.first() {
            let p99 = micros(stats.complete_latency_micros.p99);
            let (acked, failed, pending) = (stats.acked, stats.failed, stats.pending);
            frame.render_widget(
                Line::raw(format!("acked {acked}  failed {failed}  pending {pending}  complete p99 {p99}")),
                all,
            );
        }
        frame.render_widget(self.table(), table);
        frame.render_widget(Line::styled("q ends this view; the topology goes on", Modifier::DIM), foot);
    }

    fn table(&self) -> Table<'static> {
        let rows: Vec<Row> = self.topology.rows();
        let name =
            rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().clamp(9, 40) as u16;
        let mut widths = vec![Constraint::Length(name), Constraint::Length(5)];
        widths.extend(HEAD[2..].iter().map(|title| Constraint::Length(title.len().max(8) as u16)));
        let head = TableRow::new(HEAD).style(Style::new().add_modifier(Modifier::UNDERLINED));
        Table::new(rows.iter().map(|row| self.row(row)), widths).header(head)
    }

    fn row(&self, row: &Row) -> TableRow<'static> {
        let rate = self.rates.get(&row.name);
        let spelled = |rate: Option<f64>| rate.map_or_else(none, |rate| format!("{rate:.0}"));
        let bad = |is_bad: bool| if is_bad { Style::new().fg(Color::Red) } else { Style::new() };
        TableRow::new([
            Cell::from(row.name.clone()),
            Cell::from(row.kind),
            Cell::from(row.tasks.to_string()),
            Cell::from(spelled(rate.map(|(emitted, _)| *emitted))),
            Cell::from(spelled(rate.and_then(|(_, executed)| *executed))),
            Cell::from(row.acked.to_string()),
            Cell::from(row.failed.to_string()).style(bad(row.failed > 0)),
            Cell::from(percent(row.capacity)).style(bad(row.capacity >= Some(HIGH))),
            Cell::from(micros(row.p99)),
            Cell::from(row.queued.map_or_else(none, |queued| queued.to_string())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn topology(executed: u64) -> Topology {
        let latency = json!({ "p99": 12.5 });
        serde_json::from_value(json!({
            "id": "words-1", "status": "ACTIVE", "uptime": "5s",
            "topologyStats": [{ "acked": 9, "failed": 1, "pending": 2, "completeLatencyMicros": latency }],
            "spouts": [],
            "bolts": [{
                "boltId": "count", "tasks": 2, "emitted": 0, "acked": 10, "failed": 3, "executed": executed,
                "capacity": "0.934", "executeLatencyMicros": latency, "queue": { "tuples": 3 },
            }],
        }))
        .unwrap()
    }

    fn drawn(shown: &Shown) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 10)).unwrap();
        terminal.draw(|frame| shown.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_second_look_tells_how_fast_it_goes() {
        let first = Shown::new(topology(10));
        let text = drawn(&first);
        assert!(text.contains("words-1  ACTIVE  up 5s") && text.contains("93.4%"), "{text}");
        let second = first.next(topology(10_010));
        let rate = second.rates["count"].1.unwrap();
        let seconds = second.at.duration_since(first.at).as_secs_f64().max(1e-3);
        assert!((rate * seconds - 10_000.0).abs() < 1.0, "{rate} in {seconds} s");
        assert!(drawn(&second).contains(&format!("{rate:.0}")[..3]));
    }

    #[test]
    fn q_escape_and_control_c_end_it() {
        let key = |code, modifiers| ends(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
