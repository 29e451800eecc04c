//! Skynet: a tree of 1,000,000 leaves, ten children to a node, each spawned; sums travel up by join.
//!
//! ```text
//!                 root
//!          0 ... 9 children            each spawns ten and adds up what they return;
//!       0 ... 9     ...                a leaf returns its number
//!     ...
//!   0 1 2 3 ............ 999,999       sum: 499,999,500,000
//! ```
//!
//! 1,111,111 spawns and joins, and a choice: breadth first needs a million stacks, depth first a handful.
//! After <https://github.com/atemerev/skynet>. may is absent: it runs out of mappings.
//!
//! `cargo bench --bench skynet`, or with `-- skynet/2_workers` one of the two.
#![deny(unsafe_code)]

mod common;

use common::report::Target::AtMost;
use common::{Bench, Contest, MS, Station, peers, sys};

const FAN_OUT: u64 = 10;

fn main() {
    let mut bench = Bench::new();
    let leaves = if bench.is_quick() { 1_000 } else { 1_000_000 };
    if bench.selects("skynet/1_worker") {
        skynet(&mut bench, "skynet/1_worker", 1, leaves);
    }
    if bench.selects("skynet/2_workers") {
        bench.use_all_cpus();
        if sys::allowed_cpus().len() < 2 {
            println!("skynet/2_workers: skipped, it needs two CPUs; run without taskset");
        } else {
            skynet(&mut bench, "skynet/2_workers", 2, leaves);
        }
    }
    bench.finish();
}

fn skynet(bench: &mut Bench, title: &str, workers: usize, leaves: u64) {
    let contest = Contest::new(title, MS, "skynet").station("ours", ours(workers, leaves));
    let contest = match workers {
        1 => contest.station("tokio", tokio(peers::tokio_current_thread, leaves)),
        _ => contest.station(
            "tokio",
            tokio(move || peers::tokio_multi_thread(workers), leaves),
        ),
    };
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "tokio", AtMost(0.12));
}

fn ours(workers: usize, leaves: u64) -> Station {
    fn node(first: u64, leaves: u64) -> u64 {
        if leaves == 1 {
            return first;
        }
        let each = leaves / FAN_OUT;
        let children: [_; FAN_OUT as usize] = std::array::from_fn(|child| {
            let first = first + child as u64 * each;
            runtime::spawn(move || node(first, each))
        });
        children
            .into_iter()
            .map(|child| child.join().expect("a node does not panic"))
            .sum()
    }

    Station::open(1, move |requests| {
        let runtime = runtime::Builder::new()
            .workers(workers)
            .build()
            .expect("the runtime starts");
        runtime.run(move || requests.serve(|| assert_eq!(node(0, leaves), sum(leaves))));
    })
}

fn tokio(
    runtime: impl FnOnce() -> tokio::runtime::Runtime + Send + 'static,
    leaves: u64,
) -> Station {
    // An ordinary function that spawns: an async one could call itself only through a box per call.
    fn node(first: u64, leaves: u64) -> tokio::task::JoinHandle<u64> {
        tokio::spawn(async move {
            if leaves == 1 {
                return first;
            }
            let each = leaves / FAN_OUT;
            let children: [_; FAN_OUT as usize] =
                std::array::from_fn(|child| node(first + child as u64 * each, each));
            let mut sum = 0;
            for child in children {
                sum += child.await.expect("a node does not panic");
            }
            sum
        })
    }

    Station::open(1, move |mut requests| {
        let driver = async move {
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    assert_eq!(
                        node(0, leaves).await.expect("a node does not panic"),
                        sum(leaves)
                    );
                }
                requests.finish();
            }
        };
        runtime().block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic")
        });
    })
}

/// What the leaves add up to.
fn sum(leaves: u64) -> u64 {
    leaves * (leaves - 1) / 2
}
