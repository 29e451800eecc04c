//! Descriptors that are no sockets: flags, and the one that stands for a process.
//!
//! Sources: fcntl(2), pidfd_open(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Makes the calls of an open file description say `EAGAIN` instead of blocking, or undoes that.
///
/// The flag belongs to the *description*, which duplicates and children share: only for those that are ours alone.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    // SAFETY: takes and returns numbers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: takes and returns numbers.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor that is readable when the child has ended; close-on-exec.
///
/// The child has not been waited for, so its number is still its own.
///
/// # Errors
/// `ENOSYS`: Linux before 5.3, or forced by `RUNTIME_FAIL=pidfd`; `EPERM` in some sandboxes; `EMFILE`; `ESRCH` if the
/// system has taken the child away because SIGCHLD is ignored.
pub(crate) fn pidfd_open(child: u32) -> io::Result<OwnedFd> {
    let failures = std::env::var("RUNTIME_FAIL").unwrap_or_default();
    if failures.split(',').any(|failure| failure == "pidfd") {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    // SAFETY: takes two numbers and returns one.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child as libc::pid_t, 0) };
    match i32::try_from(fd) {
        // SAFETY: not negative, so the kernel has just made it for us; nobody else knows its number.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
