//! A pipeline of real processes, and the hand that stops it.
//!
//! ```text
//!   a | b      one process group: Ctrl-C is a signal to all of it
//!   a ── pipe ──> b ── pipe ──> the user
//!   └─ stderr ────┴──── likewise
//! ```
//!
//! The first of them leads the group and is waited for last, so that the group's number is theirs as long as anybody
//! may send it a signal. Pipes and processes are the runtime's, which serve a thread as well.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use runtime::io::{Interest, PipeReader, wait};
use runtime::process::{Child, Command};
use runtime::sync::{Event, Mutex};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What a session runs in the foreground. Whoever reads its keyboard interrupts it.
pub struct Foreground {
    group: Mutex<Group>,
    interrupted: Event,
}

#[derive(Default)]
struct Group {
    /// The leader, which is not waited for yet.
    leader: Option<Pid>,
    /// A command runs, or is about to.
    is_busy: bool,
    /// The session is over: nothing is started any more.
    is_closed: bool,
}

impl Foreground {
    /// Nothing.
    pub fn new() -> Foreground {
        Foreground {
            group: Mutex::new(Group::default()),
            interrupted: Event::new(),
        }
    }

    /// Ctrl-C: SIGINT to all of it, SIGKILL if that has been tried. Returns whether there was anything to interrupt.
    pub fn interrupt(&self) -> bool {
        if !self.group.lock().is_busy {
            return false;
        }
        let signal = if self.interrupted.is_set() {
            Signal::KILL
        } else {
            Signal::INT
        };
        self.interrupted.set();
        self.signal(signal);
        true
    }

    /// The user has gone, or has to: ends it, and nothing follows.
    pub fn close(&self) {
        self.group.lock().is_closed = true;
        self.interrupted.set();
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.group.lock().leader {
            // An error means that all of it has ended.
            let _ = kill_process_group(leader, signal);
        }
    }

    /// Waits for so long; returns early, with false, if interrupted.
    pub fn nap(&self, duration: Duration) -> bool {
        {
            let mut group = self.group.lock();
            if group.is_closed {
                return false;
            }
            group.is_busy = true;
            self.interrupted.reset();
        }
        let was_interrupted = self.interrupted.wait_timeout(duration);
        self.group.lock().is_busy = false;
        !was_interrupted
    }

    /// Runs a pipeline; its output goes to `user`.
    ///
    /// # Errors
    /// Those of `user`: it has gone. What goes wrong with a command is told to it.
    pub fn run(&self, commands: &[Vec<String>], mut user: impl Write) -> io::Result<()> {
        let (mut job, output) = match self.start(commands) {
            Ok(started) => started,
            Err(why) => {
                self.group.lock().is_busy = false;
                return writeln!(user, "{why}");
            }
        };
        let copied = copy(output, user);
        if copied.is_err() {
            self.signal(Signal::KILL);
        }
        let waited = job.wait(self);
        copied.and(waited)
    }

    fn start<'a>(&'a self, commands: &[Vec<String>]) -> Result<(Job<'a>, PipeReader), String> {
        // Held meanwhile, so that nobody misses the group that is just being made.
        let mut group = self.group.lock();
        if group.is_closed {
            return Err("the shell is closing".to_owned());
        }
        group.is_busy = true;
        self.interrupted.reset();
        let mut job = Job {
            children: Vec::new(),
            foreground: self,
        };
        let begun = begin(commands, &mut job.children);
        let leader = job.children.first().and_then(pid_of);
        group.leader = leader;
        drop(group);
        begun.map(|output| (job, output))
    }
}

/// The processes of a pipeline. Dropped before its end, it ends them.
struct Job<'a> {
    children: Vec<Child>,
    foreground: &'a Foreground,
}

