//! `select!` over 2 and over 16 channels, of which one is ready: to find it, and to receive.
//!
//! ```text
//!   iteration n:   send into channel n mod k;  select over all k
//! ```
//!
//! Nobody waits: what is measured is the choice. One coroutine, or one thread, does both.
//!
//! `cargo bench --bench select`
#![deny(unsafe_code)]

mod common;

use std::time::{Duration, Instant};

use common::report::Target::AtMost;
use common::{Bench, Contest, NS, Station};

fn main() {
    let mut bench = Bench::new();
    contest(&mut bench, "select/2", ours_2, crossbeam_2);
    contest(&mut bench, "select/16", ours_16, crossbeam_16);
    bench.finish();
}

fn contest(bench: &mut Bench, title: &str, ours: fn(u64), crossbeam: fn(u64) -> Duration) {
    if !bench.selects(title) {
        return;
    }
    let ours = Station::open(1, move |mut requests| {
        runtime::run(move || {
            while let Some(laps) = requests.start() {
                ours(laps);
                requests.finish();
            }
        });
    });
    let contest = Contest::new(title, NS, "select")
        .station("ours", ours)
        .with("crossbeam", crossbeam);
    if let Some(table) = contest.run(bench) {
        bench.report.ratio(&table, "ours", "crossbeam", AtMost(1.0));
    }
}

/// Sends to one after the other of the channels, and selects over all.
macro_rules! selects {
    ($name:ident, $library:path, $($sender:ident $receiver:ident),*) => {
        fn $name(times: u64) {
            use $library as library;
            $(let ($sender, $receiver) = library::bounded::<u64>(4);)*
            let senders = [$(&$sender),*];
            for time in 0..times {
                senders[time as usize % senders.len()].send(time).expect("there is a receiver");
                let got = library::select! {
                    $(recv($receiver) -> message => message,)*
                };
                assert_eq!(got, Ok(time));
            }
        }
    };
}

selects!(ours_2, runtime::channel, s0 r0, s1 r1);
selects!(theirs_2, crossbeam_channel, s0 r0, s1 r1);
selects!(
    ours_16, runtime::channel, s0 r0, s1 r1, s2 r2, s3 r3, s4 r4, s5 r5, s6 r6, s7 r7, s8 r8,
    s9 r9, s10 r10, s11 r11, s12 r12, s13 r13, s14 r14, s15 r15
);
selects!(
    theirs_16, crossbeam_channel, s0 r0, s1 r1, s2 r2, s3 r3, s4 r4, s5 r5, s6 r6, s7 r7, s8 r8,
    s9 r9, s10 r10, s11 r11, s12 r12, s13 r13, s14 r14, s15 r15
);

fn crossbeam_2(times: u64) -> Duration {
    timed(theirs_2, times)
}

fn crossbeam_16(times: u64) -> Duration {
    timed(theirs_16, times)
}

fn timed(f: fn(u64), times: u64) -> Duration {
    let start = Instant::now();
    f(times);
    start.elapsed()
}
