//! `yield_now` in a ring of 2 to 1,000,000: what the scheduler adds to the bare switch.
//!
//! ```text
//!   driver -> 1 -> 2 -> ... -> n-1 -> driver       one lap = n yields
//! ```
//!
//! The members yield in a loop; the driver, one of them, counts laps by its own yields. That measures only
//! if nobody is skipped, so at the end a ring's members must have made as many yields as the driver.
//!
//! `cargo bench --bench yield`, or with `-- yield/100/` one ring.
#![deny(unsafe_code)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, NS, Requests, Station, peers};

fn main() {
    let mut bench = Bench::new();
    for n in [2, 100, 10_000, 1_000_000] {
        ring(&mut bench, n);
    }
    bench.finish();
}

fn ring(bench: &mut Bench, n: usize) {
    let title = format!("yield/{n}");
    if !bench.selects(&title) || bench.is_quick() && n > 100 || !bench.has_room(&title, n) {
        return;
    }
    let mut contest = Contest::new(&title, NS, "yield")
        .station("ours", ours(n))
        .with("raw pair", peers::raw_pair())
        .station("tokio", tokio(n));
    // Both map each stack twice, so vm.max_map_count ends them near 32,000.
    if n <= 10_000 {
        contest = contest
            .station("may", may(n))
            .with("raw ring", peers::raw_ring(n));
    }
    if n <= 100 {
        contest = contest.with("threads", move |yields| threads(n, yields));
    }
    let Some(table) = contest.run(bench) else {
        return;
    };

    let (to_raw, to_tokio) = match n {
        2 => (AtMost(2.7), Open),
        100 => (AtMost(2.0), AtMost(0.15)),
        10_000 => (Open, AtMost(0.2)),
        _ => (Open, AtMost(0.7)),
    };
    bench.report.ratio(&table, "ours", "raw pair", to_raw);
    bench.report.ratio(&table, "ours", "tokio", to_tokio);
    if n > 10_000 {
        bench
            .report
            .note("may, raw ring: skipped, vm.max_map_count ends both near 32,000 stacks");
    }
}

fn ours(n: usize) -> Station {
    Station::open(n, move |mut requests| {
        runtime::run(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let members: Vec<_> = (1..n)
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    runtime::spawn(move || {
                        let mut yields = 0_u64;
                        while !stop.load(Ordering::Relaxed) {
                            runtime::yield_now();
                            yields += 1;
                        }
                        yields
                    })
                })
                .collect();
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    runtime::yield_now();
                }
                requests.finish();
            }
            stop.store(true, Ordering::Relaxed);
            let yields = members
                .into_iter()
                .map(|member| member.join().expect("members do not panic"))
                .sum();
            assert_nobody_skipped(n, yields, &requests);
        });
    })
}

/// Here the members count where the driver can see it: tokio wakes those that yielded in the reverse order,
/// 61 at a time, so some run more often than others and the driver's laps would tell too little.
fn tokio(n: usize) -> Station {
    Station::open(n, move |mut requests| {
        let driver = async move {
            let stop = Arc::new(AtomicBool::new(false));
            let yields: Arc<[AtomicU64]> = (1..n).map(|_| AtomicU64::new(0)).collect();
            for member in 1..n {
                let (stop, yields) = (Arc::clone(&stop), Arc::clone(&yields));
                tokio::spawn(async move {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        tokio::task::yield_now().await;
                        count += 1;
                        yields[member - 1].store(count, Ordering::Relaxed);
                    }
                });
            }
            let made = || {
                yields
                    .iter()
                    .map(|count| count.load(Ordering::Relaxed))
                    .sum::<u64>()
            };
            let mut before = made();
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    tokio::task::yield_now().await;
                }
                requests.finish_counted(|laps, _| laps + made() - before);
                before = made();
            }
            stop.store(true, Ordering::Relaxed);
        };
        peers::tokio_current_thread().block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic")
        });
    })
}

fn may(n: usize) -> Station {
    peers::may_one_worker();
    Station::open(n, move |mut requests| {
        let driver = may::go!(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let started = Arc::new(AtomicUsize::new(0));
            let driver = may::coroutine::current();
            let members: Vec<_> = (1..n)
                .map(|_| {
                    let (stop, started, driver) =
                        (Arc::clone(&stop), Arc::clone(&started), driver.clone());
                    may::go!(move || {
                        if started.fetch_add(1, Ordering::Relaxed) == n - 2 {
                            driver.unpark();
                        }
                        let mut yields = 0_u64;
                        while !stop.load(Ordering::Relaxed) {
                            may::coroutine::yield_now();
                            yields += 1;
                        }
                        yields
                    })
                })
                .collect();
            // may's worker looks for newcomers only when nobody else is runnable: a driver that
            // yielded from the start would run alone.
            while started.load(Ordering::Relaxed) < n - 1 {
                may::coroutine::park();
            }
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    may::coroutine::yield_now();
                }
                requests.finish();
            }
            stop.store(true, Ordering::Relaxed);
            let yields = members
                .into_iter()
                .map(|member| member.join().expect("members do not panic"))
                .sum();
            assert_nobody_skipped(n, yields, &requests);
        });
        driver.join().expect("the driver does not panic");
    })
}

/// Threads that call `sched_yield`; made anew for each sample, since the kernel would run them all the time.
fn threads(n: usize, yields: u64) -> Duration {
    // The kernel need not take turns: enough yields each that starting and ending do not show.
    let each = (yields / n as u64).max(1_000);
    let start_line = Barrier::new(n + 1);
    let mut since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                start_line.wait();
                for _ in 0..each {
                    thread::yield_now();
                }
            });
        }
        since = Instant::now();
        start_line.wait();
    });
    since
        .elapsed()
        .mul_f64(yields as f64 / (each * n as u64) as f64)
}

/// The driver's laps count for `n` yields each only if the members kept up with it.
fn assert_nobody_skipped(n: usize, yields: u64, requests: &Requests) {
    let members = (n - 1) as f64;
    let made = yields as f64 / members;
    let laps = requests.laps_made() as f64;
    // Everyone may be some laps ahead or behind when it ends; nobody may be so by a share.
    assert!(
        (made - laps).abs() <= laps * 0.02 + 70.0,
        "{laps} laps of the driver, {made} of an average member"
    );
}
