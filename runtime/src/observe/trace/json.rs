//! JSON as Chrome's and Perfetto's viewers read it.
//!
//! | event                     | becomes                                              |
//! |---------------------------|------------------------------------------------------|
//! | a turn, a sleep, a call   | a slice, `X`                                         |
//! | a wake-up, spawn, cancel  | in a turn: an instant, `i`; elsewhere a short slice, for an arrow begins in a slice |
//! | timers, descriptors       | an instant                                           |
//! | an arrow                  | its two ends, `s` and `f`, of one number             |
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io;

use super::{Entry, Lane, Trace, flow, text_of};
use crate::recorder::{Cause, Kind};

/// An object of the list of events, to be sorted.
struct Object {
    ns: u64,
    /// Of those at one time, what contains others comes first.
    rank: u64,
    text: String,
}

pub(super) fn write(trace: &Trace, mut out: impl io::Write) -> io::Result<()> {
    let process = std::process::id();
    let mut objects = Vec::new();
    for (lane, events) in trace.lanes.iter().enumerate() {
        let ends = Ends::of(events);
        objects.extend(events.events.iter().map(|entry| {
            let is_inside = ends.cover(entry.event.from);
            object(trace, process, lane, entry, is_inside)
        }));
    }
    // One within the turn that it leads to would lead from the wake-up to itself.
    let mut arrows = flow::arrows(trace);
    arrows.retain(|arrow| arrow.from.lane != arrow.to.lane || arrow.from.ns <= arrow.turn);
    for (number, arrow) in arrows.iter().enumerate() {
        let name = if arrow.is_spawn { "spawn" } else { "wake" };
        for (point, phase) in [(arrow.from, r#""s""#), (arrow.to, r#""f","bp":"e""#)] {
            objects.push(Object {
                ns: point.ns,
                rank: u64::MAX,
                text: format!(
                    r#"{{"ph":{phase},"id":{number},"cat":"flow","name":"{name}","pid":{process},"tid":{},"ts":{}}}"#,
                    point.lane,
                    micros(point.ns)
                ),
            });
        }
    }
    objects.sort_by_key(|object| (object.ns, object.rank));
    writeln!(out, r#"{{"displayTimeUnit":"ns","traceEvents":["#)?;
    write!(
        out,
        r#"{{"ph":"M","name":"process_name","pid":{process},"tid":0,"args":{{"name":"coroutines"}}}}"#
    )?;
    for (lane, Lane { name, .. }) in trace.lanes.iter().enumerate() {
        let name = quoted(name);
        write!(
            out,
            ",\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{process},\"tid\":{lane},\"args\":{{\"name\":{name}}}}}"
        )?;
    }
    for object in objects {
        write!(out, ",\n{}", object.text)?;
    }
    writeln!(out, "\n]}}")
}

fn object(trace: &Trace, process: u32, lane: usize, entry: &Entry, is_inside: bool) -> Object {
    let event = &entry.event;
    let title = || trace.title_of(event.id);
    let id = event.id;
    let (name, category, arguments) = match event.kind {
        Kind::Turn(stop) => {
            let mut arguments = format!(r#""id":{id},"stop":{}"#, quoted(text_of(stop)));
            if let Some(label) = trace.labels.get(&id) {
                let site = quoted(&label.spawned_at.to_string());
                let _ = write!(arguments, r#","spawned_at":{site}"#);
            }
            (title(), "coroutine", arguments)
        }
        Kind::Spawn => (format!("spawns {}", title()), "spawn", by(event.number, id)),
        Kind::Wake(cause) => {
            let by_whom = match cause {
                Cause::Neighbour => "",
                Cause::Timer => ": timer",
                Cause::Descriptor => ": descriptor",
                Cause::Message => ": message",
            };
            let name = format!("wakes {}{by_whom}", title());
            (name, "wake", by(event.number, id))
        }
        Kind::Send => (format!("wakes {}", title()), "wake", by(event.number, id)),
        Kind::Cancel => (
            format!("cancels {}", title()),
            "cancel",
            by(event.number, id),
        ),
        Kind::Descriptors => counted("descriptors", "io", event.number),
        Kind::Timers => counted("timers", "timer", event.number),
        Kind::Sleep => ("sleep".into(), "worker", String::new()),
        Kind::Call => {
            let site = entry.site.map(|site| quoted(&site.to_string()));
            let arguments = site.map(|site| format!(r#""submitted_at":{site}"#));
            (
                "blocking call".into(),
                "blocking",
                arguments.unwrap_or_default(),
            )
        }
    };
    let is_slice = match event.kind {
        Kind::Turn(_) | Kind::Sleep | Kind::Call => true,
        Kind::Descriptors | Kind::Timers => false,
        Kind::Spawn | Kind::Wake(_) | Kind::Send | Kind::Cancel => !is_inside,
    };
    let shape = if is_slice {
        // A nanosecond for what takes none, so that an arrow can begin there.
        let length = (event.to - event.from).max(1);
        format!(r#""ph":"X","dur":{}"#, micros(length))
    } else {
        r#""ph":"i","s":"t""#.into()
    };
    Object {
        ns: event.from,
        rank: u64::MAX - 1 - (event.to - event.from),
        text: format!(
            r#"{{{shape},"name":{},"cat":"{category}","pid":{process},"tid":{lane},"ts":{},"args":{{{arguments}}}}}"#,
            quoted(&name),
            micros(event.from)
        ),
    }
}

/// How far the turns reach that have begun before each: for the question what lies inside of one.
struct Ends(Vec<(u64, u64)>);

impl Ends {
    fn of(lane: &Lane) -> Self {
        let mut reach = 0;
        let turns = lane.turns();
        Ends(
            turns
                .map(|(event, _)| {
                    reach = reach.max(event.to);
                    (event.from, reach)
                })
                .collect(),
        )
    }

    fn cover(&self, ns: u64) -> bool {
        let begun = self.0.partition_point(|(from, _)| *from <= ns);
        begun > 0 && ns <= self.0[begun - 1].1
    }
}

fn by(who: u64, whom: u64) -> String {
    match who {
        0 => format!(r#""id":{whom}"#),
        who => format!(r#""id":{whom},"by":{who}"#),
    }
}

fn counted(name: &str, category: &'static str, count: u64) -> (String, &'static str, String) {
    (name.into(), category, format!(r#""count":{count}"#))
}

/// Nanoseconds as the microseconds of the format, none lost.
fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
