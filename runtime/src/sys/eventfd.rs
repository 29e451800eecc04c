//! eventfd(2): the bell that any thread may ring to end a worker's sleep in epoll.
//!
//! A ring adds one to the kernel's counter, and each addition is an edge for epoll. Watched
//! edge-triggered, the bell is therefore never read: one system call per ring, none per answer. The
//! counter would need 2^64 - 2 rings to fill. A bell that plain threads wait for too, which poll(2) tells for as
//! long as it is not zero, is [silenced](EventFd::silence).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A counter in the kernel (non-blocking, close-on-exec).
pub(crate) struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptor is left; `ENOMEM`.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two numbers and no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }

    /// Adds one. Async-signal-safe, callable from any thread, never blocks.
    pub(crate) fn ring(&self) {
        let one = 1u64;
        // SAFETY: the kernel reads the eight bytes of `one`, which outlives the call.
        let written = unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
        // The one refusal is EAGAIN, a full counter: then it is not zero, so the bell is ringing.
        debug_assert!(
            written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
        );
    }
}

impl EventFd {
    /// Sets the counter to 0.
    pub(crate) fn silence(&self) {
        let mut count = 0u64;
        // SAFETY: the kernel writes the eight bytes of `count`, which outlives the call. It refuses when the counter is 0.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
