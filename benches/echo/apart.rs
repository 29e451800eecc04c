//! Load and server on a CPU each: a crowd of 10,000, and one connection alone.
//!
//! The load is busy: it asks for answers all the time, so it neither sleeps nor is woken, and the server decides
//! the pace. What the server's CPU does is counted too, since some of it may be spent waiting for the load.
#![deny(unsafe_code)]

use std::io;

use super::TALK;
use crate::common::report::Target::{AtLeast, AtMost, Open};
use crate::common::{Bench, Load, Server, Table, tables};

const UNITS: [&str; 3] = [
    "requests per second",
    "p99, us",
    "server's CPU, us per request",
];

/// `echo/10000`: so many keep-alive connections, each with a request in flight.
pub fn crowd(bench: &mut Bench, connections: usize) {
    let title = format!("echo/{connections}");
    let names = ["ours", "tokio", "may"];
    let connections = if bench.is_quick() { 100 } else { connections };
    let rounds = contest(bench, &title, &names, 5, connections, 6);
    let Some([pace, p99, cpu]) = rounds else {
        return;
    };
    bench.report.ratio(&pace, "ours", "tokio", AtLeast(1.0));
    bench.report.ratio(&p99, "ours", "tokio", AtMost(1.0));
    bench.report.ratio(&cpu, "ours", "tokio", Open);
    bench.report.ratio(&pace, "ours", "may", Open);
}

/// `echo/alone`: one connection, so that nothing hides what it takes to wake a server that sleeps.
pub fn alone(bench: &mut Bench) {
    let names = ["ours, spinning", "ours", "tokio", "may"];
    let requests = if bench.is_quick() { 100 } else { 5_000 };
    let rounds = contest(bench, "echo/alone", &names, 9, 1, requests);
    let Some([pace, p99, _]) = rounds else {
        return;
    };
    let report = &mut bench.report;
    report.ratio(&pace, "ours, spinning", "tokio", AtLeast(2.0));
    report.ratio(&p99, "ours, spinning", "tokio", Open);
    report.ratio(&pace, "ours", "tokio", Open);
}

/// A table for each of [`UNITS`]; so many requests for each connection make a sample.
fn contest(
    bench: &mut Bench,
    title: &str,
    names: &[&str],
    rounds: usize,
    connections: usize,
    requests_each: u64,
) -> Option<[Table; 3]> {
    if !bench.selects(title) || !bench.has_files(title, connections) {
        return None;
    }
    let cpu = bench.load_apart(title)?;
    let rounds = if bench.is_quick() { 1 } else { rounds };
    let requests = connections as u64 * requests_each;
    let tables = tables(title, names, rounds, UNITS, |name| {
        sample(name, cpu, connections, requests).expect("client and server talk")
    });
    bench.report.tables(&tables);
    Some(tables)
}

fn sample(name: &str, cpu: usize, connections: usize, requests: u64) -> io::Result<[f64; 3]> {
    let server = Server::start_on(cpu, name)?;
    let mut load = Load::connect(server.address, connections, TALK)?.busy();
    load.run(requests / 4)?;
    let before = server.cpu_time();
    let (time, latencies) = load.run_timed(requests)?;
    let cpu = server.cpu_time() - before;
    Ok([
        requests as f64 / time.as_secs_f64(),
        latencies.p99_us(),
        cpu.as_secs_f64() * 1e6 / requests as f64,
    ])
}
