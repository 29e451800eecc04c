//! A runtime inside a loop of your own.
//!
//! A GUI, a game, an audio engine has a loop already, and it is not going to give it up. A `Runtime` with one worker
//! is one more descriptor in that loop: wait for it beside your own, until its next deadline, then let it run.
//!
//! ```sh
//! cargo run -p runtime --example poll_loop
//! ```
//!
//! See how a coroutine that sleeps and one that serves a socket get on while the host, which nothing blocks,
//! answers requests on a socket of its own. At the end it says `3 requests, 5 naps, 1 greeting`.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use runtime::net::{TcpListener, TcpStream};
use runtime::{Builder, time};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn main() -> std::io::Result<()> {
    let runtime = Builder::new().embedded(true).build()?;

    // The host's own business: a datagram comes, a datagram goes.
    let host = UdpSocket::bind("127.0.0.1:0")?;
    let address = host.local_addr()?;
    let client = std::thread::spawn(move || ask(address));

    // The coroutines'. None of them runs yet: nobody has called `run_ready`.
    let naps = runtime.spawn(|| {
        (0..5)
            .map(|_| time::sleep(Duration::from_millis(3)))
            .count()
    });
    let greeting = runtime.spawn(greet);

    let mut requests = 0;
    while !(naps.is_finished() && greeting.is_finished() && client.is_finished()) {
        let timeout = runtime.next_deadline().map(until);
        let mut fds = [
            PollFd::new(&runtime, PollFlags::IN),
            PollFd::new(&host, PollFlags::IN),
        ];
        // The client's end is no event, so look for it now and then.
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        poll(&mut fds, Some(&timeout.unwrap_or(tick).min(tick)))?;
        if fds[1].revents().contains(PollFlags::IN) {
            let mut request = [0; 64];
            let (length, peer) = host.recv_from(&mut request)?;
            host.send_to(&request[..length], peer)?;
            requests += 1;
        }
        runtime.run_ready();
    }

    let (naps, greeting) = (naps.join().unwrap(), greeting.join().unwrap()?);
    assert_eq!(greeting, "hello");
    println!("{requests} requests, {naps} naps, 1 greeting");
    Ok(())
}

fn until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec::try_from(left).expect("the next deadline is near")
}

/// A coroutine: it waits for sockets as if it were alone.
fn greet() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    runtime::spawn(move || listener.accept()?.0.write_all(b"hello"));
    let mut greeting = String::new();
    TcpStream::connect(address)?.read_to_string(&mut greeting)?;
    Ok(greeting)
}

/// A plain thread, to which the host is a server like any other.
fn ask(server: std::net::SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..3 {
        socket.send_to(b"ping", server)?;
        socket.recv_from(&mut [0; 64])?;
    }
    Ok(())
}
