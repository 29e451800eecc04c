//! TCP echo of 64-byte messages, however many connections, and what each of them takes.
//!
//! ```text
//!   this process                               child, one per sample
//!   load: one epoll loop   ==== loopback ====  ours | tokio | may | the bare loop
//! ```
//!
//! | contest                   | load and server      | what it shows                                              |
//! |---------------------------|----------------------|------------------------------------------------------------|
//! | `echo/50`, `echo/1000`    | on one CPU           | requests a second beside a bare epoll loop ([`bare`])      |
//! | `echo/10000`              | on a CPU each        | the same with a crowd, and how long the last ones wait     |
//! | `echo/alone`              | on a CPU each        | one connection, to a worker that spins instead of sleeping |
//! | `echo/idle`               | on a CPU each        | 10,000 that are silent: memory, and what another one feels |
//! | `echo/calls`              | wherever they run    | system calls per request, counted by strace                |
//!
//! Most of a request is the kernel's TCP, the same for all; what is left is the runtime's. The bare loop is what
//! a runtime cannot be expected to beat, and 0.98 of it what ours must reach.
//!
//! `cargo bench --bench echo`, or with `-- echo/50/` one of them.
#![deny(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod bare;
mod calls;
mod idle;
mod servers;

use std::io;
use std::time::Duration;

use common::report::Target::{AtLeast, Open};
use common::{Bench, Contest, Load, Server, Talk, Unit, child, sys};

/// What is sent and must come back.
const MESSAGE: [u8; 64] = [b'x'; 64];

const TALK: Talk = Talk {
    request: &MESSAGE,
    answer_ends: &MESSAGE,
};

/// What each server reads into.
const BUFFER_BYTES: usize = 1024;

const SERVERS: [&str; 4] = ["ours", "bare epoll loop", "tokio", "may"];

fn main() {
    if let Some(task) = child::task() {
        sys::die_with_parent();
        let task = task.join(" ");
        servers::serve(calls::server_name(&task)).expect("the server serves until it is killed");
        return;
    }
    let mut bench = Bench::new();
    sys::raise_open_files_limit();
    for connections in [50, 1_000] {
        one_cpu(&mut bench, connections);
    }
    apart::crowd(&mut bench, 10_000);
    apart::alone(&mut bench);
    idle::idle(&mut bench, 10_000);
    calls::calls(&mut bench);
    bench.finish();
}

fn one_cpu(bench: &mut Bench, connections: usize) {
    let title = format!("echo/{connections}");
    if !bench.selects(&title) || bench.is_quick() && connections > 50 {
        return;
    }
    // A sample is worth its server's start only if many requests follow.
    let requests_min = if bench.is_quick() { 100 } else { 30_000 };
    let mut contest = Contest::new(title, Unit::PerSecond, "request").rounds(21);
    for name in SERVERS {
        contest = contest.with(name, move |requests| {
            let made = requests.max(requests_min);
            sample(name, connections, made)
                .expect("client and server talk")
                .mul_f64(requests as f64 / made as f64)
        });
    }
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench
        .report
        .ratio(&table, "ours", "bare epoll loop", AtLeast(0.98));
    bench.report.ratio(&table, "ours", "tokio", Open);
    bench.report.ratio(&table, "ours", "may", Open);
    bench.report.ratio(&table, "tokio", "bare epoll loop", Open);
}

/// Starts a server, connects, warms up, measures.
fn sample(server: &str, connections: usize, requests: u64) -> io::Result<Duration> {
    let server = Server::start(server)?;
    let mut load = Load::connect(server.address, connections, TALK)?;
    load.run(connections as u64 * 4)?;
    load.run(requests)
}
