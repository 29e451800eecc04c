//! Standard input, as [`std::io::Stdin`]: a terminal, a pipe, a socket, or a file.
//!
//! ```text
//!   read_line ──► a turn: one reader at a time
//!                   └► the buffer of the process ──► a line? take it
//!                        ▲                           none: read once, if that does not block, and look again
//!                        └── what was read stays here, also if the reader is cancelled
//! ```
//!
//! | descriptor 0 is      | when nothing is there                                                                |
//! |----------------------|--------------------------------------------------------------------------------------|
//! | a pipe, a socket     | `RWF_NOWAIT` says so, and epoll when there is something                              |
//! | a terminal           | poll(2) says so, and epoll when there is something                                   |
//! | a regular file       | not in memory yet: the pool of blocking threads brings it there. epoll knows no files|
//!
//! It is never made non-blocking, since the shell and its next program share it.

#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::blocking::{self, IfBegun};
use crate::park::{self, Unparker, WaitReason};
use crate::pollable::Pollable;
use crate::reactor::Interest;
use crate::seam::sync::real::{Mutex, lock};
use crate::sys::descriptor;

/// How much is read at a time to find a line in.
const CHUNK: usize = 8 * 1024;
/// How much of a file is brought into memory at a time.
const AHEAD: usize = 256 * 1024;

/// What was read and not taken yet. Only whoever has the turn locks it, at most for a read that does not block.
static BUFFER: Mutex<Buffer> = Mutex::new(Buffer {
    bytes: Vec::new(),
    taken: 0,
    searched: 0,
});

/// Whose turn it is.
static TURNS: Mutex<Turns> = Mutex::new(Turns {
    taken: false,
    waiters: Vec::new(),
    next_ticket: 0,
});

/// The standard input of the process, as [`std::io::stdin`].
///
/// All handles share one buffer, but it is not std's: whoever reads by both gets what the other has not taken yet.
///
/// ```no_run
/// runtime::run(|| -> std::io::Result<()> {
///     let mut line = String::new();
///     runtime::io::stdin().read_line(&mut line)?; // others run until it has been typed
///     println!("{} characters", line.trim_end().chars().count());
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub fn stdin() -> Stdin {
    let io = io::stdin();
    let regular = descriptor::is_regular(io.as_fd()).unwrap_or(false);
    let pollable = Pollable::new(io);
    Stdin { pollable, regular }
}

/// A handle of the standard input, made by [`stdin`].
///
/// # Cost
/// A read(2) of up to 8 KiB for what lines are taken of, of as much as was asked for by a plain read. A wait registers
/// the handle, for its life.
pub struct Stdin {
    pollable: Pollable<io::Stdin>,
    regular: bool,
}

struct Buffer {
    bytes: Vec<u8>,
    /// So many of the first have been taken.
    taken: usize,
    /// There is no end of a line before this one.
    searched: usize,
}

struct Turns {
    taken: bool,
    waiters: Vec<(u64, Unparker)>,
    next_ticket: u64,
}

/// The right to read. Without it, a reader could wait for the descriptor while what it waits for is in the buffer.
struct Turn;

impl Turn {
    #[track_caller]
    fn wait() -> Self {
        loop {
            let mut turns = lock(&TURNS);
            if !turns.taken {
                turns.taken = true;
                return Self;
            }
            let ticket = turns.next_ticket;
            turns.next_ticket += 1;
            turns.waiters.push((ticket, park::unparker()));
            drop(turns);
            let _listed = Listed { ticket };
            park::park(WaitReason::Readable.on(&raw const TURNS));
        }
    }
}

impl Drop for Turn {
    /// Wakes all who wait: one alone might be cancelled already.
    fn drop(&mut self) {
        let mut turns = lock(&TURNS);
        turns.taken = false;
        let waiters = std::mem::take(&mut turns.waiters);
        drop(turns);
        waiters.into_iter().for_each(|(_, waiter)| waiter.unpark());
    }
}

/// A place among those who wait for a turn; left also when the wait unwinds.
struct Listed {
    ticket: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut turns = lock(&TURNS);
        turns.waiters.retain(|(ticket, _)| *ticket != self.ticket);
    }
}

