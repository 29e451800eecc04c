//! TCP echo on one core: 64-byte messages over 50 and 1,000 keep-alive connections, beside a bare epoll loop.
//!
//! ```text
//!   this process                               child, one per sample
//!   load: one epoll loop   ==== loopback ====  ours | tokio | may | the bare loop
//!          \_____________ the same CPU ____________/
//! ```
//!
//! Most of a request is the kernel's TCP, the same for all; what is left is the runtime's. The bare loop
//! ([`bare`]) is what a runtime cannot be expected to beat, and 0.98 of it what ours must reach.
//!
//! `cargo bench --bench echo`, or with `-- echo/50/` one of the two.
#![deny(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod bare;
mod client;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Child;
use std::time::Duration;

use client::Load;
use common::report::Target::{AtLeast, Open};
use common::{Bench, Contest, Unit, child, peers, sys};

/// What is sent and must come back.
const MESSAGE_BYTES: usize = 64;

/// What each server reads into.
const BUFFER_BYTES: usize = 1024;

const SERVERS: [&str; 4] = ["ours", "bare epoll loop", "tokio", "may"];

fn main() {
    if let Some(task) = child::task() {
        sys::die_with_parent();
        serve(&task.join(" ")).expect("the server serves until it is killed");
        return;
    }
    let mut bench = Bench::new();
    sys::raise_open_files_limit();
    for connections in [50, 1_000] {
        echo(&mut bench, connections);
    }
    bench.finish();
}

fn echo(bench: &mut Bench, connections: usize) {
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
    let mut load = Load::connect(server.address, connections)?;
    load.run(connections as u64 * 4)?;
    load.run(requests)
}

/// A server in a child process, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> io::Result<Self> {
        let mut child = child::command(name).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .map_err(|_| io::Error::other(format!("{name} did not start")))?;
        Ok(Server { child, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have died by itself, which the client's errors tell about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: says where it listens, then serves for ever.
fn serve(name: &str) -> io::Result<()> {
    match name {
        "ours" => ours(),
        "bare epoll loop" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("{}", listener.local_addr()?);
            bare::serve(listener)
        }
        "tokio" => tokio(),
        "may" => may(),
        _ => panic!("unknown server {name}"),
    }
}

/// A connection's whole life, for whatever reads and writes as std does: ours and may's.
fn converse(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn ours() -> io::Result<()> {
    runtime::run(|| {
        let listener = runtime::net::TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            runtime::spawn(move || converse(stream));
        }
    })
}

fn may() -> io::Result<()> {
    peers::may_one_worker();
    let server = may::go!(|| -> io::Result<()> {
        let listener = may::net::TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            may::go!(move || converse(stream));
        }
    });
    server.join().expect("the server does not panic")
}

fn tokio() -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn converse(mut stream: tokio::net::TcpStream) -> io::Result<()> {
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                length => stream.write_all(&buffer[..length]).await?,
            }
        }
    }

    peers::tokio_current_thread().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(converse(stream));
        }
    })
}
