//! `topo new`: a crate with a first spout, a first bolt and its test.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;

/// The files of the crate.
const MANIFEST: &str = include_str!("../templates/Cargo.toml.template");
const MAIN: &str = include_str!("../templates/main.rs.template");
const GITIGNORE: &str = include_str!("../templates/gitignore.template");

/// The package that the crate depends on, as this command was built from it.
const TOPO_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The longest name that is taken: a directory and several files are called after it.
const MOST_NAME_BYTES: usize = 64;

/// Names that Cargo, the language or the crate's own dependencies have taken, beside the keywords.
const TAKEN: [&str; 13] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc_macro",
    "proc-macro",
    "serde",
    "std",
    "test",
    "topo",
    "topo-data",
];

/// Rust's keywords, reserved ones among them, of lower case.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Why a crate was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NewError {
    /// No crate can be called so.
    #[error("a crate cannot be called `{name}`: {reason}")]
    Name {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is something of that name.
    #[error("{} exists already; choose another name, or remove it first", .0.display())]
    Exists(PathBuf),
    /// The crate could not depend on anything.
    #[error(
        "the source of topo is not in {}; say with --topo-path DIR (or TOPO_PATH) where it is",
        .0.display()
    )]
    NoSource(PathBuf),
    /// The system refused.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// `topo new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the crate is called; it is created in a directory of that name
    name: String,
    /// Where the source of topo is, which the crate depends on; by default where this command was built from
    #[arg(long, env = "TOPO_PATH", value_name = "DIR")]
    topo_path: Option<PathBuf>,
}

impl New {
    /// Creates the crate and says what to do with it.
    ///
    /// # Errors
    /// [`NewError`], and [`Failure::Output`].
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = &self.name;
        self.create_in(Path::new(""))?;
        write!(
            io::stdout(),
            "created {name}\n\n  topo run ./{name}    builds and runs it\n  cargo test            in it, runs its test\n"
        )
        .map_err(Failure::Output)
    }

    fn create_in(&self, parent: &Path) -> Result<(), NewError> {
        check_name(&self.name)?;
        let source = source_of_topo(self.topo_path.as_deref().unwrap_or(Path::new(TOPO_PATH)))?;
        let crate_dir = parent.join(&self.name);
        match fs::create_dir(&crate_dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NewError::Exists(crate_dir));
            }
            created => created.map_err(|source| NewError::Write { path: crate_dir.clone(), source })?,
        }
        let manifest = MANIFEST.replace("{name}", &self.name).replace("{topo}", &source);
        let files = [("Cargo.toml", &*manifest), ("src/main.rs", MAIN), (".gitignore", GITIGNORE)];
        for (file, content) in files {
            let path = crate_dir.join(file);
            let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
            parent
                .and_then(|()| fs::write(&path, content))
                .map_err(|source| NewError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The directory of package `topo`, as a string of TOML: `given` itself, or below it where `given` is the whole tree.
fn source_of_topo(given: &Path) -> Result<String, NewError> {
    let missing = || NewError::NoSource(given.to_owned());
    let holds_topo = |dir: &PathBuf| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim_end() == "name = \"topo\"")
    };
    let found =
        [given.join("topologies"), given.to_owned()].into_iter().find(holds_topo).ok_or_else(missing)?;
    let found = found.canonicalize().map_err(|_| missing())?;
    // Strings of JSON are strings of TOML too.
    serde_json::to_string(found.to_str().ok_or_else(missing)?).map_err(|_| missing())
}

fn check_name(name: &str) -> Result<(), NewError> {
    let wrong = |reason| Err(NewError::Name { name: name.to_owned(), reason });
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return wrong("it has to begin with a letter from a to z");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return wrong("only the letters a to z, digits, - and _ are allowed");
    }
    if name.len() > MOST_NAME_BYTES {
        return wrong("it is longer than 64 characters");
    }
    if KEYWORDS.contains(&name) {
        return wrong("it is a keyword of Rust");
    }
    if TAKEN.contains(&name) {
        return wrong("the name is taken by Rust, Cargo or topo");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> New {
        New { name: name.to_owned(), topo_path: None }
    }

    #[test]
    fn names_of_crates_are_taken_and_others_refused() {
        for name in ["a", "my-topology", "word_count2", "Topo", "x".repeat(64).as_str()] {
            check_name(name).unwrap();
        }
        let too_long = "x".repeat(65);
        for name in
            ["", "2nd", "-a", "_a", "a/b", "../a", ".", "a.b", "a b", "é", "fn", "test", "topo", &too_long]
        {
            let sentence = check_name(name).unwrap_err().to_string();
            assert!(sentence.starts_with(&format!("a crate cannot be called `{name}`: ")), "{sentence}");
        }
    }

    #[test]
    fn the_crate_has_three_files_and_no_placeholder_is_left() {
        let dir = tempfile::tempdir().unwrap();
        new("mine").create_in(dir.path()).unwrap();
        let mine = dir.path().join("mine");
        let mut files: Vec<_> = fs::read_dir(&mine).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, [".gitignore", "Cargo.toml", "src"]);
        let manifest = fs::read_to_string(mine.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"mine\"\n"), "{manifest}");
        assert!(!manifest.contains("{name}") && !manifest.contains("{topo}"), "{manifest}");
        let again = new("mine").create_in(dir.path()).unwrap_err();
        assert!(matches!(again, NewError::Exists(path) if path == mine));
    }

    #[test]
    fn the_source_of_topo_may_be_named_by_its_package_or_its_whole_tree() {
        let package = Path::new(TOPO_PATH).canonicalize().unwrap();
        let quoted = format!("{package:?}");
        assert_eq!(source_of_topo(&package).unwrap(), quoted);
        assert_eq!(source_of_topo(&package.join("..")).unwrap(), quoted);
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = New { topo_path: Some(dir.path().to_owned()), ..new("mine") };
        assert!(
            matches!(elsewhere.create_in(dir.path()), Err(NewError::NoSource(path)) if path == dir.path())
        );
        assert!(!dir.path().join("mine").exists(), "nothing is begun that cannot be finished");
    }
}
