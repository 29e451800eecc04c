//! A descriptor that epoll can wait for, and the loop "try, else wait": what sockets, pipes, pidfds and eventfds share.
//!
//! ```text
//!        ┌── dry? ──yes──► wait: enlist, park ──┐         on a plain thread: ppoll(2)
//!   call ┤                                      ├─► attempt ──ok / error──► return
//!        └── no ────────────────────────────────┘      │ EAGAIN
//!        ▲                                             ▼
//!        └────────────────────────────────────── spend: it is dry
//! ```
//!
//! A read that comes back short has emptied a socket, so the next one waits at once instead of
//! asking the kernel in vain: request and answer cost one recv(2) and one send(2).
//!
//! Neighbours: `reactor` below, which tells of events; `net::socket`, which is this with timeouts of its own, and `io`,
//! `process` and `signal` above. `handle` has what an owner of a `Pollable` can do besides reading and writing.

#![forbid(unsafe_code)]

mod handle;

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::coroutine::yield_now;
use crate::home;
use crate::park::{self, Wait, WaitReason, Wake};
use crate::reactor::{Enlisted, Interest, Refusal, Source};
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicU32, Ordering};
use crate::{sys, worker};

pub(crate) use handle::{by_value, handle};

/// After so many calls that did not have to wait, a coroutine lets the others run: a peer that sends
/// as fast as we read would keep the worker for itself otherwise.
const CALLS_IN_A_ROW: u32 = 64;

/// A descriptor whose calls say `WouldBlock` instead of blocking.
pub(crate) struct Pollable<T> {
    /// Before `io`, because fields drop in this order: deregistered first, closed after (a
    /// duplicate's registration would live on otherwise, see [`Source`]).
    source: Source,
    io: T,
    /// Calls since the last wait. A hint, so plain loads and stores do.
    calls: AtomicU32,
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Until it is done.
    Endless,
    /// So long, from its first wait on; then it says `WouldBlock`.
    AtMost(Duration),
    /// Not at all: it says `WouldBlock` at once.
    NoWait,
}

impl Bound {
    /// When a wait that begins now has lasted long enough.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Bound::Endless => None,
            Bound::AtMost(duration) => clock::after(duration),
            Bound::NoWait => Some(clock::now()),
        }
    }
}

impl<T: AsFd> Pollable<T> {
    /// Takes `io`, whose calls, or the attempts that will be made with it, say `WouldBlock` already.
    pub(crate) fn new(io: T) -> Self {
        Self {
            source: Source::new(),
            io,
            calls: AtomicU32::new(0),
        }
    }

    #[inline]
    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    /// Ends the registration and gives the descriptor back as it is.
    pub(crate) fn into_inner(self) -> T {
        drop(self.source);
        self.io
    }

    /// Runs `attempt` until it says something else than `WouldBlock`, and waits in between.
    ///
    /// # Errors
    /// Those of `attempt` and of the registration.
    #[track_caller]
    pub(crate) fn perform<R>(
        &self,
        interest: Interest,
        reason: WaitReason,
        attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.perform_within(Bound::Endless, interest, reason, attempt, |_| false)
    }

