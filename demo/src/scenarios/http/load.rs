//! The load: as many connections as asked for, each with a request under way all the time, from a process of its own.
//!
//! ```text
//!   server                         load
//!     accept  <── connect, first request, answer ──   64 at a time, until all are there or one is turned away
//!     counts its memory  <───────── Established
//!     ──── go ──────────────────>   every connection: request, answer, request, answer, ...
//!     <──────────────────────────── Done: what each window of time has seen
//! ```
//!
//! A coroutine for each connection, on another CPU than the server if there is one. What it reports are JSON lines.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::net::TcpStream;
use runtime::{coroutine, time};
use serde::{Deserialize, Serialize};

use super::server::ANSWER;
use crate::experiments::panicked;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Connections alive at once.
    pub connections: u64,
    /// How long it may take until they are.
    pub patience: Duration,
    /// How many windows of time are looked at, after every connection was answered once.
    pub windows: u32,
    /// How long each is; longer if the server is slow.
    pub window: Duration,
}

/// What the load tells the server's side.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// So many connections have been answered once.
    Progress(u64),
    /// No more will come.
    Established {
        connections: u64,
        stopped: Option<String>,
    },
    /// What was measured, and how many connections were lost meanwhile.
    Done { windows: Vec<Window>, lost: u64 },
}

/// What came back within one window of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Answers in a second.
    pub rate: f64,
    /// Half of them took no longer, in nanoseconds; `None` if there were none.
    pub p50_ns: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_ns: Option<f64>,
}

impl Window {
    fn of(latencies: &mut [u64], length: Duration) -> Window {
        latencies.sort_unstable();
        let at = |share: usize| {
            let index = (latencies.len() * share / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).map(|&ns| ns as f64)
        };
        Window {
            rate: latencies.len() as f64 / length.as_secs_f64(),
            p50_ns: at(50),
            p99_ns: at(99),
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// However slow the server, a window is no longer.
const WINDOW_MAX: Duration = Duration::from_secs(1);

/// An answer that is this late will not come.
const LATE: Duration = Duration::from_secs(20);

/// Runs the load against `server`, telling `control`.
///
/// # Errors
/// The system's; an end of `control`.
pub fn run(server: SocketAddr, control: &UnixStream, goal: Goal) -> io::Result<()> {
    runtime::run(|| {
        let (connections, stopped) = establish(server, control, goal)?;
        let established = Word::Established {
            connections: connections.len() as u64,
            stopped,
        };
        tell(control, &established)?;
        let mut go = String::new();
        BufReader::new(control).read_line(&mut go)?;
        let (windows, lost) = besiege(connections, goal)?;
        tell(control, &Word::Done { windows, lost })
    })
}

/// Says `word` to the other side.
fn tell(mut control: &UnixStream, word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    control.write_all(&line)
}

/// Connections that have been answered once, and why there are not as many as asked for.
fn establish(
    server: SocketAddr,
    control: &UnixStream,
    goal: Goal,
) -> io::Result<(Vec<TcpStream>, Option<String>)> {
    // As many at a time as no listener's queue is too short for.
    const GANG: usize = 64;
    let state = Rc::new(RefCell::new((Vec::new(), None::<String>)));
    let asked = Rc::new(Cell::new(0));
    let deadline = Instant::now() + goal.patience;
    let gang: Vec<_> = (0..GANG)
        .map(|_| {
            let (state, asked) = (Rc::clone(&state), Rc::clone(&asked));
            coroutine::spawn_local(move || {
                while asked.get() < goal.connections && state.borrow().1.is_none() {
                    asked.set(asked.get() + 1);
                    let made = if Instant::now() < deadline {
                        connect(server)
                            .map_err(|error| format!("a connection was not served: {error}"))
                    } else {
                        Err(format!("stopped after {} s", goal.patience.as_secs_f32()))
                    };
                    let mut state = state.borrow_mut();
                    match made {
                        Ok(stream) => state.0.push(stream),
                        Err(why) => drop(state.1.get_or_insert(why)),
                    }
                }
            })
        })
        .collect();
    for member in gang {
        while !member.is_finished() {
            time::sleep(Duration::from_millis(20));
            tell(control, &Word::Progress(state.borrow().0.len() as u64))?;
        }
        member.join().map_err(panicked)?;
    }
    Ok(state.take())
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LATE))?;
    exchange(&stream)?;
    Ok(stream)
}

/// One request and its answer.
fn exchange(mut stream: &TcpStream) -> io::Result<()> {
    let mut answer = [0; ANSWER.len()];
    stream.write_all(REQUEST)?;
    stream.read_exact(&mut answer)?;
    if answer != ANSWER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "another answer than expected",
        ));
    }
    Ok(())
}

