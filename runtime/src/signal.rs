//! Signals as something to wait for.
//!
//! ```
//! use runtime::signal::{SIGUSR1, SIGUSR2, Signals};
//!
//! runtime::run(|| -> std::io::Result<()> {
//!     let signals = Signals::new([SIGUSR1, SIGUSR2])?;
//!     let me = std::process::id().to_string();
//!     runtime::process::Command::new("kill").args(["-USR2", &me]).status()?;
//!     for signal in signals {
//!         assert_eq!(signal, SIGUSR2); // and now do what no handler may: lock, allocate, wait
//!         break;
//!     }
//!     Ok(())
//! })
//! # .unwrap();
//! ```
//!
//! A handler notes each signal and rings an eventfd, for which a coroutine, or a plain thread, waits. While anybody
//! [watches](Signals) a signal it does not do what it would by default; the handler of whoever was there before us is
//! called all the same; it has to return. When the last one leaves, that is restored.
//!
//! - **Signals coalesce**, as the kernel's own do: one that comes again before it was taken is one. What is never
//!   lost is that it came: after each signal, some take follows it.
//! - A signal that was sent to the process may still be on its way when the last one leaves: it then does what it did
//!   before. Whoever must not be ended by one keeps watching.
//! - A signal goes to any thread that does not block it; that is all of them, unless somebody has called
//!   pthread_sigmask(3). Nothing is blocked here, and a child inherits nothing.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::fmt;
use std::io;

use crate::park::WaitReason;
use crate::pollable::Pollable;
use crate::reactor::Interest;
use crate::sys::signal_watch::Watch;

pub use crate::sys::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGWINCH,
};

/// A set of signals, watched from [`new`](Signals::new) until dropped: an iterator that never ends.
///
/// Several may watch the same signal, and each gets it.
pub struct Signals {
    watch: Pollable<Watch>,
    /// Taken, and not yet given out: one bit each.
    ready: u64,
}

impl Signals {
    /// Watches these signals from now on.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal, for SIGKILL and SIGSTOP, which nobody can handle, and for what the
    /// processor raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP); `EMFILE` when no descriptor is left.
    pub fn new<I>(signals: I) -> io::Result<Self>
    where
        I: IntoIterator,
        I::Item: Borrow<i32>,
    {
        let signals = signals.into_iter().map(|signal| *signal.borrow());
        Ok(Signals {
            watch: Pollable::new(Watch::new(signals)?),
            ready: 0,
        })
    }

    /// The next signal, if one has come. Of several the one with the lowest number is first.
    pub fn try_next(&mut self) -> Option<i32> {
        if self.ready == 0 {
            self.ready = self.watch.io().take();
        }
        self.give()
    }

    fn give(&mut self) -> Option<i32> {
        let lowest = self.ready.trailing_zeros();
        self.ready &= self.ready.checked_sub(1)?;
        Some(lowest as i32 + 1)
    }
}

impl Iterator for Signals {
    type Item = i32;

    /// Waits for the next signal; never `None`.
    ///
    /// Cost: of a wait, one read(2), two stack switches and a share of an epoll_wait(2).
    ///
    /// # Panics
    /// When the system refuses to watch one more descriptor (`ENOSPC`, `ENOMEM`). Unwinds if cancelled or timed out;
    /// no signal is lost then.
    #[track_caller]
    fn next(&mut self) -> Option<i32> {
        if self.ready == 0 {
            let reason = WaitReason::Signal;
            let taken = self
                .watch
                .perform(Interest::Read, reason, |watch| match watch.take() {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    taken => Ok(taken),
                });
            self.ready = taken.unwrap_or_else(|error| panic!("cannot wait for signals: {error}"));
        }
        self.give()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

/// Waits for SIGINT, which Ctrl-C on the terminal sends.
///
/// Before the call and after it, Ctrl-C ends the process as ever; so a second one ends a program that has begun to end
/// in order. To have none get through in between, keep a [`Signals`].
///
/// # Errors
/// `EMFILE` when no descriptor is left.
///
/// ```no_run
/// use runtime::signal;
///
/// runtime::run(|| {
///     let server = runtime::spawn(|| loop { /* serve */ runtime::yield_now() });
///     signal::ctrl_c()?;
///     server.cancel();
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn ctrl_c() -> io::Result<()> {
    Signals::new([SIGINT])?.next();
    Ok(())
}
