//! Embedding: one worker, driven by the loop of a program that has one of its own.

use std::os::fd::{AsFd, BorrowedFd};

use super::Runtime;
use crate::seam::clock;

impl Runtime {
    /// Runs what can run now, and returns how many turns that made: for a program that has a loop of its own.
    ///
    /// That loop watches the [descriptor](std::os::fd::AsFd), for reading, until
    /// [`next_deadline`](Self::next_deadline).
    ///
    /// # Panics
    /// With several workers; otherwise as [`run`](Self::run).
    pub fn run_ready(&self) -> usize {
        assert!(
            self.shared.seats.len() == 1,
            "run_ready drives one worker: this runtime has threads that run by themselves"
        );
        let inside = self.enter();
        inside.worker.poll(false, None);
        let mut turns = 0;
        loop {
            let made = inside.worker.round();
            if made == 0 {
                return turns;
            }
            turns += made;
            inside.worker.poll(false, None);
        }
    }

    /// When [`run_ready`](Self::run_ready) should be called again, though the descriptor be silent. Now, if
    /// somebody can run.
    pub fn next_deadline(&self) -> Option<std::time::Instant> {
        let inside = self.enter();
        let home = &inside.worker.home;
        let now = home.is_runnable() || home.anything_to_take() || !home.mailbox.is_empty();
        // From here on whoever sends a message rings the bell, which makes the descriptor readable.
        home.mailbox.fall_asleep();
        if now {
            Some(clock::now())
        } else {
            inside.worker.next_deadline()
        }
    }
}

impl AsFd for Runtime {
    /// The epoll instance of worker 0: readable when [`run_ready`](Self::run_ready) has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the reactor never changes, and is `Sync`.
        let reactor: &crate::reactor::Reactor = unsafe { &(*self.worker.get()).reactor };
        reactor.as_fd()
    }
}
