//! Where an attack is tried, and what it comes to there.
//!
//! ```text
//!   observer ── fork ──> confined process ── attack
//!            ── fork ──> host ─┬─ thread or coroutine ── attack
//!                              └─ neighbour, who wants to go on
//! ```
//!
//! The host is a process only so that the observer survives: what happens in it happens to all that share it.
#![forbid(unsafe_code)]

use std::io::{self, PipeWriter, Write};
use std::mem;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::time;
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use rustix::stdio::dup2_stdout;

use super::attacks::{Attack, PRECIOUS, Target};
use super::observe::{Excess, Observed, observe, signal_name};
use crate::memory;
use crate::os::{self, Bounds, Doomed, End, Purpose, UNPREPARED};
use crate::report::Body;

/// What the carried attacks are given. Small, so that it does not take long until they have used it up.
const BOUNDS: Bounds = Bounds {
    cpu_s: 1,
    memory_bytes: 256 << 20,
};

/// A confined process has so long by the clock, far more than its second of CPU.
const WALL: Duration = Duration::from_secs(20);
/// One that only sleeps is not waited for that long.
const NAP: Duration = Duration::from_millis(300);
/// How long a neighbour waits for the attacker in its process to end.
const NEIGHBOUR: Duration = Duration::from_millis(100);
/// And the observer for the neighbour's word; then it has none any more.
const SILENCE: Duration = Duration::from_secs(1);
/// Unconfined, this much is taken and no more.
const HOST_MEMORY: u64 = 1 << 30;

/// What an attack has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// In a few words.
    pub words: String,
    /// Somebody else was harmed, or it had what it wanted.
    pub is_harm: bool,
}

impl Outcome {
    fn harm(words: impl Into<String>) -> Outcome {
        Outcome {
            words: words.into(),
            is_harm: true,
        }
    }

    fn harmless(words: impl Into<String>) -> Outcome {
        Outcome {
            words: words.into(),
            is_harm: false,
        }
    }
}

/// Tries `attack` in a thread, a coroutine, or a confined process.
///
/// # Errors
/// The system's; `Other` if a process could not be confined.
pub fn stage(attack: Attack, body: Body) -> io::Result<Outcome> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = Target {
        server: server.local_addr()?,
        observer: getpid(),
    };
    let (reader, writer) = io::pipe()?;
    let child = os::fork_doomed(|doomed| match body {
        Body::Process | Body::Baseline => confined(attack, doomed, target, writer),
        Body::Thread | Body::Coroutine => host(attack, body, doomed, target, writer),
    })?;
    let patience = match (body, attack) {
        (Body::Process | Body::Baseline, Attack::Sleep) => NAP,
        (Body::Process | Body::Baseline, _) => WALL,
        _ => SILENCE,
    };
    let observed = observe(child, reader, patience, io::sink())?;
    match body {
        Body::Process | Body::Baseline => of_confined(attack, &observed),
        Body::Thread | Body::Coroutine => Ok(of_host(&observed)),
    }
}

// excerpt: confined
/// The life of a confined process.
fn confined(attack: Attack, doomed: Doomed, target: Target, writer: PipeWriter) -> i32 {
    let prepared = dup2_stdout(&writer)
        .map_err(io::Error::from)
        .and_then(|()| {
            // Closed by the next line, with all the others.
            let _ = writer.into_raw_fd();
            os::close_other_descriptors()?;
            os::confine(Purpose::GoOn, BOUNDS)
        });
    match prepared {
        Ok(()) => attack.run(doomed, target).is_err().into(),
        Err(_) => UNPREPARED,
    }
}
// excerpt: end

/// The life of a process that hosts an attacker and its neighbour: the neighbour's last words go through the pipe.
fn host(attack: Attack, body: Body, doomed: Doomed, target: Target, mut writer: PipeWriter) -> i32 {
    let prepared = dup2_stdout(&writer);
    let words = match (prepared, body) {
        (Err(error), _) => Err(error.into()),
        (Ok(()), Body::Thread) => beside_a_thread(attack, doomed, target),
        (Ok(()), _) => runtime::run(|| beside_a_coroutine(attack, doomed, target)),
    };
    match words.and_then(|words| writer.write_all(words.as_bytes())) {
        Ok(()) => 0,
        Err(_) => UNPREPARED,
    }
}

