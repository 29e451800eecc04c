//! A given program, run in a confined process: `--program PATH`.
//!
//! Its output is handed on as it comes; on stderr stands what it was confined by, and what ended it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::chdir;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::observe::{Excess, OUTPUT_MAX, Observed, observe, signal_name};
use crate::options::{Choice, Options};
use crate::os::{self, Bounds, End, Purpose, UNPREPARED};
use crate::quantity::with_unit;
use crate::report::Unit;

const PROGRAM: Choice = Choice {
    name: "program",
    value: "PATH",
    help: "Run the program PATH, confined: no files but its libraries, no network, no other process",
};
const ARGUMENTS: Choice = Choice {
    name: "args",
    value: "WORDS",
    help: "With --program: its arguments, separated by blanks",
};
const WALL: Choice = Choice {
    name: "wall",
    value: "SECONDS",
    help: "With --program: end it after so long (10 unless given, 3600 at most)",
};
const UNSANDBOXED: Choice = Choice {
    name: "allow-unsandboxed",
    value: "",
    help: "With --program: run it also where the system cannot confine it",
};

/// The options of a run of a program.
pub const CHOICES: &[Choice] = &[PROGRAM, ARGUMENTS, WALL, UNSANDBOXED];

const BOUNDS: Bounds = Bounds {
    cpu_s: 2,
    memory_bytes: 512 << 20,
};

/// The status of a child that could not become the program.
const NOT_EXECUTED: i32 = 126;

/// A program to run, and how.
#[derive(Debug)]
pub struct Wish {
    path: PathBuf,
    arguments: Vec<String>,
    wall: Duration,
    allow_unsandboxed: bool,
}

impl Wish {
    /// What the options ask for; `None` if no program.
    ///
    /// # Errors
    /// A sentence for the user, if they make no sense.
    pub fn of(options: &Options) -> Result<Option<Wish>, String> {
        let Some(path) = options.path(PROGRAM.name) else {
            let lonely = CHOICES.iter().find(|choice| options.has(choice.name));
            return match lonely {
                Some(choice) => Err(format!("--{} means nothing without --program", choice.name)),
                None => Ok(None),
            };
        };
        let shown = path.display();
        // A name without a folder would be looked for in the folders of PATH, or not: say which is meant.
        let path = path
            .canonicalize()
            .map_err(|error| format!("--program {shown}: {error}"))?;
        let metadata = path
            .metadata()
            .map_err(|error| format!("--program {shown}: {error}"))?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(format!("--program {shown}: no file that can be executed"));
        }
        let seconds = options.text(WALL.name)?.unwrap_or("10");
        let wall = seconds
            .parse()
            .ok()
            .filter(|seconds| (1..=3_600).contains(seconds));
        let wall =
            wall.ok_or_else(|| format!("--wall {seconds}: it is a number from 1 to 3600"))?;
        let arguments = options.text(ARGUMENTS.name)?.unwrap_or("");
        Ok(Some(Wish {
            path,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            wall: Duration::from_secs(wall),
            allow_unsandboxed: options.has(UNSANDBOXED.name),
        }))
    }

    /// Runs it, and tells what ended it; returns whether it ended by itself with status 0.
    ///
    /// # Errors
    /// The system's; a refusal, if it cannot be confined.
    pub fn run(&self) -> io::Result<bool> {
        let missing = os::confinement_missing();
        match &missing {
            None => eprintln!(
                "demo: confined by landlock, seccomp, {} s of CPU, {} of memory, {} s by the clock, {} KiB of output",
                BOUNDS.cpu_s,
                with_unit(Unit::Bytes, BOUNDS.memory_bytes as f64),
                self.wall.as_secs(),
                OUTPUT_MAX >> 10
            ),
            Some(why) if self.allow_unsandboxed => {
                eprintln!("demo: NOT SANDBOXED: {why}; the program may do whatever you may")
            }
            Some(why) => {
                return Err(io::Error::other(format!(
                    "NOT SANDBOXED: {why}, so the program was not run; --allow-unsandboxed would run it all the same"
                )));
            }
        }
        let (reader, writer) = io::pipe()?;
        let nothing = File::open("/dev/null")?;
        let is_confined = missing.is_none();
        let child = os::fork(|| self.become_it(writer.into(), nothing.into(), is_confined))?;
        let observed = observe(child, reader, self.wall, io::stdout())?;
        io::stdout().flush()?;
        let (what, is_well) = how_it_ended(&observed, self.wall);
        eprintln!("demo: {}: {what}", self.path.display());
        Ok(is_well)
    }

    /// Turns the forked child into the program; returns if that fails.
    fn become_it(&self, output: OwnedFd, input: OwnedFd, is_confined: bool) -> i32 {
        let prepared = || {
            dup2_stdin(&input)?;
            dup2_stdout(&output)?;
            dup2_stderr(&output)?;
            // Closed by the next line, with all the others.
            let _ = (input.into_raw_fd(), output.into_raw_fd());
            os::close_other_descriptors()?;
            chdir("/")?;
            if is_confined {
                os::confine(Purpose::Execute(&self.path), BOUNDS)?;
            }
            io::Result::Ok(())
        };
        if let Err(error) = prepared() {
            eprintln!("demo: {error}");
            return UNPREPARED;
        }
        let mut command = Command::new(&self.path);
        let error = command.args(&self.arguments).env_clear().exec();
        eprintln!("demo: cannot execute {}: {error}", self.path.display());
        NOT_EXECUTED
    }
}

/// In words, and whether all is well.
fn how_it_ended(observed: &Observed, wall: Duration) -> (String, bool) {
    let words = match (observed.ended_for, observed.end) {
        (Some(Excess::Time), _) => format!("killed after {} s", wall.as_secs()),
        (Some(Excess::Output), _) => format!("killed: it wrote {} KiB", OUTPUT_MAX >> 10),
        (None, End::Status(UNPREPARED)) => "not run: it could not be confined".to_owned(),
        (None, End::Status(NOT_EXECUTED)) => "not run".to_owned(),
        (None, End::Status(status)) => format!("ended with status {status}"),
        (None, End::Signal(signal)) => {
            let name = signal_name(signal);
            let why = match &*name {
                "SIGSYS" => ": a system call that is not allowed",
                "SIGXCPU" => ": out of processor time",
                "SIGXFSZ" => ": it may not write to files",
                _ => "",
            };
            format!("killed by {name}{why}")
        }
    };
    let is_well = observed.ended_for.is_none() && observed.end == End::Status(0);
    (words, is_well)
}