impl Job<'_> {
    fn wait(&mut self, foreground: &Foreground) -> io::Result<()> {
        while self.children.len() > 1 {
            if let Some(child) = self.children.last_mut() {
                child.wait()?;
            }
            self.children.pop();
        }
        let Some(leader) = self.children.first_mut() else {
            return Ok(());
        };
        if let Some(pid) = pid_of(leader) {
            wait(pidfd_open(pid, PidfdFlags::empty())?, Interest::Read)?;
        }
        // It has ended, but its number is its own until the next line but one.
        {
            let mut group = foreground.group.lock();
            (group.leader, group.is_busy) = (None, false);
        }
        leader.wait()?;
        self.children.clear();
        Ok(())
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if self.children.is_empty() {
            return;
        }
        {
            let mut group = self.foreground.group.lock();
            (group.leader, group.is_busy) = (None, false);
        }
        if let Some(leader) = self.children.first().and_then(pid_of) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        for child in &mut self.children {
            // Killed, so it does not take long; its status is nobody's concern.
            let _ = child.wait();
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}

/// Starts all of them into `children`; returns where their output comes from.
fn begin(commands: &[Vec<String>], children: &mut Vec<Child>) -> Result<PipeReader, String> {
    let pipe = || io::pipe().map_err(|error| error.to_string());
    let (output, to_output) = pipe()?;
    let mut input = Stdio::null();
    for (index, words) in commands.iter().enumerate() {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let clone = || to_output.try_clone().map_err(|error| error.to_string());
        let (next, stdout): (Stdio, Stdio) = if index + 1 < commands.len() {
            let (next, stdout) = pipe()?;
            (next.into(), stdout.into())
        } else {
            (Stdio::null(), clone()?.into())
        };
        let leader = children
            .first()
            .map_or(0, |leader| leader.id().cast_signed());
        let child = Command::new(program)
            .args(arguments)
            .stdin(std::mem::replace(&mut input, next))
            .stdout(stdout)
            .stderr(clone()?)
            .process_group(leader)
            .spawn();
        children.push(child.map_err(|error| format!("{program}: {error}"))?);
    }
    Ok(PipeReader::from(output))
}

/// From the pipeline to the user, until the last of it has closed its end.
fn copy(mut output: PipeReader, mut user: impl Write) -> io::Result<()> {
    let mut chunk = [0; 4_096];
    loop {
        match output.read(&mut chunk)? {
            0 => return Ok(()),
            length => user.write_all(&chunk[..length])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::shell::line::commands;
    use std::sync::Arc;
    use std::thread;

    fn output(line: &str) -> String {
        let mut output = Vec::new();
        let commands = commands(line).unwrap();
        Foreground::new().run(&commands, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn pipelines_run_in_threads_and_in_coroutines() {
        let line = "printf 'b\\na\\n' | sort";
        assert_eq!(output(line), "a\nb\n");
        assert_eq!(runtime::run(|| output(line)), "a\nb\n");
        assert!(output("/no/such/program | cat").contains("/no/such/program: No such file"));
        // The first of it was started, and is ended.
        assert!(output("sleep 1000 | /no/such/program").contains("No such file"));
    }

    #[test]
    fn an_interrupt_ends_the_whole_pipeline_and_a_closed_session_starts_none() {
        let foreground = Arc::new(Foreground::new());
        let other = Arc::clone(&foreground);
        let (mut from, to) = io::pipe().unwrap();
        let running = thread::spawn(move || {
            // Whoever is started in the background by a shell without job control ignores SIGINT, and so would these.
            let line = "env --default-signal=INT sh -c 'echo on; exec sleep 1000' | cat";
            let line = commands(line).unwrap();
            other.run(&line, &to)
        });
        // It says that it runs.
        from.read_exact(&mut [0; 3]).unwrap();
        assert!(foreground.interrupt());
        running.join().unwrap().unwrap();
        assert!(!foreground.interrupt());
        foreground.close();
        let mut said = Vec::new();
        foreground.run(&[vec!["true".into()]], &mut said).unwrap();
        assert!(String::from_utf8(said).unwrap().contains("closing"));
        assert!(!foreground.nap(Duration::MAX));
    }
}
