//! Threads of this process as the kernel sees them: what one does, and since when it has had no processor.
//!
//! Sources: gettid(2), proc(5): `stat`, `schedstat`, `syscall`.

use std::fs;
use std::io::{Read, Write};
use std::str;
use std::time::Duration;

/// A thread's number in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(pub(super) i32);

impl ThreadId {
    /// That of the calling thread.
    pub(crate) fn here() -> Self {
        // SAFETY: takes nothing, returns a number.
        ThreadId(unsafe { libc::gettid() })
    }

    pub(crate) fn from_raw(number: i32) -> Self {
        ThreadId(number)
    }

    pub(crate) fn into_raw(self) -> i32 {
        self.0
    }

    /// The beginning of one of its files. Allocates nothing, or a watchdog would end a process that is out of memory.
    fn read<'a>(self, file: &str, into: &'a mut [u8; 1024]) -> Option<&'a str> {
        let mut path = [0; 64];
        let mut rest = &mut path[..];
        write!(rest, "/proc/self/task/{}/{file}", self.0).ok()?;
        let left = rest.len();
        let path = str::from_utf8(&path[..path.len() - left]).ok()?;
        let count = fs::File::open(path).and_then(|mut file| file.read(into));
        str::from_utf8(&into[..count.ok()?]).ok()
    }

    /// What it does at the moment; none if it is gone, or `/proc` is not there.
    pub(crate) fn activity(self) -> Option<Activity> {
        let mut text = [0; 1024];
        let stat = self.read("stat", &mut text)?;
        // The name, in parentheses, may hold anything.
        let (_, behind_the_name) = stat.rsplit_once(')')?;
        Some(match behind_the_name.trim_start().chars().next()? {
            'R' => Activity::Runnable,
            'S' | 'D' | 'I' => Activity::Waiting,
            _ => Activity::Stopped,
        })
    }

    /// The processor time that it has had, and how long it has waited for a processor, up to the last time that it got
    /// one. Zeros where the kernel does not tell.
    pub(crate) fn times(self) -> Times {
        let mut text = [0; 1024];
        let text = self.read("schedstat", &mut text).unwrap_or_default();
        let mut numbers = text
            .split_whitespace()
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
        Times {
            ran: next(),
            queued: next(),
        }
    }

    /// The system call that it is in, if any.
    pub(crate) fn system_call(self) -> Option<SystemCall> {
        let mut text = [0; 1024];
        let text = self.read("syscall", &mut text)?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
        let first = words.next()?.strip_prefix("0x")?;
        Some(SystemCall {
            number,
            first_argument: u64::from_str_radix(first, 16).ok()?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It runs, or waits for a processor.
    Runnable,
    /// For something else.
    Waiting,
    /// By a signal or a debugger.
    Stopped,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) ran: Duration,
    pub(crate) queued: Duration,
}

/// A system call that a thread is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemCall {
    number: libc::c_long,
    first_argument: u64,
}

/// Those in which threads wait, and whether the first argument is a descriptor.
const NAMES: &[(libc::c_long, &str, bool)] = &[
    (libc::SYS_read, "read(2)", true),
    (libc::SYS_write, "write(2)", true),
    (libc::SYS_pread64, "pread(2)", true),
    (libc::SYS_pwrite64, "pwrite(2)", true),
    (libc::SYS_readv, "readv(2)", true),
    (libc::SYS_writev, "writev(2)", true),
    (libc::SYS_recvfrom, "recv(2)", true),
    (libc::SYS_recvmsg, "recvmsg(2)", true),
    (libc::SYS_sendto, "send(2)", true),
    (libc::SYS_sendmsg, "sendmsg(2)", true),
    (libc::SYS_accept, "accept(2)", true),
    (libc::SYS_accept4, "accept4(2)", true),
    (libc::SYS_connect, "connect(2)", true),
    (libc::SYS_fsync, "fsync(2)", true),
    (libc::SYS_fdatasync, "fdatasync(2)", true),
    (libc::SYS_flock, "flock(2)", true),
    (libc::SYS_fcntl, "fcntl(2)", true),
    (libc::SYS_ioctl, "ioctl(2)", true),
    (libc::SYS_epoll_pwait, "epoll_pwait(2)", true),
    (libc::SYS_sendfile, "sendfile(2)", true),
    (libc::SYS_splice, "splice(2)", true),
    (
        libc::SYS_futex,
        "futex(2): a lock, a condition variable or a join of std's",
        false,
    ),
    (libc::SYS_nanosleep, "nanosleep(2)", false),
    (libc::SYS_clock_nanosleep, "clock_nanosleep(2)", false),
    (libc::SYS_ppoll, "ppoll(2)", false),
    (libc::SYS_pselect6, "pselect(2)", false),
    (libc::SYS_wait4, "wait4(2)", false),
    (libc::SYS_waitid, "waitid(2)", false),
    (libc::SYS_openat, "openat(2)", false),
    (libc::SYS_rt_sigsuspend, "sigsuspend(2)", false),
    (libc::SYS_rt_sigtimedwait, "sigtimedwait(2)", false),
    (libc::SYS_getrandom, "getrandom(2)", false),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait(2)", true),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll(2)", false),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select(2)", false),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open(2)", false),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause(2)", false),
];

impl std::fmt::Display for SystemCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = NAMES.iter().find(|(number, ..)| *number == self.number);
        match known {
            Some((_, name, true)) => write!(f, "{name} on descriptor {}", self.first_argument),
            Some((_, name, false)) => f.write_str(name),
            None => write!(f, "system call {}", self.number),
        }
    }
}
