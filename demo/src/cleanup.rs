//! Leaving nothing behind: no process, no half-made file and no scratch directory, also after Ctrl-C.
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

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, kill_process_group,
    set_child_subreaper, wait, waitid,
};

/// The exit status of a program that Ctrl-C ended: 128 + SIGINT.
const STATUS_INTERRUPTED: i32 = 130;

/// What would be left behind if the demo ended now.
#[derive(Debug, Default)]
struct Leftovers {
    /// The process group of the helper that runs.
    group: Option<Pid>,
    /// Files that the demo has made and not yet filled.
    files: Vec<PathBuf>,
    /// Directories that hold nothing worth keeping.
    directories: Vec<PathBuf>,
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
        self.leftovers().files.push(path);
    }

    /// Forgets it: its content is there now.
    pub fn file_filled(&self, path: &Path) {
        self.leftovers().files.retain(|file| file != path);
    }

    /// Removes the files that were made and never filled: what should have been in them was not to be had.
    pub fn discard_files(&self) {
        for path in self.leftovers().files.drain(..) {
            let _ = fs::remove_file(path);
        }
    }

    /// Makes an empty directory that only this user can enter, and that is gone when the result is dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn scratch(&self) -> io::Result<Scratch> {
        // Locked meanwhile, as in `start`.
        let mut leftovers = self.leftovers();
        let path = (0..u32::MAX)
            .map(|number| env::temp_dir().join(format!("demo-{}-{number}", process::id())))
            .find_map(|path| match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|()| path)),
            });
        let path = path.ok_or(io::ErrorKind::AlreadyExists)??;
        leftovers.directories.push(path.clone());
        Ok(Scratch {
            path,
            cleanup: self.clone(),
        })
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
        end_children();
        for path in &leftovers.files {
            // If it cannot be removed it is an empty file, and there is nobody to tell.
            let _ = fs::remove_file(path);
        }
        for path in &leftovers.directories {
            let _ = fs::remove_dir_all(path);
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
        end_children();
        leftovers.group = None;
        status
    }
}

/// Reaps every child of this process, and kills those that will not end by themselves: they have left the
/// helper's group, as a shell's jobs do.
fn end_children() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return,
            Ok(None) => {
                for child in children() {
                    // It is still unreaped, so the number is its own.
                    let _ = kill_process(child, Signal::KILL);
                }
                let _ = wait(WaitOptions::empty());
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

/// The processes whose parent this one is: the second field after the name in `/proc/PID/stat`.
fn children() -> Vec<Pid> {
    let own = process::id().to_string();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name may hold spaces and brackets; nothing behind it does.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        behind.split_whitespace().nth(1) == Some(own.as_str())
    };
    pids.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_child(name))
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

/// A directory that goes when this does.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    cleanup: Cleanup,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut leftovers = self.cleanup.leftovers();
        // What cannot be removed stays in the directory for temporary files, whose owner clears it.
        let _ = fs::remove_dir_all(&self.path);
        leftovers.directories.retain(|path| *path != self.path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_goes_with_all_that_is_in_it() {
        let cleanup = Cleanup::default();
        let (one, two) = (cleanup.scratch().unwrap(), cleanup.scratch().unwrap());
        let (first, second) = (one.path().to_owned(), two.path().to_owned());
        assert_ne!(first, second);
        fs::write(first.join("file"), "x").unwrap();
        drop(one);
        assert!(!first.exists() && second.exists());
        drop(two);
        assert!(!second.exists() && cleanup.leftovers().directories.is_empty());
    }
}
