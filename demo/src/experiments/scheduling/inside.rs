//! A look inside: who of some coroutines on two workers runs when, who could run, and who has woken whom.
//!
//! ```text
//!   worker-0   main, and its own: producer, ticker, reader
//!   worker-1   hog, and its own: consumer, which has to wait while hog computes
//!   a thread   a blocking call
//! ```
//!
//! Nothing is measured here: a trace ([`trace`]) is taken and told as lanes, for the report, and as text.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::hint;
use std::io::{self, Read, Write};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use runtime::coroutine::{self, JoinHandle};
use runtime::net::UnixStream;
use runtime::observe::trace::{self, Turn, WakeUp};
use runtime::{channel, spawn_blocking, time};

use super::panicked;
use crate::figure::{Arrow, Course, Span, State, Trace};
use crate::report::Body;

/// The name of this file, for an excerpt.
pub const FILE: &str = file!();

const WORKERS: usize = 2;

/// How long one computes for a good, a tick, or what it has read.
const SHORT: Duration = Duration::from_micros(60);
/// How long `hog` does, without a yield.
const LONG: Duration = Duration::from_millis(2);

/// The trace of some milliseconds.
///
/// # Errors
/// The runtime could not be built, a socket not be had, or one of the coroutines has panicked.
pub fn look() -> io::Result<Trace> {
    // No watchdog: that a coroutine keeps its worker is what is to be seen.
    let builder = runtime::Builder::new().workers(WORKERS).stall_after(None);
    // excerpt: trace
    trace::start();
    let outcome = builder.build().and_then(|runtime| runtime.run(scene));
    let trace = trace::stop();
    // excerpt: end
    outcome?;
    Ok(told(&trace))
}

/// What the first coroutine does, on the first worker.
fn scene() -> io::Result<()> {
    // A worker that blocks leaves what has not begun to the other: so `hog` is there, and the others are here.
    let both = Arc::new(Barrier::new(WORKERS));
    let there = Arc::clone(&both);
    let (goods, arrivals) = channel::bounded(2);
    let (go, may_go) = channel::bounded(1);
    let hog = coroutine::Builder::new().name("hog").spawn(move || {
        there.wait();
        let consumer = local("consumer", move || {
            arrivals.iter().for_each(|()| compute(SHORT));
        })?;
        may_go.recv().map_err(io::Error::other)?;
        time::sleep(LONG / 4);
        compute(LONG);
        consumer.join().map_err(panicked)
    })?;
    both.wait();
    let producer = local("producer", move || {
        (0..16).try_for_each(|_| {
            compute(2 * SHORT);
            goods.send(())
        })
    })?;
    let ticker = local("ticker", || {
        let mut ticks = time::interval(LONG / 4);
        for _ in 0..6 {
            ticks.tick();
            compute(SHORT);
        }
    })?;
    let (mut to_reader, mut from_main) = UnixStream::pair()?;
    let reader = local("reader", move || {
        let mut byte = [0];
        while from_main.read(&mut byte)? > 0 {
            compute(SHORT);
        }
        io::Result::Ok(())
    })?;
    to_reader.write_all(b"a")?;
    go.send(()).map_err(io::Error::other)?;
    spawn_blocking(|| compute(LONG / 2))
        .join()
        .map_err(panicked)?;
    to_reader.write_all(b"b")?;
    drop(to_reader);
    reader.join().map_err(panicked)??;
    ticker.join().map_err(panicked)?;
    producer
        .join()
        .map_err(panicked)?
        .map_err(io::Error::other)?;
    hog.join().map_err(panicked)?
}

/// A coroutine of this name that stays on this worker.
fn local<T: 'static>(name: &str, f: impl FnOnce() -> T + 'static) -> io::Result<JoinHandle<T>> {
    coroutine::Builder::new().name(name).spawn_local(f)
}

fn compute(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        hint::spin_loop();
    }
}

// ---- As lanes ----------------------------------------------------------------------------------------

