//! The `topo` command in processes of its own, which can be killed.
//!
//! Invariant: no process outlives the test that started it, whatever becomes of the test.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use topo_tests::topo_binary;

/// How long a process may say nothing before the test gives up: the work of a whole day, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// A port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The command, with nothing of this test's environment.
pub(crate) fn topo(arguments: &[&str]) -> Command {
    let mut command = Command::new(topo_binary());
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Runs to success, and returns what was printed.
pub(crate) fn said(command: &mut Command) -> String {
    Process::spawn(command.stdout(Stdio::piped())).end()
}

/// A process, which is killed when this is dropped; where the test fails by then, what it said is shown.
pub(crate) struct Process {
    child: Child,
    command: String,
    /// What is known of its standard error so far, and each line behind that.
    heard: String,
    lines: Receiver<String>,
}

impl Process {
    /// Starts what says nothing that the test waits for, and prints nothing that it wants.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdout(Stdio::null()))
    }

    /// Starts a command with `--listen` at `address` on a data directory, and waits for its banner.
    pub(crate) fn serving(arguments: &[&str], data_dir: &Path, address: SocketAddr) -> Self {
        let mut command = topo(arguments);
        command.args(["--listen", &address.to_string(), "--data-dir"]).arg(data_dir);
        let mut process = Self::start(&mut command);
        process.line_with("  durable ");
        process
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (told, lines) = mpsc::channel();
        // Read as it comes, so that the process never waits for the test.
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let _ = told.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        });
        Self { child, command: format!("{command:?}"), heard: String::new(), lines }
    }

    /// The next line of standard error; `None` once it is closed.
    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.heard.push_str(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} neither says anything nor ends", self.command),
        }
    }

    /// Waits for a line of standard error that holds `text`, and returns it.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.next_line().unwrap_or_else(|| panic!("{} never says {text:?}", self.command));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until it ends, successfully, and returns what it printed.
    pub(crate) fn end(mut self) -> String {
        while self.next_line().is_some() {}
        let mut printed = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut printed).unwrap();
        }
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{} ended with {ended}", self.command);
        printed
    }

    /// Sends SIGKILL, and waits until it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Sends SIGTERM, and waits until it has stopped in order.
    pub(crate) fn stop(self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.end();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.heard.extend(self.lines.iter());
            eprintln!("{} said:\n{}", self.command, self.heard);
        }
    }
}
