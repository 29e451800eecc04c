//! What it costs to look inside: a turn and a spawn while nobody looks, while time is accounted for, while a watchdog
//! watches, and while events are recorded; and a dump of 10,000 coroutines.
//!
//! A yield is one event, a turn; a spawn and join are two, the spawn and the child's turn. What an event costs is the
//! difference to the same without, divided by their number.
//!
//! `cargo bench --bench observe`
#![deny(unsafe_code)]

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::report::Target::{AtMost, Open};
use common::series::Series;
use common::{Bench, Contest, MS, NS, Table, peers};
use runtime::observe::{self, trace};
use runtime::{Builder, coroutine, yield_now};

fn main() {
    let mut bench = Bench::new();
    turns(&mut bench);
    spawns(&mut bench);
    dump(&mut bench);
    bench.finish();
}

/// Who looks on.
#[derive(Clone, Copy)]
enum Onlooker {
    Nobody,
    Account,
    Watchdog,
    Trace,
}

impl Onlooker {
    /// Has a worker do `work`, which says how long it took.
    fn looks_on(self, work: impl FnOnce() -> Duration + Send) -> Duration {
        let builder = Builder::new();
        let builder = match self {
            Onlooker::Account => builder.account_time(true),
            Onlooker::Watchdog => builder.stall_after(Duration::from_secs(10)),
            Onlooker::Nobody | Onlooker::Trace => builder.stall_after(None),
        };
        let runtime = builder.build().expect("a runtime starts");
        if matches!(self, Onlooker::Trace) {
            trace::start();
        }
        let time = runtime.run(|| {
            yield_now(); // the next round of turns is looked at
            work()
        });
        if matches!(self, Onlooker::Trace) {
            black_box(trace::stop());
        }
        time
    }
}

fn turns(bench: &mut Bench) {
    let title = "observe/yield/2";
    if !bench.selects(title) {
        return;
    }
    let by = |onlooker: Onlooker| move |yields: u64| onlooker.looks_on(move || ring_of_2(yields));
    let contest = Contest::new(title, NS, "yield")
        .with("nobody looks", by(Onlooker::Nobody))
        .with("accounted", by(Onlooker::Account))
        .with("watched", by(Onlooker::Watchdog))
        .with("traced", by(Onlooker::Trace))
        .with("clock read", clock_reads)
        .with("raw pair", peers::raw_pair());
    let Some(table) = contest.run(bench) else {
        return;
    };
    report_added(bench, &table, 1.0);
    let report = &mut bench.report;
    report.ratio(&table, "nobody looks", "raw pair", AtMost(2.7));
}

/// What each onlooker adds to an operation of so many events.
fn report_added(bench: &mut Bench, table: &Table, events: f64) {
    let off = table.series("nobody looks");
    let onlookers = [
        ("traced", AtMost(20.0)),
        ("accounted", Open),
        ("watched", Open),
    ];
    for (name, target) in onlookers {
        let pairs = table.series(name).values.iter().zip(&off.values);
        let added = Series {
            values: pairs.map(|(on, off)| (on - off) / events).collect(),
            ..Series::new(name)
        };
        let text = format!("{}: {name} - nobody looks, ns per event", table.title);
        bench.report.figure(&text, &added, target);
    }
}

/// Two that yield to each other, as many times together.
fn ring_of_2(yields: u64) -> Duration {
    let laps = yields / 2;
    let other = runtime::spawn(move || (0..laps).for_each(|_| yield_now()));
    let since = Instant::now();
    (0..laps).for_each(|_| yield_now());
    let time = since.elapsed();
    other.join().expect("it does not panic");
    time
}

/// What reading the time costs alone, by the way of the C library: a trace reads the processor's counter itself.
fn clock_reads(count: u64) -> Duration {
    let since = Instant::now();
    (0..count).for_each(|_| {
        black_box(Instant::now());
    });
    since.elapsed()
}

fn spawns(bench: &mut Bench) {
    let title = "observe/spawn";
    if !bench.selects(title) {
        return;
    }
    let by = |onlooker: Onlooker| move |spawns: u64| onlooker.looks_on(move || spawn_each(spawns));
    let contest = Contest::new(title, NS, "spawn and join")
        .with("nobody looks", by(Onlooker::Nobody))
        .with("accounted", by(Onlooker::Account))
        .with("watched", by(Onlooker::Watchdog))
        .with("traced", by(Onlooker::Trace));
    let Some(table) = contest.run(bench) else {
        return;
    };
    report_added(bench, &table, 2.0);
}

fn spawn_each(spawns: u64) -> Duration {
    let since = Instant::now();
    for n in 0..spawns {
        let child = runtime::spawn(move || black_box(n));
        black_box(child.join().expect("it does not panic"));
    }
    since.elapsed()
}

/// How many are parked when they are dumped.
const PARKED: usize = 10_000;

fn dump(bench: &mut Bench) {
    let title = format!("observe/dump/{PARKED}");
    if !bench.selects(&title) || bench.is_quick() {
        return;
    }
    let contest = Contest::new(&title, MS, "dump")
        .rounds(5)
        .with("taken", |count| dumps(count, |dump| drop(black_box(dump))))
        .with("and as text", |count| {
            dumps(count, |dump| drop(black_box(dump.to_string())))
        });
    if let Some(table) = contest.run(bench) {
        bench.report.absolute(&table, "taken", AtMost(27.0));
        bench.report.absolute(&table, "and as text", Open);
    }
}

fn dumps(count: u64, each: impl Fn(observe::Dump) + Send) -> Duration {
    runtime::run(|| {
        let parked: Vec<_> = (0..PARKED)
            .map(|_| runtime::spawn(coroutine::park))
            .collect();
        yield_now();
        let since = Instant::now();
        (0..count).for_each(|_| each(observe::dump()));
        let time = since.elapsed();
        parked.iter().for_each(|coroutine| coroutine.cancel());
        time
    })
}