    /// The same, for no longer than `bound`. `is_short` tells of a success whether it emptied (or filled) the descriptor.
    ///
    /// # Errors
    /// As [`perform`](Self::perform); `WouldBlock` when it was not to wait any longer, as std has it on Unix.
    #[inline]
    #[track_caller]
    pub(crate) fn perform_within<R>(
        &self,
        bound: Bound,
        interest: Interest,
        reason: WaitReason,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let side = self.source.side(interest);
        let mut deadline = None;
        loop {
            if bound != Bound::NoWait && side.is_dry() {
                let deadline = *deadline.get_or_insert_with(|| bound.deadline());
                if let Wake::TimedOut = self.wait(interest, reason.on_fd(&self.io), deadline)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            } else {
                self.give_way();
            }
            let edges = side.edges();
            match attempt(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    side.spend(edges);
                    if bound == Bound::NoWait {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
                Ok(done) => {
                    if is_short(&done) {
                        side.spend_short(edges);
                    }
                    return Ok(done);
                }
            }
        }
    }

    /// Waits for the next event, without having tried; false: `deadline` passed.
    ///
    /// For the outcome of a connect: "worth a try", as a new descriptor is otherwise, would ask for it too early.
    #[track_caller]
    pub(crate) fn next_event(
        &self,
        interest: Interest,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let side = self.source.side(interest);
        side.spend(side.edges());
        let wake = self.wait(interest, reason.on_fd(&self.io), deadline)?;
        Ok(matches!(wake, Wake::Unparked))
    }

    /// Waits for the next edge, or until `deadline`. An edge wins over a deadline that passed too.
    #[inline]
    fn wait(&self, interest: Interest, wait: Wait, deadline: Option<Instant>) -> io::Result<Wake> {
        self.calls.store(0, Ordering::Relaxed);
        if home::current().is_none() {
            return wait_on_thread(self.io.as_fd(), interest, deadline);
        }
        loop {
            match self.source.enlist(interest) {
                Ok(enlisted) => return self.sleep(enlisted, wait, deadline),
                Err(Refusal::Ready) => return Ok(Wake::Unparked),
                Err(Refusal::Homeless) => self.register(interest)?,
            }
        }
    }

    /// Makes the worker on which the first wait happens the descriptor's home.
    #[cold]
    fn register(&self, interest: Interest) -> io::Result<()> {
        let reactor = worker::reactor().expect("a coroutine runs on a worker");
        let registered = self.source.register(self.io.as_fd(), &reactor);
        // Else what comes later would never be read: no call would try, and each be refused to wait.
        registered.inspect_err(|_| self.source.side(interest).unspend())
    }

    /// Parks until the edge has come that `enlisted` stands in the list for.
    #[inline]
    fn sleep(&self, enlisted: Enlisted, wait: Wait, deadline: Option<Instant>) -> io::Result<Wake> {
        let source = &self.source;
        // For when the park unwinds too: a list must not name a coroutine that has left.
        let withdraw = OnDrop(|| source.withdraw(enlisted));
        loop {
            let wake = match deadline {
                None => {
                    park::park(wait);
                    Wake::Unparked
                }
                Some(_) => park::park_until(wait, deadline),
            };
            if source.is_over(enlisted) {
                mem::forget(withdraw);
                return if source.is_gone() {
                    Err(closed_meanwhile())
                } else {
                    Ok(Wake::Unparked)
                };
            }
            if let Wake::TimedOut = wake {
                return Ok(wake);
            }
        }
    }

    /// Yields once in a while, see [`CALLS_IN_A_ROW`]. Before a call, never after: a cancellation
    /// raised here must not cost what the call brought.
    pub(crate) fn give_way(&self) {
        let calls = self.calls.load(Ordering::Relaxed) + 1;
        self.calls.store(calls % CALLS_IN_A_ROW, Ordering::Relaxed);
        if calls == CALLS_IN_A_ROW && home::current().is_some() {
            yield_now();
        }
    }
}

/// The same wait on a thread without a reactor: it blocks the thread, in ppoll(2), but not beyond the
/// deadline of an enclosing `timeout`, which unwinds from here.
#[cold]
fn wait_on_thread(
    fd: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<Wake> {
    loop {
        let until = park::thread_deadline(deadline);
        let left = until.map(|until| until.saturating_duration_since(clock::now()));
        if sys::socket::wait(fd, interest == Interest::Write, left)? {
            return Ok(Wake::Unparked);
        }
        if deadline.is_some_and(|deadline| deadline <= clock::now()) {
            return Ok(Wake::TimedOut);
        }
    }
}

#[cold]
fn closed_meanwhile() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the descriptor was closed by its owner while this coroutine waited for it",
    )
}

/// Runs its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
