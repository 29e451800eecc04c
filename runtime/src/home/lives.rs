//! Lives: how coroutines come to a worker, get their stack, and go.

use std::io;

use super::{Fresh, Home, Phase, Runnable, counts::count};
use crate::context::Context;
use crate::interrupts::Cancelled;
use crate::seam::sync::atomic::Ordering;
use crate::task::{Ending, Joiner, TaskPtr, Token};

impl Home {
    /// Sees to it that one more coroutine may be, and will find a stack.
    ///
    /// # Errors
    /// Those of mmap(2): no address space or memory is left. `QuotaExceeded`: it would be one too many.
    #[inline(always)]
    pub(crate) fn reserve_stack(&self) -> io::Result<()> {
        if self.counts.spawned.load(Ordering::Relaxed) < self.spawned_max.get() {
            Ok(())
        } else {
            self.reserve_more()
        }
    }

    #[cold]
    fn reserve_more(&self) -> io::Result<()> {
        self.shared.check_room()?;
        self.find_stack()
    }

    /// Whether a coroutine that others have spawned would find a stack here.
    pub(super) fn has_stack(&self) -> bool {
        self.counts.spawned.load(Ordering::Relaxed) < self.spawned_max.get()
            || self.find_stack().is_ok()
    }

    fn find_stack(&self) -> io::Result<()> {
        let counts = &*self.counts;
        let spawned = counts.spawned.load(Ordering::Relaxed);
        let came = spawned + counts.taken.load(Ordering::Relaxed);
        let went = counts.finished.load(Ordering::Relaxed) + counts.stolen.load(Ordering::Relaxed);
        // Those who live or wait to start, and the one to come. Whoever ends from now on makes room for more,
        // which is found out the next time.
        let wanted = came.saturating_sub(went) as usize + 1;
        let have = self
            .stacks
            .borrow_mut()
            .reserve(self.shared.config.stacks.stack_bytes, wanted)?;
        let more = match self.shared.config.coroutines_max {
            None => 1 + have - wanted,
            Some(_) => 0, // each asks whether there is room
        };
        self.spawned_max.set(spawned + more as u64);
        Ok(())
    }

    /// Sees to it that one more coroutine of this unusual size will find a stack.
    ///
    /// With several workers that is found out when it starts: nobody knows where that will be.
    ///
    /// # Errors
    /// As [`reserve_stack`](Self::reserve_stack), and `InvalidInput` for an absurd size.
    #[cold]
    pub(crate) fn promise_stack(&self, stack_bytes: usize) -> io::Result<()> {
        self.shared.check_room()?;
        let mut stacks = self.stacks.borrow_mut();
        if self.several {
            stacks.reserve(stack_bytes, 1).map(drop)
        } else {
            stacks.promise(stack_bytes)
        }
    }

    /// Takes a new coroutine in.
    #[inline(always)]
    pub(crate) fn admit(&self, task: TaskPtr) {
        count(&self.counts.spawned);
        if self.is_observed() {
            self.record_spawn(task);
        }
        if self.several && task.may_move() {
            let shared = &*self.shared;
            if self
                .seat()
                .fresh
                .push(Fresh(task), &shared.sleepers, |position| {
                    task.set_position(position)
                })
            {
                shared.wake_a_sleeper();
            }
        } else {
            task.set_home(self.mailbox);
            task.set_position(self.queue(|queue| queue.push(Runnable::fresh(task))));
        }
    }

    /// Gives a coroutine its stack: it starts with the next resume of `context`, or is running on it.
    #[inline]
    pub(crate) fn begin(&self, task: TaskPtr, context: Context) {
        task.adopt(context);
        context.set_attention(false);
        if self.shared.phase() != Phase::Running {
            task.request_cancel();
        }
    }

    /// Keeps the default stack of a coroutine that has finished for the next one.
    #[inline]
    pub(crate) fn retire(&self, context: Context) {
        let refused = self.idle.borrow_mut().push(context);
        debug_assert!(
            refused.is_none(),
            "the pool is unbounded; idle workers trim it"
        );
    }

