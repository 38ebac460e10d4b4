//! `topo broker`: its banner, its end, and what it refuses.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command};

use crate::topo::{command, refused, said};

/// A broker that runs, and what it said.
pub(crate) struct Broker {
    child: Child,
    stderr: BufReader<ChildStderr>,
    banner: String,
}

impl Broker {
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut child =
            command(data_dir, &[&["broker"], arguments].concat()).spawn().expect("the binary was built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut banner = String::new();
        while !banner.contains("  durable ") {
            let read = stderr.read_line(&mut banner).expect("the banner is text");
            assert!(read > 0, "instead of a banner: {banner}");
        }
        Self { child, stderr, banner }
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix("kafka"));
        let addresses = line.expect("the banner says it").trim().split(", ");
        addresses.map(|address| address.parse().expect("an address")).collect()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// Ends it with SIGTERM, and returns what else it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }
}

#[test]
fn it_says_where_it_listens_and_ends_when_told() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    for listen in ["localhost:0", "127.0.0.1:0,127.0.0.1:0"] {
        let broker = Broker::start(&data_dir, &["--listen", listen]);
        let addresses = broker.addresses();
        // A client that is connected does not keep it.
        let _clients: Vec<_> =
            addresses.iter().map(|at| TcpStream::connect(at).expect("it listens")).collect();
        assert!(broker.banner.contains(&data_dir.display().to_string()), "{}", broker.banner);
        assert!(!broker.banner.contains("insecure"), "{}", broker.banner);
        assert_eq!(broker.end(), (Some(0), String::new()));
    }
    assert_eq!(said(&data_dir, &["topic", "list"]), "", "the data directory is free again");
}

#[test]
fn an_open_address_has_to_be_meant() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let sentence = refused(&data_dir, &["broker", "--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"]);
    assert_eq!(
        sentence,
        "error: 0.0.0.0:0 can be reached from other machines, and whoever reaches it may read and write every topic; \
         listen on localhost, or add --insecure-bind if that is meant"
    );
    assert!(!data_dir.exists(), "nothing was created");
    let broker = Broker::start(&data_dir, &["--listen", "0.0.0.0:0", "--insecure-bind"]);
    assert!(
        broker.banner.contains("insecure  whoever reaches it may read and write every topic"),
        "{}",
        broker.banner
    );
    assert_eq!(broker.end().0, Some(0));
}

#[test]
fn what_is_in_use_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = busy.local_addr().expect("it is bound").to_string();
    let sentence = refused(&data_dir, &["broker", "--listen", &address]);
    assert_eq!(sentence, format!("error: {address} is in use; choose another with --listen ADDR"));
    assert!(!data_dir.exists(), "nothing was created");

    let broker = Broker::start(&data_dir, &["--listen", "127.0.0.1:0"]);
    let sentence = refused(&data_dir, &["broker", "--listen", "127.0.0.1:0"]);
    assert!(sentence.contains("is in use by another topo"), "{sentence}");
    assert_eq!(broker.end().0, Some(0));
}
