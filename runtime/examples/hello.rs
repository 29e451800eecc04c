//! Three coroutines, one thread.
//!
//! Each waits in the middle of a function, as a thread would; meanwhile the others run.
//!
//! ```sh
//! cargo run -p runtime --example hello
//! ```
//!
//! See them count in turns, `one 1`, `two 1`, `three 1`, `one 2`, ..., and all three say the same thread's name.

use std::thread;
use std::time::Duration;

use runtime::time::sleep;

fn main() {
    let thread = thread::current().id();
    let counted: u32 = runtime::run(|| {
        let counters = ["one", "two", "three"].map(|name| runtime::spawn(move || count(name)));
        // A coroutine runs when others wait: here, in `join`.
        counters.map(|counter| counter.join().unwrap()).iter().sum()
    });
    println!("{counted} numbers, all on {thread:?}");
}

fn count(name: &str) -> u32 {
    for n in 1..=3 {
        println!("{name} {n} on {:?}", thread::current().id());
        sleep(Duration::from_millis(1)); // of the coroutine; `thread::sleep` would stop all three
    }
    3
}
