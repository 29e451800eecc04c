//! Channels: two that answer each other, and a stream from one to the other.
//!
//! ```text
//!   ping_pong    A ── ping ──► B        rendezvous, both ways; an iteration is one round trip
//!                A ◄── pong ── B
//!   stream       A ── 1, 2, 3, .. ──► B        bounded(1024); an iteration is one message
//! ```
//!
//! A serves the bench's requests, so it is alone with B between two laps. Threads meet through crossbeam-channel and
//! flume, each thread on the same CPU.
//!
//! `cargo bench --bench channel`, or with `-- channel/stream/1` one contest.
#![deny(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::report::Target::{AtMost, Open};
use common::{Bench, Contest, NS, Requests, Station, peers, sys};

/// Messages of a stream, at least: many times what the channel holds.
const BURST: u64 = 16 * 1024;
const CAPACITY: usize = 1024;

fn main() {
    let mut bench = Bench::new();
    one_worker(&mut bench);
    bench.use_all_cpus();
    if sys::allowed_cpus().len() < 2 {
        println!("channel/../2_workers: skipped, it needs two CPUs; run without taskset");
    } else {
        two_workers(&mut bench);
    }
    bench.finish();
}

fn one_worker(bench: &mut Bench) {
    let title = "channel/ping_pong/1_worker";
    if bench.selects(title) {
        peers::may_one_worker();
        let table = Contest::new(title, NS, "round trip")
            .station("ours", ours(1, ping_pong))
            .with("raw pair", peers::raw_pair())
            .station("tokio", tokio_ping_pong(peers::tokio_current_thread))
            .station("may", may_ping_pong())
            .station("crossbeam threads", crossbeam_ping_pong())
            .station("flume threads", flume_ping_pong())
            .run(bench);
        if let Some(table) = table {
            let report = &mut bench.report;
            report.ratio(&table, "ours", "raw pair", AtMost(18.0));
            report.ratio(&table, "ours", "tokio", AtMost(0.25));
            report.ratio(&table, "ours", "crossbeam threads", Open);
        }
    }
    let title = "channel/stream/1_worker";
    if bench.selects(title) {
        let table = Contest::new(title, NS, "message")
            .station("ours", ours(1, stream))
            .with("raw pair", peers::raw_pair())
            .station("tokio", tokio_stream(peers::tokio_current_thread))
            .station("crossbeam threads", crossbeam_stream())
            .station("flume threads", flume_stream())
            .run(bench);
        if let Some(table) = table {
            let report = &mut bench.report;
            report.ratio(&table, "ours", "tokio", AtMost(0.2));
            report.ratio(&table, "ours", "crossbeam threads", AtMost(0.6));
        }
    }
    let title = "channel/ping_pong/with_a_thread";
    if bench.selects(title) {
        let table = Contest::new(title, NS, "round trip")
            .station("ours", ours(1, ping_pong_with_a_thread))
            .station("crossbeam threads", crossbeam_ping_pong())
            .run(bench);
        if let Some(table) = table {
            let report = &mut bench.report;
            report.ratio(&table, "ours", "crossbeam threads", AtMost(1.0));
        }
    }
}

fn two_workers(bench: &mut Bench) {
    let title = "channel/ping_pong/2_workers";
    if bench.selects(title) {
        let table = Contest::new(title, NS, "round trip")
            .station("ours", ours(2, ping_pong))
            .station("tokio", tokio_ping_pong(|| peers::tokio_multi_thread(2)))
            .station("crossbeam threads", crossbeam_ping_pong())
            .run(bench);
        if let Some(table) = table {
            bench.report.absolute(&table, "ours", AtMost(1000.0));
            bench.report.ratio(&table, "ours", "tokio", Open);
            bench
                .report
                .ratio(&table, "ours", "crossbeam threads", Open);
        }
    }
    let title = "channel/stream/2_workers";
    if bench.selects(title) {
        let table = Contest::new(title, NS, "message")
            .station("ours", ours(2, stream))
            .station("tokio", tokio_stream(|| peers::tokio_multi_thread(2)))
            .station("crossbeam threads", crossbeam_stream())
            .run(bench);
        if let Some(table) = table {
            bench.report.ratio(&table, "ours", "tokio", AtMost(0.4));
            bench
                .report
                .ratio(&table, "ours", "crossbeam threads", Open);
        }
    }
}

// ---- Ours ----------------------------------------------------------------------------------------------

fn ours(workers: usize, contender: fn(usize, Requests)) -> Station {
    Station::open(1, move |requests| {
        let runtime = runtime::Builder::new()
            .workers(workers)
            .build()
            .expect("the runtime starts");
        runtime.run(move || contender(workers, requests));
    })
}

/// The other side, on another worker if there is one: this one does not let go before the coroutine has started.
fn beside(workers: usize, f: impl FnOnce() + Send + 'static) -> runtime::coroutine::JoinHandle<()> {
    let started = Arc::new(AtomicBool::new(workers == 1));
    let starts = Arc::clone(&started);
    let handle = runtime::spawn(move || {
        starts.store(true, Ordering::Release);
        f();
    });
    while !started.load(Ordering::Acquire) {
        thread::yield_now();
    }
    handle
}

fn ping_pong(workers: usize, requests: Requests) {
    let (ping, pings) = runtime::channel::bounded(0);
    let (pong, pongs) = runtime::channel::bounded(0);
    let other = beside(workers, move || {
        for number in pings {
            if pong.send(number).is_err() {
                break;
            }
        }
    });
    serve(requests, |laps| {
        for lap in 0..laps {
            ping.send(lap).expect("the other side answers");
            assert_eq!(pongs.recv(), Ok(lap));
        }
    });
    drop(ping);
    other.join().expect("the other side ends");
}

