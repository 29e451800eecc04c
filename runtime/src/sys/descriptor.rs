//! Calls that any descriptor takes, whatever is behind it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes `fd` non-blocking or blocking (ioctl(2), `FIONBIO`): one call, where fcntl(2) takes two.
///
/// The flag belongs to what is open and not to this descriptor of it, so duplicates share it, other processes' too.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    let mut value = libc::c_int::from(nonblocking);
    // SAFETY: the kernel reads the number behind the pointer, which outlives the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
