//! Looking inside: where coroutines are, what they wait for, and who holds it.
//!
//! | question                                  | answer                                                     |
//! |-------------------------------------------|------------------------------------------------------------|
//! | how many, how often?                      | [`metrics()`], [`Runtime::metrics`](crate::Runtime::metrics) |
//! | who ran when, and who woke it?            | [`trace`]                                                  |
//! | who does not give way?                    | [`stall`]: a watchdog, on in debug builds                  |
//! | what has led to this panic?               | [`Builder::flight_recorder`](crate::Builder::flight_recorder) |
//! | where are they all, in gdb or a core file? | `runtime/gdb/runtime-gdb.py`: `info coroutines`, `coroutine 7 bt` |
//!
//! All of it rests on one record. Whoever parks leaves with its task why, for what, and where in the
//! program: three stores, and nothing when it yields.
#![forbid(unsafe_code)]

mod metrics;
pub mod stall;
pub mod trace;

pub use metrics::{Metrics, metrics};
