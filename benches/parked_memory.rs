//! A million parked: memory and mappings of each, and the time from its spawn until it is parked.
//!
//! Everything is cold: each sample is a fresh process that starts one runtime, spawns, waits until the last
//! one is parked, reads `/proc/self` and exits.
//!
//! ```text
//!   parent                         child
//!   "ours 1000000"  ---------->    memory before
//!                                  spawn n, each counts itself and parks      <- timed
//!   bytes, mappings, ns  <------   memory after, less before, by n
//! ```
//!
//! Bytes are resident pages and page tables (VmRSS + VmPTE). For threads the kernel's share (its stack, its
//! record) comes on top; no process can see it.
//!
//! `cargo bench --bench parked_memory`
#![deny(unsafe_code)]

mod common;

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::report::Target::{self, AtMost, Open};
use common::{Bench, Contest, NS, child, machine, peers};

const NAMES: [&str; 4] = ["ours", "tokio", "may", "threads"];

fn main() {
    if let Some(task) = child::task() {
        park_all(
            &task[0],
            task[1].parse().expect("the parent passes a number"),
        );
    }
    let mut bench = Bench::new();
    if bench.is_quick() {
        all(&mut bench, 100);
    } else {
        all(&mut bench, 10_000);
        million(&mut bench, 1_000_000);
    }
    bench.finish();
}

/// Everyone, at the size that everyone reaches.
fn all(bench: &mut Bench, n: usize) {
    let title = format!("parked_memory/{n}");
    if !bench.selects(&title) {
        return;
    }
    let mut contest = Contest::new(&title, NS, "coroutine, spawn until parked");
    for name in NAMES {
        contest = contest.with(name, move |coroutines| {
            let each = child::measure(&format!("{name} {n}")).get("ns");
            Duration::from_secs_f64(each * 1e-9 * coroutines as f64)
        });
    }
    contest.criterion(bench);
    if !bench.is_quick() {
        footprint(bench, &title, n, &NAMES, [Open; 3]);
    }
}

/// The target's size, for those who reach it.
fn million(bench: &mut Bench, n: usize) {
    let title = format!("parked_memory/{n}");
    if !bench.selects(&title) || !bench.has_room(&title, n) {
        return;
    }
    footprint(
        bench,
        &title,
        n,
        &["ours", "tokio"],
        [AtMost(4_700.0), AtMost(99.0), AtMost(2_600.0)],
    );
    bench
        .report
        .note("may and threads: skipped, both end near 32,000 (vm.max_map_count, pid_max)");
}

/// Measures all three of a footprint; the targets are for ours.
fn footprint(bench: &mut Bench, title: &str, n: usize, names: &[&str], targets: [Target; 3]) {
    let tables = child::interleave(
        title,
        names,
        n,
        [
            ("bytes", "bytes each"),
            ("mappings", "mappings in all"),
            ("ns", "ns each, spawn until parked"),
        ],
    );
    for (table, target) in tables.iter().zip(targets) {
        bench.report.table(table);
        bench.report.absolute(table, "ours", target);
    }
    bench.report.ratio(&tables[0], "ours", "tokio", Open);
    bench.report.ratio(&tables[2], "ours", "tokio", Open);
}

/// The child: parks `n` of `name`'s, tells what that took, and is gone without cleaning up.
fn park_all(name: &str, n: usize) -> ! {
    match name {
        "ours" => ours(n),
        "tokio" => tokio(n),
        "may" => may(n),
        "threads" => threads(n),
        _ => panic!("unknown contender {name}"),
    }
}

/// Those that are about to park; on one worker, each has parked before anyone else looks.
static PARKED: AtomicUsize = AtomicUsize::new(0);

fn count_myself() {
    // Relaxed: the number is all that is told.
    PARKED.fetch_add(1, Ordering::Relaxed);
}

fn all_parked(n: usize) -> bool {
    PARKED.load(Ordering::Relaxed) == n
}

/// The measurement around the spawning.
struct Footprint {
    before: machine::Memory,
    since: Instant,
}

impl Footprint {
    fn begin() -> Self {
        Footprint {
            before: machine::memory(),
            since: Instant::now(),
        }
    }

    fn end(self, n: usize) -> ! {
        let elapsed = self.since.elapsed();
        let after = machine::memory();
        child::print("ns", elapsed.as_nanos() as f64 / n as f64);
        child::print(
            "bytes",
            after.bytes.saturating_sub(self.before.bytes) as f64 / n as f64,
        );
        child::print(
            "mappings",
            after.mappings.saturating_sub(self.before.mappings) as f64,
        );
        process::exit(0);
    }
}

fn ours(n: usize) -> ! {
    runtime::run(move || {
        let footprint = Footprint::begin();
        for _ in 0..n {
            runtime::spawn(|| {
                count_myself();
                loop {
                    runtime::coroutine::park();
                }
            });
        }
        while !all_parked(n) {
            runtime::yield_now();
        }
        footprint.end(n)
    })
}

/// A task that anyone could wake: it waits for a `Notify`.
fn tokio(n: usize) -> ! {
    let driver = async move {
        let bell = Arc::new(tokio::sync::Notify::new());
        let footprint = Footprint::begin();
        for _ in 0..n {
            let bell = Arc::clone(&bell);
            tokio::spawn(async move {
                count_myself();
                bell.notified().await;
            });
        }
        while !all_parked(n) {
            tokio::task::yield_now().await;
        }
        footprint.end(n)
    };
    peers::tokio_current_thread().block_on(async {
        tokio::spawn(driver)
            .await
            .expect("the driver does not panic")
    })
}

fn may(n: usize) -> ! {
    peers::may_one_worker();
    let driver = may::go!(move || {
        let driver = may::coroutine::current();
        let footprint = Footprint::begin();
        for _ in 0..n {
            let driver = driver.clone();
            may::go!(move || {
                count_myself();
                if all_parked(n) {
                    driver.unpark();
                }
                loop {
                    may::coroutine::park();
                }
            });
        }
        // may's worker looks for newcomers only when nobody else is runnable, so no yield here.
        while !all_parked(n) {
            may::coroutine::park();
        }
        footprint.end(n)
    });
    driver.join().expect("the driver does not panic")
}

fn threads(n: usize) -> ! {
    let footprint = Footprint::begin();
    for _ in 0..n {
        thread::spawn(|| {
            count_myself();
            loop {
                thread::park();
            }
        });
    }
    while !all_parked(n) {
        thread::yield_now();
    }
    footprint.end(n)
}
