//! Brokers in processes of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use topo_tests::topo_binary;

/// How long anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that runs until it ends or is ended.
pub(crate) struct Process {
    child: Child,
    stderr: Option<BufReader<std::process::ChildStderr>>,
}

/// An address that nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    /// `topo broker`, once it answers; and how long that took from its start.
    pub(crate) fn topo(data_dir: &Path, address: SocketAddr) -> (Self, Duration) {
        Self::topo_with(data_dir, address, &[])
    }

    /// The same with more options.
    pub(crate) fn topo_with(data_dir: &Path, address: SocketAddr, options: &[&str]) -> (Self, Duration) {
        let mut command = Command::new(topo_binary());
        command.arg("broker").args(options).args(["--listen", &address.to_string(), "--data-dir"]);
        command.arg(data_dir);
        let began = Instant::now();
        let process = Self::spawn(command);
        while !answers(address) {
            assert!(began.elapsed() < PATIENCE, "the broker does not answer");
            std::thread::sleep(Duration::from_micros(500));
        }
        (process, began.elapsed())
    }

    /// The broker of `examples/failing_broker.rs`; whether it came to serve before its plan ended it.
    pub(crate) fn failing(data_dir: &Path, address: SocketAddr, plan: &[String]) -> (Self, bool) {
        let mut command = Command::new(failing_broker());
        command.arg(data_dir).arg(address.to_string()).args(plan);
        let mut process = Self::spawn(command);
        let serves = process.reads("serving");
        (process, serves)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().map(BufReader::new);
        Self { child, stderr }
    }

    /// Reads lines of standard error up to one that holds `text`; `false` where the process ends before.
    pub(crate) fn reads(&mut self, text: &str) -> bool {
        let Some(stderr) = &mut self.stderr else { return false };
        let mut line = String::new();
        while stderr.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return true;
            }
            line.clear();
        }
        false
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns how it ended, what it printed and what it said.
    pub(crate) fn stop(mut self) -> (ExitStatus, String, String) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
        let (mut printed, mut said) = (String::new(), String::new());
        let _ = self.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap(), printed, said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody answers the first question of every client: ApiVersions, version 0.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let question = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    let mut answer = [0; 8];
    stream.write_all(&question).and_then(|()| stream.read_exact(&mut answer)).is_ok()
        && answer[4..] == [0, 0, 0, 7]
}

/// Builds what is not up to date: that may take longer than anybody waits for a broker.
pub(crate) fn build() {
    topo_binary();
    failing_broker();
}

/// The example's program, built first where it is not up to date.
fn failing_broker() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--offline", "-p", "topo-tests", "--example", "failing_broker"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        profile.join("examples/failing_broker")
    };
    PROGRAM.get_or_init(build).clone()
}
