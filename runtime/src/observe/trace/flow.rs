//! Flows: which wake-up led to which turn.
//!
//! ```text
//!   worker 0   ... Turn(A) [ Send(B) ] ...
//!   worker 1   ........................... Wake(B, by a message) ... Turn(B)       an arrow from the Send to the Turn
//! ```
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::{Entry, Trace};
use crate::recorder::{Cause, Kind};

/// Where an arrow begins or ends: on which lane, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) lane: usize,
    pub(super) ns: u64,
}

/// From what made a coroutine runnable to the turn that it got then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrow {
    /// The coroutine, and the one that made it runnable, 0 if none did.
    pub(super) id: u64,
    pub(super) by: u64,
    pub(super) from: Point,
    pub(super) to: Point,
    /// When the turn began: at `to`, or a moment before.
    pub(super) turn: u64,
    pub(super) is_spawn: bool,
}

/// A turn of a coroutine.
struct Turn {
    lane: usize,
    from: u64,
    to: u64,
}

/// All arrows that have both ends in the trace, by their later ends.
///
/// A wake-up has led to the first turn that ends after it. That may have begun a moment before, for a worker that goes from
/// one turn to the next reads the clock once, and may have somebody to wake in between: whoever joins the first.
pub(super) fn arrows(trace: &Trace) -> Vec<Arrow> {
    let mut turns: HashMap<u64, Vec<Turn>> = HashMap::new();
    let mut all: Vec<(usize, &Entry)> = Vec::new();
    for (lane, events) in trace.lanes.iter().enumerate() {
        all.extend(events.events.iter().map(|entry| (lane, entry)));
        for (event, _) in events.turns() {
            let turn = Turn {
                lane,
                from: event.from,
                to: event.to,
            };
            turns.entry(event.id).or_default().push(turn);
        }
    }
    // Those of one coroutine are all on its one worker, by their beginnings.
    all.sort_by_key(|(_, entry)| entry.event.from);
    // Messages on their way, by the coroutine.
    let mut sent = HashMap::new();
    let mut arrows: Vec<Arrow> = Vec::new();
    for (lane, Entry { event, .. }) in all {
        let from = Point {
            lane,
            ns: event.from,
        };
        let (from, by) = match event.kind {
            Kind::Send => {
                sent.insert(event.id, (from, event.number));
                continue;
            }
            Kind::Wake(Cause::Message) => {
                let sender = sent.remove(&event.id);
                sender.unwrap_or((from, event.number))
            }
            Kind::Spawn | Kind::Wake(_) => (from, event.number),
            _ => continue,
        };
        let of_it = turns.get(&event.id).map_or(&[][..], Vec::as_slice);
        let next = of_it.partition_point(|turn| turn.to <= event.from);
        if let Some(turn) = of_it.get(next) {
            arrows.push(Arrow {
                id: event.id,
                by,
                from,
                to: Point {
                    lane: turn.lane,
                    ns: turn.from.max(from.ns),
                },
                turn: turn.from,
                is_spawn: event.kind == Kind::Spawn,
            });
        }
    }
    arrows.sort_by_key(|arrow| arrow.turn);
    arrows
}
