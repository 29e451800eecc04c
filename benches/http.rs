//! HTTP plaintext over 1,000 keep-alive connections: what a request takes of the server's CPU.
//!
//! ```text
//!   this process, on one CPU                   child, on another, one per sample
//!   load: one epoll loop   ==== loopback ====  examples/http_server | hyper on tokio | the example's loop on may
//! ```
//!
//! Ours is `runtime/examples/http_server.rs` itself, with its read timeout of 30 s. hyper is set up as in its own
//! guide, without a timeout; "hyper, 30 s" has one for the head of a request, which is the same promise. They parse by
//! the same library, httparse. may's server is the example's loop over may's streams.
//!
//! Each core is kept busy, the server's by 1,000 requests in flight, so what is compared is the CPU time of a
//! request, not the time until its answer.
//!
//! `cargo bench --bench http`
#![deny(unsafe_code)]

mod common;

#[allow(
    dead_code,
    reason = "the example is a program, and more than the bench calls"
)]
#[path = "../runtime/examples/http_server.rs"]
mod http_server;

use std::convert::Infallible;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

use common::report::Target::{AtMost, Open};
use common::{Bench, Load, Server, Talk, child, peers, server, sys, tables};

const TALK: Talk = Talk {
    request: b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain,*/*;q=0.8\r\nConnection: keep-alive\r\n\r\n",
    answer_ends: b"\r\n\r\nHello, World!",
};

const NAMES: [&str; 4] = ["ours", "hyper", "hyper, 30 s", "may"];

const UNITS: [&str; 2] = ["server's CPU, us per request", "requests per second"];

fn main() {
    if let Some(task) = child::task() {
        sys::die_with_parent();
        serve(&task.join(" ")).expect("the server serves until it is killed");
        return;
    }
    let mut bench = Bench::new();
    http(&mut bench, "http", 1_000);
    bench.finish();
}

fn http(bench: &mut Bench, title: &str, connections: usize) {
    if !bench.selects(title) || !bench.has_files(title, connections) {
        return;
    }
    let Some(cpu) = bench.load_apart(title) else {
        return;
    };
    let (connections, rounds) = if bench.is_quick() {
        (10, 1)
    } else {
        (connections, 15)
    };
    let [cpu, pace] = tables(title, &NAMES, rounds, UNITS, |name| {
        sample(name, cpu, connections).expect("client and server talk")
    });
    let report = &mut bench.report;
    report.tables([&cpu, &pace]);
    report.ratio(&cpu, "ours", "hyper", AtMost(0.83));
    report.ratio(&cpu, "ours", "hyper, 30 s", Open);
    report.ratio(&cpu, "ours", "may", Open);
    report.ratio(&pace, "ours", "hyper", Open);
}

fn sample(name: &str, cpu: usize, connections: usize) -> io::Result<[f64; 2]> {
    let mut command = child::command(name);
    command.arg("127.0.0.1:0"); // the example's, where to listen
    let server = Server::from_on(cpu, command)?;
    let requests = connections as u64 * 50;
    let mut load = Load::connect(server.address, connections, TALK)?.busy();
    load.run(requests / 10)?;
    let before = server.cpu_time();
    let time = load.run(requests)?;
    let cpu = server.cpu_time() - before;
    Ok([
        cpu.as_secs_f64() * 1e6 / requests as f64,
        requests as f64 / time.as_secs_f64(),
    ])
}

/// The child: says where it listens, then serves for ever.
fn serve(name: &str) -> io::Result<()> {
    match name {
        "ours" => http_server::main(),
        "hyper" => hyper_on_tokio(http1::Builder::new()),
        "hyper, 30 s" => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(http_server::PATIENCE);
            hyper_on_tokio(builder)
        }
        "may" => may(),
        _ => panic!("unknown server {name}"),
    }
}

fn hyper_on_tokio(builder: http1::Builder) -> io::Result<()> {
    peers::tokio_current_thread().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = builder.serve_connection(TokioIo::new(stream), service_fn(hello));
            // It is this one's affair alone, how its connection ends.
            tokio::spawn(async { drop(connection.await) });
        }
    })
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    let text = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(response)
}

fn may() -> io::Result<()> {
    peers::may_one_worker();
    let server = may::go!(|| -> io::Result<()> {
        let listener = may::net::TcpListener::bind("127.0.0.1:0")?;
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(http_server::PATIENCE))?;
            // The example's array, and httparse's headers, are more than may's stacks have by default.
            let builder = may::coroutine::Builder::new().stack_size(MAY_STACK_WORDS);
            may::go!(builder, move || http_server::answer(stream))?;
        }
    });
    server.join().expect("the server does not panic")
}

/// may counts its stacks in words: 64 KiB, as ours are.
const MAY_STACK_WORDS: usize = 8 << 10;
