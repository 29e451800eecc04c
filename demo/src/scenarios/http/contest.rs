//! The contest: a listener, the load that comes to it, and the row that comes of it.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::load::{self, Goal, Window, Word};
use super::{MEMORY, P50, P99, RATE, RUNS_OUT};
use crate::lab::Lab;
use crate::limits;
use crate::os::{self, Pin};
use crate::quantity::grouped;
use crate::report::{Body, Effort, Row};
use crate::stats::Summary;

/// How much load a run of this effort makes.
pub fn goal(effort: Effort) -> Goal {
    let (connections, patience_s, window_ms) = match effort {
        Effort::Quick => (500, 5, 20),
        Effort::Standard => (10_000, 4, 150),
        Effort::Full => (10_000, 20, 1_000),
    };
    Goal {
        connections,
        patience: Duration::from_secs(patience_s),
        windows: 11,
        window: Duration::from_millis(window_ms),
    }
}

/// Besides its connections a server has a listener, a reactor, the standard streams and the like.
const SPARE_DESCRIPTORS: u64 = 32;

/// Takes as many descriptors as this process may have; returns how many connections that makes.
pub fn raise_descriptors() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised)?;
    let most = limit.maximum.unwrap_or(u64::MAX);
    Ok(most.saturating_sub(SPARE_DESCRIPTORS))
}

/// A listener, and the load that will come to it: a process of its own, and the line to it.
///
/// The process that calls has one thread yet.
pub fn prepare(lab: &Lab) -> io::Result<(TcpListener, os::Child, UnixStream, Goal)> {
    let room = raise_descriptors()?;
    let wanted = goal(lab.effort);
    let goal = Goal {
        connections: wanted.connections.min(room),
        ..wanted
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (control, of_load) = UnixStream::pair()?;
    let cpu = lab.second_cpu();
    let load = os::fork(|| {
        // Without a second CPU, or if it is refused, they share one.
        let _pin = cpu.map(Pin::to);
        match load::run(address, &of_load, goal) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("http-10k: the load failed: {error}");
                1
            }
        }
    })?;
    Ok((listener, load, control, goal))
}

/// What the server's side of the contest knows.
pub struct Contest<'a> {
    pub lab: &'a mut Lab,
    pub label: &'static str,
    pub body: Body,
    pub goal: Goal,
}

impl Contest<'_> {
    /// Hears the load out and reports the row. `memory` tells what each of so many
    /// connections takes, `refusal` why one was
    /// turned away.
    ///
    /// # Errors
    /// The system's; `Other` if nobody was served.
    pub fn conduct(
        &mut self,
        mut control: impl Read + Write,
        memory: impl FnOnce(u64) -> io::Result<u64>,
        refusal: impl FnOnce() -> Option<String>,
    ) -> io::Result<()> {
        let mut row = Row::new(self.label, self.body);
        let established = loop {
            match hear(&mut control)? {
                Word::Progress(done) => self.lab.progress(self.label, done, self.goal.connections),
                Word::Established {
                    stopped,
                    connections,
                } => {
                    row.note = stopped;
                    break connections;
                }
                Word::Done { .. } => return Err(io::ErrorKind::InvalidData.into()),
            }
        };
        if established == 0 {
            let why = row.note.unwrap_or_default();
            return Err(io::Error::other(format!("no connection at all: {why}")));
        }
        row.units = Some(established);
        let each = memory(established)? as f64;
        control.write_all(b"go\n")?;
        let Word::Done { windows, lost } = hear(&mut control)? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut insert = |metric: &str, samples: &[f64]| {
            let summary = Summary::of(samples).map(|summary| (metric.to_owned(), summary));
            row.values.extend(summary);
        };
        let samples =
            |of: fn(&Window) -> Option<f64>| windows.iter().filter_map(of).collect::<Vec<_>>();
        insert(RATE, &samples(|window| Some(window.rate)));
        insert(P50, &samples(|window| window.p50_ns));
        insert(P99, &samples(|window| window.p99_ns));
        insert(MEMORY, &[each]);
        row.words
            .insert(RUNS_OUT.to_owned(), runs_out_of(self.body, each));
        row.note = note(self.goal.connections, row.note.take(), refusal(), lost);
        self.lab.row(row);
        Ok(())
    }
}

/// One line, read byte by byte: few come, and nothing behind one may be taken.
fn hear(control: &mut impl Read) -> io::Result<Word> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        control.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(serde_json::from_slice(&line)?);
        }
        line.extend(byte);
    }
}

/// What a reader of the row has to know.
fn note(
    wanted: u64,
    stopped: Option<String>,
    refusal: Option<String>,
    lost: u64,
) -> Option<String> {
    let stopped = stopped.map(|why| format!("of {} wanted: {why}", grouped(wanted)));
    let lost = (lost > 0).then(|| format!("{} connections were lost", grouped(lost)));
    let parts: Vec<String> = [stopped, refusal, lost].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The limit that a server with connections of `each` bytes meets first, and how many it allows.
fn runs_out_of(body: Body, each: f64) -> String {
    let (units, name) = limits::ceiling(body, each);
    // A process for each connection has one descriptor for it; the others have all of them in one.
    let descriptors = match body {
        Body::Process => u64::MAX,
        _ => getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
    };
    let (units, name) = if descriptors < units {
        (descriptors, "RLIMIT_NOFILE")
    } else {
        (units, name)
    };
    format!("{name}, at {}", grouped(units))
}
