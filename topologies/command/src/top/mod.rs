//! `topo top`: a topology live, in a terminal.

mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use hyper::StatusCode;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use self::screen::Shown;
use crate::failure::Failure;
use crate::json;
use crate::lines::shown;
use crate::page::{Page, PageAt, PageError, encoded};

/// How often the page is asked.
const EVERY: Duration = Duration::from_secs(1);

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
        let Some(first) = look(&page, &path).await? else { return ended(&id) };
        let first = Shown::new(page.json(&first)?);
        let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
        let left = live(&mut terminal, &page, &path, first).await;
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
        match left? {
            Left::ByKey => Ok(()),
            Left::Ended => ended(&id),
        }
    }

    async fn print(&self, page: &PageAt, path: &str) -> Result<(), Failure> {
        let mut told = 0;
        while let Some(answer) = look(page, path).await? {
            let answer: Value = page.json(&answer)?;
            let mut out = io::stdout().lock();
            json::line(&mut out, &answer).and_then(|()| out.flush()).map_err(Failure::Output)?;
            told += 1;
            if Some(told) == self.lines {
                return Ok(());
            }
            drop(out);
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }
}

/// The view ends well with what it shows.
fn ended(id: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{} has ended", shown(id)).map_err(Failure::Output)
}

/// Why the view is left.
enum Left {
    ByKey,
    /// The topology has ended.
    Ended,
}

/// What the page tells of the topology; `None` once that has ended.
async fn look(page: &PageAt, path: &str) -> Result<Option<Bytes>, PageError> {
    let answer = match page.ask_for(path).await {
        // The answer may have been cut short by the end.
        Err(PageError::NoPage { .. }) => {
            tokio::time::sleep(EVERY).await;
            page.ask_for(path).await
        }
        answer => answer,
    };
    match answer {
        // Another one may have the address by now.
        Ok((StatusCode::NOT_FOUND, _)) | Err(PageError::NotRunning(_)) => Ok(None),
        answer => page.good(path, answer?).map(Some),
    }
}

async fn live(
    terminal: &mut DefaultTerminal,
    page: &PageAt,
    path: &str,
    mut shown: Shown,
) -> Result<Left, Failure> {
    loop {
        let until = Instant::now() + EVERY;
        loop {
            terminal.draw(|frame| shown.draw(frame)).map_err(Failure::Output)?;
            let told = tokio::task::spawn_blocking(move || next_told(until)).await;
            match told.map_err(|error| Failure::System(error.into()))?.map_err(Failure::Input)? {
                Some(Told::Leave) => return Ok(Left::ByKey),
                Some(Told::Rows(rows)) => shown.go(rows),
                Some(Told::Pages(pages)) => shown.go(pages.saturating_mul(shown.room())),
                None => break,
            }
        }
        let Some(answer) = look(page, path).await? else { return Ok(Left::Ended) };
        shown = shown.next(page.json(&answer)?);
    }
}

/// What the terminal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Leave,
    /// To move by so many rows; by none where the terminal has another size.
    Rows(isize),
    Pages(isize),
}

/// Waits until then for something to do.
fn next_told(until: Instant) -> io::Result<Option<Told>> {
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if event::poll(left)? {
            let told = match event::read()? {
                Event::Key(key) => told(key),
                Event::Resize(..) => Some(Told::Rows(0)),
                _ => None,
            };
            if told.is_some() {
                return Ok(told);
            }
        }
    }
    Ok(None)
}

fn told(key: KeyEvent) -> Option<Told> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Told::Leave),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Told::Leave),
        KeyCode::Up | KeyCode::Char('k') => Some(Told::Rows(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Told::Rows(1)),
        KeyCode::PageUp => Some(Told::Pages(-1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Told::Pages(1)),
        KeyCode::Home => Some(Told::Rows(isize::MIN)),
        KeyCode::End => Some(Told::Rows(isize::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_it_or_move_it() {
        let key = |code, modifiers| told(KeyEvent::new(code, modifiers));
        for leaving in [key(KeyCode::Char('q'), KeyModifiers::NONE), key(KeyCode::Esc, KeyModifiers::NONE)] {
            assert_eq!(leaving, Some(Told::Leave));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Told::Leave));
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Told::Rows(1)));
        assert_eq!(key(KeyCode::PageUp, KeyModifiers::NONE), Some(Told::Pages(-1)));
        for other in [KeyCode::Char('c'), KeyCode::Enter] {
            assert_eq!(key(other, KeyModifiers::NONE), None);
        }
    }
}
