//! The sieve of Eratosthenes as a row of coroutines: each has one prime, and lets pass what it does not divide.
//!
//! Whoever comes out at the end of the row is the next prime, and gets a filter of its own. So it stands in Hoare's
//! *Communicating Sequential Processes* (1978), and in every introduction to channels since: nobody holds a list, and
//! nobody shares anything but the channels between neighbours.
//!
//! ```text
//!   2, 3, 4, 5 ...  ► [ not by 2 ] ► 3, 5, 7, 9 ...  ► [ not by 3 ] ► 5, 7, 11 ...  ► [ not by 5 ] ►
//! ```
//!
//! ```sh
//! cargo run --release -p runtime --example prime_sieve -- 1000
//! ```
//!
//! See `prime number 1000 is 7919`: 1,000 coroutines, which have handed over half a million numbers.

use std::env;
use std::process::ExitCode;

use runtime::channel::{Receiver, bounded};
use runtime::spawn_local;

fn main() -> ExitCode {
    let count = env::args().nth(1).map_or(Ok(1000), |text| text.parse());
    match count {
        Ok(count @ 1..=10_000) => {
            let prime = runtime::run(|| nth_prime(count));
            println!("prime number {count} is {prime}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: prime_sieve [COUNT], from 1 to 10000");
            ExitCode::from(2)
        }
    }
}

fn nth_prime(count: usize) -> u32 {
    let mut numbers = from_two();
    for _ in 1..count {
        let prime = numbers.recv().expect("there is always a next number");
        numbers = without_multiples_of(prime, numbers);
    }
    numbers.recv().expect("there is always a next number")
    // Here the last receiver goes; each send upstream fails in turn, and the row ends from back to front.
}

/// 2, 3, 4 and so on, for as long as somebody wants them. One is on its way at a time: whoever is slow slows all.
fn from_two() -> Receiver<u32> {
    let (sender, receiver) = bounded(0);
    spawn_local(move || (2..).try_for_each(|number| sender.send(number)));
    receiver
}

/// What comes in, but for what `prime` divides.
fn without_multiples_of(prime: u32, numbers: Receiver<u32>) -> Receiver<u32> {
    let (sender, receiver) = bounded(0);
    spawn_local(move || {
        let rest = numbers.iter().filter(|number| number % prime != 0);
        rest.into_iter().try_for_each(|number| sender.send(number))
    });
    receiver
}
