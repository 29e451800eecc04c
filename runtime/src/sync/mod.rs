//! What coroutines and threads wait for each other with.
//!
//! | to ...                                          | type          |
//! |-------------------------------------------------|---------------|
//! | wait until something has happened               | [`Event`]     |
//! | let so many in at a time, or pass permits round | [`Semaphore`] |
//!
//! Everything here works between coroutines of one worker, of several workers and of several runtimes, and plain OS
//! threads, through the same objects. A coroutine that has to wait lets others run; a plain thread blocks.
//!
//! - **First come, first served**: what is given goes straight to the one that has waited longest. Nobody overtakes.
//! - **No poisoning**: a guard dropped by a panic gives back what it held, like any other.
//! - **Nothing is lost**: who is cancelled, or whose time is over, takes nothing with it. What was on its way to a
//!   cancelled one goes to the next; what came at the moment when the time was over is returned, not dropped.
//! - A guard may be held across a yield or a wait.
//! - Waiting allocates nothing. What is used on one worker alone takes no atomic read-modify-write, after
//!   some 30 operations.

mod event;
mod semaphore;

pub use event::Event;
pub use semaphore::{Permit, Semaphore};
