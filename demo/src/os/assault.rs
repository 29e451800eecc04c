//! What a hostile program tries on other processes: only one that was forked to be broken ([`Doomed`]) may.

use std::io;
use std::ptr;

use rustix::process::Pid;

use super::Doomed;

/// Forks a process that ends at once.
///
/// # Errors
/// The system's.
pub fn fork_once(_: Doomed) -> io::Result<()> {
    // SAFETY: fork and _exit may be called at any time; the child calls nothing else, so it does not matter what other
    // threads were doing, nor in which coroutine it is. Nobody waits for it here: its parent ends soon, and then
    // whoever adopts it does.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

/// Makes this process the tracer of another one, which it could then read, change and stop. It does not: the other
/// goes on, and is let go when this one ends.
///
/// # Errors
/// The system's: EPERM if it is none of ours, or a security module forbids it.
pub fn trace_other(_: Doomed, other: Pid) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE takes no addresses: both are null. It changes no memory of either process.
    let outcome =
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, other.as_raw_nonzero().get(), none, none) };
    match outcome {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
