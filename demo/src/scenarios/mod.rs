//! The scenarios of the comparison, each a small real program that is run by every approach.
//!
//! | scenario         | folder or file   | what the text recommends for it |
//! |------------------|------------------|---------------------------------|
//! | `hello`          | `hello`          | threads or coroutines           |
//!
//! A scenario is an [`Experiment`](crate::experiments::Experiment) like the others: its bodies run in helper
//! processes, its judge reads the rows.
#![forbid(unsafe_code)]

mod hello;

pub use hello::Hello;
