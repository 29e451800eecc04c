//! Offload: `spawn_blocking` of an empty closure and the wait for it, one at a time.
//!
//! ```text
//!   worker        job ──► queue, wake a thread        park ◄── wake
//!   its thread                     run the closure ────────────┘
//! ```
//!
//! Twice: on one CPU, where the two have to be switched between, and on two, where each may be woken from sleep.
//! Beside it, `thread`: a std thread that is started for it.
//!
//! `cargo bench --bench blocking`, or with `-- blocking/1_cpu/` one of the two.
#![deny(unsafe_code)]

mod common;

use std::thread;

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, NS, Station, peers, sys};

fn main() {
    let mut bench = Bench::new();
    if bench.selects("blocking/1_cpu") {
        round_trip(&mut bench, "blocking/1_cpu");
    }
    if bench.selects("blocking/2_cpus") {
        bench.use_all_cpus();
        if sys::allowed_cpus().len() < 2 {
            println!("blocking/2_cpus: skipped, it needs two CPUs; run without taskset");
        } else {
            round_trip(&mut bench, "blocking/2_cpus");
        }
    }
    bench.finish();
}

fn round_trip(bench: &mut Bench, title: &str) {
    let contest = Contest::new(title, NS, "round trip")
        .station("ours", ours())
        .station("tokio", tokio())
        .station("thread", threads());
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "tokio", AtMost(1.0));
    bench.report.ratio(&table, "ours", "thread", Open);
}

fn ours() -> Station {
    Station::open(1, |requests| {
        runtime::run(|| {
            requests.serve(|| {
                runtime::spawn_blocking(|| ())
                    .join()
                    .expect("an empty closure does not panic")
            });
        });
    })
}

fn tokio() -> Station {
    Station::open(1, |mut requests| {
        peers::tokio_current_thread().block_on(async {
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    tokio::task::spawn_blocking(|| ())
                        .await
                        .expect("an empty closure does not panic");
                }
                requests.finish();
            }
        });
    })
}

fn threads() -> Station {
    Station::open(1, |requests| {
        requests.serve(|| {
            thread::spawn(|| ())
                .join()
                .expect("an empty closure does not panic")
        });
    })
}
