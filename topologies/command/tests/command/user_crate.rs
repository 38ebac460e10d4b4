//! A crate of a user's own, from `topo new` to a run of it, built offline with the versions of this workspace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::topo::{Run, command, refused, said};

/// The crate, and where it is built: beside this workspace's own builds, so that they share what they can.
struct Mine {
    /// The directory that it is in.
    parent: PathBuf,
}

impl Mine {
    /// `topo new mine`, always in the same place, so that no second build of it is kept.
    fn begin() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("user-crate");
        let _ = fs::remove_dir_all(&parent);
        fs::create_dir_all(&parent).expect("room for a test");
        let created = command(&parent, &["new", "mine"]).current_dir(&parent).output().expect("it was built");
        assert!(created.status.success(), "{created:?}");
        let said = String::from_utf8(created.stdout).expect("tests print text");
        assert!(said.starts_with("created mine") && said.contains("topo run ./mine"), "{said}");
        let versions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        fs::copy(versions, parent.join("mine/Cargo.lock")).expect("the workspace has a lock file");
        Self { parent }
    }

    fn dir(&self) -> PathBuf {
        self.parent.join("mine")
    }

    /// `program` in an environment where cargo finds its way, in the directory `dir`.
    fn command(&self, program: &str, arguments: &[&str], dir: &Path) -> Command {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir);
        command.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
        command
            .env("TOPO_DATA_DIR", self.data_dir())
            .env("TOPO_STATUS", "127.0.0.1:0")
            .env("TOPO_LISTEN", "off")
            .env_remove("TOPO_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn topo(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_topo"), arguments, &self.parent)
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        self.command(&cargo, arguments, &self.dir()).output().expect("cargo runs the tests")
    }

    fn data_dir(&self) -> PathBuf {
        self.parent.join("data")
    }

    /// `topo run ./mine`, until it has raised its first alarms.
    fn runs(&self) {
        let run = Run::start_with(&mut self.topo(&["run", "./mine"]));
        assert!(run.id().starts_with("mine-"), "{}", run.id());
        run.wait_for_acked(70);
        run.terminate();
        let ended = run.end();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        assert!(ended.stdout.starts_with("mine: emitted "), "{ended:?}");
        let alarms = said(&self.data_dir(), &["consume", "alarms", "--from-beginning", "-f", r"%k %v\n"]);
        let mut alarms: Vec<&str> = alarms.lines().collect();
        alarms.sort_unstable();
        assert_eq!(alarms, ["attic 25.4", "cellar 25.4", "kitchen 25.3"]);
    }

    /// Options reach it, by `topo run` and by `cargo run` alike, and its exit code comes back.
    fn takes_options(&self) {
        let data_dir = self.parent.join("other");
        let data_dir = data_dir.to_str().expect("a path of text");
        let options = ["--status", "off", "--until-idle", "--data-dir", data_dir];
        for output in [
            self.topo(&[&["run", "./mine"], &options[..]].concat()).output().expect("it was built"),
            self.cargo(&[&["run", "--"], &options[..]].concat()),
        ] {
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(said.contains("page      off") && said.contains(data_dir), "{said}");
            assert!(output.stdout.starts_with(b"mine: emitted "), "{output:?}");
        }
        for arguments in
            [&["run", "./mine", "--input", "lines.txt"][..], &["run", "./mine", "--", "--nonsense"]]
        {
            let output = self.topo(arguments).output().expect("it was built");
            assert_eq!(output.status.code(), Some(2), "{output:?}");
        }
    }

    /// What the compiler says is shown as it is.
    fn shows_compile_errors(&self) {
        fs::write(self.dir().join("src/main.rs"), "fn main() -> u32 { \"text\" }\n")
            .expect("room for a test");
        let output = self.topo(&["run", "./mine"]).output().expect("it was built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{said}");
        assert!(
            said.contains("Compiling mine v0.1.0") && said.contains("error[E0308]: mismatched types"),
            "{said}"
        );
        assert_eq!(said.lines().last(), Some("error: ./mine was not built; cargo says why above"));
    }
}

#[test]
fn a_new_crate_is_tested_built_and_run() {
    let mine = Mine::begin();
    let tested = mine.cargo(&["test"]);
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{said}{}", String::from_utf8_lossy(&tested.stderr));
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
    mine.runs();
    mine.takes_options();
    mine.shows_compile_errors();
}

#[test]
fn what_cannot_be_run_or_begun_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let dir = dir.path();
    let sentence = refused(dir, &["run", "word-cound"]);
    assert!(
        sentence.starts_with("error: there is no ready-made topology `word-cound`; there are: "),
        "{sentence}"
    );
    let path = dir.to_str().expect("a path of text");
    let sentence = refused(dir, &["run", path]);
    assert!(
        sentence.starts_with(&format!("error: there is no crate in {path}: it has no Cargo.toml")),
        "{sentence}"
    );
    for arguments in [&["run", "word-count", "--release"][..], &["run", "word-count", "--", "--until-idle"]] {
        assert!(refused(dir, arguments).starts_with("error: `word-count` is ready-made"), "{arguments:?}");
    }
    fs::write(dir.join("Cargo.toml"), "").expect("room for a test");
    let output =
        command(dir, &["run", path]).env("CARGO", dir.join("no-cargo")).output().expect("it was built");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        output.stderr.starts_with(b"error: cargo, which builds the crate, cannot be started: "),
        "{output:?}"
    );
    for name in ["fn", "my.topology", "../mine", "topo"] {
        let sentence = refused(dir, &["new", name]);
        assert!(sentence.starts_with(&format!("error: a crate cannot be called `{name}`: ")), "{sentence}");
    }
    let sentence = refused(dir, &["new", "mine", "--topo-path", path]);
    assert!(sentence.starts_with(&format!("error: the source of topo is not in {path}; ")), "{sentence}");
}

#[test]
fn help_lists_the_ready_made_topologies() {
    let help = said(Path::new("."), &["run", "--help"]);
    for words in ["Ready-made topologies:", "word-count ", "NAME|DIR", "TOPO_UNTIL_IDLE"] {
        assert!(help.contains(words), "{words} in {help}");
    }
}
