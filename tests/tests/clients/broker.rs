//! A `topo broker` in a process of its own, which can be killed.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use topo_tests::topo_binary;

/// A broker that runs, and stops when it is dropped.
pub(crate) struct Broker {
    child: Child,
    /// Standard error, behind the banner.
    stderr: Option<BufReader<ChildStderr>>,
    address: SocketAddr,
}

impl Broker {
    /// Starts one on a port of its own.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::start_at(data_dir, free)
    }

    /// Starts one where another was.
    pub(crate) fn start_at(data_dir: &Path, address: SocketAddr) -> Self {
        Self::start_with(
            Command::new(topo_binary())
                .arg("broker")
                .args(["--listen", &address.to_string()])
                .arg("--data-dir")
                .arg(data_dir),
            address,
        )
    }

    /// Starts a command that opens a Kafka port at `address`.
    pub(crate) fn start_with(command: &mut Command, address: SocketAddr) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("  durable ") {
            assert!(stderr.read_line(&mut banner).unwrap() > 0, "instead of a banner: {banner}");
        }
        Self { child, stderr: Some(stderr), address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `topo VERB ARGUMENTS --broker ADDRESS`, to success; what it printed.
    pub(crate) fn topo(&self, arguments: &[&str]) -> String {
        self.try_topo(arguments).unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
    }

    /// The same, which may fail; what it said then.
    pub(crate) fn try_topo(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(topo_binary())
            .args(arguments)
            .args(["--broker", &self.address.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (printed, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        if output.status.success() { Ok(printed.unwrap()) } else { Err(said.unwrap()) }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(std::thread::panicking() || told.is_ok_and(|status| status.success()));
        let mut said = String::new();
        let _ = self.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        let ended = self.child.wait().unwrap();
        assert!(std::thread::panicking() || ended.success(), "the broker ended with {ended}: {said}");
        assert!(std::thread::panicking() || said.is_empty(), "the broker said: {said}");
    }
}
