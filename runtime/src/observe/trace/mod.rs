//! Traces: who ran when, why it stopped, and who started it again.
//!
//! ```text
//!   start ──► every worker records: turns, spawns, wake-ups, timers, descriptors, sleeps ──► stop: a Trace
//!             other threads too: wake-ups, cancellations, blocking calls
//! ```
//!
//! ```
//! use runtime::{channel, observe::trace, spawn};
//!
//! trace::start();
//! runtime::run(|| {
//!     let (numbers, received) = channel::bounded(0);
//!     let producer = spawn(move || (0..3).try_for_each(|n| numbers.send(n)));
//!     assert_eq!(received.iter().sum::<u32>(), 3);
//!     producer.join().unwrap().unwrap();
//! });
//! let trace = trace::stop();
//! print!("{trace}");
//! trace.write_json(std::io::sink())?; // a file, rather: it opens in https://ui.perfetto.dev
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A trace shows itself as text, a line for each worker and coroutine:
//!
//! ```text
//!              1594 us                                                          2505 us
//! worker-0     ###################################.........##........................##
//! main         ###....................#..........#....................................#
//! producer       ######-----------#####
//! consumer       -----############.---############
//! ticker         ----------------##........................##........................##
//!             # runs   - could run   . waits, or sleeps
//! ```
//!
//! As [JSON](Trace::write_json) it is what Chrome's and Perfetto's viewers read: a track for each worker, a slice for each
//! turn, and an arrow from whoever has woken or spawned a coroutine to the turn that this led to.
//!
//! **Cost.** Off, nothing for a yield: whether events are wanted is asked once for up to 64 turns. A spawn and a wake-up
//! look at one byte. On, an event takes a time stamp and some 50 instructions: 10 to 28 ns of a virtual machine on which the
//! time stamp alone takes 12 (`cargo bench --bench observe`). A worker keeps the last 65,536 in 2 MiB of its own; what
//! was lost before, [`Trace::lost`] tells. Time stamps come from the processor's counter where that runs at one rate, and
//! are told by two looks at `CLOCK_MONOTONIC`, at the start and at the end.
#![forbid(unsafe_code)]

pub(crate) mod flight;
mod flow;
mod json;
mod timeline;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::recorder::{self, Event, Kind, Label, Stop};
use crate::seam::sync::real::{Mutex, lock};
use crate::sys::ticks::{Moment, Scale};
use crate::task::Ending;

pub use timeline::Timeline;

/// When the trace that is being taken was started.
static STARTED: Mutex<Option<Moment>> = Mutex::new(None);

/// Begins to record, all runtimes of the process.
///
/// If that is being done already, what has been recorded so far is forgotten. A worker that is in the middle of a round
/// of turns begins with the next.
pub fn start() {
    let mut started = lock(&STARTED);
    recorder::turn_on();
    if started.replace(Moment::now()).is_some() {
        recorder::turn_off();
    }
}

/// Ends what [`start`] has begun, and returns what was recorded: nothing, if nobody has started.
///
/// Cost: copies all of it, up to 65,536 events a worker.
pub fn stop() -> Trace {
    let mut started = lock(&STARTED);
    let Some(from) = started.take() else {
        return Trace::empty();
    };
    let trace = Trace::collect(from);
    recorder::turn_off();
    trace
}

/// What was recorded between a [`start`] and a [`stop`].
///
/// Shows itself as a [timeline](Trace::timeline) of 72 columns.
#[derive(Clone, Debug)]
pub struct Trace {
    lanes: Vec<Lane>,
    labels: HashMap<u64, Label>,
    length_ns: u64,
    lost: u64,
}

/// What one thread has recorded, by the beginnings; times are nanoseconds from the start.
#[derive(Clone, Debug)]
struct Lane {
    name: String,
    is_worker: bool,
    events: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    event: Event,
    /// Of a blocking call: where it was submitted; of a spawn: where that was.
    site: Option<&'static std::panic::Location<'static>>,
}

/// One turn of a coroutine: it ran, on one worker, without a break but for children that a join of its has run.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The worker's name: that of the runtime, and a number.
    pub worker: &'a str,
    /// The coroutine's number.
    pub id: u64,
    /// The coroutine's name, if it has one.
    pub name: Option<&'a str>,
    /// When it began, from the start of the trace.
    pub from: Duration,
    /// When it stopped.
    pub to: Duration,
    /// Why: `"yielded"`, `"ended"`, `"panicked"`, `"cancelled"`, or for what it waits: `"receive"`.
    pub stop: &'static str,
}

