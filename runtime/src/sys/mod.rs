//! The system: one safe wrapper for each system call in use, and the only place that calls libc.
//!
//! A wrapper returns `io::Result`, keeps errno, and retries `EINTR` where a retry is right. Names
//! and contracts are those of the man pages (section 2), which are the reference.

pub(crate) mod descriptor;
pub(crate) mod epoll;
pub(crate) mod eventfd;
pub(crate) mod interrupt;
#[cfg(not(any(loom, shuttle)))] // fences stand for it there
pub(crate) mod membarrier;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod signal_watch;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod thread_end;
pub(crate) mod ticks;
pub(crate) mod walk;
