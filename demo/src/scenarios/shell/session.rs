//! One user's session: who reads the keyboard, who runs the commands, and what all sessions share.
//!
//! ```text
//!   keyboard:  bytes ──> lines ── channel ──> commands: built in, or a pipeline ──> output
//!              Ctrl-C ── interrupts the foreground ───────┘
//! ```
//!
//! Two units for each session, threads or coroutines: one alone would not notice Ctrl-C while a command runs. Channel,
//! lock and event are the runtime's, which serve both.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::channel::{Receiver, Sender};
use runtime::sync::Mutex;

use super::job::Foreground;
use super::line::{Keyboard, Typed, commands};

/// Of what was typed and not yet run, no more lines are kept.
pub const AHEAD_MAX: usize = 64;
/// Of the lines that were run, no more are kept.
const HISTORY_MAX: usize = 500;

const HELP: &str = "\
echo WORDS     says them
exit           ends the session, as Ctrl-D does
help           this
history        what was typed
sleep SECONDS  waits
who            who is here, and for how long
whoami         your name
Anything else is a program, run with its arguments; a | b hands the output of one to another. Ctrl-C interrupts.
";

/// The users that are there.
#[derive(Default)]
pub struct Hub {
    users: Mutex<Users>,
}

#[derive(Default)]
struct Users {
    here: BTreeMap<u64, User>,
    next: u64,
}

struct User {
    name: Option<String>,
    since: Instant,
    foreground: Arc<Foreground>,
}

impl Hub {
    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.users.lock().here.len()
    }

    /// Ends whatever the users run: the shell is about to end.
    pub fn close(&self) {
        let users = self.users.lock();
        users.here.values().for_each(|user| user.foreground.close());
    }

    /// A new session. It is there until the result is dropped.
    pub fn enter(self: &Arc<Hub>) -> Seat {
        let foreground = Arc::new(Foreground::new());
        let mut users = self.users.lock();
        users.next += 1;
        let number = users.next;
        let user = User {
            name: None,
            since: Instant::now(),
            foreground: Arc::clone(&foreground),
        };
        users.here.insert(number, user);
        Seat {
            hub: Arc::clone(self),
            number,
            foreground,
        }
    }

    fn who(&self) -> String {
        let users = self.users.lock();
        let named = users.here.values().filter_map(|user| {
            let name = user.name.as_ref()?;
            Some(format!("{name:<16} {} s\n", user.since.elapsed().as_secs()))
        });
        named.collect()
    }
}

/// One session's place in the hub.
pub struct Seat {
    hub: Arc<Hub>,
    number: u64,
    foreground: Arc<Foreground>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.foreground.close();
        self.hub.users.lock().here.remove(&self.number);
    }
}

impl Seat {
    /// For whoever reads the keyboard.
    pub fn foreground(&self) -> Arc<Foreground> {
        Arc::clone(&self.foreground)
    }

    /// Talks with the user until it leaves, or is told to.
    ///
    /// # Errors
    /// Those of `user`: it has gone.
    pub fn converse(&self, typed: &Receiver<Typed>, mut user: impl Write) -> io::Result<()> {
        write!(user, "name: ")?;
        user.flush()?;
        let Ok(Typed::Line(name)) = typed.recv() else {
            return Ok(());
        };
        let name = name.trim();
        if name.is_empty() || name.len() > 16 || !name.chars().all(char::is_alphanumeric) {
            return writeln!(user, "a name is up to 16 letters and digits");
        }
        if let Some(user) = self.hub.users.lock().here.get_mut(&self.number) {
            user.name = Some(name.to_owned());
        }
        let mut history: Vec<String> = Vec::new();
        loop {
            write!(user, "{name}$ ")?;
            user.flush()?;
            let line = match typed.recv() {
                Ok(Typed::Line(line)) => line,
                Ok(Typed::Interrupt) => {
                    writeln!(user)?;
                    continue;
                }
                Ok(Typed::End) | Err(_) => return Ok(()),
            };
            if !line.trim().is_empty() {
                history.push(line.clone());
                let surplus = history.len().saturating_sub(HISTORY_MAX);
                history.drain(..surplus);
            }
            match commands(&line) {
                Err(why) => writeln!(user, "{why}")?,
                Ok(commands) => match &commands[..] {
                    [] => {}
                    [only] if only[0] == "exit" => return writeln!(user, "bye"),
                    [only] => match self.built_in(name, only, &history) {
                        Some(said) => user.write_all(said.as_bytes())?,
                        None => self.foreground.run(&commands, &mut user)?,
                    },
                    _ => self.foreground.run(&commands, &mut user)?,
                },
            }
        }
    }

    /// What a command says that the shell does itself; `None` if it does not.
    fn built_in(&self, name: &str, command: &[String], history: &[String]) -> Option<String> {
        let (command, arguments) = command.split_first()?;
        Some(match command.as_str() {
            "echo" => format!("{}\n", arguments.join(" ")),
            "help" => HELP.to_owned(),
            "history" => {
                let lines = history.iter().zip(1..);
                lines
                    .map(|(line, number)| format!("{number:>4}  {line}\n"))
                    .collect()
            }
            "sleep" => match arguments.first().and_then(|seconds| seconds.parse().ok()) {
                Some(seconds) => {
                    let nap = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                    let is_over = self.foreground.nap(nap);
                    if is_over { "" } else { "interrupted\n" }.to_owned()
                }
                None => "sleep takes a number of seconds\n".to_owned(),
            },
            "who" => self.hub.who(),
            "whoami" => format!("{name}\n"),
            _ => return None,
        })
    }
}

/// Reads the keyboard until the user has gone: lines go to `typed`, Ctrl-C to the foreground. Returns why it ended, if it
/// was not the user's wish.
pub fn read_keyboard(
    mut user: impl Read,
    typed: &Sender<Typed>,
    foreground: &Foreground,
) -> Option<String> {
    let mut keyboard = Keyboard::default();
    let mut chunk = [0; 512];
    loop {
        let length = match user.read(&mut chunk) {
            Ok(0) => break None,
            Ok(length) => length,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    break Some("you have been silent for too long; bye\n".to_owned());
                }
                _ => break None,
            },
        };
        for key in chunk[..length]
            .iter()
            .filter_map(|&byte| keyboard.press(byte))
        {
            if key == Typed::Interrupt && foreground.interrupt() {
                continue;
            }
            // Who types further ahead than is kept, types in vain; one who has left is not there to receive.
            let _ = typed.try_send(key);
        }
    }
}