    /// Puts a coroutine from elsewhere, which has not started, into the queue.
    pub(crate) fn enqueue_fresh(&self, task: TaskPtr) {
        task.set_position(self.queue(|queue| queue.push(Runnable::fresh(task))));
    }

    /// Some worker has coroutines that could start here.
    pub(crate) fn anything_to_take(&self) -> bool {
        let shared = &self.shared;
        let stealable = || {
            !self.starved.get()
                && shared
                    .seats
                    .iter()
                    .any(|seat| !seat.fresh.is_empty_for_sure())
        };
        !shared.injector.is_empty_for_sure() || self.several && stealable()
    }

    /// Forgets who was runnable: those who have started were given up; the others never will, and are told so.
    pub(crate) fn clear_queue(&self) {
        while let Some(next) = self.take() {
            if let Err(fresh) = next.look() {
                // SAFETY: it was just taken out of the queue, and has not started.
                let joiner = unsafe { fresh.fail(Box::new(Cancelled)) };
                self.note_ending(Ending::Cancelled);
                self.bury(joiner);
            }
        }
    }

    /// Takes back what a foreign stack switcher may have left of timeouts: their timers know the task by address.
    #[cold]
    pub(crate) fn drop_frames(&self, task: TaskPtr) {
        let frames = task.interrupts.unlink_from(0);
        for timer in frames.into_iter().filter_map(|frame| frame.timer) {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    /// Announces the end of a coroutine, whose result is in place and whose context has been left. Returns
    /// whether whoever resumed it waits for that, and goes on at once.
    #[inline(always)]
    pub(crate) fn finish(&self, task: TaskPtr) -> bool {
        let joiner = task.finish();
        self.bury(joiner);
        joiner == Joiner::RESUMER
    }

    /// Counts an end, and wakes the joiner.
    #[inline(always)]
    pub(crate) fn bury(&self, joiner: Joiner) {
        count(&self.counts.finished);
        if let Some(joiner) = joiner.as_parked() {
            self.wake_joiner(joiner);
        }
    }

    /// Some coroutine has a stack and has not finished.
    pub(crate) fn has_live(&self) -> bool {
        // SAFETY: the list holds this worker's contexts.
        self.contexts
            .borrow()
            .iter()
            .any(|context| unsafe { TaskPtr::tenant_of(*context) }.is_some())
    }

    /// How many of its coroutines have a stack and have not finished.
    pub(crate) fn live(&self) -> usize {
        self.live_tasks().len()
    }

    /// The coroutines that have a stack and have not finished.
    pub(crate) fn live_tasks(&self) -> Vec<TaskPtr> {
        let contexts = self.contexts.borrow();
        // SAFETY: the list holds this worker's contexts.
        contexts
            .iter()
            .filter_map(|context| unsafe { TaskPtr::tenant_of(*context) })
            .collect()
    }

    /// Those that are suspended: they are parked, or stand in the queue.
    pub(crate) fn suspended_tasks(&self) -> Vec<TaskPtr> {
        let mut suspended = self.live_tasks();
        suspended.retain(|task| task.token.get() == Token::Parked);
        let queued = self
            .queued()
            .into_iter()
            .filter_map(|next| next.look().ok());
        // SAFETY: the queue holds this worker's contexts.
        suspended.extend(queued.filter_map(|context| unsafe { TaskPtr::tenant_of(context) }));
        suspended
    }

    /// Has `visit` called on the stack of each that is suspended, and `after`, here, after each.
    pub(crate) fn visit_all(&self, visit: fn(), mut after: impl FnMut(TaskPtr)) {
        for task in self.suspended_tasks() {
            // SAFETY: suspended; nobody runs between that look and this.
            unsafe { self.visit(task.context(), visit) };
            after(task);
        }
    }
}
