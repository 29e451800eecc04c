//! System calls per request, as `strace -c` counts them: what a request costs the kernel, whatever the machine.
//!
//! Two runs of different length; their difference is the requests' alone, without the server's start, the connections
//! and the end. strace slows every call down, so more requests come together than usual and share an epoll_wait: those
//! are shown beside the rest, which does not depend on it.
#![deny(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;

use super::{SERVERS, TALK};
use crate::common::report::Target::{AtMost, Open};
use crate::common::{Bench, Load, Server, child, tables};

const CONNECTIONS: usize = 50;

/// What the child is told behind the server's name: strace shows its counts when the traced program ends by itself.
const UNTIL_EOF: &str = " until EOF";

/// `echo/calls`.
pub fn calls(bench: &mut Bench) {
    let title = "echo/calls";
    if !bench.selects(title) {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        println!("{title}: skipped, there is no strace");
        return;
    }
    let (rounds, requests) = if bench.is_quick() {
        (1, 100)
    } else {
        (3, 2_000)
    };
    let units = ["calls per request", "epoll waits per request"];
    let [calls, waits] = tables(title, &SERVERS, rounds, units, |name| {
        let [fewer, more] = [requests, requests * 2]
            .map(|requests| count(name, requests).expect("client and server talk"));
        let per_request = |fewer: u64, more: u64| more.abs_diff(fewer) as f64 / requests as f64;
        [
            per_request(fewer.others, more.others),
            per_request(fewer.waits, more.waits),
        ]
    });
    let report = &mut bench.report;
    report.tables([&calls, &waits]);
    report.absolute(&calls, "ours", AtMost(2.0));
    report.absolute(&waits, "ours", Open);
}

/// Calls of one run.
#[derive(Default)]
struct Count {
    waits: u64,
    others: u64,
}

fn count(name: &str, requests: u64) -> io::Result<Count> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls.{}", process::id()));
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&file);
    let mut command = child::command_under(command, &format!("{name}{UNTIL_EOF}"));
    command.stdin(Stdio::piped());
    let server = Server::from(command)?;
    let mut load = Load::connect(server.address, CONNECTIONS, TALK)?;
    load.run(requests)?;
    server.end()?;
    let summary = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    Ok(read(&summary))
}

/// Adds up the lines of a summary: share, seconds, microseconds per call, calls, errors if any, name.
fn read(summary: &str) -> Count {
    let mut count = Count::default();
    for line in summary.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, calls, .., name] = words[..] else {
            continue;
        };
        match (name, calls.parse::<u64>()) {
            (_, Err(_)) | ("total", _) => {} // the head, and the sum at the foot
            ("epoll_wait" | "epoll_pwait" | "epoll_pwait2", Ok(calls)) => count.waits += calls,
            (_, Ok(calls)) => count.others += calls,
        }
    }
    count
}

/// In the child: the server's name in `task`. If it is to end so, it does when its standard input ends.
pub fn server_name(task: &str) -> &str {
    let Some(name) = task.strip_suffix(UNTIL_EOF) else {
        return task;
    };
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    name
}