/// The windows of time that are looked at.
#[derive(Clone, Copy)]
struct Span {
    start: Instant,
    window: Duration,
    end: Instant,
}

/// What the connections' coroutines share.
#[derive(Default)]
struct Siege {
    /// How many have been answered at least once.
    answered: Cell<usize>,
    /// Known once all have been.
    span: Cell<Option<Span>>,
    /// Of each window, how long its answers took.
    seen: RefCell<Vec<Vec<u64>>>,
    lost: Cell<u64>,
}

impl Siege {
    fn note(&self, asked: Instant, answered: Instant) {
        let Some(span) = self.span.get() else { return };
        // Before the first window there is none.
        let since = answered.checked_duration_since(span.start);
        let window = since.map(|since| since.as_nanos() / span.window.as_nanos());
        if let Some(window) = window
            && let Some(seen) = self.seen.borrow_mut().get_mut(window as usize)
        {
            seen.push((answered - asked).as_nanos() as u64);
        }
    }

    /// One connection: asks and asks until the last window is over, or it is lost.
    fn ask(&self, stream: &TcpStream) {
        let mut is_first = true;
        loop {
            let asked = Instant::now();
            if self.span.get().is_some_and(|span| asked >= span.end) {
                return;
            }
            let outcome = exchange(stream);
            if mem::take(&mut is_first) {
                self.answered.set(self.answered.get() + 1);
            }
            match outcome {
                Ok(()) => self.note(asked, Instant::now()),
                Err(_) => return self.lost.set(self.lost.get() + 1),
            }
        }
    }
}

/// Lets every connection ask, the first time to warm up.
fn besiege(connections: Vec<TcpStream>, goal: Goal) -> io::Result<(Vec<Window>, u64)> {
    let siege = Rc::new(Siege::default());
    siege
        .seen
        .borrow_mut()
        .resize_with(goal.windows as usize, Vec::new);
    let begun = Instant::now();
    let ask = |stream: TcpStream| {
        let siege = Rc::clone(&siege);
        coroutine::Builder::new().spawn_local(move || siege.ask(&stream))
    };
    let asking: Vec<_> = connections
        .into_iter()
        .map(ask)
        .collect::<io::Result<_>>()?;
    while siege.answered.get() < asking.len() {
        time::sleep(Duration::from_millis(1));
    }
    // Where an answer takes long, a window has to be long too, or it sees none.
    let window = goal.window.max(begun.elapsed() / 4).min(WINDOW_MAX);
    let start = Instant::now();
    let end = start + window * goal.windows;
    siege.span.set(Some(Span { start, window, end }));
    for one in asking {
        one.join().map_err(panicked)?;
    }
    let mut seen = siege.seen.take();
    let windows = seen
        .iter_mut()
        .map(|latencies| Window::of(latencies, window));
    Ok((windows.collect(), siege.lost.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_its_answers_and_finds_the_slowest() {
        let mut latencies: Vec<u64> = (1..=200).rev().collect();
        let window = Window::of(&mut latencies, Duration::from_millis(100));
        assert_eq!(
            (window.rate, window.p50_ns, window.p99_ns),
            (2_000.0, Some(101.0), Some(199.0))
        );
        let none = Window::of(&mut [], Duration::from_secs(1));
        assert_eq!((none.rate, none.p99_ns), (0.0, None));
    }
}
