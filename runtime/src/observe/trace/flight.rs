//! The flight recorder: what has led to a panic, a stall or a deadlock.
//!
//! ```text
//! the last events of worker 0, times before now:
//!    184.2 us  'producer' (id 2) ran for 3.1 us: send
//!    180.9 us  'consumer' (id 3) was woken by 2
//!    180.7 us  'consumer' (id 3) ran for 1.0 us: receive
//! ```
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::text_of;
use crate::home::{self, Shared};
use crate::recorder::{self, Cause, Event, Kind, Ring, Stop};
use crate::sys::process::report;
use crate::sys::ticks::{Moment, Scale};

/// Reports the last events of the worker that the calling thread is, if its runtime keeps some for that; in a panic hook.
pub(crate) fn report_after_panic() {
    if let Some(home) = home::here() {
        let text = of_worker(&home.shared, home.index);
        if !text.is_empty() {
            report(text.trim_end());
        }
    }
}

/// The last events of a worker, as lines; nothing if its runtime keeps none.
pub(crate) fn of_worker(shared: &Shared, worker: usize) -> String {
    match shared.seats[worker].ring.get() {
        Some(ring) if shared.config.flight_events > 0 => {
            lines(ring, worker, shared.config.flight_events)
        }
        _ => String::new(),
    }
}

fn lines(ring: &Ring, worker: usize, count: usize) -> String {
    let now = Moment::now();
    let scale = Scale::between(recorder::since(), now);
    let micros = |ns: u64| format!("{:.1} us", ns as f64 / 1e3);
    let mut text = format!("the last events of worker {worker}, times before now:\n");
    for event in ring.last(count).0 {
        let (from, to) = (scale.ns(event.from), scale.ns(event.to));
        let before = micros(scale.ns(now.ticks).saturating_sub(from));
        let lasted = micros(to.saturating_sub(from));
        let _ = writeln!(text, "  {before:>12}  {}", line(ring, &event, &lasted));
    }
    text
}

fn line(ring: &Ring, event: &Event, lasted: &str) -> String {
    let label = ring.label(event.id);
    let who = match label.and_then(|label| label.name) {
        Some(name) => format!("'{name}' (id {})", event.id),
        None => format!("coroutine {}", event.id),
    };
    let by = |verb: &str| match event.number {
        0 => format!("{who} was {verb}"),
        id => format!("{who} was {verb} by {id}"),
    };
    match event.kind {
        Kind::Turn(Stop::Parked(reason)) => {
            let reason = text_of(Stop::Parked(reason));
            format!("{who} ran for {lasted}, and waits: {reason}")
        }
        Kind::Turn(stop) => format!("{who} ran for {lasted}: {}", text_of(stop)),
        Kind::Spawn => by("spawned"),
        Kind::Wake(Cause::Neighbour) | Kind::Send => by("woken"),
        Kind::Wake(Cause::Timer) => format!("{who} was woken by a timer"),
        Kind::Wake(Cause::Descriptor) => format!("{who} was woken by a descriptor"),
        Kind::Wake(Cause::Message) => format!("{who} was woken by another thread"),
        Kind::Cancel => by("cancelled"),
        Kind::Descriptors => format!("descriptors have woken {}", event.number),
        Kind::Timers => format!("{} timers have fired", event.number),
        Kind::Sleep => format!("the worker slept for {lasted}"),
        Kind::Call => format!("a blocking call ran for {lasted}"),
    }
}
