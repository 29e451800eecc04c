//! The demo's side of a helper process: start it, listen, and leave nothing of it behind.
//!
//! ```text
//!   spawn, own process group ──> lines ... Done ──> ended? ──> kill what is left of the group ──> reap
//!        │                         │ silence
//!        │                         └──> kill the group: a failure, not a hang
//!        └ registered with Cleanup, so that Ctrl-C finds it
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cleanup::Cleanup;
use crate::figure::{Timeline, Trace};
use crate::lab::Event;
use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Body, Effort, Row};

/// The hidden subcommand under which the demo starts itself as a helper.
pub const BODY_COMMAND: &str = "__body";

/// A helper that says nothing for this long is taken for stuck. The longest silence of a healthy one is
/// the end of a million coroutines, a few seconds.
const SILENCE_MAX: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// What a helper is to do.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The experiment's name.
    pub experiment: &'a str,
    /// How much to measure.
    pub effort: Effort,
    /// What the user asked of this experiment.
    pub options: &'a Options,
    /// The section's directory for files and sockets.
    pub scratch: &'a Path,
}

/// What one body of an experiment came to.
#[derive(Debug, Default)]
pub struct Harvest {
    /// The lines of the table that it measured.
    pub rows: Vec<Row>,
    /// Who it saw run when.
    pub timelines: Vec<Timeline>,
    /// What it saw from inside.
    pub traces: Vec<Trace>,
    /// What it should have measured but could not.
    pub failures: Vec<String>,
    /// Why it was not tied to a CPU; `None` if it was.
    pub unpinned: Option<String>,
}

/// Runs one body of an experiment in a helper process of its own.
///
/// Whatever happens to the helper becomes a line in [`Harvest::failures`]; rows that it had
/// reported before are kept.
pub fn conduct(order: Order<'_>, body: Body, cleanup: &Cleanup, progress: &Progress) -> Harvest {
    let mut harvest = Harvest::default();
    if let Err(error) = listen(order, body, cleanup, progress, &mut harvest) {
        harvest.failures.push(format!("{}: {error}", body.name()));
    }
    harvest
}

fn listen(
    order: Order<'_>,
    body: Body,
    cleanup: &Cleanup,
    progress: &Progress,
    harvest: &mut Harvest,
) -> io::Result<()> {
    let mut helper = cleanup.start(&mut command(order, body)?)?;
    let stdout = helper.take_stdout();
    let mut heard = Ok(false);
    for line in BufReader::new(Patient(stdout)).lines() {
        heard = line
            .and_then(|line| Ok(serde_json::from_str(&line)?))
            .map(|event| note(event, progress, harvest));
        if !matches!(heard, Ok(false)) {
            break;
        }
    }
    if !matches!(heard, Ok(false)) {
        // It has said all that it had to say, or what it says makes no sense.
        helper.kill();
    }
    let status = helper.finish()?;
    match heard {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other(untimely_end(status))),
        Err(error) => Err(error),
    }
}

/// Keeps what `event` says; returns whether it was the last.
fn note(event: Event, progress: &Progress, harvest: &mut Harvest) -> bool {
    match event {
        Event::Row(row) => harvest.rows.push(row),
        Event::Timeline(timeline) => harvest.timelines.push(timeline),
        Event::Trace(trace) => harvest.traces.push(trace),
        Event::Progress { what, done, total } => progress.show(&what, done, total),
        Event::Unpinned(why) => harvest.unpinned = Some(why),
        Event::Failure(what) => harvest.failures.push(what),
        Event::Done => return true,
    }
    false
}

fn command(order: Order<'_>, body: Body) -> io::Result<Command> {
    let effort = match order.effort {
        Effort::Quick => Some("--quick"),
        Effort::Standard => None,
        Effort::Full => Some("--full"),
    };
    let mut command = Command::new(env::current_exe()?);
    command
        .args([BODY_COMMAND, order.experiment, body.name()])
        .args(["--parent", &process::id().to_string()])
        .arg("--scratch")
        .arg(order.scratch)
        .args(effort);
    for (name, value) in order.options.iter() {
        let mut option = OsString::from(format!("--{name}"));
        if !value.is_empty() {
            option.push("=");
            option.push(value);
        }
        command.arg(option);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    Ok(command)
}

fn untimely_end(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => {
            "the helper process was killed (signal 9), perhaps for lack of memory".into()
        }
        (Some(signal), _) => format!("the helper process was ended by signal {signal}"),
        (_, code) => format!(
            "the helper process ended with status {} before it was done",
            code.unwrap_or(0)
        ),
    }
}

/// A pipe that is given up after a long silence.
struct Patient(ChildStdout);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = poll(
            &mut [PollFd::new(&self.0, PollFlags::IN)],
            Some(&SILENCE_MAX),
        )?;
        if ready == 0 {
            let text = format!(
                "the helper process was silent for {} s: killed",
                SILENCE_MAX.tv_sec
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_helper_is_told_in_words() {
        assert!(untimely_end(ExitStatus::from_raw(9)).contains("memory"));
        assert!(untimely_end(ExitStatus::from_raw(11)).contains("signal 11"));
        assert!(untimely_end(ExitStatus::from_raw(101 << 8)).contains("status 101"));
    }

    #[test]
    fn every_event_but_the_last_asks_for_more() {
        let mut harvest = Harvest::default();
        let progress = Progress::hidden();
        let events = [
            Event::Row(Row::new("a", Body::Thread)),
            Event::Failure("f".into()),
            Event::Unpinned("u".into()),
            Event::Progress {
                what: "w".into(),
                done: 1,
                total: 2,
            },
        ];
        for event in events {
            assert!(!note(event, &progress, &mut harvest));
        }
        assert!(note(Event::Done, &progress, &mut harvest));
        assert_eq!(
            (harvest.rows.len(), &harvest.failures[..]),
            (1, &["f".to_owned()][..])
        );
        assert_eq!(harvest.unpinned.as_deref(), Some("u"));
    }
}
