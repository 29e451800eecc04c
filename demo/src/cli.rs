//! Doing what the command line asks for, and which exit status answers it.
//!
//! | status | meaning                                                               |
//! |--------|-----------------------------------------------------------------------|
//! | 0      | everything that was asked for was measured                            |
//! | 1      | something could not be measured (the rest still was), or not be shown |
//! | 2      | the command line makes no sense, or a file that it names cannot be used        |
//! | 130    | interrupted by Ctrl-C, SIGTERM or SIGHUP                              |
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use rustix::process::Pid;

use crate::arguments::{Cli, Given, Order, refuse};
use crate::cleanup::Cleanup;
use crate::compare;
use crate::experiments::{self, Experiment};
use crate::lab::Lab;
use crate::options::Options;
use crate::os;
use crate::outputs::{Outputs, REPORT, Wanted};
use crate::present::Printer;
use crate::report::Effort;
use crate::run::Run;
use crate::text::Palette;

/// Does what was asked for.
pub fn execute(cli: Cli) -> ExitCode {
    let effort = cli.effort();
    match cli.command {
        None => {
            let run = Run {
                experiments: experiments::ALL.to_vec(),
                effort,
                options: Options::default(),
                is_tour: true,
            };
            let report = cli.wanted.report.clone();
            let wanted = Wanted {
                report: report.or_else(|| Some(REPORT.into())),
                ..cli.wanted
            };
            measure(&run, wanted)
        }
        Some(Order::Run { names, given }) => run(&chosen(&names), effort, &given, cli.wanted),
        Some(Order::List) => {
            refuse_outputs("list", &cli.wanted);
            status(printer(false).catalogue().map(|()| true))
        }
        Some(Order::Compare { first, second }) => {
            refuse_outputs("compare", &cli.wanted);
            side_by_side(&first, &second)
        }
        Some(Order::Body {
            experiment,
            body,
            parent,
            scratch,
            given,
        }) => {
            let scratch = scratch.unwrap_or_else(env::temp_dir);
            help(&experiment, parent, |events| {
                Lab::new(effort, body, given.0, scratch, events)
            })
        }
    }
}

/// A scenario alone, if its options ask for that; else a comparison of all that was chosen.
fn run(
    chosen: &[&'static dyn Experiment],
    effort: Effort,
    given: &Given,
    wanted: Wanted,
) -> ExitCode {
    given.check(chosen);
    if let [only] = chosen
        && let Some(outcome) = only.alone(&given.0)
    {
        if !wanted.is_empty() {
            let text = "a scenario that is run alone measures nothing: no file was written";
            return status(outcome.and(Err(io::Error::other(text))));
        }
        return status(outcome);
    }
    let run = Run {
        experiments: chosen.to_vec(),
        effort,
        options: given.0.clone(),
        is_tour: false,
    };
    measure(&run, wanted)
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

/// A command that measures nothing has nothing to write.
fn refuse_outputs(command: &str, wanted: &Wanted) {
    if !wanted.is_empty() {
        refuse(&format!(
            "`{command}` measures nothing that could be written to a file"
        ));
    }
}

/// Compares two reports.
fn side_by_side(first: &Path, second: &Path) -> ExitCode {
    let read = |path| {
        compare::read(path).map_err(|why| {
            eprintln!("demo: {why}");
            ExitCode::from(2)
        })
    };
    let reports = read(first).and_then(|first| Ok((first, read(second)?)));
    match reports {
        Ok((one, other)) => {
            let names = [first, second].map(|path| path.display().to_string());
            let [first, second] = &names;
            let shown = printer(false).versus([(first, &one), (second, &other)]);
            status(shown.map(|()| true))
        }
        Err(status) => status,
    }
}

/// Runs as a helper process.
fn help(experiment: &str, parent: i32, lab: impl FnOnce(Box<dyn Write>) -> Lab) -> ExitCode {
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
    lab(Box::new(io::stdout())).run(experiment);
    ExitCode::SUCCESS
}

fn measure(run: &Run, wanted: Wanted) -> ExitCode {
    let cleanup = match Cleanup::install() {
        Ok(cleanup) => cleanup,
        Err(error) => {
            eprintln!("demo: cannot prepare for Ctrl-C, so nothing is started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match Outputs::open(wanted, &cleanup) {
        Ok(outputs) => {
            let printer = printer(outputs.take_stdout());
            status(run.measure(outputs, &cleanup, printer))
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    };
    cleanup.discard_files();
    outcome
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_named_twice_is_run_once_in_the_order_given() {
        let names = ["creation", "switch", "creation"].map(String::from);
        let chosen: Vec<_> = chosen(&names)
            .iter()
            .map(|experiment| experiment.name())
            .collect();
        assert_eq!(chosen, ["creation", "switch"]);
    }
}
