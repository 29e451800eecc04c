//! The command line: what may be asked for, and which exit status answers it.
//!
//! | status | meaning                                                               |
//! |--------|-----------------------------------------------------------------------|
//! | 0      | everything that was asked for was measured                            |
//! | 1      | something could not be measured (the rest still was), or not be shown |
//! | 2      | the command line makes no sense, or its file cannot be written        |
//! | 130    | interrupted by Ctrl-C, SIGTERM or SIGHUP                              |
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use rustix::process::Pid;

use crate::cleanup::Cleanup;
use crate::conduct::BODY_COMMAND;
use crate::environment::Environment;
use crate::experiments::{self, Experiment};
use crate::lab::Lab;
use crate::os;
use crate::present::Printer;
use crate::progress::Progress;
use crate::report::{Body, Effort, Report};
use crate::section;
use crate::text::Palette;

/// Coroutines, OS threads and forked processes side by side: each claim of the classic comparison measured
/// and judged.
///
/// Without a command every section is measured, in under a minute.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 measured; 1 something could not be measured; 2 usage.")]
pub struct Cli {
    /// Measure less: all sections in under 15 seconds
    #[arg(long, global = true)]
    quick: bool,

    /// Write the figures as JSON to FILE, or to stdout (-), which then carries nothing else
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what can be measured
    List,
    /// Measure some sections, in the order given
    Run {
        /// Sections, as `demo list` names them
        #[arg(required = true, value_name = "NAME", value_parser = names())]
        names: Vec<String>,
    },
    /// One body of an experiment, in a helper process
    #[command(name = BODY_COMMAND, hide = true)]
    Body {
        #[arg(value_parser = names())]
        experiment: String,
        #[arg(value_enum)]
        body: Body,
        /// The process that started this one, and with which it ends
        #[arg(long)]
        parent: i32,
    },
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(experiments::ALL.iter().map(|experiment| experiment.name()))
}

impl Cli {
    /// Does what was asked for.
    pub fn execute(self) -> ExitCode {
        let effort = if self.quick {
            Effort::Quick
        } else {
            Effort::Standard
        };
        match self.command {
            None => measure(experiments::ALL.to_vec(), effort, self.json),
            Some(Command::Run { names }) => measure(chosen(&names), effort, self.json),
            Some(Command::List) => list(self.json),
            Some(Command::Body {
                experiment,
                body,
                parent,
            }) => help(&experiment, body, effort, parent),
        }
    }
}

/// The experiments of these names, each once, in the order in which they are first named.
fn chosen(names: &[String]) -> Vec<&'static dyn Experiment> {
    let mut chosen: Vec<&'static dyn Experiment> = Vec::new();
    for experiment in names.iter().filter_map(|name| experiments::find(name)) {
        if chosen.iter().all(|other| other.name() != experiment.name()) {
            chosen.push(experiment);
        }
    }
    chosen
}

fn list(json: Option<PathBuf>) -> ExitCode {
    if json.is_some() {
        let text = "`list` measures nothing that could be written as JSON";
        Cli::command()
            .error(ErrorKind::ArgumentConflict, text)
            .exit();
    }
    status(printer(false).catalogue().map(|()| true))
}

/// Runs as a helper process.
fn help(experiment: &str, body: Body, effort: Effort, parent: i32) -> ExitCode {
    let parent = Pid::from_raw(parent);
    let experiment = experiments::find(experiment);
    let (Some(parent), Some(experiment)) = (parent, experiment) else {
        return ExitCode::from(2);
    };
    if os::die_with_parent(parent).is_err() {
        return ExitCode::FAILURE;
    }
    // Should memory run out in spite of all care, this process is the one to be killed. If the system
    // does not let us say so, it decides as it always does.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    Lab::new(effort, body, Box::new(io::stdout())).run(experiment);
    ExitCode::SUCCESS
}

