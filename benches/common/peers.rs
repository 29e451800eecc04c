//! The other runtimes, set up as their users do, and the raw switch that every ratio is taken to.
//!
//! tokio gets its I/O and time drivers, as `#[tokio::main]` gives them; may gets one worker that stays where
//! the bench is pinned (it would otherwise pin itself). Both keep their defaults else.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};

/// A tokio runtime on the calling thread.
pub fn tokio_current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("tokio starts")
}

/// A tokio runtime with so many workers that steal from each other.
pub fn tokio_multi_thread(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("tokio starts")
}

/// Settles may's only, process-wide scheduler; to be called before its first coroutine.
pub fn may_one_worker() {
    may::config().set_workers(1).set_worker_pin(false);
}

/// The yardstick: a resume and the suspend that answers it, of one bare corosensei coroutine.
///
/// Its loop stays as tight as it is: the same loop over a ring of one costs a fifth more, and a dearer
/// yardstick would flatter every ratio to it.
pub fn raw_pair() -> impl FnMut(u64) -> Duration {
    let mut coroutine = endless();
    move |pairs| {
        let start = Instant::now();
        for _ in 0..pairs {
            pair(&mut coroutine);
        }
        start.elapsed()
    }
}

/// The same pair by `n` coroutines in turn: what caches and page tables take with no scheduler at all.
pub fn raw_ring(n: usize) -> impl FnMut(u64) -> Duration {
    let mut ring: Vec<_> = (0..n).map(|_| endless()).collect();
    move |pairs| {
        let laps = pairs.div_ceil(n as u64);
        let start = Instant::now();
        for _ in 0..laps {
            ring.iter_mut().for_each(pair);
        }
        start
            .elapsed()
            .mul_f64(pairs as f64 / (laps * n as u64) as f64)
    }
}

fn endless() -> Coroutine<(), (), ()> {
    Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    })
}

#[inline(always)]
fn pair(coroutine: &mut Coroutine<(), (), ()>) {
    let CoroutineResult::Yield(()) = black_box(coroutine.resume(())) else {
        unreachable!("the loop has no end");
    };
}
