//! Child processes, as in [`std::process`], where waiting for one lets other coroutines run.
//!
//! ```text
//!   spawn ── std's ──► child ──────────────► ends
//!              │ pidfd ◄──────── readable ────┘ ──► wait: wakes, and waitpid(2) says how
//!              │ pipes ◄── bytes ── its stdout      reads like a socket's
//! ```
//!
//! ```
//! use runtime::process::Command;
//!
//! let output = runtime::run(|| Command::new("echo").arg("hello").output()).unwrap();
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"hello\n");
//! ```
//!
//! - Starting a child is std's [`spawn`](std::process::Command::spawn), on the calling thread: so what the kernel ties to
//!   the thread that starts a child means this worker, and the worker is busy meanwhile, some 100 us to 1 ms.
//! - The end of a child is an event on its pidfd. On Linux before 5.3, which has none, waiting looks for it every so
//!   often, 50 ms apart at most.
//! - Our ends of the pipes are non-blocking; the child's never are. All descriptors of a runtime are
//!   close-on-exec: a child sees those three that it was given.
//! - As in std, a child that is dropped goes on, and one that nobody has waited for stays a zombie.
#![forbid(unsafe_code)]

mod child;
mod command;
mod pipes;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{ExitStatus, Output, Stdio};