/// Lest the attacker take more memory than others can spare.
fn bound_memory() -> io::Result<()> {
    let bytes = memory::mapped_bytes()? + HOST_MEMORY;
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    Ok(setrlimit(Resource::As, limit)?)
}

// excerpt: thread
fn beside_a_thread(attack: Attack, doomed: Doomed, target: Target) -> io::Result<String> {
    let (tell, told) = mpsc::channel();
    let attacker = thread::Builder::new().spawn(move || {
        let begun: io::Result<()> = bound_memory();
        let _ = tell.send(begun.and_then(|()| attack.run(doomed, target)));
    })?;
    let words = match told.recv_timeout(NEIGHBOUR) {
        Ok(outcome) => what_it_had(outcome),
        Err(_) => "goes on, nobody can end it".to_owned(),
    };
    // It may go on for ever: the process ends with it.
    mem::forget(attacker);
    Ok(words)
}
// excerpt: end

// excerpt: coroutine
fn beside_a_coroutine(attack: Attack, doomed: Doomed, target: Target) -> io::Result<String> {
    let attacker = runtime::spawn(move || bound_memory().and_then(|()| attack.run(doomed, target)));
    // Its neighbour, which is this coroutine, would wait no longer than this, if it had its turn.
    match time::timeout(NEIGHBOUR, || attacker.join()) {
        Ok(Ok(outcome)) => Ok(what_it_had(outcome)),
        Ok(Err(_)) => Ok("ended by a panic".to_owned()),
        Err(_) => Ok("goes on".to_owned()),
    }
}
// excerpt: end

/// What the neighbour says of an attack that returned.
fn what_it_had(outcome: io::Result<()>) -> String {
    if PRECIOUS.load(Ordering::Relaxed) != 0 {
        return "overwritten".to_owned();
    }
    match outcome {
        Ok(()) => "done as it wanted".to_owned(),
        Err(error) => format!("refused: {}", error.kind()),
    }
}

/// What became of a confined process.
fn of_confined(attack: Attack, observed: &Observed) -> io::Result<Outcome> {
    let words = match (observed.ended_for, observed.end) {
        (Some(Excess::Time), _) => "killed: out of time".to_owned(),
        (Some(Excess::Output), _) => "killed: 64 KiB written".to_owned(),
        (None, End::Signal(signal)) => format!("killed: {}", signal_name(signal)),
        (None, End::Status(UNPREPARED)) => {
            return Err(io::Error::other("the process could not be confined"));
        }
        (None, End::Status(0)) if attack == Attack::Overwrite => {
            return Ok(if PRECIOUS.load(Ordering::Relaxed) == 0 {
                Outcome::harmless("its own copy only")
            } else {
                Outcome::harm("overwritten")
            });
        }
        (None, End::Status(0)) => return Ok(Outcome::harm("done as it wanted")),
        (None, End::Status(_)) => "refused".to_owned(),
    };
    Ok(Outcome::harmless(words))
}

/// What became of a process that hosted an attacker.
fn of_host(observed: &Observed) -> Outcome {
    let last_words = String::from_utf8_lossy(&observed.output).into_owned();
    match (observed.ended_for, observed.end) {
        (Some(Excess::Time), _) => Outcome::harm("nobody else runs any more"),
        (Some(Excess::Output), _) => Outcome::harm("floods everybody's output"),
        // A little more than last words.
        _ if last_words.len() > 1_024 => Outcome::harm("floods everybody's output"),
        (None, End::Signal(signal)) => Outcome::harm(format!("all die: {}", signal_name(signal))),
        (None, End::Status(0)) if last_words.is_empty() => Outcome::harm("all are replaced by it"),
        (None, End::Status(0)) if last_words.starts_with("refused") => {
            Outcome::harmless(last_words)
        }
        (None, End::Status(0)) => Outcome::harm(last_words),
        (None, End::Status(status)) => Outcome::harm(format!("all end with status {status}")),
    }
}