/// What made a coroutine runnable, and the turn that this led to: an arrow of the viewers.
#[derive(Clone, Debug)]
pub struct WakeUp<'a> {
    /// The coroutine's number.
    pub id: u64,
    /// The coroutine's name, if it has one.
    pub name: Option<&'a str>,
    /// The number of the coroutine that did it; none for a timer, a descriptor, or a thread that is no worker.
    pub by: Option<u64>,
    /// The name of the thread that it was done on: a worker, or another.
    pub thread: &'a str,
    /// When that was, from the start of the trace.
    pub at: Duration,
    /// When the [`Turn`] began: after that, or a moment before, for where a worker goes from one turn to the next both
    /// begin and end there, whomever it wakes in between.
    pub turn: Duration,
    /// The coroutine was spawned, not woken.
    pub is_spawn: bool,
}

/// A call that has run on the pool of [`spawn_blocking`](crate::spawn_blocking).
#[derive(Clone, Debug)]
pub struct BlockingCall<'a> {
    /// The name of the thread that it ran on.
    pub thread: &'a str,
    /// When it began, from the start of the trace.
    pub from: Duration,
    /// When it returned.
    pub to: Duration,
}

impl Trace {
    fn empty() -> Self {
        Trace {
            lanes: Vec::new(),
            labels: HashMap::new(),
            length_ns: 0,
            lost: 0,
        }
    }

    fn collect(from: Moment) -> Self {
        let to = Moment::now();
        let scale = Scale::between(from, to);
        let mut trace = Trace::empty();
        trace.length_ns = to.ns - from.ns;
        let is_of_it = |event: &Event| event.from >= from.ticks && event.from <= to.ticks;
        let told = |event: Event| {
            let from = scale.ns(event.from);
            let (to, site) = match event.kind {
                Kind::Spawn => (from, recorder::site(event.to)),
                _ => (scale.ns(event.to), None),
            };
            let event = Event { from, to, ..event };
            Entry { event, site }
        };
        for ring in recorder::rings() {
            let (events, before) = ring.last(usize::MAX);
            // What was overwritten is of this trace if what comes next is.
            if before > 0 && events.first().is_some_and(is_of_it) {
                trace.lost += before;
            }
            let events = events.into_iter().filter(is_of_it).map(told);
            let lane = Lane::new(ring.worker().to_owned(), true, events.collect());
            if !lane.events.is_empty() {
                trace.lanes.push(lane);
                trace.labels.extend(ring.labels());
            }
        }
        // In the order of their numbers.
        trace
            .lanes
            .sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        trace.lanes.extend(outside(is_of_it, told));
        trace.label_by_spawns();
        trace
    }

    /// Who has no name and not many turns is told of by the event of its spawn alone.
    fn label_by_spawns(&mut self) {
        let entries = self.lanes.iter().flat_map(|lane| &lane.events);
        for entry in entries.filter(|entry| entry.event.kind == Kind::Spawn) {
            if let Some(spawned_at) = entry.site {
                let label = Label {
                    name: None,
                    spawned_at,
                };
                self.labels.entry(entry.event.id).or_insert(label);
            }
        }
    }