/// The trace as lanes: workers, other threads, then coroutines by their first turn.
fn told(trace: &trace::Trace) -> Trace {
    let mut turns: Vec<Turn<'_>> = trace.turns().collect();
    turns.sort_by_key(|turn| turn.from);
    let wake_ups: Vec<WakeUp<'_>> = trace.wake_ups().collect();
    let begins = turns.iter().map(|turn| turn.from);
    let begin = begins.chain(wake_ups.iter().map(|wake_up| wake_up.at));
    let clock = Clock(begin.min().unwrap_or_default());
    let end = turns.iter().map(|turn| turn.to).max().unwrap_or_default();

    let mut lanes: Vec<Course> = threads(trace, &turns, clock);
    let mut of_coroutine = HashMap::new();
    for turn in &turns {
        of_coroutine.entry(turn.id).or_insert_with(|| {
            lanes.push(Course {
                name: turn
                    .name
                    .map_or_else(|| format!("coroutine {}", turn.id), str::to_owned),
                body: Body::Coroutine,
                spans: course(turn.id, &turns, &wake_ups, end, clock),
            });
            lanes.len() - 1
        });
    }
    let lane_of = |wake_up: &WakeUp<'_>| match wake_up.by {
        Some(id) => of_coroutine.get(&id).copied(),
        None => lanes.iter().position(|lane| lane.name == wake_up.thread),
    };
    let arrow = |wake_up: &WakeUp<'_>| {
        Some(Arrow {
            at: clock.ns(wake_up.at),
            from: lane_of(wake_up)?,
            to: *of_coroutine.get(&wake_up.id)?,
        })
    };
    Trace {
        title: "two workers for some milliseconds, as observe::trace saw them".to_owned(),
        wake_ups: wake_ups.iter().filter_map(arrow).collect(),
        lanes,
        text: trace.to_string(),
    }
}

/// Nanoseconds since the first event.
#[derive(Clone, Copy)]
struct Clock(Duration);

impl Clock {
    fn ns(self, time: Duration) -> u64 {
        time.saturating_sub(self.0).as_nanos() as u64
    }

    fn span(self, from: Duration, to: Duration, state: State) -> Span {
        Span {
            from: self.ns(from),
            to: self.ns(to),
            state,
        }
    }
}

/// When each thread ran something: workers first, by their names, then those of the blocking calls.
fn threads(trace: &trace::Trace, turns: &[Turn<'_>], clock: Clock) -> Vec<Course> {
    let mut workers: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for turn in turns {
        let spans = workers.entry(turn.worker).or_default();
        // A child that ran on top of its parent did so within the parent's turn.
        if spans.last().is_none_or(|last| clock.ns(turn.to) > last.to) {
            spans.push(clock.span(turn.from, turn.to, State::Runs));
        }
    }
    let mut pool: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for call in trace.blocking_calls() {
        let spans = pool.entry(call.thread).or_default();
        spans.push(clock.span(call.from, call.to, State::Runs));
    }
    let course = |(name, spans): (&str, Vec<Span>)| Course {
        name: name.to_owned(),
        body: Body::Thread,
        spans,
    };
    workers.into_iter().chain(pool).map(course).collect()
}

/// What a coroutine did from its spawn to its end, or to `end`, the end of the trace.
fn course(
    id: u64,
    turns: &[Turn<'_>],
    wake_ups: &[WakeUp<'_>],
    end: Duration,
    clock: Clock,
) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut before: Option<&Turn<'_>> = None;
    for turn in turns.iter().filter(|turn| turn.id == id) {
        let mut wake_ups = wake_ups.iter();
        let led_here = wake_ups.find(|wake_up| wake_up.id == id && wake_up.turn == turn.from);
        let stopped = before.map(|before| before.to);
        let ready = match led_here {
            // Whoever is woken before it has stopped could run from there.
            Some(wake_up) => wake_up.at.max(stopped.unwrap_or_default()).min(turn.from),
            None => stopped.unwrap_or(turn.from),
        };
        spans.extend(stopped.map(|stopped| clock.span(stopped, ready, State::Waits)));
        spans.push(clock.span(ready, turn.from, State::Ready));
        spans.push(clock.span(turn.from, turn.to, State::Runs));
        before = Some(turn);
    }
    if let Some(last) = before {
        let then = match last.stop {
            "ended" | "panicked" | "cancelled" => None,
            "yielded" => Some(State::Ready),
            _ => Some(State::Waits),
        };
        spans.extend(then.map(|state| clock.span(last.to, end, state)));
    }
    spans.retain(|span| span.from < span.to);
    spans
}
