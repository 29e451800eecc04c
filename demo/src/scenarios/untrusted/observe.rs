//! The observer: hears a child out, for so long and so much, and tells how it ended.
//!
//! ```text
//!   child ── pipe ──> read, 64 KiB at most ──┐
//!     └───── pidfd ─> its end               ─┼─> Observed
//!                     the wall clock        ─┘
//! ```
#![forbid(unsafe_code)]

use std::io::{self, PipeReader, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open};

use crate::os::{Child, End};

/// More output is not heard: whoever makes it is ended.
pub const OUTPUT_MAX: usize = 64 << 10;

/// What was seen of a child.
#[derive(Debug)]
pub struct Observed {
    /// How it ended.
    pub end: End,
    /// The observer ended it, for this reason.
    pub ended_for: Option<Excess>,
    /// What it wrote.
    pub output: Vec<u8>,
}

/// Why the observer ended a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It took too long.
    Time,
    /// It wrote too much.
    Output,
}

/// Watches `child`, which writes to `pipe`, until it ends or has exceeded `patience` or [`OUTPUT_MAX`]. What it writes
/// goes to `relay` as it comes.
///
/// # Errors
/// The system's; the child is ended then.
pub fn observe(
    child: Child,
    mut pipe: PipeReader,
    patience: Duration,
    mut relay: impl Write,
) -> io::Result<Observed> {
    let deadline = Instant::now() + patience;
    let ended = pidfd_open(child.pid(), PidfdFlags::empty())?;
    let mut output = Vec::new();
    let mut is_open = true;
    let ended_for = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Some(Excess::Time);
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut watched = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&pipe, PollFlags::IN),
        ];
        let count = if is_open { 2 } else { 1 };
        match poll(&mut watched[..count], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let (has_ended, has_output) = (
            !watched[0].revents().is_empty(),
            is_open && !watched[1].revents().is_empty(),
        );
        // What it wrote before its end is still there; of others that may hold the pipe nobody is waited for.
        if has_output && (!has_ended || ioctl_fionread(&pipe)? > 0) {
            let mut chunk = [0; 4_096];
            let room = chunk.len().min(OUTPUT_MAX - output.len());
            let length = pipe.read(&mut chunk[..room])?;
            is_open = length > 0;
            output.extend_from_slice(&chunk[..length]);
            relay.write_all(&chunk[..length])?;
            if output.len() == OUTPUT_MAX {
                break Some(Excess::Output);
            }
        } else if has_ended {
            break None;
        }
    };
    if ended_for.is_some() {
        // It is not waited for yet, so the pid is its own.
        kill_process(child.pid(), Signal::KILL)?;
    }
    Ok(Observed {
        end: child.end()?,
        ended_for,
        output,
    })
}

/// A signal by name, as far as children here are ended by one.
pub fn signal_name(signal: i32) -> String {
    let known = [
        (Signal::SYS, "SIGSYS"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ILL, "SIGILL"),
        (Signal::FPE, "SIGFPE"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::PIPE, "SIGPIPE"),
    ];
    let name = known.iter().find(|(known, _)| known.as_raw() == signal);
    name.map_or_else(
        || format!("signal {signal}"),
        |(_, name)| (*name).to_owned(),
    )
}
