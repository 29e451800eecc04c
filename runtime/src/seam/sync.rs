//! Every synchronisation primitive that the crate takes from std, by one door.
//!
//! Built with `--cfg loom` or `--cfg shuttle`, the same names are the model checkers' doubles, and
//! the checkers then drive the real code of [`park`](crate::park), [`injector`](crate::injector)
//! and everything above through all interleavings they can find.
#![forbid(unsafe_code)]

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};

/// A std `Waker` is made of std's `Arc` only, so that one stays.
#[cfg(loom)]
pub(crate) use std::sync::Arc;

/// loom's threads, and what it leaves to std.
#[cfg(loom)]
pub(crate) mod thread {
    pub(crate) use loom::thread::*;
    pub(crate) use std::thread::{Result, available_parallelism};
}

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};

/// shuttle's threads, and what it leaves to std.
#[cfg(shuttle)]
pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;
    pub(crate) use std::thread::available_parallelism;
}

#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, atomic},
    thread,
};

/// `thread_local!` and `Once` stay std's under a model checker too: they hold what belongs to the
/// real thread (which worker runs on it), or install a handler into the real process.
pub(crate) use std::{sync::Once, thread_local};

/// What belongs to the thread of the program, which under a model checker is the checker's: all of those share one
/// real thread.
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::thread_local as program_thread_local;

#[cfg(shuttle)]
pub(crate) use shuttle::thread_local as program_thread_local;

/// loom knows no const initializers.
#[cfg(loom)]
macro_rules! program_thread_local {
    (static $name:ident: $type:ty = const { $init:expr };) => {
        loom::thread_local! { static $name: $type = $init; }
    };
}
#[cfg(loom)]
pub(crate) use program_thread_local;

/// std's own under a model checker too, for what the process has once: a `static` outlives the
/// executions that a checker tries, and must be const, which a checker's doubles are not. And for what nobody waits for.
pub(crate) mod real {
    pub(crate) use std::sync::{Condvar, Mutex, OnceLock, atomic};
    pub(crate) use std::thread;

    use std::sync::{MutexGuard, PoisonError};

    /// As [`lock`](super::lock).
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use std::sync::PoisonError;

/// Locks `mutex`; a panic while it was held has left nothing half done in this crate, so the
/// poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