    /// How much time it covers.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.length_ns)
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.events.len()).sum()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events, at least, were overwritten by later ones.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// All turns, worker by worker, each by its beginning.
    pub fn turns(&self) -> impl Iterator<Item = Turn<'_>> {
        self.lanes.iter().flat_map(move |lane| {
            lane.turns().map(move |(event, stop)| Turn {
                worker: &lane.name,
                id: event.id,
                name: self.name_of(event.id),
                from: Duration::from_nanos(event.from),
                to: Duration::from_nanos(event.to),
                stop: text_of(stop),
            })
        })
    }

    /// All spawns and wake-ups that led to a turn of the trace, by the beginnings of those turns.
    ///
    /// ```
    /// use runtime::{observe::trace, spawn};
    ///
    /// trace::start();
    /// let child = runtime::run(|| spawn(|| runtime::coroutine::current().id()).join().unwrap());
    /// let trace = trace::stop();
    /// let spawned = trace.wake_ups().find(|wake_up| wake_up.id == child.get()).unwrap();
    /// assert!(spawned.is_spawn && spawned.by.is_some());
    /// ```
    ///
    /// Cost: goes through the whole trace, in O(n log n), before it returns the first.
    pub fn wake_ups(&self) -> impl Iterator<Item = WakeUp<'_>> {
        flow::arrows(self).into_iter().map(|arrow| WakeUp {
            id: arrow.id,
            name: self.name_of(arrow.id),
            by: (arrow.by != 0).then_some(arrow.by),
            thread: &self.lanes[arrow.from.lane].name,
            at: Duration::from_nanos(arrow.from.ns),
            turn: Duration::from_nanos(arrow.turn),
            is_spawn: arrow.is_spawn,
        })
    }

    /// All blocking calls that have returned, thread by thread, each by its beginning.
    pub fn blocking_calls(&self) -> impl Iterator<Item = BlockingCall<'_>> {
        self.lanes.iter().flat_map(|lane| {
            let events = lane.events.iter().map(|entry| &entry.event);
            let calls = events.filter(|event| event.kind == Kind::Call);
            calls.map(|event| BlockingCall {
                thread: &lane.name,
                from: Duration::from_nanos(event.from),
                to: Duration::from_nanos(event.to),
            })
        })
    }

    /// Writes it as JSON, in the [format](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU)
    /// that `chrome://tracing` and <https://ui.perfetto.dev> open.
    ///
    /// Times are microseconds from the start; a process has one track a worker, and one for each other thread that has done something to a coroutine.
    ///
    /// # Errors
    /// Those of the writer, which should be buffered.
    pub fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        json::write(self, out)
    }

    /// It as text, `columns` wide beside the names: a line for each worker, and one for each coroutine, the first 24.
    pub fn timeline(&self, columns: usize) -> Timeline<'_> {
        Timeline::new(self, columns)
    }

    fn name_of(&self, id: u64) -> Option<&str> {
        self.labels.get(&id)?.name.as_deref()
    }

    /// What people call a coroutine.
    fn title_of(&self, id: u64) -> String {
        let name = self.name_of(id).map(str::to_owned);
        name.unwrap_or_else(|| format!("coroutine {id}"))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeline(72).fmt(f)
    }
}

impl Lane {
    fn new(name: String, is_worker: bool, mut events: Vec<Entry>) -> Self {
        // A turn is written when it stops, after what has happened in it.
        events.sort_by_key(|entry| (entry.event.from, u64::MAX - entry.event.to));
        Lane {
            name,
            is_worker,
            events,
        }
    }

    fn turns(&self) -> impl Iterator<Item = (&Event, Stop)> {
        let events = self.events.iter();
        events.filter_map(|entry| match entry.event.kind {
            Kind::Turn(stop) => Some((&entry.event, stop)),
            _ => None,
        })
    }
}

/// A lane for each thread that is no worker.
fn outside(is_of_it: impl Fn(&Event) -> bool, told: impl Fn(Event) -> Entry) -> Vec<Lane> {
    let mut threads = Vec::new();
    let mut lanes: Vec<(String, Vec<Entry>)> = Vec::new();
    recorder::with_outside(|list| {
        for outside in list.iter().filter(|outside| is_of_it(&outside.event)) {
            let known = threads.iter().position(|thread| *thread == outside.thread);
            let lane = known.unwrap_or_else(|| {
                threads.push(outside.thread);
                let name = outside.thread_name.as_deref().unwrap_or("thread");
                lanes.push((name.to_owned(), Vec::new()));
                lanes.len() - 1
            });
            let mut entry = told(outside.event);
            entry.site = outside.site;
            lanes[lane].1.push(entry);
        }
    });
    let lanes = lanes.into_iter();
    lanes
        .map(|(name, events)| Lane::new(name, false, events))
        .collect()
}

/// Why a turn is over, in a word.
fn text_of(stop: Stop) -> &'static str {
    match stop {
        Stop::Yielded => "yielded",
        Stop::Parked(reason) => reason.word(),
        Stop::Ended(Ending::Returned) => "ended",
        Stop::Ended(Ending::Panicked) => "panicked",
        Stop::Ended(Ending::Cancelled) => "cancelled",
    }
}
