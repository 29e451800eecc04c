//! A runtime inside tokio, on the same thread.
//!
//! A tokio program wants to call blocking code, a library's that is not `async`, without a thread for each call. It
//! gives the runtime's descriptor to tokio's reactor, and lets the coroutines run whenever it is readable.
//!
//! ```sh
//! cargo run -p runtime --example inside_tokio
//! ```
//!
//! See a coroutine and a task hand numbers to each other: the task awaits the coroutine's end, the coroutine waits for
//! the task's channel. At the end it says `the task awaited 5050, on one thread`.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::thread;

use runtime::future::block_on;
use runtime::{Builder, Runtime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let runtime = Builder::new().embedded(true).build()?;
    let host = thread::current().id();

    let (send, mut receive) = mpsc::channel(1);
    let adds = runtime.spawn(move || {
        assert_eq!(thread::current().id(), host);
        let mut sum = 0;
        while let Some(number) = block_on(receive.recv()) {
            sum += number; // any blocking code may stand here: it parks, and the task goes on
        }
        sum
    });
    let sends = async move {
        for number in 1..=100 {
            send.send(number).await.expect("the coroutine listens");
        }
    };
    tokio::spawn(sends);

    tokio::select! {
        sum = adds => println!("the task awaited {}, on one thread", sum.unwrap()),
        error = drive(&runtime) => return Err(error.unwrap_err()),
    }
    Ok(())
}

/// Runs the coroutines for as long as it is polled.
async fn drive(runtime: &Runtime) -> io::Result<std::convert::Infallible> {
    // SAFETY: tokio asks for a descriptor that stays open and the same: this one is borrowed from the runtime.
    let descriptor =
        unsafe { AsyncFd::register_with_interest(runtime.as_fd(), Interest::READABLE)? };
    loop {
        runtime.run_ready();
        let deadline = async {
            match runtime.next_deadline() {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            readable = descriptor.readable() => readable?.clear_ready(),
            () = deadline => {}
        }
    }
}
