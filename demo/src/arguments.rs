//! The command line as a type: what may be asked for. [`crate::cli`] does it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    value_parser,
};

use crate::conduct::BODY_COMMAND;
use crate::experiments::{self, Experiment};
use crate::options::{Choice, Options};
use crate::outputs::Wanted;
use crate::report::{Body, Effort};

/// Coroutines, OS threads and forked processes side by side: each claim of the classic comparison measured
/// and judged.
///
/// Without a command every section is measured, in a minute or so, and `demo-report.html` is written.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 measured; 1 something could not be measured; 2 usage, or a file cannot be used."
)]
pub struct Cli {
    /// Measure less: about a second for each section
    #[arg(long, global = true, conflicts_with = "full")]
    quick: bool,

    /// Measure more, for figures to publish: up to a minute for each section
    #[arg(long, global = true)]
    full: bool,

    #[command(flatten)]
    pub wanted: Wanted,

    /// What to do; `None`: measure every section
    #[command(subcommand)]
    pub command: Option<Order>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Show what can be measured
    List,
    /// Measure some sections, in the order given, or run a scenario on real input
    Run {
        /// Sections, as `demo list` names them
        #[arg(required = true, value_name = "NAME", value_parser = names())]
        names: Vec<String>,
        #[command(flatten)]
        given: Given,
    },
    /// Set two reports, written with --json, side by side: ratios, verdicts that differ
    Compare {
        /// The JSON of one run
        #[arg(value_name = "A.json")]
        first: PathBuf,
        /// The JSON of another: its figures are divided by the first's
        #[arg(value_name = "B.json")]
        second: PathBuf,
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
        /// The directory for its files; by default the one for temporary files
        #[arg(long)]
        scratch: Option<PathBuf>,
        #[command(flatten)]
        given: Given,
    },
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(experiments::ALL.iter().map(|experiment| experiment.name()))
}

impl Cli {
    /// How much to measure.
    pub fn effort(&self) -> Effort {
        match (self.quick, self.full) {
            (true, _) => Effort::Quick,
            (_, true) => Effort::Full,
            _ => Effort::Standard,
        }
    }
}

/// The options of scenarios that were given.
#[derive(Clone, Debug, Default)]
pub struct Given(pub Options);

impl Given {
    /// Ends the program with a usage error if an option belongs to none of `chosen`, or if one of them refuses it.
    pub fn check(&self, chosen: &[&'static dyn Experiment]) {
        for (name, _) in self.0.iter() {
            let has = |experiment: &&dyn Experiment| {
                experiment
                    .options()
                    .iter()
                    .any(|choice| choice.name == name)
            };
            if !chosen.iter().any(has) {
                refuse(&format!("--{name} means nothing to what is to be run"));
            }
        }
        for experiment in chosen {
            if let Err(why) = experiment.check(&self.0.of(experiment.options())) {
                refuse(&why);
            }
        }
    }
}

/// Ends the program with `why` and exit status 2.
pub fn refuse(why: &str) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, why).exit()
}

/// The options of all scenarios, each once, with the first scenario that has it.
fn choices() -> Vec<(&'static str, Choice)> {
    let mut all: Vec<(&str, Choice)> = Vec::new();
    for experiment in experiments::ALL {
        for choice in experiment.options() {
            if all.iter().all(|(_, known)| known.name != choice.name) {
                all.push((experiment.name(), *choice));
            }
        }
    }
    all
}

impl Args for Given {
    fn augment_args(mut command: Command) -> Command {
        for (owner, choice) in choices() {
            let arg = Arg::new(choice.name)
                .long(choice.name)
                .help(choice.help)
                .help_heading(owner);
            command = command.arg(if choice.value.is_empty() {
                arg.action(ArgAction::SetTrue)
            } else {
                arg.value_name(choice.value)
                    .value_parser(value_parser!(OsString))
            });
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Given, clap::Error> {
        let mut given = Given::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (_, choice) in choices() {
            if choice.value.is_empty() {
                if matches.get_flag(choice.name) {
                    self.0.insert(choice.name, OsString::new());
                }
            } else if let Some(value) = matches.get_one::<OsString>(choice.name) {
                self.0.insert(choice.name, value.clone());
            }
        }
        Ok(())
    }
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
            assert_eq!(Cli::try_parse_from(line).unwrap().effort(), Effort::Quick);
        }
        assert!(Cli::try_parse_from(["demo", "--quick", "--full"]).is_err());
    }

    #[test]
    fn run_without_a_name_is_a_usage_error() {
        let error = Cli::try_parse_from(["demo", "run"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
