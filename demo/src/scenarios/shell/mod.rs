//! `shell`: many users, each with a prompt, a history and processes of their own.
//!
//! | file      | what                                                         |
//! |-----------|--------------------------------------------------------------|
//! | `line`    | what is typed: keys, lines, commands                         |
//! | `job`     | a pipeline of processes, and Ctrl-C                          |
//! | `session` | one user, what the shell does itself, who else is there      |
//! | `server`  | the door: a session of two threads, or of two coroutines     |
//! | `users`   | users to compare with                                        |
//! | here      | the comparison, and serving for real with `--listen`         |
#![forbid(unsafe_code)]

mod job;
mod line;
mod server;
mod session;
mod users;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net as unix;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use runtime::signal::{SIGHUP, SIGINT, SIGTERM, Signals};
use rustix::fs::Mode;
use rustix::process::umask;

use self::server::{Door, Model, serve};
use self::session::Hub;
use self::users::{Crowd, Word};
use super::listen::{self, ALLOW_REMOTE, Address, LISTEN, MODEL};
use crate::comparison::{Answer, Place, Scenario};
use crate::excerpt::Excerpt;
use crate::experiments::Experiment;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::memory;
use crate::options::{Choice, Options};
use crate::os::{self, Pin};
use crate::quantity::{grouped, times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct Shell;

const BUILT_IN: &str = "built_in";
const PIPELINE: &str = "pipeline";
const MEMORY: &str = "own_memory";

const COROUTINES: &str = "two coroutines per session";
const THREADS: &str = "two threads per session";
const PROCESSES: &str = "processes";

const IDLE: Choice = Choice {
    name: "idle",
    value: "SECONDS",
    help: "With --listen: who is silent for so long has to leave (600 unless given, 86400 at most)",
};

fn crowd(effort: Effort) -> Crowd {
    let (users, built_ins, pipelines, think_ms) = match effort {
        Effort::Quick => (50, 9, 1, 10),
        Effort::Standard => (200, 9, 1, 100),
        Effort::Full => (200, 190, 10, 100),
    };
    Crowd {
        users,
        built_ins,
        pipelines,
        think: Duration::from_millis(think_ms),
    }
}

/// Nobody in the comparison is silent for so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// A door in the scratch directory, and the users behind it: a process of their own, and the line to it.
///
/// The process that calls has one thread yet.
fn prepare(lab: &Lab, name: &str) -> io::Result<(Door, os::Child, unix::UnixStream)> {
    let path = lab.scratch.join(name);
    let door = unix::UnixListener::bind(&path)?;
    let (control, of_users) = unix::UnixStream::pair()?;
    let (cpu, crowd) = (lab.second_cpu(), crowd(lab.effort));
    let users = os::fork(|| {
        // Without a second CPU, or if it is refused, they share one.
        let _pin = cpu.map(Pin::to);
        match users::run(&path, &of_users, crowd) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("shell: a user failed: {error}");
                1
            }
        }
    })?;
    Ok((Door::Unix(door), users, control))
}

/// Hears the users out and reports the row; `before` is the memory of the shell without users.
fn conduct(
    lab: &mut Lab,
    label: &str,
    body: Body,
    before: u64,
    mut control: impl Read + Write,
) -> io::Result<()> {
    let crowd = crowd(lab.effort);
    lab.progress(label, 0, 1);
    let Word::LoggedIn = hear(&mut control)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let taken = memory::own_bytes()?.saturating_sub(before);
    control.write_all(b"go\n")?;
    let Word::Done {
        built_ins,
        pipelines,
    } = hear(&mut control)?
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut row = Row::new(label, body);
    row.units = Some(crowd.users.into());
    let each = vec![taken as f64 / f64::from(crowd.users)];
    for (metric, samples) in [(BUILT_IN, built_ins), (PIPELINE, pipelines), (MEMORY, each)] {
        let summary = Summary::of(&samples);
        row.values
            .extend(summary.map(|summary| (metric.to_owned(), summary)));
    }
    lab.row(row);
    Ok(())
}

/// One line, read byte by byte until its end.
fn hear(control: &mut impl Read) -> io::Result<Word> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        control.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(serde_json::from_slice(&line)?);
        }
        line.extend(byte);
    }
}

