//! Many sleepers: 1,000 and 10,000 coroutines, each of which sleeps 100 times for 1 to 10 ms.
//!
//! Two things are wanted of a timer, and they pull apart: to use little CPU (wake rarely, for many at once)
//! and to be on time (wake for each). So both are shown: the CPU seconds of the whole run, and how late the
//! sleepers woke. Nobody may wake early.
//!
//! Every contender sleeps the same pseudo-random sequence, in a process of its own.
//!
//! `cargo bench --bench timer`, or with `-- timer/1000/` one size.
#![deny(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, MS, child, peers, sys};

const SLEEPS: usize = 100;
const NAMES: [&str; 4] = ["ours", "tokio", "may", "threads"];

fn main() {
    if let Some(task) = child::task() {
        sleep_all(
            &task[0],
            task[1].parse().expect("the parent passes a number"),
        );
        return;
    }
    let mut bench = Bench::new();
    if bench.is_quick() {
        cpu_time(&mut bench, 10);
    } else {
        cpu_time(&mut bench, 1_000);
        lateness(&mut bench, 1_000, &NAMES, 200.0);
        // 10,000 threads would measure the kernel's memory, not its timers.
        lateness(&mut bench, 10_000, &NAMES[..3], 1_500.0);
    }
    bench.finish();
}

/// Criterion's group: the CPU time of one run.
fn cpu_time(bench: &mut Bench, n: usize) {
    let title = format!("timer/{n}/cpu");
    if !bench.selects(&title) {
        return;
    }
    let mut contest = Contest::new(title, MS, "run (CPU time)");
    for name in NAMES {
        contest = contest.with(name, move |runs| {
            Duration::from_secs_f64(
                child::measure(&format!("{name} {n}")).get("cpu_ms") * 1e-3 * runs as f64,
            )
        });
    }
    contest.criterion(bench);
}

/// The rounds, for all that a run shows.
fn lateness(bench: &mut Bench, n: usize, names: &[&str], p99_max_us: f64) {
    let title = format!("timer/{n}");
    if !bench.selects(&title) {
        return;
    }
    let tables = child::interleave(
        &title,
        names,
        n,
        [
            ("cpu_ms", "CPU ms per run"),
            ("p50_us", "median lateness, us"),
            ("p99_us", "p99 lateness, us"),
            ("early", "woken early"),
        ],
    );
    let [cpu, _, p99, early] = &tables;
    bench.report.ratio(cpu, "ours", "tokio", AtMost(1.0));
    bench.report.absolute(p99, "ours", AtMost(p99_max_us));
    bench.report.ratio(p99, "ours", "tokio", Open);
    // The worst round counts: once is too often.
    bench.report.worst(early, "ours", AtMost(0.0));
    for table in &tables {
        bench.report.table(table);
    }
}

/// The child: runs `n` of `name`'s sleepers and tells what came of it.
fn sleep_all(name: &str, n: usize) {
    let log = Arc::new(Log::new(n));
    let cpu_before = sys::cpu_time();
    match name {
        "ours" => ours(n, &log),
        "tokio" => tokio(n, &log),
        "may" => may(n, &log),
        "threads" => threads(n, &log),
        _ => panic!("unknown contender {name}"),
    }
    let cpu = sys::cpu_time() - cpu_before;
    child::print("cpu_ms", cpu.as_secs_f64() * 1e3);
    log.print();
}

/// How late each sleep of each sleeper ended.
struct Log {
    late_ns: Vec<AtomicU32>,
    early: AtomicU32,
}

impl Log {
    fn new(n: usize) -> Self {
        let unset = || AtomicU32::new(u32::MAX);
        Log {
            late_ns: (0..n * SLEEPS).map(|_| unset()).collect(),
            early: AtomicU32::new(0),
        }
    }

    /// Called right after the sleep. Relaxed throughout: the joins at the end order everything.
    fn woken(&self, sleeper: usize, sleep: usize, deadline: Instant) {
        let now = Instant::now();
        if now < deadline {
            self.early.fetch_add(1, Ordering::Relaxed);
        }
        let late = u32::try_from(now.saturating_duration_since(deadline).as_nanos())
            .unwrap_or(u32::MAX - 1);
        self.late_ns[sleeper * SLEEPS + sleep].store(late, Ordering::Relaxed);
    }

    fn print(&self) {
        let mut late: Vec<u32> = self
            .late_ns
            .iter()
            .map(|late| late.load(Ordering::Relaxed))
            .collect();
        late.sort_unstable();
        assert!(
            *late.last().expect("somebody slept") < u32::MAX,
            "a sleep is missing"
        );
        let at = |percent: usize| f64::from(late[(late.len() - 1) * percent / 100]) / 1e3;
        child::print("p50_us", at(50));
        child::print("p99_us", at(99));
        child::print("early", f64::from(self.early.load(Ordering::Relaxed)));
    }
}

/// The naps of one sleeper, 1 to 10 ms to the microsecond: a linear congruential generator, seeded by who
/// it is.
fn naps(sleeper: usize) -> impl Iterator<Item = (usize, Duration)> {
    let mut state = sleeper as u64;
    (0..SLEEPS).map(move |sleep| {
        // Knuth's MMIX constants; the high bits are the random ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (sleep, Duration::from_micros(1_000 + (state >> 33) % 9_001))
    })
}

fn ours(n: usize, log: &Arc<Log>) {
    runtime::run(|| {
        let spawn = |sleeper| {
            let log = Arc::clone(log);
            runtime::spawn(move || {
                for (sleep, nap) in naps(sleeper) {
                    let deadline = Instant::now() + nap;
                    runtime::time::sleep(nap);
                    log.woken(sleeper, sleep, deadline);
                }
            })
        };
        let sleepers: Vec<_> = (0..n).map(spawn).collect();
        for sleeper in sleepers {
            sleeper.join().expect("sleepers do not panic");
        }
    });
}

fn tokio(n: usize, log: &Arc<Log>) {
    let spawn = |sleeper| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            for (sleep, nap) in naps(sleeper) {
                let deadline = Instant::now() + nap;
                tokio::time::sleep(nap).await;
                log.woken(sleeper, sleep, deadline);
            }
        })
    };
    peers::tokio_current_thread().block_on(async {
        let sleepers: Vec<_> = (0..n).map(spawn).collect();
        for sleeper in sleepers {
            sleeper.await.expect("sleepers do not panic");
        }
    });
}

fn may(n: usize, log: &Arc<Log>) {
    peers::may_one_worker();
    let spawn = |sleeper| {
        let log = Arc::clone(log);
        may::go!(move || {
            for (sleep, nap) in naps(sleeper) {
                let deadline = Instant::now() + nap;
                may::coroutine::sleep(nap);
                log.woken(sleeper, sleep, deadline);
            }
        })
    };
    let sleepers: Vec<_> = (0..n).map(spawn).collect();
    for sleeper in sleepers {
        sleeper.join().expect("sleepers do not panic");
    }
}

fn threads(n: usize, log: &Arc<Log>) {
    thread::scope(|scope| {
        for sleeper in 0..n {
            scope.spawn(move || {
                for (sleep, nap) in naps(sleeper) {
                    let deadline = Instant::now() + nap;
                    thread::sleep(nap);
                    log.woken(sleeper, sleep, deadline);
                }
            });
        }
    });
}
