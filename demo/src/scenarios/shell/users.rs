//! Users who do not exist: each logs in, types, reads what comes, thinks for a while, and leaves.
//!
//! They are coroutines of a process of their own. All are logged in before the first begins to work.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::sync::Event;
use runtime::{coroutine, net, time};
use serde::{Deserialize, Serialize};

use crate::experiments::panicked;

/// How much they do.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Users at once.
    pub users: u32,
    /// Built-in commands of each.
    pub built_ins: u32,
    /// Pipelines of two processes of each.
    pub pipelines: u32,
    /// The pause before each, on average.
    pub think: Duration,
}

/// What they tell the shell's side.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// All are logged in.
    LoggedIn,
    /// How long the shell took to answer, in nanoseconds, command by command.
    Done {
        built_ins: Vec<f64>,
        pipelines: Vec<f64>,
    },
}

/// An answer that is this late will not come.
const LATE: Duration = Duration::from_secs(30);

/// What all share.
struct Room {
    logged_in: Cell<u32>,
    begin: Event,
    built_ins: RefCell<Vec<f64>>,
    pipelines: RefCell<Vec<f64>>,
}

/// Lets them in at `door`, and tells `control`.
///
/// # Errors
/// The system's; what a user was answered that is wrong.
pub fn run(door: &Path, control: &UnixStream, crowd: Crowd) -> io::Result<()> {
    runtime::run(|| {
        let room = Rc::new(Room {
            logged_in: Cell::new(0),
            begin: Event::new(),
            built_ins: RefCell::default(),
            pipelines: RefCell::default(),
        });
        let users: Vec<_> = (0..crowd.users)
            .map(|number| {
                let (room, door) = (Rc::clone(&room), door.to_owned());
                coroutine::spawn_local(move || use_shell(&door, number, crowd, &room))
            })
            .collect();
        while room.logged_in.get() < crowd.users {
            if users.iter().any(coroutine::JoinHandle::is_finished) {
                break; // it has failed; its error is below
            }
            time::sleep(Duration::from_millis(1));
        }
        if room.logged_in.get() == crowd.users {
            tell(control, &Word::LoggedIn)?;
            BufReader::new(control).read_line(&mut String::new())?;
        }
        room.begin.set();
        for user in users {
            user.join().map_err(panicked)??;
        }
        let (built_ins, pipelines) = (room.built_ins.take(), room.pipelines.take());
        tell(
            control,
            &Word::Done {
                built_ins,
                pipelines,
            },
        )
    })
}

fn tell(mut control: &UnixStream, word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    control.write_all(&line)
}

fn use_shell(door: &Path, number: u32, crowd: Crowd, room: &Room) -> io::Result<()> {
    let name = format!("user{number}");
    let mut terminal = Terminal {
        stream: net::UnixStream::connect(door)?,
        prompt: format!("{name}$ "),
    };
    terminal.stream.set_read_timeout(Some(LATE))?;
    terminal.read_until("name: ")?;
    terminal.command(&name, "")?;
    room.logged_in.set(room.logged_in.get() + 1);
    room.begin.wait();
    for round in 0..crowd.built_ins + crowd.pipelines {
        // Not all at the same moment: between half of the average and one and a half.
        let tenths = 5 + (number * 7 + round * 3) % 11;
        time::sleep(crowd.think * tenths / 10);
        let start = Instant::now();
        // The pipelines are spread over the rounds, and not the same for all.
        let every = (crowd.built_ins + crowd.pipelines) / crowd.pipelines.max(1);
        let (line, answer, times) = if crowd.pipelines > 0 && (round + number).is_multiple_of(every)
        {
            (
                format!("printf 'b\\n{number}\\na\\n' | sort"),
                format!("{number}\na\nb\n"),
                &room.pipelines,
            )
        } else {
            (
                format!("echo {number} {round}"),
                format!("{number} {round}\n"),
                &room.built_ins,
            )
        };
        terminal.command(&line, &answer)?;
        times.borrow_mut().push(start.elapsed().as_nanos() as f64);
    }
    let rounds = (crowd.built_ins + crowd.pipelines) as usize;
    let history = terminal.say("history")?;
    if history.lines().count() != rounds + 1 {
        return Err(io::Error::other(format!(
            "the history of {rounds} commands is {history}"
        )));
    }
    terminal.stream.write_all(b"exit\n")?;
    terminal.stream.read_to_string(&mut String::new())?;
    Ok(())
}

/// What a user sits at.
struct Terminal {
    stream: net::UnixStream,
    prompt: String,
}

impl Terminal {
    /// Types `line`; what is said until the next prompt has to be `answer`.
    fn command(&mut self, line: &str, answer: &str) -> io::Result<()> {
        let said = self.say(line)?;
        if said != answer {
            return Err(io::Error::other(format!(
                "`{line}` was answered by {said:?}"
            )));
        }
        Ok(())
    }

    fn say(&mut self, line: &str) -> io::Result<String> {
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        let prompt = self.prompt.clone();
        self.read_until(&prompt)
    }

    /// What comes before `end`, which nothing follows.
    fn read_until(&mut self, end: &str) -> io::Result<String> {
        let mut said = Vec::new();
        let mut chunk = [0; 1_024];
        while !said.ends_with(end.as_bytes()) {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => said.extend_from_slice(&chunk[..length]),
            }
        }
        said.truncate(said.len() - end.len());
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}
