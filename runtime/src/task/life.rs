//! A coroutine's life, on its home worker: it starts, runs, and finishes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use super::{
    Ending, FINISHED, HANDLE, Joiner, Payload, REF, TaskPtr, Token, WAITER, drop_quietly, record,
    text_of,
};
use crate::context::{Context, prefetch};
use crate::seam::sync::atomic::Ordering;
use crate::sys::process::report;

impl TaskPtr {
    /// Gives the coroutine its stack.
    #[inline]
    pub(crate) fn adopt(self, context: Context) {
        // SAFETY: the task is in a context's label until `leave` takes the context out again.
        unsafe { context.stack().set_label(&raw const self.label) };
        context.tenant().set(self.0.as_ptr().cast_const().cast());
        self.context.set(Some(context));
    }

    /// The stack it runs on.
    #[inline(always)]
    pub(crate) fn context(self) -> Context {
        self.context
            .get()
            .expect("a coroutine that runs has a stack")
    }

    /// Makes it look at its interrupts when it next suspends, or goes on from where it has.
    #[inline]
    pub(crate) fn attract_attention(self) {
        if let Some(context) = self.context.get() {
            context.set_attention(true);
        }
    }

    /// Starts to fetch what a wake-up and a park touch.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        prefetch(self.0.as_ptr().cast_const().cast());
    }

    /// Runs the body to its end. The result is then in place, but not yet announced.
    #[inline]
    pub(crate) fn run(self) -> Ending {
        // SAFETY: the worker calls it once, on the coroutine's own stack.
        unsafe { (self.vtable.run)(self) }
    }

    /// Announces the result and lets go of the task. Returns who of this worker waits in `join` for it.
    ///
    /// When such a local joiner holds the last other reference, nobody else can know of this task: the
    /// joiner owns the handle, and only holders of references make more. Then plain stores do, and the
    /// runtime's reference goes to the joiner. In all other cases one read-modify-write announces the
    /// result and drops the reference.
    #[inline]
    pub(crate) fn finish(self) -> Joiner {
        let joiner = self.joiner.replace(Joiner::NOBODY);
        if joiner != Joiner::NOBODY {
            self.leave();
            self.token.set(Token::Finished);
            // Acquire: pairs with the Release of those who dropped their references.
            if self.state.load(Ordering::Acquire) / REF == 2 {
                self.state
                    .store(FINISHED | HANDLE | (2 * REF), Ordering::Relaxed);
            } else {
                self.state.fetch_or(FINISHED, Ordering::AcqRel);
            }
            return joiner;
        }
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & HANDLE == 0 {
                // The result is nobody's: drop it here, on the coroutine, where a destructor may block. If it
                // makes coroutine-locals, they end here too: the record may be freed by another thread.
                self.interrupts.shielded(|| self.dispose());
                drop_quietly(record::drop_locals(self, Ok(())));
            }
            let context = self.leave();
            self.token.set(Token::Finished);
            let waits = state & WAITER != 0;
            // Our reference goes with the announcement, unless there is still a waker to be taken.
            let finished = (state | FINISHED) - if waits { 0 } else { REF };
            // Release: the result is the joiner's to read. Acquire: the waker that it left; and as the last one,
            // we free what others used.
            match self.state.compare_exchange_weak(
                state,
                finished,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if waits => self.wake_waiter(),
                Ok(_) if finished < REF => {
                    // SAFETY: that was the last reference.
                    unsafe { (self.vtable.free)(self) };
                }
                Ok(_) => {}
                Err(now) => {
                    // The handle has been dropped, or a joiner has come or gone, just now.
                    state = now;
                    self.token.set(Token::Empty);
                    if let Some(context) = context {
                        self.adopt(context);
                    }
                    continue;
                }
            }
            return Joiner::NOBODY;
        }
    }

    /// Wakes the joiner whose `WAITER` bit was set when the end was announced.
    #[cold]
    pub(super) fn wake_waiter(self) {
        // SAFETY: with `FINISHED` and `WAITER` set by one operation the slot is the finisher's alone.
        let waker = unsafe { (*self.remote_joiner.get()).take() };
        self.release(1);
        // A waker may be anyone's: what it throws must not end the scheduler.
        if let Some(waker) = waker
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake()))
        {
            drop_quietly(payload);
        }
    }

    /// Ends a coroutine that could not run, or that is given up, with an error for its joiner.
    ///
    /// # Safety
    /// It does not run and never will; its body, if it has started, stays where it is.
    pub(crate) unsafe fn fail(self, payload: Payload) -> Joiner {
        // SAFETY: nobody reads the body before `finish` announces it.
        unsafe { (self.vtable.fail)(self, payload) };
        self.finish()
    }

    /// Takes the context of a coroutine that has finished, while still running on it.
    #[inline]
    pub(crate) fn leave(self) -> Option<Context> {
        let context = self.context.take();
        if let Some(context) = context {
            context.tenant().set(ptr::null());
            context.stack().clear_label();
        }
        context
    }

    /// Drops the result that nobody will take, and reports it if it is a panic.
    #[cold]
    pub(super) fn dispose(self) {
        // SAFETY: the result is in place, and the caller is its owner: no handle is left.
        if let Some(payload) = unsafe { (self.vtable.dispose)(self) } {
            let name = self.label.name().unwrap_or("<unnamed>");
            report(&format!(
                "coroutine '{name}' (id {}), spawned at {}, panicked, and nobody joined it: {}",
                self.label.id,
                self.label.spawned_at,
                text_of(&*payload),
            ));
            drop_quietly(payload);
        }
    }
}