impl Experiment for Shell {
    fn name(&self) -> &'static str {
        "shell"
    }

    fn claim(&self) -> &'static str {
        "A terminal shell for many users is a case for threads or coroutines."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let crowd = crowd(effort);
        vec![
            format!(
                "{} users at once, over a Unix socket; each gives {} commands that the shell does itself and {} pipelines of \
                 two processes, and thinks for {} before each.",
                grouped(crowd.users.into()),
                crowd.built_ins,
                crowd.pipelines,
                with_unit(Unit::Nanoseconds, crowd.think.as_nanos() as f64)
            ),
            "A session is two units: one reads the keyboard, so that Ctrl-C is noticed while the other runs a command. Times \
             are the user's, from the line to the next prompt; every answer is checked."
                .to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(
                BUILT_IN,
                Unit::Nanoseconds,
                "from a command that the shell does itself to the prompt",
            ),
            Metric::new(
                PIPELINE,
                Unit::Nanoseconds,
                "from a pipeline of two processes to the prompt",
            ),
            Metric::new(
                MEMORY,
                Unit::Bytes,
                "memory of the shell for each user, page tables included",
            ),
        ]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        let (door, users, control) = prepare(lab, "coroutines.sock")?;
        runtime::run(|| {
            let before = memory::own_bytes()?;
            let hub = Arc::new(Hub::default());
            runtime::spawn(move || serve(door, Model::Coroutines, &hub, PATIENCE));
            let control = runtime::net::UnixStream::from(control);
            conduct(lab, COROUTINES, Body::Coroutine, before, control)
        })?;
        users.wait()
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        let (door, users, control) = prepare(lab, "threads.sock")?;
        let before = memory::own_bytes()?;
        let hub = Arc::new(Hub::default());
        // Ends with this process.
        thread::Builder::new().spawn(move || serve(door, Model::Threads, &hub, PATIENCE))?;
        conduct(lab, THREADS, Body::Thread, before, control)?;
        users.wait()
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        lab.skip(
            PROCESSES,
            "not compared: what users run are processes anyway; sessions share who is there, which processes do not",
        );
        Ok(())
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let of = |label| {
            let median = |metric| findings.median(label, metric);
            Some([median(BUILT_IN)?, median(PIPELINE)?, median(MEMORY)?])
        };
        let (users, _) = findings.largest(Body::Coroutine, BUILT_IN)?;
        Some(verdict(users, of(COROUTINES)?, of(THREADS)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let answer = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let time = |label| {
                Some(with_unit(
                    Unit::Nanoseconds,
                    findings.median(label, BUILT_IN)?,
                ))
            };
            let value = format!(
                "threads {}, coroutines {}",
                time(THREADS)?,
                time(COROUTINES)?
            );
            Some(Answer::new(
                Place::Scenario(Scenario::Shell),
                outcome,
                value,
                why,
            ))
        };
        answer().into_iter().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let server = include_str!("server.rs");
        vec![Excerpt::of(
            "demo/src/scenarios/shell/server.rs",
            server,
            "start",
        )]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let metrics = self.metrics();
        let titles = [
            "Until a built-in command is answered",
            "Until a pipeline is",
            "Memory for each user",
        ];
        let figures = titles.iter().zip(&metrics);
        figures
            .map(|(title, metric)| Figure::ladder(title, metric, findings.0))
            .collect()
    }

    fn is_scenario(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [Choice] {
        &[LISTEN, ALLOW_REMOTE, MODEL, IDLE]
    }

    fn check(&self, options: &Options) -> Result<(), String> {
        Wish::of(options).map(|_| ())
    }

    fn alone(&self, options: &Options) -> Option<io::Result<bool>> {
        let wish = Wish::of(options).ok().flatten()?;
        Some(wish.serve().map(|()| true))
    }
}

/// What the user wants served.
struct Wish {
    address: Address,
    model: Model,
    idle: Duration,
}

