//! What every socket here is made of: a non-blocking descriptor and the loop "try, else wait".
//!
//! ```text
//!        ┌── dry? ──yes──► wait: enlist, park ──┐         on a plain thread: ppoll(2)
//!   call ┤                                      ├─► attempt ──ok / error──► return
//!        └── no ────────────────────────────────┘      │ EAGAIN
//!        ▲                                             ▼
//!        └────────────────────────────────────── spend: it is dry
//! ```
//!
//! A read that comes back short has emptied the socket, so the next one waits at once instead of
//! asking the kernel in vain: request and answer cost one recv(2) and one send(2).

#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::coroutine::yield_now;
use crate::home;
use crate::park::{self, WaitReason, Wake};
use crate::reactor::{Enlisted, Interest, Refusal, Source};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::seam::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::{sys, worker};

/// After so many calls that did not have to wait, a coroutine lets the others run: a peer that sends
/// as fast as we read would keep the worker for itself otherwise.
const CALLS_IN_A_ROW: u32 = 64;

/// A non-blocking descriptor that can be waited for.
pub(crate) struct Socket<T> {
    /// Before `io`, because fields drop in this order: deregistered first, closed after (a
    /// duplicate's registration would live on otherwise, see [`Source`]).
    source: Source,
    io: T,
    options: Arc<Options>,
    /// The options have never been looked at, through this handle or a clone, so they are as they were made
    /// and need not be read: a cache line less for each call.
    plain: AtomicBool,
    /// Calls since the last wait. A hint, so plain loads and stores do.
    calls: AtomicU32,
}

/// What belongs to the socket itself and not to one descriptor of it, so clones share it.
#[derive(Default)]
pub(crate) struct Options {
    /// Nanoseconds; 0: none.
    read_timeout_ns: AtomicU64,
    write_timeout_ns: AtomicU64,
    /// The user asked for `WouldBlock` instead of waits.
    non_blocking: AtomicBool,
}

impl Options {
    pub(super) fn set_timeout(&self, interest: Interest, timeout: Option<Duration>) {
        let ns = timeout.map_or(0, |timeout| {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        });
        self.timeout_ns(interest).store(ns, Ordering::Relaxed);
    }

    pub(super) fn timeout(&self, interest: Interest) -> Option<Duration> {
        let ns = self.timeout_ns(interest).load(Ordering::Relaxed);
        (ns != 0).then(|| Duration::from_nanos(ns))
    }

    fn timeout_ns(&self, interest: Interest) -> &AtomicU64 {
        match interest {
            Interest::Read => &self.read_timeout_ns,
            Interest::Write => &self.write_timeout_ns,
        }
    }

    pub(super) fn set_non_blocking(&self, non_blocking: bool) {
        self.non_blocking.store(non_blocking, Ordering::Relaxed);
    }

    pub(super) fn non_blocking(&self) -> bool {
        self.non_blocking.load(Ordering::Relaxed)
    }
}

impl<T: AsFd> Socket<T> {
    /// Takes `io`, which must be non-blocking already.
    pub(crate) fn new(io: T) -> Self {
        Self::with_options(io, Arc::default(), true)
    }

    /// The same for a further descriptor of this socket, with the options of both.
    pub(super) fn another(&self, io: T) -> Self {
        Self::with_options(io, Arc::clone(self.options()), false)
    }

    fn with_options(io: T, options: Arc<Options>, plain: bool) -> Self {
        Self {
            source: Source::new(),
            io,
            options,
            plain: AtomicBool::new(plain),
            calls: AtomicU32::new(0),
        }
    }

    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    /// The options, to read or to change.
    pub(crate) fn options(&self) -> &Arc<Options> {
        // Relaxed: who sets an option while another's call is under way cannot tell which came first.
        self.plain.store(false, Ordering::Relaxed);
        &self.options
    }

    pub(super) fn waits(&self) -> bool {
        self.plain.load(Ordering::Relaxed) || !self.options.non_blocking()
    }

    /// Ends the registration and gives the descriptor back, still non-blocking, with its options.
    pub(crate) fn into_parts(self) -> (T, Arc<Options>) {
        drop(self.source);
        (self.io, self.options)
    }

    /// Runs `attempt` until it says something else than `WouldBlock`, and waits in between.
    ///
    /// `is_short` tells of its success whether the descriptor was emptied (or filled) by it.
    ///
    /// # Errors
    /// Those of `attempt`; `WouldBlock` when the socket's timeout passed, as std has it on Unix, or
    /// when the user asked for no waits; those of the registration.
    pub(crate) fn perform<R>(
        &self,
        interest: Interest,
        reason: WaitReason,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let side = self.source.side(interest);
        let waits = self.waits();
        let mut deadline = None;
        loop {
            if waits && side.is_dry() {
                let deadline = *deadline.get_or_insert_with(|| self.deadline(interest));
                if let Wake::TimedOut = self.wait(interest, reason, deadline)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            } else {
                self.give_way();
            }
            let edges = side.edges();
            match attempt(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    side.spend(edges);
                    if !waits {
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

    /// Waits until a connect that is under way has been decided; `false`: `deadline` passed.
    pub(super) fn wait_connected(&self, deadline: Option<Instant>) -> io::Result<bool> {
        // Nothing is known of a new socket, and "worth a try" would ask for the outcome too early.
        let side = self.source.side(Interest::Write);
        side.spend(side.edges());
        let wake = self.wait(Interest::Write, WaitReason::Connect, deadline)?;
        Ok(matches!(wake, Wake::Unparked))
    }

    /// When a wait that begins now has lasted as long as the socket's timeout allows.
    pub(super) fn deadline(&self, interest: Interest) -> Option<Instant> {
        if self.plain.load(Ordering::Relaxed) {
            return None;
        }
        clock::after(self.options.timeout(interest)?)
    }

    /// Waits for the next edge, or until `deadline`. An edge wins over a deadline that passed too.
    #[inline]
    fn wait(
        &self,
        interest: Interest,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        self.calls.store(0, Ordering::Relaxed);
        if home::current().is_none() {
            return wait_on_thread(self.io.as_fd(), interest, deadline);
        }
        loop {
            match self.source.enlist(interest) {
                Ok(enlisted) => return self.sleep(enlisted, reason, deadline),
                Err(Refusal::Ready) => return Ok(Wake::Unparked),
                Err(Refusal::Homeless) => self.register()?,
            }
        }
    }

    /// Makes the worker on which the first wait happens the socket's home.
    #[cold]
    fn register(&self) -> io::Result<()> {
        let reactor = worker::reactor().expect("a coroutine runs on a worker");
        self.source.register(self.io.as_fd(), &reactor)
    }

    /// Parks until the edge has come that `enlisted` stands in the list for.
    #[inline]
    fn sleep(
        &self,
        enlisted: Enlisted,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        let source = &self.source;
        // For when the park unwinds too: a list must not name a coroutine that has left.
        let withdraw = OnDrop(|| source.withdraw(enlisted));
        loop {
            let wake = match deadline {
                None => {
                    park::park(reason);
                    Wake::Unparked
                }
                Some(_) => park::park_until(reason, deadline),
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
    /// raised here must not cost the bytes that the call brought.
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
