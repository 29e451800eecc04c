//! epoll(7): one descriptor that tells which of many others became ready.
//!
//! Everything is watched **edge-triggered**, for all events at once, from the first wait until the
//! descriptor is closed: one `add`, no `modify`, one `remove`.
//!
//! ```text
//!    add(fd, token) ──► kernel: interest list ──edge──► ready list ──► wait(): [(token, events), ...]
//! ```
//!
//! An edge is told once. Whoever ignores it is not told again until something new arrives, so the
//! reactor counts edges (see `reactor::source`) and forgets none.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::memory::refused;
use crate::seam::sync::atomic::{AtomicBool, Ordering};

/// What the kernel said about one descriptor: a set of `EPOLL*` bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Events(u32);

impl Events {
    const READ: u32 = (libc::EPOLLIN | libc::EPOLLPRI) as u32 | Self::READ_ENDED;
    const WRITE: u32 = libc::EPOLLOUT as u32 | Self::WRITE_ENDED;
    const READ_ENDED: u32 = libc::EPOLLRDHUP as u32 | Self::WRITE_ENDED;
    const WRITE_ENDED: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

    /// What a model of the kernel says in tests: bytes have come.
    #[cfg(test)]
    pub(crate) const BYTES: Self = Self(libc::EPOLLIN as u32);

    /// Whether a read would do something: bring bytes, the end, or an error.
    pub(crate) fn readable(self) -> bool {
        self.0 & Self::READ != 0
    }

