//! `topo run`: a ready-made topology, or a user's crate, until it is told to stop or its input is done.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{self, Path};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};
use topo::launcher::{self, Application, RunOptions};
use topo::ready_made::{self, word_count};

use crate::failure::Failure;
use crate::user_crate::{self, CrateError};

/// The topology that `--emit` is for.
const WORD_COUNT: &str = "word-count";

/// Said below the verb's help, after the list of ready-made topologies.
const HELP: &str = "\
Examples:
  topo run word-count --input README.md --until-idle   count a file's words, print a summary, end
  tail -F app.log | topo run word-count --input -      count what comes, until Ctrl-C
  topo run word-count                                  go on with what the topic holds and receives
  topo new mine && topo run ./mine                     begin a topology of your own, build it and run it

Ctrl-C, or SIGTERM, stops in order: what is under way is finished first; a second one does not wait for it. Exit codes: 0 \
done or stopped as asked; 1 a record ran out of attempts, --until-idle was cut short, or the storage failed; 2 something \
to put right, said in a sentence.";

/// Why what was asked for cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RunTargetError {
    /// No topology is called so.
    #[error(
        "there is no ready-made topology `{name}`; there are: {there_are}. A crate's directory is written as a path, such as ./{name}"
    )]
    NoSuchTopology {
        /// The name asked for.
        name: String,
        /// The names of those there are.
        there_are: String,
    },
    /// An option of another topology.
    #[error("`{0}` has no --emit: it is for word-count, which counts")]
    NoEmit(String),
    /// Options that are for crates.
    #[error("`{0}` is ready-made: it is built already, and its options come without --")]
    ReadyMade(String),
    /// The crate does not run.
    #[error(transparent)]
    Crate(#[from] CrateError),
}

/// `topo run`.
#[derive(Debug, Args)]
#[command(after_help = format!("{}\n\n{HELP}", ready_made_list()))]
pub(crate) struct Run {
    /// A ready-made topology, or a crate's directory: a path with a / in it, or .
    #[arg(value_name = "NAME|DIR")]
    target: OsString,
    #[command(flatten)]
    given: GivenOptions,
    /// When word-count emits a word's count: `batch` takes --delivery exactly-once
    #[arg(long, value_enum, value_name = "WHEN")]
    emit: Option<Emit>,
    /// Build the crate with optimisations: slower to build, faster to run
    #[arg(long)]
    release: bool,
    /// Further arguments for the crate's program
    #[arg(last = true, value_name = "ARGUMENTS")]
    further: Vec<OsString>,
}

/// When a count is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// With each of a word's occurrences: 1, 2, 3 and so on
    Record,
    /// At the end of each batch, of the words that it had
    Batch,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReadyMade {
    /// Counts the words of topic `lines` into topic `counts`
    WordCount,
    /// The same as a stream: every new count of the words of `lines` to `counts`, kept as state
    RollingWordCount,
    /// Counts the words of 5 seconds of topic `lines`, every second, into topic `windowed-counts`
    WindowedWordCount,
    /// Ranks the words of a minute of topic `lines`, every 10 seconds, in topic `trending`
    Trending,
    /// Parses the web-server lines of topic `access` into topic `requests`
    AccessLog,
    /// Joins the requests of topic `access` to visits in topic `sessions`, which half an hour of silence ends
    Sessions,
    /// Rates a mobile network's uses by its subscribers' plans, and adds them up by cell and by subscriber; see `topo generate
    /// telecom`
    Telecom,
}

impl ReadyMade {
    fn application(self) -> Application {
        match self {
            ReadyMade::WordCount => word_count::application(),
            ReadyMade::RollingWordCount => ready_made::rolling_word_count::application(),
            ReadyMade::WindowedWordCount => ready_made::windowed_word_count::application(),
            ReadyMade::Trending => ready_made::trending::application(),
            ReadyMade::AccessLog => ready_made::access_log::application(),
            ReadyMade::Sessions => ready_made::sessions::application(),
            ReadyMade::Telecom => ready_made::telecom::application(),
        }
    }
}

