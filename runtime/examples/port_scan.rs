//! Who listens on this machine? Hundreds of connects at a time, on one thread.
//!
//! ```sh
//! cargo run --release -p runtime --example port_scan              # all ports of 127.0.0.1
//! cargo run --release -p runtime --example port_scan -- 8000 9000 # these
//! ```
//!
//! See a line for each port that is open, and at the end how many were tried and how long it took.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runtime::net::TcpStream;

/// So many connects are under way at a time: each takes a descriptor.
const AT_A_TIME: usize = 200;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|port| port.parse().expect("a port"));
    let first: u16 = arguments.next().unwrap_or(1);
    let last = arguments.next().unwrap_or(u16::MAX);

    let start = Instant::now();
    let next = AtomicU32::new(first.into());
    let open = AtomicU32::new(0);
    runtime::run(|| {
        // The scope ends when all have ended, so they may borrow from here.
        runtime::scope(|s| {
            for _ in 0..AT_A_TIME {
                s.spawn(|| {
                    while let Ok(port) = u16::try_from(next.fetch_add(1, Ordering::Relaxed))
                        && port <= last
                    {
                        if is_open(port) {
                            println!("{port} is open");
                            open.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    });
    let tried = u32::from(last).saturating_sub(first.into()) + 1;
    println!(
        "{tried} ports, {} open, {:?}",
        open.into_inner(),
        start.elapsed()
    );
}

fn is_open(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
