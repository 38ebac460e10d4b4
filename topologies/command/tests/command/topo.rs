//! The binary, and one run of it.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what comes within moments.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// In a directory that is no data directory, the address of the broker that has one.
pub(crate) const BROKER_FILE: &str = "broker.address";

/// The command on the log at `place`: a data directory, or a directory that names a broker.
pub(crate) fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = on(place, Command::new(env!("CARGO_BIN_EXE_topo")));
    command.args(arguments);
    command
}

/// The same for a program of one's own.
pub(crate) fn on(place: &Path, mut command: Command) -> Command {
    command.env_clear().env("TOPO_LISTEN", "off");
    match std::fs::read_to_string(place.join(BROKER_FILE)) {
        Ok(address) => command.env("TOPO_BROKER", address),
        Err(_) => command.env("TOPO_DATA_DIR", place),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn topo(data_dir: &Path, arguments: &[&str]) -> Output {
    command(data_dir, arguments).output().expect("the binary was built for this test")
}

/// Runs to success and returns what was printed.
pub(crate) fn said(data_dir: &Path, arguments: &[&str]) -> String {
    let output = topo(data_dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"", "{arguments:?}");
    String::from_utf8(output.stdout).expect("tests print text")
}

/// Runs to failure with code 2 and returns the one sentence that was said.
pub(crate) fn refused(data_dir: &Path, arguments: &[&str]) -> String {
    let output = topo(data_dir, arguments);
    let sentence = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {sentence}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    sentence.trim_end().to_owned()
}

/// A `topo run word-count` with its page.
pub(crate) struct Run {
    child: Child,
    /// Standard error, behind the banner.
    stderr: BufReader<ChildStderr>,
    page: SocketAddr,
    url: String,
    id: String,
    banner: String,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Starts it and reads its banner.
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(command(data_dir, &["run", "word-count", "--status", "127.0.0.1:0"]).args(arguments))
    }

    pub(crate) fn start_with(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary was built for this test");
        let mut stderr = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut banner = String::new();
        while !banner.contains("  durable ") {
            let read = stderr.read_line(&mut banner).expect("the banner is text");
            assert!(read > 0, "instead of a banner: {banner}");
        }
        let of = |name: &str| {
            let line = banner.lines().find_map(|line| line.trim().strip_prefix(name));
            line.expect("the banner says it").trim().to_owned()
        };
        let url = of("page");
        let address = url.split_once("://").expect("a URL").1.replace("localhost", "127.0.0.1");
        let page = address.parse().expect("an address");
        let id = of("topology");
        Self { child, stderr, page, url, id, banner }
    }

    pub(crate) fn banner(&self) -> &str {
        &self.banner
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn page(&self) -> SocketAddr {
        self.page
    }

    /// Asks the page.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut page = TcpStream::connect(self.page).expect("the page listens while the topology runs");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.page);
        page.write_all(request.as_bytes()).expect("the page reads");
        let mut answer = String::new();
        page.read_to_string(&mut answer).expect("the page answers in text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
    }

    /// Asks the page with further headers, each with its line's end; gives the status and what it says.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let host = self.page;
        self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        ))
    }

    /// What a view is told first.
    pub(crate) fn first_events(&self, view: &str, headers: &str) -> String {
        let mut page = TcpStream::connect(self.page).expect("the page listens while the topology runs");
        let host = self.page;
        let request = format!("GET /api/v1/events?view={view} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        page.write_all(request.as_bytes()).expect("the page reads");
        let mut told = String::new();
        let mut lines = BufReader::new(page).lines();
        while told.matches("event: ").count() < 3 {
            told.push_str(&lines.next().expect("the stream goes on").expect("events are text"));
            told.push('\n');
        }
        told
    }

    /// Has the page change something; gives the status and what it says.
    pub(crate) fn change(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let (host, length) = (self.page, body.len());
        self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn exchange(&self, request: &str) -> (u16, String) {
        let mut page = TcpStream::connect(self.page).expect("the page listens while the topology runs");
        page.write_all(request.as_bytes()).expect("the page reads");
        let mut answer = String::new();
        page.read_to_string(&mut answer).expect("the page answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).expect("JSON")
    }

    /// The topology as the page knows it.
    pub(crate) fn topology(&self) -> Value {
        self.json(&format!("/api/v1/topology/{}", self.id))
    }

    /// How many lines are acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.topology()["topologyStats"][0]["acked"].as_u64().expect("the page counts them")
    }

    /// Waits until so many lines are acknowledged.
    pub(crate) fn wait_for_acked(&self, lines: u64) {
        let begun = Instant::now();
        loop {
            let acked = self.acked();
            if acked >= lines {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{acked} of {lines} lines are acknowledged");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let killed = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(killed.success(), "{kill}");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it was started").is_some()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).expect("errors are text");
        let mut stdout = String::new();
        let mut printed = self.child.stdout.take().expect("it was piped");
        printed.read_to_string(&mut stdout).expect("summaries are text");
        let status = self.child.wait().expect("it ends");
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Run {
    // Also where a test fails before it has ended it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds a program of these tests, as cargo built the command for them.
pub(crate) fn built_example(name: &str) -> PathBuf {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut build = Command::new(cargo);
    build.args(["build", "--offline", "--message-format=json", "--example", name]);
    build.args(["--manifest-path", manifest]);
    if env!("CARGO_BIN_EXE_topo").contains("/release/") {
        build.arg("--release");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
    let built = build.env("CARGO_TARGET_DIR", target).output().expect("cargo runs the tests");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = String::from_utf8(built.stdout).expect("cargo prints JSON");
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_it = messages.filter(|one| one["target"]["name"] == name);
    let program = of_it.filter_map(|one| one["executable"].as_str().map(PathBuf::from)).next();
    program.expect("cargo names what it built")
}
