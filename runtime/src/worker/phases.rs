//! Following the phases of a runtime: how a worker lives, and ends those who are left.

use super::Worker;
use crate::home::Phase;
use crate::interrupts::Cancelled;
use crate::recorder::Cause;
use crate::sys::process::report;
use crate::task::{Ending, TaskPtr, TaskRef};

impl Worker {
    /// The life of a worker thread.
    pub(crate) fn work(&self) {
        loop {
            self.round();
            match self.follow_phase() {
                Phase::Stopping => return,
                // Who ends the runtime sleeps until all is quiet.
                Phase::Ending | Phase::Abandoning => self.home.shared.seats[0].mailbox.wake(),
                Phase::Running => {}
            }
            self.poll(true, None);
        }
    }

    /// Does what the runtime's phase demands, once.
    pub(crate) fn follow_phase(&self) -> Phase {
        let phase = self.home.shared.phase();
        if phase != self.home.phase.replace(phase) {
            match phase {
                Phase::Ending => self.cancel_all(),
                Phase::Abandoning => self.abandon_all(),
                Phase::Running | Phase::Stopping => {}
            }
        }
        phase
    }

    /// Cancels everyone who is alive here, now and whoever starts later.
    fn cancel_all(&self) {
        let home = &self.home;
        home.wakes_by(Cause::Message);
        for task in home.live_tasks() {
            task.request_cancel();
            task.interrupts.cancel();
            task.attract_attention();
            home.wake(task);
        }
    }

    /// Gives up all coroutines that are left, saying so: their stacks stay where they are, for ever,
    /// because something may still point there.
    fn abandon_all(&self) {
        for task in self.home.live_tasks() {
            let name = task.label.name().unwrap_or("<unnamed>");
            report(&format!(
                "coroutine '{name}' (id {}), spawned at {}, did not end within the grace period after it was \
                 cancelled: its stack is leaked",
                task.label.id, task.label.spawned_at
            ));
            self.abandon(task);
        }
        self.home.clear_queue();
    }

    fn abandon(&self, task: TaskPtr) {
        std::mem::forget(TaskRef::new(task));
        self.forget(task.context());
        // SAFETY: it is suspended, out of the list, and nobody resumes it any more.
        let joiner = unsafe { task.fail(Box::new(Cancelled)) };
        self.home.note_ending(Ending::Cancelled);
        self.home.bury(joiner);
    }

    /// Gives up all coroutines of a program that cannot unwind, and says how many.
    #[cold]
    pub(crate) fn leak_all(&self) {
        let left = self.home.live_tasks();
        if !left.is_empty() {
            report(&format!(
                "{} live coroutines are leaked at the end of the runtime: without panic = \"unwind\" they cannot be ended",
                left.len()
            ));
        }
        left.into_iter().for_each(|task| self.abandon(task));
        self.home.clear_queue();
    }
}
