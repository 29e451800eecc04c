//! What coroutines and threads wait for each other with.
//!
//! | to ...                                            | type                   |
//! |---------------------------------------------------|------------------------|
//! | let one at a time use a value                     | [`Mutex`]              |
//! | let many read it at a time, or one change it      | [`RwLock`]             |
//! | wait until what a mutex guards is as one wants it | [`Condvar`]            |
//! | wait until something has happened                 | [`Event`]              |
//! | let so many in at a time, or pass permits round   | [`Semaphore`]          |
//! | make a value, or do something, once               | [`OnceCell`], [`Once`] |
//! | wait for each other                               | [`Barrier`]            |
//! | wait until all others are through                 | [`WaitGroup`]          |
//! | wait for one value                                | [`oneshot`]            |
//!
//! Everything here works between coroutines of one worker, of several workers and of several runtimes, and plain OS
//! threads, through the same objects. A coroutine that has to wait lets others run; a plain thread blocks.
//!
//! - **First come, first served**: what is given goes straight to the one that has waited longest. Nobody overtakes: the
//!   bound on barging is zero.
//! - **No poisoning**: a guard dropped by a panic gives back what it held, like any other.
//! - **Nothing is lost**: who is cancelled, or whose time is over, takes nothing with it. What was on its way to a
//!   cancelled one goes to the next; what came at the moment when the time was over is returned, not dropped.
//! - A guard may be held across a yield or a wait.
//! - Waiting allocates nothing. What is used on one worker alone takes no atomic read-modify-write, after
//!   some 30 operations.

/// A function that is const, but not under a model checker, whose atomics are not.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis const fn $($rest:tt)+) => {
        $(#[$attribute])*
        #[cfg(not(any(loom, shuttle)))]
        $visible const fn $($rest)+

        $(#[$attribute])*
        #[cfg(any(loom, shuttle))]
        $visible fn $($rest)+
    };
}

mod barrier;
mod condvar;
mod event;
mod fault;
#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, shuttle))]
mod model;
mod mutex;
mod once;
pub mod oneshot;
mod rwlock;
mod semaphore;
mod strand;
mod wait_group;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub use once::{Once, OnceCell};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use wait_group::WaitGroup;
