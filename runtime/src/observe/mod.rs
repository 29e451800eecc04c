//! Looking inside: where coroutines are, what they wait for, and who holds it.
//!
//! All of it rests on one record. Whoever parks leaves with its task why, for what, and where in the
//! program: three stores, and nothing when it yields.
#![forbid(unsafe_code)]

mod metrics;
pub mod trace;

pub use metrics::{Metrics, metrics};
