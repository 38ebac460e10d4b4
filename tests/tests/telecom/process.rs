//! The `topo` command in processes of its own, which can be killed.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use topo_tests::topo_binary;

/// A port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The command, with nothing of this test's environment.
pub(crate) fn topo(arguments: &[&str]) -> Command {
    let mut command = Command::new(topo_binary());
    command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to success, and returns what was printed.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} ended with {}: {complaint}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A process that serves the log at an address: a topology or a broker.
pub(crate) struct Serving {
    child: Child,
    /// Standard error, behind the banner.
    stderr: BufReader<ChildStderr>,
}

impl Serving {
    /// Starts a command with `--listen` at `address` on a data directory, and waits for its banner.
    pub(crate) fn start(arguments: &[&str], data_dir: &Path, address: SocketAddr) -> Self {
        let mut command = topo(arguments);
        command.args(["--listen", &address.to_string(), "--data-dir"]).arg(data_dir);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("  durable ") {
            assert!(stderr.read_line(&mut banner).unwrap() > 0, "instead of a banner: {banner}");
        }
        Self { child, stderr }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let mut complaint = String::new();
        self.stderr.read_to_string(&mut complaint).unwrap();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "it ended with {ended}: {complaint}");
    }
}
