//! Calls that any descriptor takes, whatever is behind it, and the descriptor that stands for a process.
//!
//! Sources: ioctl(2), fcntl(2), preadv2(2), pidfd_open(2).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::socket;

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

/// Whether a read or write of `fd` says `EAGAIN` where it would block.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: takes numbers only.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags & libc::O_NONBLOCK != 0),
    }
}

/// Whether `fd` is a regular file, for which one cannot wait.
pub(crate) fn is_regular(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: all zeroes is a value of this struct of numbers.
    let mut status: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes to `status`, which is ours alone and outlives the call.
    match unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) } {
        0 => Ok(status.st_mode & libc::S_IFMT == libc::S_IFREG),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads what is there, and says `EAGAIN` if that is nothing, though `fd` be blocking (preadv2(2), `RWF_NOWAIT`).
///
/// Where the kernel cannot do that, as for terminals, it asks poll(2) before it reads: another process that takes the
/// bytes in between makes the call block.
pub(crate) fn read_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel reads `part` and writes to `buffer`, whose address and length it holds; both outlive the
    // call. Offset -1 stands for the file's own position.
    let got = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    match usize::try_from(got).map_err(|_| io::Error::last_os_error()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
            if socket::wait(fd, false, Some(Duration::ZERO))? {
                read(fd, buffer)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        outcome => outcome,
    }
}

/// read(2).
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most as many bytes to `buffer` as it has, and it outlives the call.
    let got = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel bring what `fd`, a regular file, would give next into memory; its position stays.
pub(crate) fn read_ahead(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let mut discarded = vec![0u8; bytes];
    // SAFETY: takes numbers only.
    let position = unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_CUR) };
    // SAFETY: the kernel writes at most `bytes` to a buffer that has as many, and outlives the call.
    let got = unsafe {
        libc::pread(
            fd.as_raw_fd(),
            discarded.as_mut_ptr().cast(),
            bytes,
            position,
        )
    };
    match got {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn re14_an_empty_blocking_pipe_is_found_empty_and_stays_blocking() {
        let (from, mut to) = io::pipe().unwrap();
        let mut buffer = [0; 8];
        let error = read_now(from.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        to.write_all(b"x").unwrap();
        assert_eq!(read_now(from.as_fd(), &mut buffer).unwrap(), 1);
        assert!(!is_nonblocking(from.as_fd()).unwrap());
        drop(to);
        assert_eq!(read_now(from.as_fd(), &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_file_is_read_ahead_without_moving_its_position() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(is_regular(file.as_fd()).unwrap());
        read_ahead(file.as_fd(), 4096).unwrap();
        let mut magic = [0; 4];
        assert_eq!(read(file.as_fd(), &mut magic).unwrap(), 4);
        assert_eq!(&magic, b"\x7fELF");
        assert!(!is_regular(std::fs::File::open("/").unwrap().as_fd()).unwrap());
    }
}
