//! What is to be started, and how, as [`std::process::Command`].
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

use super::{Child, ExitStatus, Output, Stdio};

/// A program to be started, with its arguments and surroundings, as [`std::process::Command`].
///
/// ```
/// use std::io::{Read, Write};
/// use runtime::process::{Command, Stdio};
///
/// runtime::run(|| -> std::io::Result<()> {
///     let mut child = Command::new("tr").args(["a-z", "A-Z"])
///         .stdin(Stdio::piped())
///         .stdout(Stdio::piped())
///         .spawn()?;
///     child.stdin.take().unwrap().write_all(b"shout")?;
///     let mut shouted = String::new();
///     child.stdout.take().unwrap().read_to_string(&mut shouted)?;
///     assert_eq!(shouted, "SHOUT");
///     assert!(child.wait()?.success());
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Command {
    command: std::process::Command,
    /// Somebody has said where these go. What nobody has said depends on how the command is run.
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Command {
    /// The program at this path; without a slash it is looked for in `PATH`.
    pub fn new<S: AsRef<OsStr>>(program: S) -> Self {
        Command {
            command: std::process::Command::new(program),
            stdin: false,
            stdout: false,
            stderr: false,
        }
    }

    /// One more argument.
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// Its own name, argument 0, instead of the program's.
    pub fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.command.arg0(arg);
        self
    }

    /// Sets a variable of its environment, which is otherwise a copy of ours.
    pub fn env<K, V>(&mut self, key: K, value: V) -> &mut Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.env(key, value);
        self
    }

    /// Sets several.
    pub fn envs<I, K, V>(&mut self, variables: I) -> &mut Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.envs(variables);
        self
    }

    /// Leaves one out.
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Self {
        self.command.env_remove(key);
        self
    }

    /// Leaves all out.
    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    /// The directory that it starts in.
    pub fn current_dir<P: AsRef<Path>>(&mut self, directory: P) -> &mut Self {
        self.command.current_dir(directory);
        self
    }

    /// The user that it runs as.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.command.uid(id);
        self
    }

    /// The group of users that it runs as.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.command.gid(id);
        self
    }

    /// The process group that it belongs to; 0: a new one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.command.process_group(group);
        self
    }

    /// Where it reads from: by default from what we read from, or nothing for [`output`](Self::output).
    pub fn stdin<T: Into<Stdio>>(&mut self, stdin: T) -> &mut Self {
        self.command.stdin(stdin);
        self.stdin = true;
        self
    }

    /// Where it writes to: by default to where we do, or to us for [`output`](Self::output).
    pub fn stdout<T: Into<Stdio>>(&mut self, stdout: T) -> &mut Self {
        self.command.stdout(stdout);
        self.stdout = true;
        self
    }

    /// Where its errors go, as [`stdout`](Self::stdout).
    pub fn stderr<T: Into<Stdio>>(&mut self, stderr: T) -> &mut Self {
        self.command.stderr(stderr);
        self.stderr = true;
        self
    }

    /// Starts it. The calling thread, a worker perhaps, is busy until that is done.
    ///
    /// # Errors
    /// As [`std::process::Command::spawn`].
    pub fn spawn(&mut self) -> io::Result<Child> {
        Child::of(self.command.spawn()?)
    }

    /// Starts it and waits for its end; returns how that was.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts it and waits for its end; returns how that was, and what it has written.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        let defaults = [self.stdin, self.stdout, self.stderr].map(|said| !said);
        self.redirect(defaults, [Stdio::null, Stdio::piped, Stdio::piped]);
        let child = self.spawn();
        self.redirect(defaults, [Stdio::inherit; 3]);
        child?.wait_with_output()
    }

    /// Sets those that nobody has said anything about.
    fn redirect(&mut self, [stdin, stdout, stderr]: [bool; 3], to: [fn() -> Stdio; 3]) {
        if stdin {
            self.command.stdin(to[0]());
        }
        if stdout {
            self.command.stdout(to[1]());
        }
        if stderr {
            self.command.stderr(to[2]());
        }
    }

    /// The program.
    pub fn get_program(&self) -> &OsStr {
        self.command.get_program()
    }

    /// The arguments so far, without argument 0.
    pub fn get_args(&self) -> std::process::CommandArgs<'_> {
        self.command.get_args()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}
