//! A process that was started: waiting for its end, and ending it.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use crate::home;
use crate::park::{self, WaitReason};
use crate::pollable::Pollable;
use crate::reactor::Interest;
use crate::scope::scope;
use crate::seam::clock;
use crate::seam::sync::thread;
use crate::sys::descriptor::pidfd_open;

/// Without a pidfd, the longest pause between two looks at the child.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A child process, as [`std::process::Child`].
///
/// Dropping it does not end the child, and leaves a zombie if it has ended and was not waited for.
pub struct Child {
    /// Our end of its stdin, if piped.
    pub stdin: Option<ChildStdin>,
    /// Our end of its stdout, if piped.
    pub stdout: Option<ChildStdout>,
    /// Our end of its stderr, if piped.
    pub stderr: Option<ChildStderr>,
    child: std::process::Child,
    /// Readable when it has ended; none where the system has no such thing.
    pidfd: Option<Pollable<OwnedFd>>,
}

impl Child {
    pub(super) fn of(mut child: std::process::Child) -> io::Result<Self> {
        Ok(Child {
            stdin: child.stdin.take().map(ChildStdin::of).transpose()?,
            stdout: child.stdout.take().map(ChildStdout::of).transpose()?,
            stderr: child.stderr.take().map(ChildStderr::of).transpose()?,
            pidfd: pidfd_open(child.id()).ok().map(Pollable::new),
            child,
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by SIGKILL. Nothing happens if it has ended and was waited for.
    ///
    /// # Errors
    /// Those of kill(2).
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Closes its stdin and waits for its end; returns how that was, however often.
    ///
    /// # Errors
    /// Those of waitpid(2): `ECHILD` if somebody else has waited for it, or SIGCHLD is ignored.
    ///
    /// # Panics
    /// Unwinds if cancelled or timed out while it waits; the child goes on.
    ///
    /// ```
    /// use runtime::{process::Command, time::{self, Duration}};
    ///
    /// runtime::run(|| -> std::io::Result<()> {
    ///     let mut sleeps = Command::new("sleep").arg("3600").spawn()?;
    ///     let ended = time::timeout(Duration::from_millis(1), || sleeps.wait());
    ///     assert!(ended.is_err());
    ///     sleeps.kill()?;
    ///     assert!(!sleeps.wait()?.success());
    ///     Ok(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        let child = &mut self.child;
        let mut look = || child.try_wait()?.ok_or(io::ErrorKind::WouldBlock.into());
        match &self.pidfd {
            Some(pidfd) => pidfd.perform(Interest::Read, WaitReason::Process, |_| look()),
            None => look_every_so_often(look),
        }
    }

    /// Closes its stdin, reads its stdout and stderr to their ends and waits for its own.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of reading.
    #[track_caller]
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = read_both(self.stdout.take(), self.stderr.take())?;
        Ok(Output {
            status: self.wait()?,
            stdout,
            stderr,
        })
    }
}

/// More and more seldom.
#[cold]
#[track_caller]
fn look_every_so_often(mut look: impl FnMut() -> io::Result<ExitStatus>) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        match look() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
        park::park_until(WaitReason::Process.alone(), clock::after(pause));
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

/// Both at a time: a child that fills one pipe while we read the other to its end would wait for us, and we for it.
fn read_both(
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let Some(stderr) = stderr else {
        return Ok((read_all(stdout)?, Vec::new()));
    };
    let (stdout, stderr) = match home::current() {
        Some(_) => scope(|s| {
            let reads = s.spawn(|| read_all(Some(stderr)));
            (read_all(stdout), reads.join())
        }),
        None => {
            let reads = thread::Builder::new().spawn(|| read_all(Some(stderr)))?;
            (read_all(stdout), reads.join())
        }
    };
    let stderr = stderr.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    Ok((stdout?, stderr?))
}

fn read_all(stream: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}
