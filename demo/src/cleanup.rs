//! Leaving nothing behind: no process and no half-made file, also after Ctrl-C.
//!
//! ```text
//!   demo                     adopts every orphan below it (child subreaper), so it can reap them all
//!    └─ helper               leads a process group; dies with the demo (PR_SET_PDEATHSIG)
//!        ├─ forked child     in the same group; dies with the helper
//!        └─ ...
//! ```
//!
//! The helper's group is not the terminal's, so a Ctrl-C reaches the demo alone, which kills the group by its
//! id. If the demo itself is killed outright, the kernel passes that on downwards.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process_group,
    set_child_subreaper, wait, waitid, waitpgid,
};

/// The exit status of a program that Ctrl-C ended: 128 + SIGINT.
const STATUS_INTERRUPTED: i32 = 130;

/// What would be left behind if the demo ended now.
#[derive(Debug, Default)]
struct Leftovers {
    /// The process group of the helper that runs.
    group: Option<Pid>,
    /// A file that the demo has made and not yet filled.
    file: Option<PathBuf>,
}

/// The one who knows what is to be cleared up, and does it on SIGINT, SIGTERM and SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct Cleanup(Arc<Mutex<Leftovers>>);

impl Cleanup {
    /// Adopts orphans and installs the signal handler.
    ///
    /// # Errors
    /// The system's, which may refuse the handler's pipe or thread.
    pub fn install() -> io::Result<Cleanup> {
        set_child_subreaper(Some(getpid()))?;
        let cleanup = Cleanup::default();
        let at_signal = cleanup.clone();
        ctrlc::set_handler(move || at_signal.clear_and_exit()).map_err(io::Error::other)?;
        Ok(cleanup)
    }

    /// Remembers a new, still empty file, to be removed if the demo is interrupted.
    pub fn file_made(&self, path: PathBuf) {
        self.leftovers().file = Some(path);
    }

    /// Forgets it: its content is there now.
    pub fn file_filled(&self) {
        self.leftovers().file = None;
    }

    /// Starts a helper, which must be set to lead a process group of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self, command: &mut Command) -> io::Result<Helper> {
        // Locked meanwhile: a signal that comes now is served when the group is known.
        let mut leftovers = self.leftovers();
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        leftovers.group = Some(group);
        Ok(Helper {
            child,
            group,
            cleanup: self.clone(),
        })
    }

    /// Never gives the lock back: nobody can start another helper once this has begun.
    fn clear_and_exit(&self) -> ! {
        let leftovers = self.leftovers();
        if let Some(group) = leftovers.group {
            kill(group);
        }
        while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
        if let Some(path) = &leftovers.file {
            // If it cannot be removed it is an empty file, and there is nobody to tell.
            let _ = fs::remove_file(path);
        }
        eprintln!("demo: interrupted; every process that it had started is gone");
        std::process::exit(STATUS_INTERRUPTED)
    }

    fn leftovers(&self) -> MutexGuard<'_, Leftovers> {
        // The record is valid between any two statements, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A helper process and all that it may have started. Finished or dropped, none of it is left.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    group: Pid,
    cleanup: Cleanup,
}

impl Helper {
    /// The reading end of its output.
    ///
    /// # Panics
    /// If its output was not piped, or was taken before.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child
            .stdout
            .take()
            .expect("the helper's output is piped and taken once")
    }

    /// Kills it and all of its group.
    pub fn kill(&self) {
        kill(self.group);
    }

    /// Waits for its end, then ends and reaps whatever is left of its group.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self) -> io::Result<ExitStatus> {
        // Left unreaped at first, so that the group's number cannot have passed to strangers.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(self.group), ended) {}
        self.clear()
    }

    fn clear(&mut self) -> io::Result<ExitStatus> {
        let mut leftovers = self.cleanup.leftovers();
        kill(self.group);
        let status = self.child.wait();
        // Its children are ours now.
        while !matches!(
            waitpgid(self.group, WaitOptions::empty()),
            Err(Errno::CHILD)
        ) {}
        leftovers.group = None;
        status
    }
}

fn kill(group: Pid) {
    // An error means that nobody is left in it.
    let _ = kill_process_group(group, Signal::KILL);
}

impl Drop for Helper {
    fn drop(&mut self) {
        let running = self.cleanup.leftovers().group == Some(self.group);
        if running {
            // Killed, so there is no status that anybody could want.
            let _ = self.clear();
        }
    }
}
