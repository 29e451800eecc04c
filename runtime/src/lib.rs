//! Stackful coroutines for Linux: std's blocking API, with a coroutine where std has a thread.
#![warn(clippy::all)]

mod blocking;
mod context;
pub mod coroutine;
pub mod generator;
mod home;
mod id;
mod injector;
mod interrupts;
pub mod local;
mod mailbox;
pub mod net;
mod park;
mod reactor;
mod run_queue;
mod runtime;
mod scope;
mod seam;
mod stack;
mod sys;
mod task;
pub mod time;
mod timer;
mod worker;

pub use crate::coroutine::{spawn, spawn_local, yield_now};
pub use crate::runtime::{Builder, Metrics, Runtime, WORKERS_MAX, run};
pub use crate::scope::scope;
