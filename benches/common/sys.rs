//! The system calls that std does not offer, each behind a safe function. All `unsafe` of the benches is here.
#![allow(unsafe_code, reason = "the targets deny it everywhere else")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The CPUs that the calling thread may run on, ascending.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: a cpu_set_t is an array of integers, for which all zeroes is a value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the size given, that of `set`, which outlives the call. 0 is the caller.
    let result = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    check(result).expect("reading one's own affinity cannot be refused");
    // SAFETY: CPU_ISSET indexes `set` by a number below CPU_SETSIZE, its capacity.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

/// Every CPU that a machine can have, for a thread that may run on them again.
pub fn all_cpus() -> Vec<usize> {
    (0..libc::CPU_SETSIZE as usize).collect()
}

/// Keeps the calling thread, and those it will make, on these CPUs, of which it may use one at least.
pub fn set_allowed_cpus(cpus: &[usize]) {
    // SAFETY: as in `allowed_cpus`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: the number came from `allowed_cpus` or `all_cpus`, so it is below the capacity of `set`.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the kernel reads the size given, that of `set`. 0 is the caller.
    let result = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) };
    check(result).expect("a thread may narrow its affinity and widen it again to what it was");
}

/// CPU time this process has used, in user mode and in the kernel.
pub fn cpu_time() -> Duration {
    // SAFETY: an rusage is made of integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes one rusage, and `usage` is one that outlives the call.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    check(result).expect("reading one's own usage cannot be refused");
    let duration =
        |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// CPU time that the process with this number, one of ours, has used.
pub fn cpu_time_of(process: u32) -> Duration {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the kernel is asked nothing here, and glibc writes one clockid_t, which `clock` is.
    let error = unsafe { libc::clock_getcpuclockid(process as libc::pid_t, &mut clock) };
    assert_eq!(error, 0, "process {process} has a clock while it lives");
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec, and `time` is one that outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    check(result).expect("a process that lives has used some time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Lets this process, and those it starts, have as many files open as the hard limit allows; returns how many.
pub fn raise_open_files_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit, and `limit` is one that outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })
        .expect("reading a limit cannot be refused");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit, and `limit` is one.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
        .expect("the soft limit may rise to the hard one");
    limit.rlim_cur
}

/// Asks the kernel to kill this process when the thread that started it ends: no server outlives its bench.
pub fn die_with_parent() {
    // SAFETY: this prctl takes a signal number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    check(result).expect("a valid signal number is accepted");
}

/// Makes the close of a connection a reset, which leaves no TIME-WAIT behind.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the kernel reads the size given, that of `linger`; the borrow of `socket` keeps its fd open.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            mem::size_of_val(&linger) as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// An epoll instance: level-triggered, readable only, as bare as it gets.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An instance that hands out up to `batch` events at once.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: the call touches no memory of ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made `fd` for us, so nobody else owns or closes it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; batch],
        })
    }

    /// Reports `token` whenever `source` is readable, until the source is closed.
    pub fn add(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token as u64,
        };
        let source = source.as_fd().as_raw_fd();
        // SAFETY: the kernel reads one epoll_event, and `event` is one; both fds are open, since `self` and
        // the borrow of `source` live.
        check(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, source, &mut event)
        })?;
        Ok(())
    }

    /// Waits until something is readable, then calls `ready` with each token. `busy`: it does not wait.
    pub fn wait(&mut self, busy: bool, mut ready: impl FnMut(usize)) -> io::Result<()> {
        // SAFETY: the kernel writes at most `len` events from the start of `events`, which has as many and is
        // borrowed by us alone during the call.
        let count = check(unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as i32,
                if busy { 0 } else { -1 },
            )
        })?;
        for event in &self.events[..count as usize] {
            ready(event.u64 as usize);
        }
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
