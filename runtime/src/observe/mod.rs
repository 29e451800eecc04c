//! Looking inside: where coroutines are, what they wait for, and who holds it.
//!
//! All of it rests on one record. Whoever parks leaves with its task why, for what, and where in the program: a handful of
//! stores, and nothing when it yields. So a report tells of every coroutine what it waits for; of a lock also
//! who holds it, and where that one has locked it.
//!
//! | question                                   | answer                                                     |
//! |--------------------------------------------|------------------------------------------------------------|
//! | where are they all, and what for?          | [`dump`], [`Runtime::dump`](crate::Runtime::dump); SIGQUIT, with [`Builder::dump_on_sigquit`] |
//! | can they ever go on?                       | [`Runtime::run`](crate::Runtime::run) panics if not, or [`Builder::on_deadlock`] |
//! | how much stack do they touch?              | [`stacks`]                                                 |
//! | how many, how often?                       | [`metrics()`], [`Runtime::metrics`](crate::Runtime::metrics) |
//! | who ran when, and who woke it?             | [`trace`]                                                  |
//! | who does not give way?                     | [`stall`]: a watchdog, on in debug builds                  |
//! | how often, and how long, did each run?     | [`Builder::account_time`](crate::Builder::account_time), then the dump |
//! | what has led to this panic, or deadlock?   | [`Builder::flight_recorder`](crate::Builder::flight_recorder) |
//! | where are they all, in gdb or a core file? | `runtime/gdb/runtime-gdb.py`: `info coroutines`, `coroutine 7 bt` |
//!
//! The call site is that of the method of this crate that waits. Where std calls that method for you, as in
//! `write_all`, it is a line of std's: the backtrace of the dump tells who called std.
//!
//! [`Builder::dump_on_sigquit`]: crate::Builder::dump_on_sigquit
//! [`Builder::on_deadlock`]: crate::Builder::on_deadlock
#![forbid(unsafe_code)]

mod ask;
mod backtrace;
pub(crate) mod deadlock;
mod describe;
mod dump;
mod ends;
mod json;
mod metrics;
pub(crate) mod registry;
mod sighting;
pub(crate) mod sigquit;
mod stacks;
pub mod stall;
pub mod trace;

pub use deadlock::Deadlock;
pub use describe::HolderDump;
pub use dump::{CoroutineDump, Dump, WaitDump, dump};
pub use metrics::{Metrics, metrics};
pub use sighting::State;
pub use stacks::{StackSite, Stacks, stacks};

use crate::home::Shared;
use crate::seam::sync::Arc;

/// Of one runtime.
pub(crate) fn dump_of(shared: &Arc<Shared>) -> Dump {
    dump::of(std::slice::from_ref(shared))
}
