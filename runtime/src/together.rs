//! Doing several things at once: until all are done, or until the first is.
//!
//! ```text
//!   join_all([a, b, c])   a ───────► 1           race([a, b, c])   a ──── cancelled, unwinds
//!                         b ──► 2                                  b ──► 2
//!                         c ─────► 3  = [1, 2, 3]                  c ──── cancelled, unwinds   = 2
//! ```
//!
//! Both are a [`scope`](crate::scope()), with all that it promises: the closures may borrow from the caller, and
//! nothing of them outlives the call.
#![forbid(unsafe_code)]

use crate::park;
use crate::scope::scope;
use crate::seam::sync::{Mutex, lock};

/// Runs all closures, each in a coroutine of its own, and returns their results in the order of the closures.
///
/// They may borrow from the caller, and begin on any worker. If one panics, the others are cancelled and waited for,
/// and the panic goes on here. If the caller is cancelled, or a [`timeout`](crate::time::timeout) around it passes, so
/// it is with all of them. For closures of different types, box them.
///
/// Cost: a scoped spawn for each, and two vectors.
///
/// # Panics
/// With what the first closure that panics panics with; outside a coroutine.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let words = ["one", "two", "three"];
///     let lengths = coroutine::join_all(words.iter().map(|word| || word.len()));
///     assert_eq!(lengths, [3, 3, 5]);
/// });
/// ```
#[track_caller]
pub fn join_all<F, T>(closures: impl IntoIterator<Item = F>) -> Vec<T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // All of them first: the iterator is the caller's code, and may panic.
    let closures: Vec<F> = closures.into_iter().collect();
    let mut results: Vec<Option<T>> = closures.iter().map(|_| None).collect();
    scope(|s| {
        for (f, result) in closures.into_iter().zip(&mut results) {
            s.spawn(move || *result = Some(f()));
        }
    });
    let done = results.into_iter().collect::<Option<Vec<T>>>();
    done.unwrap_or_else(|| given_up("join_all"))
}

/// Runs all closures, each in a coroutine of its own, and returns the result of the first that finishes.
///
/// The others are cancelled then and waited for, so that nothing of them is left: one that does not wait, or is
/// [shielded](crate::coroutine::shield), delays the return. What they return all the same is dropped. A panic before
/// the first result wins too: it goes on here. They may borrow from the caller, and begin on any worker.
///
/// # Panics
/// With what a closure panics with; if there is none, for then nothing would ever finish; outside a coroutine.
///
/// ```
/// use runtime::{coroutine, time::{self, Duration}};
///
/// runtime::run(|| {
///     let replicas = [Duration::MAX, Duration::from_millis(1), Duration::MAX];
///     let first = coroutine::race(replicas.iter().enumerate().map(|(n, delay)| move || {
///         time::sleep(*delay);
///         n
///     }));
///     assert_eq!(first, 1);
/// });
/// ```
#[track_caller]
pub fn race<F, T>(closures: impl IntoIterator<Item = F>) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let closures: Vec<F> = closures.into_iter().collect();
    assert!(
        !closures.is_empty(),
        "a race without anyone in it would never end: give it a closure at least"
    );
    let first = Mutex::new(None);
    scope(|s| {
        for f in closures {
            let first = &first;
            s.spawn(move || {
                let value = f();
                let mut first = lock(first);
                if first.is_some() {
                    drop(first);
                    return drop(value); // may wait: not under the lock
                }
                *first = Some(value);
                drop(first);
                s.cancel_all();
            });
        }
    });
    let first = lock(&first).take();
    first.unwrap_or_else(|| given_up("race"))
}

/// The coroutines were cancelled, though the caller was not, or has held that off.
#[cold]
fn given_up<T>(what: &str) -> T {
    park::check();
    panic!("{what} has no result: its coroutines were cancelled by the end of the runtime")
}
