//! Spawn and join: one at a time, and a batch of 100,000 that are all spawned before any is joined.
//!
//! One at a time shows the cost of a life with everything hot. The batch shows what is kept for each that
//! waits for its turn; it is warm, since each sample follows an equal one that is not timed.
//!
//! `cargo bench --bench spawn`, or with `-- spawn/batch` one of the two.
#![deny(unsafe_code)]

mod common;

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, NS, Station, peers};

fn main() {
    let mut bench = Bench::new();
    if bench.selects("spawn/one_at_a_time") {
        one_at_a_time(&mut bench, "spawn/one_at_a_time");
    }
    let batch_size = if bench.is_quick() { 100 } else { 100_000 };
    let title = format!("spawn/batch_of_{batch_size}");
    if bench.selects(&title) {
        batch(&mut bench, &title, batch_size);
    }
    bench.finish();
}

/// What each one that is spawned does: next to nothing, which the compiler cannot see.
fn work() -> u64 {
    black_box(1)
}

fn one_at_a_time(bench: &mut Bench, title: &str) {
    let contest = Contest::new(title, NS, "spawn and join")
        .station(
            "ours",
            Station::open(1, |requests| {
                runtime::run(move || {
                    requests.serve(|| {
                        runtime::spawn(work).join().expect("work does not panic");
                    });
                });
            }),
        )
        .with("raw pair", peers::raw_pair())
        .station("tokio", tokio(1))
        .station("may", may_one_at_a_time())
        .with("threads", |count| {
            let start = Instant::now();
            for _ in 0..count {
                thread::spawn(work).join().expect("work does not panic");
            }
            start.elapsed()
        });
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "raw pair", AtMost(10.0));
    for peer in ["tokio", "may", "threads"] {
        bench.report.ratio(&table, "ours", peer, Open);
    }
}

fn batch(bench: &mut Bench, title: &str, size: usize) {
    let contest = Contest::new(title, NS, "spawn and join")
        .station("ours", ours_batch(size))
        .with("raw pair", peers::raw_pair())
        .station("tokio", tokio(size))
        .station("may", may_batch(size));
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "raw pair", Open);
    bench.report.ratio(&table, "ours", "tokio", AtMost(0.12));
    bench.report.ratio(&table, "ours", "may", Open);
}

fn ours_batch(size: usize) -> Station {
    Station::open(size, move |requests| {
        runtime::run(move || {
            let mut handles = Vec::with_capacity(size);
            requests.serve(|| {
                handles.extend((0..size).map(|_| runtime::spawn(work)));
                for handle in handles.drain(..) {
                    handle.join().expect("work does not panic");
                }
            });
        });
    })
}

/// One at a time is a batch of one.
fn tokio(size: usize) -> Station {
    Station::open(size, move |mut requests| {
        let driver = async move {
            let mut handles = Vec::with_capacity(size);
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    handles.extend((0..size).map(|_| tokio::spawn(async { work() })));
                    for handle in handles.drain(..) {
                        handle.await.expect("work does not panic");
                    }
                }
                requests.finish();
            }
        };
        peers::tokio_current_thread().block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic")
        });
    })
}

fn may_one_at_a_time() -> Station {
    peers::may_one_worker();
    Station::open(1, |requests| {
        let driver = may::go!(move || {
            requests.serve(|| {
                may::go!(work).join().expect("work does not panic");
            });
        });
        driver.join().expect("the driver does not panic");
    })
}

/// Spawned from a thread, so that may's worker can finish some meanwhile: from a coroutine, all 100,000 would
/// have their stacks at once, and the mappings for those run out near 32,000.
fn may_batch(size: usize) -> Station {
    peers::may_one_worker();
    Station::open(size, move |requests| {
        let mut handles = Vec::with_capacity(size);
        requests.serve(|| {
            handles.extend((0..size).map(|_| may::go!(work)));
            for handle in handles.drain(..) {
                handle.join().expect("work does not panic");
            }
        });
    })
}
