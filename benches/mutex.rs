//! A mutex that everybody wants: lock, yield while it is held, unlock.
//!
//! ```text
//!   holder     yields, and is resumed: nobody else can run
//!   n-1 wait   unlock: the next one holds it, and is woken; the last holder locks again, and waits
//! ```
//!
//! An operation is a lock with its unlock: by a fair mutex a wait, a wake-up and a yield. They are counted by the value
//! that the mutex holds.
//!
//! `cargo bench --bench mutex`
#![deny(unsafe_code)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, NS, Requests, Station, peers};

/// How many want it.
const N: usize = 100;

fn main() {
    let mut bench = Bench::new();
    contended(&mut bench);
    alone(&mut bench);
    bench.finish();
}

fn contended(bench: &mut Bench) {
    let title = format!("mutex/{N}_yield_inside");
    if !bench.selects(&title) {
        return;
    }
    let contest = Contest::new(&title, NS, "operation")
        .station("ours", ours())
        .with("raw pair", peers::raw_pair())
        .station("tokio", tokio())
        .station("may", may())
        .with("threads", threads);
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "tokio", AtMost(0.15));
    bench.report.ratio(&table, "ours", "raw pair", Open);
    bench.report.ratio(&table, "ours", "may", Open);
    bench.report.ratio(&table, "ours", "threads", Open);
}

/// One that nobody else wants.
fn alone(bench: &mut Bench) {
    let title = "mutex/alone";
    if !bench.selects(title) {
        return;
    }
    let contest = Contest::new(title, NS, "operation")
        .station(
            "ours",
            Station::open(1, |requests| {
                runtime::run(move || {
                    let mutex = runtime::sync::Mutex::new(0_u64);
                    requests.serve(|| *mutex.lock() += 1);
                });
            }),
        )
        .station(
            "std",
            Station::open(1, |requests| {
                let mutex = std::sync::Mutex::new(0_u64);
                requests.serve(|| *mutex.lock().expect("nobody panics") += 1);
            }),
        )
        .station(
            "tokio",
            Station::open(1, |mut requests| {
                peers::tokio_current_thread().block_on(async {
                    let mutex = tokio::sync::Mutex::new(0_u64);
                    while let Some(laps) = requests.start() {
                        for _ in 0..laps {
                            *mutex.lock().await += 1;
                        }
                        requests.finish();
                    }
                });
            }),
        );
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "std", Open);
    bench.report.ratio(&table, "ours", "tokio", Open);
}

/// The driver's part: it takes part, and counts what all have done.
fn count(requests: &mut Requests, before: &mut u64, now: u64) {
    requests.finish_counted(|_, _| now - *before);
    *before = now;
}

fn ours() -> Station {
    Station::open(N, |mut requests| {
        runtime::run(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let mutex = Arc::new(runtime::sync::Mutex::new(0_u64));
            let operation = |mutex: &runtime::sync::Mutex<u64>| {
                let mut operations = mutex.lock();
                *operations += 1;
                runtime::yield_now();
                *operations
            };
            let members: Vec<_> = (1..N)
                .map(|_| {
                    let (stop, mutex) = (Arc::clone(&stop), Arc::clone(&mutex));
                    runtime::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            operation(&mutex);
                        }
                    })
                })
                .collect();
            let mut before = 0;
            while let Some(laps) = requests.start() {
                let mut now = 0;
                for _ in 0..laps {
                    now = operation(&mutex);
                }
                count(&mut requests, &mut before, now);
            }
            stop.store(true, Ordering::Relaxed);
            members
                .into_iter()
                .for_each(|member| member.join().expect("members do not panic"));
        });
    })
}

fn tokio() -> Station {
    async fn operation(mutex: &tokio::sync::Mutex<u64>) -> u64 {
        let mut operations = mutex.lock().await;
        *operations += 1;
        tokio::task::yield_now().await;
        *operations
    }
    Station::open(N, |mut requests| {
        let driver = async move {
            let stop = Arc::new(AtomicBool::new(false));
            let mutex = Arc::new(tokio::sync::Mutex::new(0_u64));
            for _ in 1..N {
                let (stop, mutex) = (Arc::clone(&stop), Arc::clone(&mutex));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        operation(&mutex).await;
                    }
                });
            }
            let mut before = 0;
            while let Some(laps) = requests.start() {
                let mut now = 0;
                for _ in 0..laps {
                    now = operation(&mutex).await;
                }
                count(&mut requests, &mut before, now);
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

fn may() -> Station {
    fn operation(mutex: &may::sync::Mutex<u64>) -> u64 {
        let mut operations = mutex.lock().expect("nobody panics");
        *operations += 1;
        may::coroutine::yield_now();
        *operations
    }
    peers::may_one_worker();
    Station::open(N, |mut requests| {
        let driver = may::go!(move || {
            let stop = Arc::new(AtomicBool::new(false));
            let mutex = Arc::new(may::sync::Mutex::new(0_u64));
            let members: Vec<_> = (1..N)
                .map(|_| {
                    let (stop, mutex) = (Arc::clone(&stop), Arc::clone(&mutex));
                    may::go!(move || {
                        while !stop.load(Ordering::Relaxed) {
                            operation(&mutex);
                        }
                    })
                })
                .collect();
            let mut before = 0;
            while let Some(laps) = requests.start() {
                let mut now = 0;
                for _ in 0..laps {
                    now = operation(&mutex);
                }
                count(&mut requests, &mut before, now);
            }
            stop.store(true, Ordering::Relaxed);
            members
                .into_iter()
                .for_each(|member| member.join().expect("members do not panic"));
        });
        driver.join().expect("the driver does not panic");
    })
}

/// std's mutex, which is not fair: whoever unlocks it mostly locks it again.
fn threads(operations: u64) -> Duration {
    // Enough for each that starting and ending do not show.
    let each = (operations / N as u64).max(1_000);
    let start_line = Barrier::new(N + 1);
    let mutex = std::sync::Mutex::new(0_u64);
    let mut since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..N {
            scope.spawn(|| {
                start_line.wait();
                for _ in 0..each {
                    let mut operations = mutex.lock().expect("nobody panics");
                    *operations += 1;
                    thread::yield_now();
                }
            });
        }
        since = Instant::now();
        start_line.wait();
    });
    since
        .elapsed()
        .mul_f64(operations as f64 / (each * N as u64) as f64)
}
