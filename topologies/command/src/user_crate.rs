//! A user's crate: built by cargo, whose progress and errors go to standard error as they are, and started in the place
//! of this process, so that signals and the exit code are the program's own.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// Why a user's crate does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CrateError {
    /// No crate is there.
    #[error(
        "there is no crate in {}: it has no Cargo.toml; `topo new NAME` begins one, and `topo run --help` tells which \
         topologies are ready-made",
        .0.display()
    )]
    NoCrate(PathBuf),
    /// There is no cargo.
    #[error(
        "cargo, which builds the crate, cannot be started: {0}; it comes with Rust, see https://rustup.rs"
    )]
    NoCargo(io::Error),
    /// Cargo failed, and has said why.
    #[error("{} was not built; cargo says why above", .0.display())]
    NotBuilt(PathBuf),
    /// The crate is a library.
    #[error("{} has nothing to run: its crate has no src/main.rs", .0.display())]
    NoProgram(PathBuf),
    /// Which of them?
    #[error("{} has several programs ({programs}); run one of them there with `cargo run --bin NAME`", dir.display())]
    SeveralPrograms {
        /// The crate's directory.
        dir: PathBuf,
        /// Their names.
        programs: String,
    },
    /// The program is there and does not start.
    #[error("{} cannot be started: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What cargo says of a target that it built; other messages have none of these fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    executable: Option<PathBuf>,
    target: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    name: String,
}

/// Builds the crate in `dir` and returns its program.
///
/// # Errors
/// [`CrateError`].
pub(crate) fn build(dir: &Path, release: bool) -> Result<PathBuf, CrateError> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(CrateError::NoCrate(dir.to_owned()));
    }
    // Started there, so that the crate's own toolchain and cargo settings hold.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(dir).args(["build", "--message-format=json-render-diagnostics"]);
    if release {
        cargo.arg("--release");
    }
    let mut cargo = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(CrateError::NoCargo)?;
    let messages = cargo.stdout.take().map(|messages| BufReader::new(messages).lines());
    let programs: Vec<Message> =
        messages.into_iter().flatten().map_while(Result::ok).filter_map(program).collect();
    if !cargo.wait().map_err(CrateError::NoCargo)?.success() {
        return Err(CrateError::NotBuilt(dir.to_owned()));
    }
    the_one(dir, programs)
}

/// The program that a line of cargo's output tells of.
fn program(line: String) -> Option<Message> {
    let message: Message = serde_json::from_str(&line).ok()?;
    message.executable.is_some().then_some(message)
}

fn the_one(dir: &Path, programs: Vec<Message>) -> Result<PathBuf, CrateError> {
    let dir = dir.to_owned();
    let names: Vec<&str> = programs.iter().map(|program| &*program.target.name).collect();
    if names.len() > 1 {
        return Err(CrateError::SeveralPrograms { dir, programs: names.join(", ") });
    }
    programs.into_iter().find_map(|program| program.executable).ok_or(CrateError::NoProgram(dir))
}

/// Runs `program` in the place of this process; returns only where it cannot be started.
#[cfg(unix)]
pub(crate) fn become_program(program: PathBuf, arguments: &[OsString]) -> CrateError {
    let source = std::os::unix::process::CommandExt::exec(Command::new(&program).args(arguments));
    CrateError::NotStarted { program, source }
}

/// Runs `program` and ends as it ends; returns only where it cannot be started.
#[cfg(not(unix))]
pub(crate) fn become_program(program: PathBuf, arguments: &[OsString]) -> CrateError {
    match Command::new(&program).args(arguments).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(source) => CrateError::NotStarted { program, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let built = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"mine"},"executable":"/t/mine"}"#;
        let other =
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"serde"},"executable":null}"#;
        let end = r#"{"reason":"build-finished","success":true}"#;
        let found: Vec<Message> =
            [other, built, end, "no JSON"].into_iter().map(str::to_owned).filter_map(program).collect();
        assert_eq!(the_one(Path::new("d"), found).unwrap(), Path::new("/t/mine"));
    }

    #[test]
    fn a_library_and_several_programs_are_told_apart() {
        let dir = Path::new("./mine");
        let none = the_one(dir, Vec::new()).unwrap_err();
        assert_eq!(none.to_string(), "./mine has nothing to run: its crate has no src/main.rs");
        let program =
            |name: &str| Message { executable: Some(name.into()), target: Target { name: name.to_owned() } };
        let several = the_one(dir, vec![program("a"), program("b")]).unwrap_err().to_string();
        assert!(several.starts_with("./mine has several programs (a, b); "), "{several}");
    }
}
