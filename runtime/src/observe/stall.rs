//! Stalls: a coroutine that keeps its worker for too long, and with it all its neighbours.
//!
//! ```text
//!   watchdog, a thread of each runtime        worker
//!   every 25 ms: which turn is it?            turn 7, 8, 9 ...
//!   the same for 100 ms?                      turn 9: while true {}
//!     does it compute, or wait in a call?
//!     who is it, and where?          ──────►  SIGURG: name and frames
//!   report                           ◄──────
//! ```
//!
//! Nobody is preempted, so this is a mistake that shows only as slowness. The report names the coroutine, what keeps it, and where:
//!
//! ```text
//! coroutine 'hog' (id 2) has kept worker 1 for 103 ms: computing
//!   spawned at src/main.rs:40:38
//!    0: fibonacci
//!         at src/main.rs:88
//!       and 15 more of it
//!   16: {closure#1}
//!         at src/main.rs:40
//!   its neighbours wait meanwhile: let it yield now and then, or use runtime::spawn_blocking
//! ```
//!
//! **On by default in debug builds**, at 100 ms, off in release: [`Builder::stall_after`](crate::Builder::stall_after).
//! [`Builder::on_stall`](crate::Builder::on_stall) has a function called instead of the report on stderr.
//!
//! | what was seen, for so long                                | is reported as                  |
//! |-----------------------------------------------------------|---------------------------------|
//! | one turn; the thread has had that much processor time     | computing                       |
//! | one turn; the thread waited, and not for a processor      | blocked, in which system call   |
//! | one turn; the thread waited for a processor               | nothing: the machine is busy    |
//! | one turn; the thread is stopped, by a debugger            | nothing                         |
//!
//! **Cost.** The turns are numbered: a store each. The watchdog looks 40 times a second, and sleeps while all workers do. The
//! thread that is asked where it is gets a SIGURG, once a stall: sleeps and waits that are not restarted
//! ([signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)) end early then, with `EINTR`, which std repeats.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::trace::flight;
use crate::home::{Found, Shared, Watched};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::seam::sync::real::{atomic::Ordering, thread};
use crate::sys::process::report;
use crate::sys::thread::{Activity as State, Times};
use crate::task::RECORD_FILE;
use crate::threads::HELPERS;

/// What is called on a stall.
#[derive(Clone)]
pub(crate) struct Hook(pub(crate) Arc<dyn Fn(&Stall) + Send + Sync>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook(..)")
    }
}

/// A coroutine that keeps its worker for too long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Which worker.
    pub worker: usize,
    /// The coroutine's number; none if it could not be asked.
    pub id: Option<u64>,
    /// Its name, the first 64 bytes.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: Option<&'static Location<'static>>,
    /// For how long, at least, time in which the thread waited for a processor included.
    pub duration: Duration,
    /// What keeps it.
    pub activity: Activity,
    /// Where it was when it was asked, the innermost call first; empty if it could not be.
    pub backtrace: Vec<Frame>,
    /// What its worker did last, as lines: with a [flight recorder](crate::Builder::flight_recorder), else empty.
    pub last_events: String,
}

/// What keeps a coroutine from giving way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs on the processor.
    Computing,
    /// It blocks its thread in this system call.
    Blocked(String),
}

/// A call, as far as the program's debug information tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function, or an address.
    pub function: String,
    /// File and line.
    pub at: Option<(String, u32)>,
}

/// The thread of a runtime's watchdog.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

impl Watchdog {
    /// Watches the workers of a runtime.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(
        shared: Arc<Shared>,
        after: Duration,
        hook: Option<Hook>,
    ) -> io::Result<Self> {
        let theirs = Arc::clone(&shared);
        let (begin, begun) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("stall-watchdog".into());
        let thread = thread.spawn(move || {
            HELPERS.fetch_add(1, Ordering::Relaxed);
            let _ = begin.send(());
            watch(&theirs, after, hook);
            HELPERS.fetch_sub(1, Ordering::Relaxed);
        })?;
        // What std allocates for a new thread is there then: it ends the process if there is no memory for that.
        let _ = begun.recv();
        Ok(Watchdog { shared, thread })
    }

    /// Ends it, and waits for that.
    pub(crate) fn stop(self) {
        self.shared.kennel.close();
        let _ = self.thread.join();
    }
}

/// To find the names of functions takes about as much memory, once.
const REPORT_BYTES: usize = 32 << 20;

/// What the watchdog has seen of a worker.
#[derive(Clone, Copy)]
struct Seen {
    turn: u64,
    since: Instant,
    times: Times,
    is_reported: bool,
}

