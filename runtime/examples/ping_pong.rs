//! Two coroutines hand control to each other, and what that costs.
//!
//! `park` suspends the one that runs, `unpark` makes the other one runnable: with these two every lock, channel and
//! socket here is made.
//!
//! ```sh
//! cargo run --release -p runtime --example ping_pong
//! ```
//!
//! See `200000 rallies`, and how many nanoseconds a hand-over takes, of which each rally has two.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use runtime::coroutine::{self, Coroutine};

const RALLIES: u32 = 200_000;

fn main() {
    runtime::run(|| {
        let first = coroutine::current();
        // Both stay on this thread for life, so nothing that they share need be `Send`.
        let second = Rc::new(RefCell::new(None::<Coroutine>));
        let also = second.clone();
        let plays = runtime::spawn_local(move || {
            *also.borrow_mut() = Some(coroutine::current());
            for _ in 0..RALLIES {
                coroutine::park();
                first.unpark();
            }
        });
        runtime::yield_now(); // it has started now, and waits for the ball
        let second = second.take().expect("it has said who it is");

        let start = Instant::now();
        for _ in 0..RALLIES {
            second.unpark();
            coroutine::park();
        }
        let each = start.elapsed() / (2 * RALLIES);
        plays.join().unwrap();
        println!("{RALLIES} rallies, {each:?} a hand-over");
    });
}
