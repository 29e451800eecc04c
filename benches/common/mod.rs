//! What the bench targets share: how a workload is run by each contender, and how a ratio is read off it.
//!
//! ```text
//!  yield.rs, spawn.rs, ...      one workload each, written once per contender, side by side
//!        |
//!     bench       the target's life: mode, filter, CPU; runs contests and prints the report
//!        |
//!     contest     contenders of one workload: criterion's group, then interleaved rounds
//!        |                                     (ours, peer, ours, peer, ...)
//!     station     one contender's runtime on a thread of its own, measuring when asked
//!     child       one contender in a process of its own, for what only a fresh process can show
//!     server      such a process that serves, and `load`, what is sent to it
//!        |
//!     report      medians, spread, ratios beside their targets
//! ```
//!
//! Beside them: `peers` sets the other runtimes up, `machine` reads `/proc`, and `sys` holds the system
//! calls and all of the benches' `unsafe`.
#![allow(
    dead_code,
    unused_imports,
    reason = "every target compiles this module and uses its part of it"
)]

pub mod bench;
pub mod child;
pub mod contest;
pub mod load;
pub mod machine;
pub mod peers;
pub mod report;
pub mod series;
pub mod server;
pub mod station;
pub mod sys;

pub use bench::Bench;
pub use contest::{Contest, MS, NS, Unit, tables};
pub use load::{Load, Talk};
pub use report::Table;
pub use series::Series;
pub use server::Server;
pub use station::{Requests, Station};
