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
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) is_spawn: bool,
}

/// All arrows that have both ends in the trace, by their later ends.
pub(super) fn arrows(trace: &Trace) -> Vec<Arrow> {
    let mut all: Vec<(usize, &Entry)> = Vec::new();
    for (lane, events) in trace.lanes.iter().enumerate() {
        all.extend(events.events.iter().map(|entry| (lane, entry)));
    }
    all.sort_by_key(|(_, entry)| entry.event.from);
    // By the coroutine: messages on their way, and what has made it runnable.
    let (mut sent, mut runnable) = (HashMap::new(), HashMap::new());
    let mut arrows = Vec::new();
    for (lane, Entry { event, .. }) in all {
        let here = Point {
            lane,
            ns: event.from,
        };
        match event.kind {
            Kind::Send => drop(sent.insert(event.id, here)),
            Kind::Spawn => drop(runnable.insert(event.id, (here, true))),
            Kind::Wake(Cause::Message) => {
                let sender = sent.remove(&event.id).unwrap_or(here);
                runnable.insert(event.id, (sender, false));
            }
            Kind::Wake(_) => drop(runnable.insert(event.id, (here, false))),
            Kind::Turn(_) => {
                if let Some((from, is_spawn)) = runnable.remove(&event.id) {
                    arrows.push(Arrow {
                        from,
                        to: here,
                        is_spawn,
                    });
                }
            }
            Kind::Cancel | Kind::Descriptors | Kind::Timers | Kind::Sleep | Kind::Call => {}
        }
    }
    arrows
}