impl Stdin {
    /// Waits for a line and appends it to `line`, with its end; returns how many bytes it has. 0: the end of the input.
    ///
    /// A line goes to one reader as a whole; one whose wait is cancelled leaves what was typed so far to the next.
    ///
    /// # Errors
    /// `InvalidData`: the line is no UTF-8; it is taken and `line` unchanged. Else those of read(2).
    #[track_caller]
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        let turn = Turn::wait();
        let bytes = loop {
            // Before any wait: no event tells of what is here.
            if let Some(bytes) = lock(&BUFFER).take_line() {
                break bytes;
            }
            if self.obtain(|how, fd| lock(&BUFFER).fill(how, fd))? == 0 {
                break lock(&BUFFER).take(usize::MAX);
            }
        };
        drop(turn);
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        line.push_str(text);
        Ok(bytes.len())
    }

    /// The lines as they come, without their ends, up to the end of the input.
    ///
    /// ```no_run
    /// runtime::run(|| {
    ///     for line in runtime::io::stdin().lines() {
    ///         println!("{}", line.unwrap());
    ///     }
    /// });
    /// ```
    pub fn lines(self) -> Lines {
        Lines { stdin: self }
    }

    /// Whether somebody sits at the other end.
    pub fn is_terminal(&self) -> bool {
        self.pollable.io().is_terminal()
    }

    /// Calls `attempt` until it says something else than `WouldBlock`, and waits in between.
    #[track_caller]
    fn obtain<R>(
        &self,
        mut attempt: impl FnMut(How, BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if !self.regular {
            let now = |io: &io::Stdin| attempt(How::Now, io.as_fd());
            let reason = WaitReason::Readable;
            return self.pollable.perform(Interest::Read, reason, now);
        }
        self.pollable.give_way();
        let fd = self.pollable.io().as_fd();
        match attempt(How::Now, fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Brings it into memory and no farther: whoever is cancelled meanwhile has not taken it.
                blocking::offload(IfBegun::Leave, || {
                    descriptor::read_ahead(io::stdin().as_fd(), AHEAD)
                })??;
                attempt(How::Blocking, fd)
            }
            outcome => outcome,
        }
    }
}

/// How to read.
#[derive(Clone, Copy)]
enum How {
    /// Only what is there.
    Now,
    /// What has just been brought into memory, or else by blocking.
    Blocking,
}

impl How {
    #[track_caller]
    fn read(self, fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = match self {
                How::Now => descriptor::read_now(fd, into),
                How::Blocking => descriptor::read(fd, into),
            };
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => return got,
            }
        }
    }
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Takes the first line, with its end, if that is there.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let new = &self.bytes[self.searched..];
        let Some(end) = new.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        Some(self.take(self.searched + end + 1 - self.taken))
    }

    /// Takes the first `length`, or all if there are less.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let length = length.min(self.unread().len());
        let taken = self.unread()[..length].to_vec();
        self.taken += length;
        self.searched = self.searched.max(self.taken);
        if self.unread().is_empty() {
            self.bytes.clear();
            (self.taken, self.searched) = (0, 0);
        }
        taken
    }

    /// Reads once, behind what is there; returns how many bytes came.
    fn fill(&mut self, how: How, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + CHUNK, 0);
        let got = how.read(fd, &mut self.bytes[before..]);
        self.bytes
            .truncate(before + got.as_ref().map_or(0, |&got| got));
        got
    }
}

impl Read for &Stdin {
    #[track_caller]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let _turn = Turn::wait();
        let bytes = lock(&BUFFER).take(into.len());
        if bytes.is_empty() {
            return self.obtain(|how, fd| how.read(fd, into));
        }
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Read for Stdin {
    #[track_caller]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl AsFd for Stdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pollable.io().as_fd()
    }
}

impl AsRawFd for Stdin {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

/// The lines of the standard input, made by [`Stdin::lines`].
#[derive(Debug)]
pub struct Lines {
    stdin: Stdin,
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.stdin.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                if line.ends_with('\n') {
                    line.pop();
                    if line.ends_with('\r') {
                        line.pop();
                    }
                }
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
