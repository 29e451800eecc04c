//! Any descriptor that poll(2) can wait for: what other crates open, what was inherited.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use crate::park::WaitReason;
use crate::pollable::Pollable;
use crate::reactor::Interest;
use crate::sys;

/// Waits until `fd` is ready: a read (or write) of it would not block.
///
/// Ready is also what has ended, is hung up or has failed, and always a regular file. Whoever reads then may still
/// find that somebody else was faster.
///
/// # Errors
/// `EINVAL`: `fd` is the runtime's own. `ENOSPC`: the limit in `/proc/sys/fs/epoll/max_user_watches`. `EMFILE`: it is
/// waited for elsewhere too, and there is no descriptor left for a second registration.
///
/// # Cost
/// poll(2); when it has to wait, two of epoll_ctl(2) and three allocations too. To wait for the same one often, keep
/// a [`Watched`].
///
/// ```
/// use runtime::io::{self, Interest};
/// use std::io::Write;
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (from, mut to) = std::io::pipe()?; // blocking, of another crate's making
///     runtime::spawn(move || to.write_all(b"x"));
///     io::wait(&from, Interest::Read) // and the writer runs
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn wait(fd: impl AsFd, interest: Interest) -> io::Result<()> {
    Watched::of(fd, false).wait(interest)
}

/// A descriptor of whatever kind, whose reads and writes park the coroutine where they would block the thread.
///
/// It is left as it is: a blocking one stays so, and is read or written only when it is ready, once for each time. If
/// others share it, a call may block the thread all the same, when they are faster than we. One that is
/// non-blocking is tried first.
///
/// `T` must go on naming the descriptor that it named first.
///
/// # Cost
/// As a socket's: registered at the first wait, for its life. A blocking one takes a poll(2) more for each call.
///
/// ```
/// use runtime::io::Watched;
/// use std::io::{Read, Write};
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (from, mut to) = std::io::pipe()?;
///     let mut from = Watched::new(from);
///     runtime::spawn(move || to.write_all(b"hello"));
///     let mut all = String::new();
///     from.read_to_string(&mut all)?; // waits, and the writer runs
///     assert_eq!(all, "hello");
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Watched<T: AsFd> {
    pollable: Pollable<T>,
    /// It says `WouldBlock` itself.
    non_blocking: bool,
}

/// A blocking pipe or socket that is ready takes so many bytes without blocking (pipe(7), `PIPE_BUF`).
const WRITTEN_AT_ONCE: usize = 4096;

impl<T: AsFd> Watched<T> {
    /// Takes `io`. Its `O_NONBLOCK` is looked at now, and not again.
    pub fn new(io: T) -> Self {
        let non_blocking = sys::descriptor::is_nonblocking(io.as_fd()).unwrap_or(false);
        Self::of(io, non_blocking)
    }

    fn of(io: T, non_blocking: bool) -> Self {
        Self {
            pollable: Pollable::new(io),
            non_blocking,
        }
    }

    /// Waits until it is ready, as [`wait`].
    ///
    /// # Errors
    /// As [`wait`].
    #[track_caller]
    pub fn wait(&self, interest: Interest) -> io::Result<()> {
        self.attempt(interest, true, |_| Ok(()))
    }

    /// Calls `attempt` when it is ready, until it says something else than `WouldBlock`.
    ///
    /// For what is neither `Read` nor `Write`, an ioctl(2) or a library that has a socket of its own, and for two
    /// coroutines that share one. A cancellation is raised only while it waits; what `attempt` has done is returned.
    ///
    /// # Errors
    /// Those of `attempt`, and of [`wait`].
    ///
    /// ```
    /// use runtime::io::{Interest, Watched};
    ///
    /// runtime::run(|| -> std::io::Result<()> {
    ///     let (here, there) = std::os::unix::net::UnixDatagram::pair()?;
    ///     let here = Watched::new(here);
    ///     runtime::spawn(move || there.send(b"hello"));
    ///     let mut datagram = [0; 64];
    ///     assert_eq!(here.perform(Interest::Read, |socket| socket.recv(&mut datagram))?, 5);
    ///     Ok(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn perform<R>(
        &self,
        interest: Interest,
        attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.attempt(interest, !self.non_blocking, attempt)
    }

    #[track_caller]
    fn attempt<R>(
        &self,
        interest: Interest,
        ask_first: bool,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let reason = match interest {
            Interest::Read => WaitReason::Readable,
            Interest::Write => WaitReason::Writable,
        };
        let if_ready = |io: &T| {
            if ask_first && !is_ready(io.as_fd(), interest)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            attempt(io)
        };
        self.pollable.perform(interest, reason, if_ready)
    }

    /// What it watches.
    pub fn get_ref(&self) -> &T {
        self.pollable.io()
    }

    /// Ends the registration and gives back what it watched, as it was.
    pub fn into_inner(self) -> T {
        self.pollable.into_inner()
    }
}

fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    sys::socket::wait(fd, interest == Interest::Write, Some(Duration::ZERO))
}

/// By value only. Were it there for `&Watched<T>` too, the compiler would look for `Watched<Watched<..>>` without end
/// wherever a function asks for `&T: Read` of a `T` that it does not know yet.
impl<T: AsFd> Read for Watched<T>
where
    for<'a> &'a T: Read,
{
    #[track_caller]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.perform(Interest::Read, |mut io| io.read(buffer))
    }
}

impl<T: AsFd> Write for Watched<T>
where
    for<'a> &'a T: Write,
{
    /// Takes 4,096 bytes at most if the descriptor is blocking.
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let most = if self.non_blocking {
            bytes.len()
        } else {
            bytes.len().min(WRITTEN_AT_ONCE)
        };
        self.perform(Interest::Write, |mut io| io.write(&bytes[..most]))
    }

    /// That of what it watches, which may block the thread if it has a buffer.
    fn flush(&mut self) -> io::Result<()> {
        self.get_ref().flush()
    }
}

impl<T: AsFd> AsFd for Watched<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(self.get_ref()).finish()
    }
}
