//! Counts: what a worker has done so far, for any thread to read.
//!
//! Each has one writer, the worker, so a plain load and store add to it. What a turn would have to count is
//! added up at the end of a round instead: a yield pays nothing.
#![forbid(unsafe_code)]

use super::{Home, TURNS_PER_POLL};
use crate::seam::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::task::Ending;

/// What one worker has done so far.
#[derive(Default)]
pub(crate) struct Counts {
    // Written by this worker alone; read by any. At once:
    pub(crate) spawned: AtomicU64,
    pub(crate) finished: AtomicU64,
    /// Spawned by others, and taken by this worker.
    pub(super) taken: AtomicU64,
    /// Of those that have finished: by a panic, or for want of a stack.
    pub(crate) panicked: AtomicU64,
    /// Of those that have finished: because they were cancelled, or given up.
    pub(crate) cancelled: AtomicU64,
    /// Looks at messages, timers and descriptors.
    pub(crate) polls: AtomicU64,
    /// Wake-ups that another thread has asked for.
    pub(crate) wakes_remote: AtomicU64,
    pub(crate) stacks: AtomicUsize,
    pub(crate) stacks_max: AtomicUsize,
    // As of the end of the last round:
    /// How often a coroutine went on, or began.
    pub(crate) switches: AtomicU64,
    /// Wake-ups, whoever has asked for them.
    pub(crate) wakes: AtomicU64,
    pub(crate) stacks_idle: AtomicUsize,
    pub(crate) timers: AtomicUsize,
    // Written by any worker.
    /// Spawned by this worker, and taken by others.
    pub(crate) stolen: AtomicU64,
}

/// Adds one to a counter of which the caller is the only writer.
#[inline(always)]
pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

#[inline(always)]
fn add(counter: &AtomicU64, more: u64) {
    let count = counter.load(Ordering::Relaxed) + more;
    // Release: who adds up the counts to learn that all is finished sees what came before.
    counter.store(count, Ordering::Release);
}

impl Counts {
    /// Sets down how many stacks the worker has.
    pub(crate) fn note_stacks(&self, stacks: usize) {
        self.stacks.store(stacks, Ordering::Relaxed);
        let max = self.stacks_max.load(Ordering::Relaxed).max(stacks);
        self.stacks_max.store(max, Ordering::Relaxed);
    }

    /// Counts how a coroutine has ended.
    #[inline(always)]
    pub(crate) fn note_ending(&self, ending: Ending) {
        if ending != Ending::Returned {
            self.note_early_ending(ending);
        }
    }

    #[cold]
    fn note_early_ending(&self, ending: Ending) {
        count(match ending {
            Ending::Panicked => &self.panicked,
            Ending::Cancelled | Ending::Returned => &self.cancelled,
        });
    }
}

impl Home {
    /// Sets down what a round of so many turns has done.
    #[inline(always)]
    pub(crate) fn count_round(&self, turns: u32) {
        let counts = &*self.counts;
        // Beside those turns, what was begun on top of a joiner, or where another one had ended.
        let begun = TURNS_PER_POLL - self.starts_left.get();
        add(&counts.switches, u64::from(turns + begun));
        self.publish();
    }

    /// Sets down what no turn does.
    #[inline(always)]
    pub(crate) fn publish(&self) {
        let counts = &*self.counts;
        counts.wakes.store(self.wakes.get(), Ordering::Relaxed);
        counts
            .stacks_idle
            .store(self.idle.borrow().len(), Ordering::Relaxed);
        counts
            .timers
            .store(self.timers.borrow().len(), Ordering::Relaxed);
    }

    /// Counts a look at messages, timers and descriptors.
    pub(crate) fn count_poll(&self) {
        count(&self.counts.polls);
    }

    /// Counts how a coroutine of this worker has ended.
    #[inline(always)]
    pub(crate) fn note_ending(&self, ending: Ending) {
        self.counts.note_ending(ending);
    }

    /// Does `f`, in which other threads' messages are obeyed, and counts whom that wakes.
    pub(crate) fn count_remote_wakes(&self, f: impl FnOnce()) {
        let before = self.wakes.get();
        f();
        add(&self.counts.wakes_remote, self.wakes.get() - before);
    }
}
