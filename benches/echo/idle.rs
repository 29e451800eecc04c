//! 10,000 connections that are silent: what each takes of the server's memory, and what one that talks feels of them.
//!
//! ```text
//!   one talks:  p99 alone      then 10,000 more are opened, each asks once and is silent
//!               p99 beside
//! ```
//!
//! Memory is the server's own, resident pages and page tables; the kernel's share, the sockets and what epoll keeps of
//! them, is not in there, and the same for all.
#![deny(unsafe_code)]

use std::io;

use super::TALK;
use crate::common::report::Target::{AtMost, Open};
use crate::common::{Bench, Load, Server, tables};

const UNITS: [&str; 3] = [
    "bytes each",
    "p99 of one alone, us",
    "p99 beside the idle, us",
];

/// `echo/idle`, with so many.
pub fn idle(bench: &mut Bench, connections: usize) {
    let title = "echo/idle";
    if !bench.selects(title) || !bench.has_files(title, connections) {
        return;
    }
    let Some(cpu) = bench.load_apart(title) else {
        return;
    };
    let quick = bench.is_quick();
    let connections = if quick { 100 } else { connections };
    let requests = if quick { 100 } else { 2_000 };
    let rounds = if quick { 1 } else { 7 };
    let names = ["ours", "tokio", "may"];
    let [bytes, alone, beside] = tables(title, &names, rounds, UNITS, |name| {
        sample(name, cpu, connections, requests).expect("client and server talk")
    });
    let report = &mut bench.report;
    report.tables([&bytes, &alone, &beside]);
    report.absolute(&bytes, "ours", AtMost(5.0 * 1024.0));
    for (name, target) in [("ours", AtMost(2.0)), ("tokio", Open)] {
        let felt = beside.series(name).over(alone.series(name));
        report.figure(
            &format!("{title}: {name}, p99 beside {connections} idle / alone"),
            &felt,
            target,
        );
    }
    report.ratio(&bytes, "ours", "tokio", Open);
}

fn sample(name: &str, cpu: usize, connections: usize, requests: u64) -> io::Result<[f64; 3]> {
    let server = Server::start_on(cpu, name)?;
    let mut active = Load::connect(server.address, 1, TALK)?.busy();
    let mut p99_us = || -> io::Result<f64> {
        active.run(requests / 10)?;
        Ok(active.run_timed(requests)?.1.p99_us())
    };
    let alone = p99_us()?;
    let before = server.memory().bytes;
    let _idle = Load::connect(server.address, connections, TALK)?;
    let after = server.memory().bytes;
    let beside = p99_us()?;
    let each = after.saturating_sub(before) as f64 / connections as f64;
    Ok([each, alone, beside])
}
