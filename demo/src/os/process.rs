//! Making processes: fork, posix_spawn, and a child that never outlives its parent.

use std::ffi::{CStr, c_char};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// A child process of this one; dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    reaped: bool,
}

impl Child {
    fn of(pid: libc::pid_t) -> Child {
        Child {
            pid: Pid::from_raw(pid).expect("a child's pid is positive"),
            reaped: false,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it go its own way: dropping nothing will end it, and somebody else has to reap it.
    pub fn detach(mut self) -> Pid {
        self.reaped = true;
        self.pid
    }

    /// Somebody else has waited for it: its pid may name a stranger now.
    pub(super) fn note_reaped(&mut self) {
        self.reaped = true;
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `Other`, naming the status, if it ended by a signal or with a status other than 0.
    pub fn wait(self) -> io::Result<()> {
        match self.end()? {
            End::Status(0) => Ok(()),
            End::Status(code) => Err(io::Error::other(format!(
                "a child ended with status {code}"
            ))),
            End::Signal(signal) => Err(io::Error::other(format!(
                "a child was ended by signal {signal}"
            ))),
        }
    }

    /// Waits until it has ended, and tells how.
    ///
    /// # Errors
    /// The system's.
    pub fn end(mut self) -> io::Result<End> {
        loop {
            if let Some(end) = self.ended(WaitOptions::empty())? {
                return Ok(end);
            }
        }
    }

    /// As [`Child::end`]; `None` if it has not ended after `patience`, when it is killed. Looks every millisecond.
    ///
    /// # Errors
    /// The system's.
    pub fn end_within(mut self, patience: Duration) -> io::Result<Option<End>> {
        const PERIOD: Duration = Duration::from_millis(1);
        let start = Instant::now();
        loop {
            let end = self.ended(WaitOptions::NOHANG)?;
            if end.is_some() || start.elapsed() >= patience {
                return Ok(end);
            }
            thread::sleep(PERIOD);
        }
    }

    /// How it has ended; `None` if it has not, or a signal handler ran meanwhile.
    fn ended(&mut self, options: WaitOptions) -> io::Result<Option<End>> {
        let status = match waitpid(Some(self.pid), options) {
            Ok(Some((_, status))) => status,
            Ok(None) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.reaped = true;
        Ok(Some(match status.exit_status() {
            Some(code) => End::Status(code),
            None => End::Signal(status.terminating_signal().unwrap_or(0)),
        }))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Not yet waited for, so the pid still names this child and no stranger. Its status is of
        // no interest to somebody who drops it.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Forks: the child runs `body` and ends with the status that it returns (101 if it panics).
///
/// The child dies with this process. What `body` owns is dropped here once the child has its copy, so a
/// pipe end moved into it is closed on this side.
///
/// Cost beside the fork itself: one `stat` here, one `prctl` and one `getppid` in the child, under a
/// hundredth of it.
///
/// # Errors
/// The system's (EAGAIN: a limit on processes; ENOMEM); `Unsupported` if this process has a second thread.
pub fn fork(body: impl FnOnce() -> i32) -> io::Result<Child> {
    refuse_with_threads()?;
    let parent = getpid();
    // SAFETY: fork is undefined only for what other threads were doing: a lock they hold stays held
    // in the child for ever. There is no other thread (checked above), and none can appear between, since
    // only this thread could start it. The child therefore may run any code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = panic::catch_unwind(AssertUnwindSafe(|| match die_with_parent(parent) {
                Ok(()) => body(),
                Err(_) => 1,
            }));
            // SAFETY: always allowed. `_exit` rather than `exit`: buffers and exit handlers are copies
            // of the parent's, who will run his own.
            unsafe { libc::_exit(status.unwrap_or(101)) }
        }
        pid => Ok(Child::of(pid)),
    }
}

/// A directory has two links and one for each directory in it: the link count of `task` counts threads.
fn refuse_with_threads() -> io::Result<()> {
    if fs::metadata("/proc/self/task")?.nlink() == 3 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "fork from a process with several threads: their locks would stay held in the child; \
             fork from a helper process that has one",
        ))
    }
}

/// Starts `program` with `argument` by `posix_spawn`, which copies no address space.
///
/// # Errors
/// The system's: ENOENT, EAGAIN, ENOMEM.
pub fn spawn_program(program: &CStr, argument: &CStr) -> io::Result<Child> {
    let argv: [*mut c_char; 3] = [
        program.as_ptr().cast_mut(),
        argument.as_ptr().cast_mut(),
        ptr::null_mut(),
    ];
    let no_environment: [*mut c_char; 1] = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: both lists end with a null; their strings are borrowed for the whole call, which copies
    // them into the new program before it returns and writes to none (the C prototype lacks a const).
    // Null file actions and attributes mean the defaults; `pid` is ours to write.
    let errno = unsafe {
        libc::posix_spawn(
            &mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            no_environment.as_ptr(),
        )
    };
    match errno {
        0 => Ok(Child::of(pid)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Asks the kernel to kill this process as soon as `parent`, its parent, is gone.
///
/// # Errors
/// `NotFound` if the parent has ended already, when the kernel would never tell.
pub fn die_with_parent(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the parent process has ended",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test harness has several threads: a successful fork is shown by tests/cli.rs.
    #[test]
    fn fork_refuses_in_a_process_with_threads() {
        let second = std::thread::spawn(std::thread::park);
        let refused = fork(|| 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        second.thread().unpark();
        second.join().unwrap();
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        assert!(spawn_program(c"/no/such/program", c"x").is_err());
    }

    #[test]
    fn a_status_other_than_zero_is_an_error_that_names_it() {
        let error = spawn_program(c"/bin/false", c"x")
            .unwrap()
            .wait()
            .unwrap_err();
        assert!(error.to_string().contains("status 1"), "{error}");
    }

    #[test]
    fn the_end_of_a_child_is_told_if_it_comes_in_time() {
        let spawn = |argument| spawn_program(c"/bin/sleep", argument).unwrap();
        assert_eq!(spawn(c"0").end().unwrap(), End::Status(0));
        let late = spawn(c"1000").end_within(Duration::from_millis(1));
        assert_eq!(late.unwrap(), None);
        let child = spawn(c"1000");
        kill_process(child.pid(), Signal::TERM).unwrap();
        assert_eq!(child.end().unwrap(), End::Signal(15));
    }

    #[test]
    fn a_dropped_child_is_killed_and_reaped() {
        let child = spawn_program(c"/bin/sleep", c"1000").unwrap();
        let pid = child.pid();
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
