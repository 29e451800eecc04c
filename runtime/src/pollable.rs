//! A descriptor that epoll can wait for, and the loop "try, else wait": what pipes, pidfds and eventfds share.
//!
//! The same loop as that of `net/socket.rs`, without what only sockets have: timeouts of their own, and reads that
//! tell by their length that nothing is left.
#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::AsFd;

use crate::coroutine::yield_now;
use crate::home;
use crate::park::{self, WaitReason};
use crate::reactor::{Interest, Refusal, Source};
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicU32, Ordering};
use crate::{sys, worker};

/// After so many calls that did not have to wait, a coroutine lets the others run.
const CALLS_IN_A_ROW: u32 = 64;

/// A descriptor whose calls say `WouldBlock` instead of blocking.
pub(crate) struct Pollable<T> {
    /// Before `io`: deregistered first, closed after, see [`Source`].
    source: Source,
    io: T,
    /// Calls since the last wait. A hint, so plain loads and stores do.
    calls: AtomicU32,
}

impl<T: AsFd> Pollable<T> {
    pub(crate) fn new(io: T) -> Self {
        Pollable {
            source: Source::new(),
            io,
            calls: AtomicU32::new(0),
        }
    }

    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    /// Ends the registration and gives the descriptor back.
    pub(crate) fn into_inner(self) -> T {
        drop(self.source);
        self.io
    }

    /// Runs `attempt` until it says something else than `WouldBlock`, and waits in between.
    ///
    /// # Errors
    /// Those of `attempt` and of the registration.
    pub(crate) fn perform<R>(
        &self,
        interest: Interest,
        reason: WaitReason,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let side = self.source.side(interest);
        loop {
            if side.is_dry() {
                self.wait(interest, reason)?;
            } else {
                self.give_way();
            }
            let edges = side.edges();
            match attempt(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => side.spend(edges),
                outcome => return outcome,
            }
        }
    }

    fn wait(&self, interest: Interest, reason: WaitReason) -> io::Result<()> {
        self.calls.store(0, Ordering::Relaxed);
        let source = &self.source;
        if home::current().is_none() {
            return self.wait_on_thread(interest);
        }
        let enlisted = loop {
            match source.enlist(interest) {
                Ok(enlisted) => break enlisted,
                Err(Refusal::Ready) => return Ok(()),
                Err(Refusal::Homeless) => {
                    let reactor = worker::reactor().expect("a coroutine runs on a worker");
                    source.register(self.io.as_fd(), &reactor)?;
                }
            }
        };
        let withdraw = OnDrop(|| source.withdraw(enlisted));
        while !source.is_over(enlisted) {
            park::park(reason);
        }
        mem::forget(withdraw);
        Ok(())
    }

    /// Without a reactor: ppoll(2), but not beyond the deadline of an enclosing `timeout`, which unwinds from here.
    #[cold]
    fn wait_on_thread(&self, interest: Interest) -> io::Result<()> {
        loop {
            let until = park::thread_deadline(None);
            let left = until.map(|until| until.saturating_duration_since(clock::now()));
            if sys::socket::wait(self.io.as_fd(), interest == Interest::Write, left)? {
                return Ok(());
            }
        }
    }

    /// Before a call, never after: a cancellation raised here must not cost what the call brought.
    fn give_way(&self) {
        let calls = self.calls.load(Ordering::Relaxed) + 1;
        self.calls.store(calls % CALLS_IN_A_ROW, Ordering::Relaxed);
        if calls == CALLS_IN_A_ROW && home::current().is_some() {
            yield_now();
        }
    }
}

/// Runs its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