impl Wish {
    fn of(options: &Options) -> Result<Option<Wish>, String> {
        let Some(address) = Address::asked_for(options)? else {
            let lonely = [MODEL, IDLE]
                .into_iter()
                .find(|choice| options.has(choice.name));
            return match lonely {
                Some(choice) => Err(format!("--{} means nothing without --listen", choice.name)),
                None => Ok(None),
            };
        };
        let model = match listen::model(options)? {
            None | Some(Body::Coroutine) => Model::Coroutines,
            Some(Body::Thread) => Model::Threads,
            Some(other) => {
                return Err(format!(
                    "--model {}: a shell's is coroutine or thread",
                    other.name()
                ));
            }
        };
        let seconds = options.text(IDLE.name)?.unwrap_or("600");
        let idle = seconds
            .parse()
            .ok()
            .filter(|seconds| (1..=86_400).contains(seconds));
        let idle =
            idle.ok_or_else(|| format!("--idle {seconds}: it is a number from 1 to 86400"))?;
        Ok(Some(Wish {
            address,
            model,
            idle: Duration::from_secs(idle),
        }))
    }

    /// Serves until Ctrl-C, SIGTERM or SIGHUP, and takes all that users run along.
    fn serve(self) -> io::Result<()> {
        let door = match &self.address {
            Address::Tcp(address) => Door::Tcp(listen::tcp(*address)?),
            Address::Unix(path) => Door::Unix(bind_for_this_user(path)?),
        };
        self.address.warn_if_remote();
        match &door {
            Door::Tcp(listener) => {
                eprintln!(
                    "demo: warning: whoever can connect runs programs as you; a Unix socket is for you alone"
                );
                println!(
                    "the shell listens on {}; Ctrl-C ends it",
                    listener.local_addr()?
                );
            }
            Door::Unix(_) => println!("the shell listens on {}; Ctrl-C ends it", self.address),
        }
        io::stdout().flush()?;
        let hub = Arc::new(Hub::default());
        let served = self.until_told(door, &hub);
        hub.close();
        if let Address::Unix(path) = &self.address {
            fs::remove_file(path)?;
        }
        served
    }

    fn until_told(&self, door: Door, hub: &Arc<Hub>) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (model, idle, hub) = (self.model, self.idle, Arc::clone(hub));
        let serve = move || serve(door, model, &hub, idle);
        match model {
            // Threads end with the process.
            Model::Threads => {
                thread::Builder::new().spawn(serve)?;
                signals.next();
            }
            Model::Coroutines => runtime::run(|| {
                runtime::spawn(serve);
                signals.next();
            }),
        }
        Ok(())
    }
}

/// A socket that only this user can connect to.
fn bind_for_this_user(path: &Path) -> io::Result<unix::UnixListener> {
    // The mode is the socket's from its first moment on. No other thread is there to make files meanwhile.
    let before = umask(Mode::RWXG | Mode::RWXO);
    let bound = unix::UnixListener::bind(path);
    umask(before);
    bound.map_err(|error| listen::cannot_listen(&path.display(), &error))
}

/// Judges medians: of a built-in command and a pipeline in nanoseconds, and of memory in bytes.
fn verdict(users: u64, coroutines: [f64; 3], threads: [f64; 3]) -> Verdict {
    // So long nobody waits at a prompt. Far more than it takes, also on a machine that others use.
    const NOTICED_NS: f64 = 1e9;
    let serves = |[built_in, ..]: [f64; 3]| built_in < NOTICED_NS;
    let outcome = match (serves(coroutines), serves(threads)) {
        (true, true) => Outcome::Confirmed,
        (false, false) => Outcome::Refuted,
        _ => Outcome::Depends,
    };
    let ns = |time| with_unit(Unit::Nanoseconds, time);
    Verdict {
        outcome,
        why: format!(
            "{users} users at once are answered within {} by threads and {} by coroutines, at the median, and wait {} and {} \
             for a pipeline, which is the time of its processes. Either will do; that a user takes {} by threads, \
             {} times what it does by coroutines, counts with thousands of users.",
            ns(threads[0]),
            ns(coroutines[0]),
            ns(threads[1]),
            ns(coroutines[1]),
            with_unit(Unit::Bytes, threads[2]),
            times(threads[2], coroutines[2]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_nobody_waits_for_confirm() {
        let outcome =
            |coroutines, threads| verdict(200, [coroutines, 5e6, 1e4], [threads, 5e6, 5e4]).outcome;
        assert_eq!(outcome(1e6, 5e6), Outcome::Confirmed);
        assert_eq!(outcome(1e6, 5e9), Outcome::Depends);
        assert_eq!(outcome(5e9, 5e9), Outcome::Refuted);
    }
}