fn ping_pong_with_a_thread(_: usize, requests: Requests) {
    let (ping, pings) = runtime::channel::bounded(0);
    let (pong, pongs) = runtime::channel::bounded(0);
    let other = thread::spawn(move || {
        for number in pings {
            if pong.send(number).is_err() {
                break;
            }
        }
    });
    serve(requests, |laps| {
        for lap in 0..laps {
            ping.send(lap).expect("the other side answers");
            assert_eq!(pongs.recv(), Ok(lap));
        }
    });
    drop(ping);
    other.join().expect("the other side ends");
}

fn stream(workers: usize, mut requests: Requests) {
    let (sender, receiver) = runtime::channel::bounded(CAPACITY);
    let (orders, ordered) = runtime::channel::bounded::<u64>(0);
    let other = beside(workers, move || {
        for messages in ordered {
            for message in 0..messages {
                sender.send(message).expect("the other side receives");
            }
        }
    });
    while let Some(laps) = requests.start() {
        let messages = laps.max(BURST);
        orders.send(messages).expect("the other side sends");
        for message in 0..messages {
            assert_eq!(receiver.recv(), Ok(message));
        }
        requests.finish_counted(|_, _| messages);
    }
    drop(orders);
    other.join().expect("the other side ends");
}

/// Serves requests by a function that makes so many laps at once.
fn serve(mut requests: Requests, mut lap: impl FnMut(u64)) {
    while let Some(laps) = requests.start() {
        lap(laps);
        requests.finish();
    }
}

// ---- Peers --------------------------------------------------------------------------------------------------

fn tokio_ping_pong(make: impl Fn() -> tokio::runtime::Runtime + Send + 'static) -> Station {
    Station::open(1, move |mut requests| {
        let driver = async move {
            let (ping, mut pings) = tokio::sync::mpsc::channel(1);
            let (pong, mut pongs) = tokio::sync::mpsc::channel(1);
            let other = tokio::spawn(async move {
                while let Some(number) = pings.recv().await {
                    if pong.send(number).await.is_err() {
                        break;
                    }
                }
            });
            while let Some(laps) = requests.start() {
                for lap in 0..laps {
                    ping.send(lap).await.expect("the other side answers");
                    assert_eq!(pongs.recv().await, Some(lap));
                }
                requests.finish();
            }
            drop(ping);
            other.await.expect("the other side ends");
        };
        let runtime = make();
        runtime.block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic");
        });
    })
}

fn tokio_stream(make: impl Fn() -> tokio::runtime::Runtime + Send + 'static) -> Station {
    Station::open(1, move |mut requests| {
        let driver = async move {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
            let (orders, mut ordered) = tokio::sync::mpsc::channel::<u64>(1);
            let other = tokio::spawn(async move {
                while let Some(messages) = ordered.recv().await {
                    for message in 0..messages {
                        sender.send(message).await.expect("the other side receives");
                    }
                }
            });
            while let Some(laps) = requests.start() {
                let messages = laps.max(BURST);
                orders.send(messages).await.expect("the other side sends");
                for message in 0..messages {
                    assert_eq!(receiver.recv().await, Some(message));
                }
                requests.finish_counted(|_, _| messages);
            }
            drop(orders);
            other.await.expect("the other side ends");
        };
        let runtime = make();
        runtime.block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic");
        });
    })
}

fn may_ping_pong() -> Station {
    Station::open(1, move |mut requests| {
        // may's sync channels of capacity zero do not meet; its unbounded ones are its fastest.
        let driver = may::go!(move || {
            let (ping, pings) = may::sync::mpsc::channel();
            let (pong, pongs) = may::sync::mpsc::channel();
            let other = may::go!(move || {
                while let Ok(number) = pings.recv() {
                    if pong.send(number).is_err() {
                        break;
                    }
                }
            });
            while let Some(laps) = requests.start() {
                for lap in 0..laps {
                    ping.send(lap).expect("the other side answers");
                    assert_eq!(pongs.recv(), Ok(lap));
                }
                requests.finish();
            }
            drop(ping);
            other.join().expect("the other side ends");
        });
        driver.join().expect("the driver does not panic");
    })
}

/// The same for two libraries whose channels have the same methods.
macro_rules! threads {
    ($ping_pong:ident, $stream:ident, $library:ident) => {
        fn $ping_pong() -> Station {
            Station::open(1, move |requests| {
                let (ping, pings) = $library::bounded(0);
                let (pong, pongs) = $library::bounded(0);
                let other = thread::spawn(move || {
                    for number in pings {
                        if pong.send(number).is_err() {
                            break;
                        }
                    }
                });
                serve(requests, |laps| {
                    for lap in 0..laps {
                        ping.send(lap).expect("the other side answers");
                        assert_eq!(pongs.recv(), Ok(lap));
                    }
                });
                drop(ping);
                other.join().expect("the other side ends");
            })
        }

        fn $stream() -> Station {
            Station::open(1, move |mut requests| {
                let (sender, receiver) = $library::bounded(CAPACITY);
                let (orders, ordered) = $library::bounded::<u64>(0);
                let other = thread::spawn(move || {
                    for messages in ordered {
                        for message in 0..messages {
                            sender.send(message).expect("the other side receives");
                        }
                    }
                });
                while let Some(laps) = requests.start() {
                    let messages = laps.max(BURST);
                    orders.send(messages).expect("the other side sends");
                    for message in 0..messages {
                        assert_eq!(receiver.recv(), Ok(message));
                    }
                    requests.finish_counted(|_, _| messages);
                }
                drop(orders);
                other.join().expect("the other side ends");
            })
        }
    };
}

threads!(crossbeam_ping_pong, crossbeam_stream, crossbeam_channel);
threads!(flume_ping_pong, flume_stream, flume);