    /// Whether a write would do something: take bytes or bring an error.
    pub(crate) fn writable(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// Whether more than plain bytes waits for the reader: the peer's end, a hang-up, an error, or
    /// an urgent byte, at which a read stops short although bytes lie behind it.
    pub(crate) fn read_stops_short(self) -> bool {
        self.0 & (Self::READ_ENDED | libc::EPOLLPRI as u32) != 0
    }

    /// Whether writing is over: a hang-up of both directions, or an error.
    pub(crate) fn write_stops_short(self) -> bool {
        self.0 & Self::WRITE_ENDED != 0
    }
}

/// What is asked for of every descriptor.
///
/// Not `EPOLLEXCLUSIVE`, which would have the kernel wake one of several workers that watch a listener: it can be had
/// without `EPOLLRDHUP` and `EPOLLPRI` only (epoll_ctl(2)), and whoever waits for one listener waits at one reactor.
const WATCHED: i32 =
    libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;

/// An epoll instance (close-on-exec).
pub(crate) struct Epoll {
    fd: OwnedFd,
    /// False once the kernel has said that it does not know `epoll_pwait2` (before Linux 5.11).
    knows_pwait2: AtomicBool,
}

impl Epoll {
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptor is left; `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes a flag and no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            knows_pwait2: AtomicBool::new(true),
        })
    }

    /// Watches `fd` for every event, edge-triggered; each will carry `token`.
    ///
    /// What `fd` is ready for already is reported as a first edge.
    ///
    /// # Errors
    /// `EPERM`: a regular file or directory, which cannot be waited for. `ENOSPC`: the limit in
    /// `/proc/sys/fs/epoll/max_user_watches`, which the error names. `EEXIST`: watched already. `ENOMEM`.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: WATCHED as u32,
            u64: token,
        };
        let added = self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event);
        added.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC) => too_many_watches(error),
            _ => error,
        })
    }

    /// Ends the watch on `fd`, which must happen **before** it is closed.
    ///
    /// A close alone does not end it while a duplicate of the descriptor lives (`dup`, a forked
    /// child): its events would go on, and nobody could stop them any more (epoll(7), question 6).
    /// By number, not borrowed, because the caller is the drop glue of the descriptor's owner.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        // Linux before 2.6.9 wanted an event here too; a null pointer is right ever since.
        let mut unused = libc::epoll_event { events: 0, u64: 0 };
        self.control(libc::EPOLL_CTL_DEL, fd, &mut unused)
    }

    fn control(&self, op: i32, fd: RawFd, event: &mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: `event` is a live, exclusive reference, read during the call and not kept. A wrong
        // `fd` is an error (EBADF, ENOENT), not a memory access.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for events, at most `timeout` (`None`: for ever), and puts them into `batch`.
    ///
    /// # Errors
    /// `EINTR`: a signal handler ran; with `SA_RESTART` too (signal(7)).
    pub(crate) fn wait(&self, batch: &mut Batch, timeout: Option<Duration>) -> io::Result<()> {
        batch.filled = 0;
        let told = match timeout {
            None => self.wait_ms(batch, -1),
            Some(Duration::ZERO) => self.wait_ms(batch, 0),
            Some(timeout) => self.wait_ns(batch, timeout),
        };
        if told < 0 {
            return Err(io::Error::last_os_error());
        }
        batch.filled = told as usize;
        Ok(())
    }

    /// A finite wait with nanoseconds, where the kernel has it.
    fn wait_ns(&self, batch: &mut Batch, timeout: Duration) -> i32 {
        // Relaxed: the flag stands alone, and a stale `true` costs one more ENOSYS.
        if self.knows_pwait2.load(Ordering::Relaxed) {
            let told = self.pwait2(batch, &timespec(timeout));
            if told >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
                return told;
            }
            self.knows_pwait2.store(false, Ordering::Relaxed);
        }
        self.wait_ms(batch, ceil_ms(timeout))
    }

    fn wait_ms(&self, batch: &mut Batch, timeout_ms: i32) -> i32 {
        let room = &mut batch.events;
        // SAFETY: the kernel writes at most `room.len()` events to the `room` that we hold
        // exclusively, and keeps no pointer to it after the call.
        unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                room.as_mut_ptr(),
                room.len() as i32,
                timeout_ms,
            )
        }
    }

    /// By number: glibc has a wrapper only since 2.35, and a program must load with older ones.
    fn pwait2(&self, batch: &mut Batch, timeout: &libc::timespec) -> i32 {
        let room = &mut batch.events;
        // SAFETY: the arguments of epoll_pwait2(2) in their order: descriptor, room and its length
        // (written to as above), a live timespec, no signal mask (and then no mask size).
        let told = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                room.as_mut_ptr(),
                room.len() as i32,
                std::ptr::from_ref(timeout),
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        told as i32
    }
}

/// By itself the errno speaks of devices without space.
#[cold]
fn too_many_watches(cause: io::Error) -> io::Error {
    let remedy =
        "all epoll instances of a user watch as many as /proc/sys/fs/epoll/max_user_watches says";
    refused(cause, "wait for one more descriptor".into(), remedy)
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Room for the events of one `wait`, used again for the next.
pub(crate) struct Batch {
    events: Box<[libc::epoll_event]>,
    filled: usize,
}

impl Batch {
    /// Room for `capacity` events.
    pub(crate) fn new(capacity: usize) -> Self {
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Self {
            events: vec![empty; capacity].into_boxed_slice(),
            filled: 0,
        }
    }

    /// What the last `wait` brought.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Events)> + '_ {
        // Copied out field by field: the kernel's struct is packed, so no reference into it.
        let filled = self.events[..self.filled].iter();
        filled.map(|event| (event.u64, Events(event.events)))
    }
}

/// `duration` for the kernel; more than it can hold becomes the most it can hold.
pub(super) fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Milliseconds, rounded **up**: rounded down, a timer would find itself early and wait again with 0.
fn ceil_ms(duration: Duration) -> i32 {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    i32::try_from(ms).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_never_overflow() {
        assert_eq!(ceil_ms(Duration::from_nanos(1)), 1);
        assert_eq!(ceil_ms(Duration::from_millis(1)), 1);
        assert_eq!(ceil_ms(Duration::from_nanos(1_000_001)), 2);
        assert_eq!(ceil_ms(Duration::MAX), i32::MAX);
        assert_eq!(timespec(Duration::MAX).tv_sec, i64::MAX);
    }

    #[test]
    fn re9_nothing_is_watched_exclusively_and_the_kernel_would_not_have_it_so() {
        let epoll = Epoll::new().unwrap();
        let ready = crate::sys::eventfd::EventFd::new().unwrap();
        let number = ready.as_fd().as_raw_fd();
        let ask = |op, events| {
            let (events, u64) = (events as u32, 1);
            let mut event = libc::epoll_event { events, u64 };
            let asked = epoll.control(op, number, &mut event);
            asked.map_err(|error| error.raw_os_error().unwrap())
        };
        let exclusive = libc::EPOLLIN | libc::EPOLLET | libc::EPOLLEXCLUSIVE;
        let (add, modify) = (libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD);
        for further in [libc::EPOLLRDHUP, libc::EPOLLPRI, libc::EPOLLONESHOT] {
            assert_eq!(ask(add, exclusive | further), Err(libc::EINVAL));
        }
        assert_eq!(ask(add, exclusive), Ok(()));
        assert_eq!(ask(modify, libc::EPOLLIN), Err(libc::EINVAL));
        assert_eq!(ask(modify, exclusive), Err(libc::EINVAL));

        epoll.remove(number).unwrap();
        epoll.add(ready.as_fd(), 1).unwrap();
        let instance = epoll.as_fd().as_raw_fd();
        let watched = std::fs::read_to_string(format!("/proc/self/fdinfo/{instance}")).unwrap();
        let (_, events) = watched.split_once("events:").unwrap();
        let events = events.split_whitespace().next().unwrap();
        let events = u32::from_str_radix(events, 16).unwrap();
        assert_eq!(events & libc::EPOLLEXCLUSIVE as u32, 0);
        assert_eq!(events & WATCHED as u32, WATCHED as u32);
    }

    #[test]
    fn a_kernel_without_pwait2_waits_with_milliseconds() {
        let epoll = Epoll::new().unwrap();
        epoll.knows_pwait2.store(false, Ordering::Relaxed);
        let (before, wanted) = (crate::seam::clock::now(), Duration::from_micros(1_500));
        epoll.wait(&mut Batch::new(1), Some(wanted)).unwrap();
        assert!(before.elapsed() >= wanted);
    }

    #[test]
    fn a_longest_wait_is_accepted_by_the_kernel() {
        let epoll = Epoll::new().unwrap();
        let ready = crate::sys::eventfd::EventFd::new().unwrap();
        ready.ring();
        epoll.add(ready.as_fd(), 7).unwrap();
        let mut batch = Batch::new(4);
        epoll.wait(&mut batch, Some(Duration::MAX)).unwrap();
        let told: Vec<u64> = batch.iter().map(|(token, _)| token).collect();
        assert_eq!(told, [7]);
    }
}
