//! Counting system calls: a child that stops at each, and a parent that lets it go on.
//!
//! ```text
//!   tracer (this process)                          traced child, its threads and children
//!   waits ............ stop ...................... PTRACE_TRACEME, SIGSTOP
//!   PTRACE_SYSCALL ─────────────────────────────>  runs to the next entry or return of a system call
//!   waits: a stop at a system call counts one half
//! ```
//!
//! Source: ptrace(2).

use std::io;
use std::ptr;

use rustix::process::{Signal, getpid, kill_process};

use super::{Child, fork};

/// How a stop at a system call differs from a true SIGTRAP, under `PTRACE_O_TRACESYSGOOD`.
const SYSTEM_CALL_STOP: i32 = libc::SIGTRAP | 0x80;
/// The status of a child that may not be traced.
const STATUS_REFUSED: i32 = 125;

/// Runs `body` in a child and counts the system calls that it, its threads and its children make.
///
/// This process must have no other children meanwhile. Each stop takes microseconds.
///
/// # Errors
/// `PermissionDenied` where tracing is not allowed; the system's; `Other` if the child does not end with status 0.
pub fn system_calls(body: impl FnOnce() -> i32) -> io::Result<u64> {
    let mut child = fork(|| match allow_tracing() {
        Ok(()) => body(),
        Err(_) => STATUS_REFUSED,
    })?;
    let pid = child.pid().as_raw_nonzero().get();
    match next_stop()? {
        (_, Stop::At { signal, .. }) if signal == libc::SIGSTOP => {}
        (_, end) => {
            child.note_reaped();
            return Err(match end {
                Stop::Ended(Some(STATUS_REFUSED)) => io::ErrorKind::PermissionDenied.into(),
                _ => io::Error::other("a traced child ended before it began"),
            });
        }
    }
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, pid, options)?;
    request(libc::PTRACE_SYSCALL, pid, 0)?;
    let (halves, status) = follow(pid, &mut child)?;
    match status {
        Some(0) => Ok(halves.div_ceil(2)),
        _ => Err(io::Error::other("a traced child did not end as it should")),
    }
}

/// In the child: it stops here until its parent lets it go on.
fn allow_tracing() -> io::Result<()> {
    request(libc::PTRACE_TRACEME, 0, 0)?;
    kill_process(getpid(), Signal::STOP)?;
    Ok(())
}

/// Lets all that are traced go on until the last has ended; returns the stops at system calls, and `pid`'s status.
fn follow(pid: libc::pid_t, child: &mut Child) -> io::Result<(u64, Option<i32>)> {
    let mut known = vec![pid];
    let mut halves = 0;
    let mut status = None;
    while !known.is_empty() {
        let (who, stop) = next_stop()?;
        let deliver = match stop {
            Stop::Ended(code) => {
                known.retain(|&other| other != who);
                if who == pid {
                    child.note_reaped();
                    status = code;
                }
                continue;
            }
            Stop::At { signal, .. } if signal == SYSTEM_CALL_STOP => {
                halves += 1;
                0
            }
            // It has made a thread or a child, which is traced from its birth on.
            Stop::At { is_event: true, .. } => 0,
            // The first stop of one that is new.
            Stop::At { signal, .. } if signal == libc::SIGSTOP && !known.contains(&who) => 0,
            Stop::At { signal, .. } => signal,
        };
        if !known.contains(&who) {
            known.push(who);
        }
        match request(libc::PTRACE_SYSCALL, who, deliver) {
            // A thread may be gone already, ended with its process: its end is reported next.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok((halves, status))
}

/// What one that is traced has come to.
enum Stop {
    /// Its end, and its status unless that was a signal.
    Ended(Option<i32>),
    At {
        signal: i32,
        is_event: bool,
    },
}

fn next_stop() -> io::Result<(libc::pid_t, Stop)> {
    let mut status = 0;
    // SAFETY: the kernel writes the status to a place that is ours.
    let who = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
    if who == -1 {
        return Err(io::Error::last_os_error());
    }
    let stop = if libc::WIFSTOPPED(status) {
        Stop::At {
            signal: libc::WSTOPSIG(status),
            is_event: status >> 16 != 0,
        }
    } else {
        Stop::Ended(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)))
    };
    Ok((who, stop))
}

fn request(request: libc::c_uint, pid: libc::pid_t, data: i32) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests made here reads or writes memory of ours: the address is unused, and the data are
    // a number. They stop and start processes that asked for it, and change nothing in them.
    match unsafe { libc::ptrace(request, pid, none, data as libc::c_long) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
