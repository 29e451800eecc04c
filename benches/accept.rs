//! Short connections: accept, one request, its answer, close.
//!
//! ```text
//!   this process                               child, one per sample
//!   load: 64 lanes, each   ==== loopback ====  ours | tokio | may
//!   connects, asks, reads                      accepts, spawns; reads, answers, closes
//!   to the end, again
//! ```
//!
//! A connection costs the client more than the server, so a server with a CPU of its own waits for the load: the
//! requests a second are those of both on one CPU, as in `echo/50`; with two, what the server's CPU spends is shown.
//!
//! `cargo bench --bench accept`
#![deny(unsafe_code)]

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::report::Target::{AtLeast, Open};
use common::sys::{self, Epoll, reset_on_close};
use common::{Bench, Contest, Server, Unit, child, peers, server, tables};

/// Connections open at a time: fewer than the backlog of any server, 128.
const LANES: usize = 64;

const MESSAGE: [u8; 64] = [b'x'; 64];

const NAMES: [&str; 3] = ["ours", "tokio", "may"];

fn main() {
    if let Some(task) = child::task() {
        sys::die_with_parent();
        serve(&task.join(" ")).expect("the server serves until it is killed");
        return;
    }
    let mut bench = Bench::new();
    one_cpu(&mut bench, "accept/1_cpu");
    two_cpus(&mut bench, "accept/2_cpus");
    bench.finish();
}

fn one_cpu(bench: &mut Bench, title: &str) {
    if !bench.selects(title) {
        return;
    }
    let requests_min = if bench.is_quick() { 100 } else { 10_000 };
    let mut contest = Contest::new(title, Unit::PerSecond, "request").rounds(21);
    for name in NAMES {
        contest = contest.with(name, move |requests| {
            let made = requests.max(requests_min);
            let sample = || {
                let server = Server::start(name)?;
                run(server.address, made / 10, false)?;
                run(server.address, made, false)
            };
            sample()
                .expect("client and server talk")
                .mul_f64(requests as f64 / made as f64)
        });
    }
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "tokio", AtLeast(1.0));
    bench.report.ratio(&table, "ours", "may", Open);
}

fn two_cpus(bench: &mut Bench, title: &str) {
    if !bench.selects(title) {
        return;
    }
    let Some(cpu) = bench.load_apart(title) else {
        return;
    };
    let (requests, rounds) = if bench.is_quick() {
        (100, 1)
    } else {
        (20_000, 15)
    };
    let units = ["requests per second", "server's CPU, us per request"];
    let sample = |name: &str| -> io::Result<[f64; 2]> {
        let server = Server::start_on(cpu, name)?;
        run(server.address, requests / 10, true)?;
        let before = server.cpu_time();
        let time = run(server.address, requests, true)?;
        let cpu = server.cpu_time() - before;
        Ok([
            requests as f64 / time.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / requests as f64,
        ])
    };
    let [pace, cpu] = tables(title, &NAMES, rounds, units, |name| {
        sample(name).expect("client and server talk")
    });
    let report = &mut bench.report;
    report.tables([&pace, &cpu]);
    report.ratio(&pace, "ours", "tokio", AtLeast(1.0));
    report.ratio(&cpu, "ours", "tokio", Open);
}

/// How long it takes to have `requests` answered, each on a connection of its own. A `busy` load never sleeps.
fn run(server: SocketAddr, requests: u64, busy: bool) -> io::Result<Duration> {
    let mut epoll = Epoll::new(LANES)?;
    let mut lanes: Vec<Option<TcpStream>> = (0..LANES).map(|_| None).collect();
    let since = Instant::now();
    let (mut to_send, mut answered) = (requests, 0);
    let mut free: Vec<usize> = (0..LANES).collect();
    while answered < requests {
        for lane in free.drain(..) {
            if to_send > 0 {
                to_send -= 1;
                let stream = ask(server)?;
                epoll.add(&stream, lane)?;
                lanes[lane] = Some(stream);
            }
        }
        let mut failed = None;
        epoll.wait(busy, |lane| {
            let stream = lanes[lane].as_mut().expect("reported until it is closed");
            match stream.read(&mut [0; 2 * MESSAGE.len()]) {
                Ok(0) => {
                    lanes[lane] = None;
                    answered += 1;
                    free.push(lane);
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(since.elapsed())
}

/// Connects, which takes no accept, and sends the request. Closed at its end it is reset, which leaves nothing behind.
fn ask(server: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    reset_on_close(&stream)?;
    stream.write_all(&MESSAGE)?;
    Ok(stream)
}

/// The child: says where it listens, then serves for ever.
fn serve(name: &str) -> io::Result<()> {
    match name {
        "ours" => ours(),
        "tokio" => tokio(),
        "may" => may(),
        _ => panic!("unknown server {name}"),
    }
}

/// A connection's whole life, for whatever reads and writes as std does: ours and may's.
fn answer(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = MESSAGE;
    stream.read_exact(&mut buffer)?;
    stream.write_all(&buffer)
}

fn ours() -> io::Result<()> {
    runtime::run(|| {
        let listener = runtime::net::TcpListener::bind("127.0.0.1:0")?;
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            runtime::spawn(move || answer(stream));
        }
    })
}

fn may() -> io::Result<()> {
    peers::may_one_worker();
    let server = may::go!(|| -> io::Result<()> {
        let listener = may::net::TcpListener::bind("127.0.0.1:0")?;
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            may::go!(move || answer(stream));
        }
    });
    server.join().expect("the server does not panic")
}

fn tokio() -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn answer(mut stream: tokio::net::TcpStream) -> io::Result<()> {
        let mut buffer = MESSAGE;
        stream.read_exact(&mut buffer).await?;
        stream.write_all(&buffer).await
    }

    peers::tokio_current_thread().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    })
}
