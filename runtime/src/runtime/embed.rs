//! Embedding: one worker, driven by the loop of a program that has one of its own.
//!
//! Several workers are refused, by `Builder::build` if it was told that the runtime is to be
//! [embedded](super::Builder::embedded), else by each call here.
//!
//! ```text
//!   host                                   runtime
//!   deadline = next_deadline()  ─────────► the first timer; now, if somebody can run
//!   poll(2): as_fd, until deadline         an event, or a message of another thread: readable
//!   run_ready()                 ─────────► turns, until nobody can run or the host has waited enough
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Runtime;
use crate::seam::clock;
use crate::sys;
use crate::worker::Worker;

/// After so many rounds, of 64 turns at most, the host gets its turn, though coroutines could still run.
const ROUNDS_MAX: u32 = 16;

impl Runtime {
    /// Runs coroutines until none can run, though 1,024 turns at most, and returns how many turns that made: for a
    /// program that has a loop of its own.
    ///
    /// That loop watches the [descriptor](std::os::fd::AsFd), for reading, until
    /// [`next_deadline`](Self::next_deadline). All of it happens on one thread while coroutines are alive. Those that
    /// are when the runtime is dropped are cancelled, unwound and waited for.
    ///
    /// Cost: two to three system calls and a look at the caller's stack, some 6 us together, beside the turns.
    ///
    /// # Panics
    /// With several workers; otherwise as [`run`](Self::run).
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// let runtime = runtime::Builder::new().embedded(true).build()?;
    /// let answer = runtime.spawn(|| {
    ///     runtime::time::sleep(Duration::from_millis(1));
    ///     42
    /// });
    /// while !answer.is_finished() {
    ///     if let Some(deadline) = runtime.next_deadline() {
    ///         // A real host waits in poll(2) here, for its own descriptors and that of the runtime.
    ///         std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    ///     }
    ///     runtime.run_ready();
    /// }
    /// assert_eq!(answer.join().unwrap(), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_ready(&self) -> usize {
        self.assert_one_worker();
        let inside = self.enter();
        let worker = inside.worker;
        let mut turns = 0;
        for _ in 0..ROUNDS_MAX {
            poll(worker).unwrap_or_else(|error| panic!("epoll_wait failed: {error}"));
            let made = worker.round();
            turns += made;
            if made == 0 && fall_asleep(worker) && !is_readable(self.as_fd()) {
                break;
            }
        }
        turns
    }

    /// When [`run_ready`](Self::run_ready) should be called again, though the descriptor be silent; `None`: not
    /// before it speaks. Now, if somebody can run.
    ///
    /// # Panics
    /// With several workers, by a coroutine of this runtime, or while another thread is inside.
    #[track_caller]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.assert_one_worker();
        let (worker, _leave) = self.occupy();
        let _ = worker.trim_deadline(clock::now()); // a worker of its own does so before it sleeps
        if fall_asleep(worker) {
            worker.next_deadline()
        } else {
            Some(clock::now())
        }
    }

    #[track_caller]
    fn assert_one_worker(&self) {
        assert!(
            self.shared.seats.len() == 1,
            "a host drives one worker, and this runtime has several, which run by themselves: \
             Builder::embedded(true) makes that an error of build"
        );
    }
}

/// As the worker's own, but looks at the descriptors also if only the bell is there: else the edge of a ring would
/// stay, and the host's descriptor be readable for ever.
fn poll(worker: &Worker) -> io::Result<()> {
    worker.poll(false, None);
    if worker.reactor.registrations() == 0 {
        worker.reactor.poll(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Has whoever sends a message from now on ring the bell, which makes the descriptor readable. False if there is
/// something to do already.
fn fall_asleep(worker: &Worker) -> bool {
    let home = &worker.home;
    // First this, then the look: who sends in between sees that we sleep, or we see the message.
    home.mailbox.fall_asleep();
    home.mailbox.is_empty() && !home.is_runnable() && !home.anything_to_take()
}

/// Events are left that did not fit into one batch. A host that is told of each edge once would not hear of them.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    sys::socket::wait(fd, false, Some(Duration::ZERO)).unwrap_or(false)
}

impl AsFd for Runtime {
    /// The epoll instance of the worker: readable when [`run_ready`](Self::run_ready) has something to do.
    ///
    /// # Panics
    /// With several workers: it would speak for one of them.
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.assert_one_worker();
        // SAFETY: the reactor never changes, and is `Sync`.
        let reactor: &crate::reactor::Reactor = unsafe { &(*self.worker.get()).reactor };
        reactor.as_fd()
    }
}
