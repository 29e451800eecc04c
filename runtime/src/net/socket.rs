//! What every socket here is made of: a [`Pollable`], and the options that sockets have beside.
//!
//! The loop "try, else wait" is `Pollable`'s; how long a call may wait is said here.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::park::WaitReason;
use crate::pollable::{Bound, Pollable};
use crate::reactor::Interest;
use crate::seam::sync::Arc;
use crate::seam::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A non-blocking socket that can be waited for.
pub(super) struct Socket<T> {
    pollable: Pollable<T>,
    options: Arc<Options>,
    /// The options have never been looked at, through this handle or a clone, so they are as they were made
    /// and need not be read: a cache line less for each call.
    plain: AtomicBool,
}

/// What belongs to the socket itself and not to one descriptor of it, so clones share it.
#[derive(Default)]
pub(super) struct Options {
    /// Nanoseconds; 0: none.
    read_timeout_ns: AtomicU64,
    write_timeout_ns: AtomicU64,
    /// The user asked for `WouldBlock` instead of waits.
    non_blocking: AtomicBool,
}

impl Options {
    fn set_timeout(&self, interest: Interest, timeout: Option<Duration>) {
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

    fn non_blocking(&self) -> bool {
        self.non_blocking.load(Ordering::Relaxed)
    }

    fn bound(&self, interest: Interest) -> Bound {
        if self.non_blocking() {
            return Bound::NoWait;
        }
        self.timeout(interest).map_or(Bound::Endless, Bound::AtMost)
    }
}

impl<T: AsFd> Socket<T> {
    /// Takes `io`, which must be non-blocking already.
    pub(super) fn new(io: T) -> Self {
        Self::of(Pollable::new(io))
    }

    /// Takes a new descriptor of ours, which nobody has set anything of.
    pub(super) fn fresh(io: T) -> io::Result<Self> {
        Ok(Self::of(Pollable::fresh(io)?))
    }

    /// Takes over what was one of std's: makes it non-blocking, for all its clones, and keeps its timeouts.
    pub(super) fn adopt(io: T) -> Self {
        let socket = Self::of(Pollable::adopt(io));
        let io = SockRef::from(socket.io());
        let timeouts = [
            (Interest::Read, io.read_timeout()),
            (Interest::Write, io.write_timeout()),
        ];
        for (interest, timeout) in timeouts {
            if let Ok(Some(timeout)) = timeout {
                socket.options().set_timeout(interest, Some(timeout));
            }
        }
        socket
    }

    fn of(pollable: Pollable<T>) -> Self {
        Self {
            pollable,
            options: Arc::default(),
            plain: AtomicBool::new(true),
        }
    }

    /// Gives it back as std has it: blocking, unless the user asked for the contrary.
    pub(super) fn release(self) -> T {
        if self.options.non_blocking() {
            self.pollable.into_inner()
        } else {
            self.pollable.release()
        }
    }

    /// A second descriptor of this socket, with the options of both.
    pub(super) fn try_clone(&self) -> io::Result<Self>
    where
        T: From<OwnedFd>,
    {
        Ok(Self {
            pollable: self.pollable.try_clone()?,
            options: Arc::clone(self.options()),
            plain: AtomicBool::new(false),
        })
    }

    pub(super) fn io(&self) -> &T {
        self.pollable.io()
    }

    /// The options, to read or to change.
    pub(super) fn options(&self) -> &Arc<Options> {
        // Relaxed: who sets an option while another's call is under way cannot tell which came first.
        self.plain.store(false, Ordering::Relaxed);
        &self.options
    }

    /// # Errors
    /// `InvalidInput` for a duration of zero.
    pub(super) fn set_timeout(
        &self,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(zero_timeout());
        }
        // The kernel keeps it for a later life as a std socket; it plays no part in non-blocking calls, so the
        // waiting is ours.
        let io = SockRef::from(self.io());
        match interest {
            Interest::Read => io.set_read_timeout(timeout)?,
            Interest::Write => io.set_write_timeout(timeout)?,
        }
        self.options().set_timeout(interest, timeout);
        Ok(())
    }

    /// How long a call may wait, as the user has it.
    #[inline]
    pub(super) fn bound(&self, interest: Interest) -> Bound {
        if self.plain.load(Ordering::Relaxed) {
            Bound::Endless
        } else {
            self.options.bound(interest)
        }
    }

    /// Runs `attempt` until it says something else than `WouldBlock`, and waits in between.
    ///
    /// `is_short` tells of its success whether the socket was emptied (or filled) by it.
    ///
    /// # Errors
    /// Those of `attempt`; `WouldBlock` when the socket's timeout passed, as std has it on Unix, or
    /// when the user asked for no waits; those of the registration.
    #[inline]
    #[track_caller]
    pub(super) fn perform<R>(
        &self,
        interest: Interest,
        reason: WaitReason,
        attempt: impl FnMut(&T) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let bound = self.bound(interest);
        self.pollable
            .perform_within(bound, interest, reason, attempt, is_short)
    }

    /// Waits until a connect that is under way has been decided; `false`: `deadline` passed.
    #[track_caller]
    pub(super) fn wait_connected(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.pollable
            .next_event(Interest::Write, WaitReason::Connect, deadline)
    }

    /// Lets others run once in a while, see [`Pollable::give_way`].
    pub(super) fn give_way(&self) {
        self.pollable.give_way();
    }
}

#[cold]
pub(super) fn zero_timeout() -> io::Error {
    let what = "cannot set a 0 duration timeout";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