fn measure(
    experiments: Vec<&'static dyn Experiment>,
    effort: Effort,
    json: Option<PathBuf>,
) -> ExitCode {
    let cleanup = match Cleanup::install() {
        Ok(cleanup) => cleanup,
        Err(error) => {
            eprintln!("demo: cannot prepare for Ctrl-C, so nothing is started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let sink = match Sink::open(json, &cleanup) {
        Ok(sink) => sink,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::from(2);
        }
    };
    status(tour(&experiments, effort, sink, &cleanup))
}

/// Measures, prints each section as soon as it is known, and writes the JSON at the end.
///
/// Returns whether everything could be measured.
fn tour(
    experiments: &[&'static dyn Experiment],
    effort: Effort,
    sink: Sink,
    cleanup: &Cleanup,
) -> io::Result<bool> {
    let mut printer = printer(matches!(sink, Sink::Stdout));
    let progress = Progress::on_stderr();
    let mut printed = printer.machine(&Environment::look(true));
    let mut sections = Vec::new();
    for (index, experiment) in experiments.iter().enumerate() {
        if printed.is_err() && matches!(sink, Sink::Nowhere) {
            // Nobody would ever see the rest.
            break;
        }
        progress.section(experiment.name(), index, experiments.len());
        let section = section::measure(*experiment, effort, cleanup, &progress);
        printed = printed.and_then(|()| printer.section(&section));
        sections.push(section);
    }
    let complete = sections.iter().all(|section| section.failures.is_empty());
    sink.write(&Report {
        demo: env!("CARGO_PKG_VERSION").to_owned(),
        mode: effort,
        sections,
    })?;
    cleanup.file_filled();
    printed.map(|()| complete)
}

/// The exit status for what a run came to; says on stderr what went wrong.
fn status(outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A reader that has seen enough, like `head`, need not be told.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("demo: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// For people: to stdout, or to stderr when stdout is taken.
fn printer(stdout_is_taken: bool) -> Printer {
    if stdout_is_taken {
        let palette = Palette::for_output(io::stderr().is_terminal());
        Printer::new(Box::new(io::stderr()), palette)
    } else {
        let palette = Palette::for_output(io::stdout().is_terminal());
        Printer::new(Box::new(io::stdout()), palette)
    }
}

/// Where the JSON goes.
enum Sink {
    Nowhere,
    Stdout,
    File(File, PathBuf),
}

impl Sink {
    /// Opens the file before anything is measured, so that a path that cannot be written costs no wait.
    /// What it held before stays until there is something to replace it with.
    fn open(json: Option<PathBuf>, cleanup: &Cleanup) -> io::Result<Sink> {
        let Some(path) = json else {
            return Ok(Sink::Nowhere);
        };
        if path == Path::new("-") {
            return Ok(Sink::Stdout);
        }
        let is_new = !path.try_exists().unwrap_or(false);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|error| because(&path, &error))?;
        if is_new {
            cleanup.file_made(path.clone());
        }
        Ok(Sink::File(file, path))
    }

    fn write(self, report: &Report) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(report)?;
        text.push('\n');
        match self {
            Sink::Nowhere => Ok(()),
            Sink::Stdout => io::stdout().write_all(text.as_bytes()),
            Sink::File(file, path) => {
                replace(file, text.as_bytes()).map_err(|error| because(&path, &error))
            }
        }
    }
}

fn replace(mut file: File, content: &[u8]) -> io::Result<()> {
    // A device or a pipe has no length to cut.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(content)
}

fn because(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot write {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_or_after_the_command() {
        for line in [
            ["demo", "--quick", "run", "switch"],
            ["demo", "run", "switch", "--quick"],
        ] {
            assert!(Cli::try_parse_from(line).unwrap().quick);
        }
    }

    #[test]
    fn a_section_named_twice_is_run_once_in_the_order_given() {
        let names = ["creation", "switch", "creation"].map(String::from);
        let chosen: Vec<_> = chosen(&names)
            .iter()
            .map(|experiment| experiment.name())
            .collect();
        assert_eq!(chosen, ["creation", "switch"]);
    }

    #[test]
    fn run_without_a_name_is_a_usage_error() {
        assert_eq!(
            Cli::try_parse_from(["demo", "run"])
                .unwrap_err()
                .exit_code(),
            2
        );
    }
}