fn watch(shared: &Shared, after: Duration, hook: Option<Hook>) {
    let pause = (after / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
    let somebody_works = || {
        shared
            .seats
            .iter()
            .any(|seat| seat.watched.turn().is_some())
    };
    let mut seen: Vec<Option<Seen>> = vec![None; shared.seats.len()];
    while shared.kennel.wait(pause, somebody_works) {
        for (worker, (seat, seen)) in shared.seats.iter().zip(&mut seen).enumerate() {
            if let Some(mut stall) = look(&seat.watched, seen, after, worker) {
                stall.last_events = flight::of_worker(shared, worker);
                match &hook {
                    Some(hook) => {
                        // Whatever that is, it may wake somebody.
                        HELPERS.fetch_sub(1, Ordering::Relaxed);
                        (hook.0)(&stall);
                        HELPERS.fetch_add(1, Ordering::Relaxed);
                    }
                    None => report(&stall.to_string()),
                }
            }
        }
    }
}

/// Looks at one worker.
fn look(
    watched: &Watched,
    seen: &mut Option<Seen>,
    after: Duration,
    worker: usize,
) -> Option<Stall> {
    let Some(turn) = watched.turn() else {
        *seen = None;
        return None;
    };
    let now = clock::now();
    let begins = || Seen {
        turn,
        since: now,
        times: watched.thread().times(),
        is_reported: false,
    };
    let before = match seen {
        Some(before) if before.turn == turn => before,
        _ => {
            *seen = Some(begins());
            return None;
        }
    };
    let duration = now.saturating_duration_since(before.since);
    if before.is_reported || duration < after {
        return None;
    }
    let state = watched.thread().activity();
    if state == Some(State::Stopped) {
        *before = begins();
        return None;
    }
    let call = watched.thread().system_call();
    let times = watched.thread().times();
    let ran = times.ran.saturating_sub(before.times.ran);
    let queued = times.queued.saturating_sub(before.times.queued);
    // What it waits for a processor just now is not in `queued` yet. So whoever could run has stalled if it has run,
    // though the kernel counts that by the tick, a few milliseconds; and whoever waits for something else, if it did not
    // stand in the queue meanwhile.
    let has_stalled = match state {
        Some(State::Waiting) => duration.saturating_sub(queued) >= after,
        _ => ran >= after - after / 10,
    };
    if !has_stalled {
        return None;
    }
    before.is_reported = true;
    if Vec::<u8>::new().try_reserve(REPORT_BYTES).is_err() {
        return None; // and whoever has no memory has other worries
    }
    let activity = match call {
        Some(call) if ran < duration / 2 => Activity::Blocked(call.to_string()),
        _ => Activity::Computing,
    };
    let found = watched.find(turn, thread::sleep)?;
    Some(Stall::of(worker, duration, activity, found))
}

impl Stall {
    fn of(worker: usize, duration: Duration, activity: Activity, found: Found) -> Self {
        let (id, name, spawned_at) = match found.who {
            Some((id, name, spawned_at)) => (Some(id), name, spawned_at),
            None => (None, None, None),
        };
        Stall {
            worker,
            id,
            name,
            spawned_at,
            duration,
            activity,
            backtrace: resolved(&found.frames),
            last_events: String::new(),
        }
    }
}

/// What the addresses are in the program's terms, down to where the coroutine's own code begins.
fn resolved(addresses: &[usize]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = addresses
        .iter()
        .flat_map(|address| calls_at(*address))
        .collect();
    let is_of_runtime = |frame: &Frame| {
        let in_file = |(file, _): &(String, u32)| file.ends_with(RECORD_FILE);
        frame.at.as_ref().is_some_and(in_file) || frame.function == "runtime::task::record::run"
    };
    let end = frames.iter().position(is_of_runtime);
    frames.truncate(end.unwrap_or(frames.len()));
    // What std has between the closure and who calls it says nothing to anybody.
    let is_of_std = |frame: &Frame| match &frame.at {
        Some((file, _)) => file.contains("/library/"),
        None => frame.function.starts_with("__rust_try"),
    };
    while end.is_some() && frames.last().is_some_and(is_of_std) {
        frames.pop();
    }
    frames
}

/// The function at this address, behind those that were inlined there.
fn calls_at(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    // `resolve` looks one byte before what it is given, which would be where a call returns to.
    backtrace::resolve((address + 1) as *mut c_void, |symbol| {
        let function = symbol
            .name()
            .map(|name| without_generics(&format!("{name:#}"))); // nor the hash
        let file = symbol.filename().map(|file| file.display().to_string());
        frames.push(Frame {
            function: function.unwrap_or_else(|| format!("{address:#x}")),
            at: file.zip(symbol.lineno()),
        });
    });
    if frames.is_empty() {
        frames.push(Frame {
            function: format!("{address:#x}"),
            at: None,
        });
    }
    frames
}

/// `f<closure of a long name>` is `f`; `<T as Trait>::f` stays.
fn without_generics(name: &str) -> String {
    if name.starts_with('<') {
        return name.into();
    }
    let (mut short, mut depth) = (String::new(), 0_u32);
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            c if depth == 0 => short.push(c),
            _ => {}
        }
    }
    short
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, &self.name) {
            (Some(id), Some(name)) => write!(f, "coroutine '{name}' (id {id})")?,
            (Some(id), None) => write!(f, "coroutine '<unnamed>' (id {id})")?,
            (None, _) => f.write_str("a coroutine")?,
        }
        let (worker, millis) = (self.worker, self.duration.as_millis());
        write!(
            f,
            " has kept worker {worker} for {millis} ms: {}",
            self.activity
        )?;
        if let Some(site) = self.spawned_at {
            write!(f, "\n  spawned at {site}")?;
        }
        let mut number = 0;
        for same in self.backtrace.chunk_by(|one, next| one == next) {
            write!(f, "\n  {number:>2}: {}", same[0].function)?;
            if let Some((file, line)) = &same[0].at {
                write!(f, "\n        at {file}:{line}")?;
            }
            if same.len() > 1 {
                write!(f, "\n      and {} more of it", same.len() - 1)?;
            }
            number += same.len();
        }
        if self.backtrace.is_empty() {
            f.write_str("\n  where it is could not be found out: its thread did not answer")?;
        }
        f.write_str("\n  its neighbours wait meanwhile: let it yield now and then, or use runtime::spawn_blocking")?;
        match self.last_events.trim_end() {
            "" => Ok(()),
            events => write!(f, "\n{events}"),
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activity::Computing => f.write_str("computing"),
            Activity::Blocked(call) => write!(f, "blocked in {call}"),
        }
    }
}
