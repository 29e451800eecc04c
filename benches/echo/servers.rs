//! The servers, each in a child: the loop of a textbook, written for each runtime.
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::{BUFFER_BYTES, bare};
use crate::common::{peers, server, sys};

/// The child: says where it listens, then serves for ever.
pub fn serve(name: &str) -> io::Result<()> {
    match name {
        "ours" => runtime::run(ours),
        "ours, spinning" => spinning(),
        "bare epoll loop" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            server::announce(listener.local_addr()?);
            bare::serve(listener)
        }
        "tokio" => tokio(),
        "may" => may(),
        _ => panic!("unknown server {name}"),
    }
}

/// Longer than any pause between two requests.
const SPIN: Duration = Duration::from_millis(1);

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
    let listener = runtime::net::TcpListener::bind("127.0.0.1:0")?;
    server::announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        runtime::spawn(move || converse(stream));
    }
}

/// The same on a worker that does not sleep between requests.
fn spinning() -> io::Result<()> {
    // A runtime spins only if it may use a CPU more than it has workers, which it asks when it is built: the
    // load's counts, although the server is kept off it.
    let one = sys::allowed_cpus();
    sys::set_allowed_cpus(&sys::all_cpus());
    let runtime = runtime::Builder::new().spin(SPIN).build()?;
    sys::set_allowed_cpus(&one);
    runtime.run(ours)
}

fn may() -> io::Result<()> {
    peers::may_one_worker();
    let server = may::go!(|| -> io::Result<()> {
        let listener = may::net::TcpListener::bind("127.0.0.1:0")?;
        server::announce(listener.local_addr()?);
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
        server::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(converse(stream));
        }
    })
}