impl Run {
    /// Runs the topology and prints its summary; where it is a crate's, its program goes on in the place of this process.
    ///
    /// # Errors
    /// The launcher's, and [`RunTargetError`].
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let name = self.target.to_string_lossy().into_owned();
        if self.emit.is_some() && name != WORD_COUNT {
            return Err(RunTargetError::NoEmit(name).into());
        }
        if let Some(dir) = directory(&self.target) {
            let program = user_crate::build(dir, self.release).map_err(RunTargetError::from)?;
            let arguments = [self.given.arguments, self.further].concat();
            return Err(RunTargetError::from(user_crate::become_program(program, &arguments)).into());
        }
        let application = match self.emit {
            Some(Emit::Batch) => word_count::application_that_emits(word_count::Emit::Batch),
            Some(Emit::Record) | None => application(&name)?,
        };
        if self.release || !self.further.is_empty() {
            return Err(RunTargetError::ReadyMade(name).into());
        }
        Ok(launcher::report(application, self.given.options).await?)
    }
}

/// The directory that is meant where no name is.
fn directory(target: &OsString) -> Option<&Path> {
    let path = Path::new(target);
    let is_path = target.to_string_lossy().contains(path::is_separator)
        || path == Path::new(".")
        || path == Path::new("..");
    is_path.then_some(path)
}

fn application(name: &str) -> Result<Application, RunTargetError> {
    ReadyMade::from_str(name, false).map(ReadyMade::application).map_err(|_| {
        let variants = ReadyMade::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = variants.map(|variant| variant.get_name().to_owned()).collect();
        RunTargetError::NoSuchTopology { name: name.to_owned(), there_are: names.join(", ") }
    })
}

/// What help says of the topologies there are.
fn ready_made_list() -> String {
    let mut list = "Ready-made topologies:".to_owned();
    for variant in ReadyMade::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
        let about = variant.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(list, "\n  {:<19}  {about}", variant.get_name());
    }
    list
}

/// The options of a run, and the very arguments that gave them: a crate's program is given them again. What the
/// environment gave, it finds there itself.
#[derive(Debug)]
struct GivenOptions {
    options: RunOptions,
    arguments: Vec<OsString>,
}

impl Args for GivenOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        RunOptions::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        RunOptions::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { arguments: arguments(matches), options: RunOptions::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.arguments = arguments(matches);
        self.options.update_from_arg_matches(matches)
    }
}

/// The options of [`RunOptions`] that the command line gave, as it could have given them.
fn arguments(matches: &ArgMatches) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for option in RunOptions::augment_args(clap::Command::new("")).get_arguments() {
        let id = option.get_id().as_str();
        let Some(long) = option.get_long() else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if !option.get_action().takes_values() {
            arguments.push(format!("--{long}").into());
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            arguments.push(argument);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn parse(line: &[&str]) -> Run {
        Line::try_parse_from([&["run"], line].concat()).unwrap().run
    }

    #[test]
    fn a_path_is_a_crate_and_a_name_is_ready_made() {
        for dir in [".", "..", "./mine", "a/b", "/a", "word-count/"] {
            assert_eq!(directory(&dir.into()), Some(Path::new(dir)));
        }
        assert_eq!(directory(&"word-count".into()), None);
        assert_eq!(&**application("word-count").unwrap().name(), "word-count");
    }

    #[test]
    fn what_the_command_line_gave_is_given_again_and_means_the_same() {
        let line =
            ["./mine", "--until-idle", "--tasks", "a=2,b=3", "--tasks=c=4", "--input", "-", "--release"];
        let run = parse(&[&line[..], &["--", "--mine", "x"]].concat());
        let again = ["--input=-", "--until-idle", "--tasks=a=2", "--tasks=b=3", "--tasks=c=4"];
        assert_eq!(run.given.arguments, again);
        assert_eq!(run.further, ["--mine", "x"]);
        assert!(run.release);
        let second = parse(&[&["./mine"], &again[..]].concat());
        assert_eq!(format!("{:?}", second.given), format!("{:?}", run.given));
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let sentence = application("mine").unwrap_err().to_string();
        assert_eq!(
            sentence,
            "there is no ready-made topology `mine`; there are: word-count, rolling-word-count, windowed-word-count, \
             trending, access-log, sessions, telecom. A crate's directory is written as a path, such as ./mine"
        );
        assert!(ready_made_list().contains("word-count           Counts the words of topic `lines`"));
    }
}
