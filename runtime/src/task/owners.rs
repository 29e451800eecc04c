//! From any thread: the references to a record, the join, the wish to cancel.

use std::ptr;
use std::task::Waker;

use super::{
    CANCEL, FINISHED, HANDLE, Joiner, Message, Payload, REF, Stage, TaskPtr, WAITER, WATCHED,
    read_by_words,
};
use crate::mailbox::Mailbox;
use crate::seam::sync::atomic::{Ordering, fence};

impl TaskPtr {
    /// The result is in place.
    #[inline]
    pub(crate) fn is_finished(self) -> bool {
        // Acquire: pairs with the Release in `finish`, so the result is ours to read.
        self.state.load(Ordering::Acquire) & FINISHED != 0
    }

    /// Says who waits for the end of this task of the same worker, and gets the runtime's reference then.
    #[inline(always)]
    pub(crate) fn set_joiner(self, joiner: Joiner) {
        self.joiner.set(joiner);
    }

    /// A waker was left, and has not been taken back.
    pub(crate) fn has_remote_joiner(self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITER != 0
    }

    /// Leaves `waker` to be woken when this task finishes; false if it has.
    ///
    /// # Safety
    /// The caller owns the handle, and leaves one waker at a time: a former one was taken back before the task
    /// finished.
    pub(crate) unsafe fn set_remote_joiner(self, waker: Waker) -> bool {
        // SAFETY: `WAITER` is not set, so the slot is the handle owner's.
        unsafe { *self.remote_joiner.get() = Some(waker) };
        // Release: the waker is the finisher's to read. Acquire: if finished, the result is ours.
        let state = self.state.fetch_or(WAITER, Ordering::AcqRel);
        state & FINISHED == 0
    }

    /// Takes a waker back, unless the finisher has it already.
    ///
    /// # Safety
    /// The caller owns the handle.
    pub(crate) unsafe fn clear_remote_joiner(self) {
        // Acquire: if finished in between, the finisher's use of the slot is over or it is its alone.
        let state = self.state.fetch_and(!WAITER, Ordering::AcqRel);
        if state & WAITER != 0 && state & FINISHED == 0 {
            // SAFETY: the bit was ours to clear, so the finisher has not looked and will not.
            unsafe { *self.remote_joiner.get() = None };
        }
    }

    /// As [`set_remote_joiner`](Self::set_remote_joiner), for one that only shares the handle.
    pub(crate) fn watch(self, waker: Waker) -> bool {
        // Acquire: pairs with the Release in `unwatch`; who watched before has left the slot.
        let before = self.state.fetch_or(WATCHED, Ordering::Acquire);
        if before & WATCHED != 0 {
            panic!("two selects wait for the end of one coroutine: let one at a time do so");
        }
        if before & FINISHED != 0 {
            // The finisher may still be busy with the slot.
            self.state.fetch_and(!WATCHED, Ordering::Release);
            return false;
        }
        // SAFETY: the handle is borrowed, so nobody joins, and the bit keeps all others away that share it.
        let waits = unsafe { self.set_remote_joiner(waker) };
        if !waits {
            self.unwatch();
        }
        waits
    }

    /// Ends a [`watch`](Self::watch).
    pub(crate) fn unwatch(self) {
        // SAFETY: as in `watch`.
        unsafe { self.clear_remote_joiner() };
        // Release: see `watch`.
        self.state.fetch_and(!WATCHED, Ordering::Release);
    }

    /// Takes the result out.
    ///
    /// # Safety
    /// Finished; the caller owns the handle, whose type is `T`, and has not taken the result before.
    #[inline]
    pub(crate) unsafe fn take<T>(self) -> Result<T, Payload> {
        assert!(
            self.stage.replace(Stage::Empty) == Stage::Finished,
            "a result is taken once"
        );
        // SAFETY: finished, so the body is the result, of this type, at the place that the vtable tells; the
        // caller owns it, and nobody reads it again.
        unsafe {
            read_by_words(
                self.0
                    .byte_add(self.vtable.body_offset)
                    .cast::<Result<T, Payload>>()
                    .as_ptr(),
            )
        }
    }

    /// Drops the handle's reference; `joined`: its result has been taken. `gift`: references that
    /// the finisher has left to the joiner.
    #[inline]
    pub(crate) fn drop_handle(self, joined: bool, gift: usize) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state & FINISHED != 0 {
                if !joined {
                    self.dispose();
                }
                // `HANDLE` may stay set: with `FINISHED` nobody looks at it.
                self.release(1 + gift);
                return;
            }
            let detached = (state & !HANDLE) - REF;
            // Release: nothing that we did with the task comes after this.
            match self.state.compare_exchange_weak(
                state,
                detached,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Drops the reference that the finisher has left to its local joiner.
    pub(crate) fn return_gift(self) {
        self.release(1);
    }

    /// Drops `count` references; frees the task with the last. Without an atomic read-modify-write
    /// when no others are left.
    #[inline]
    pub(super) fn release(self, count: usize) {
        // Acquire: pairs with the Release of those who dropped theirs, before we free what they used.
        let last = self.state.load(Ordering::Acquire) / REF == count
            || (self.state.fetch_sub(count * REF, Ordering::Release) / REF == count && {
                fence(Ordering::Acquire);
                true
            });
        if last {
            // SAFETY: nobody refers to the task any more: only holders of a reference make others.
            unsafe { (self.vtable.free)(self) };
        }
    }

    /// Asks for cancellation; true if nobody had.
    pub(crate) fn request_cancel(self) -> bool {
        // Acquire: pairs with the Release below. If the coroutine has looked before, its home is known after this,
        // and a message goes there; if not, it will see the bit.
        self.state.fetch_or(CANCEL, Ordering::Acquire) & CANCEL == 0
    }

    /// Whether cancellation was asked for; looked at when the coroutine starts, after its home was set.
    #[inline(always)]
    pub(super) fn cancel_requested(self) -> bool {
        let state = if self.may_move() {
            // A read-modify-write, because it reads the latest value. Release: the home, see above.
            self.state.fetch_or(0, Ordering::Release)
        } else {
            // The home was set before anyone had a handle to cancel with.
            self.state.load(Ordering::Relaxed)
        };
        state & CANCEL != 0
    }

    /// The mailbox of the home worker; none while it may start anywhere.
    #[inline]
    pub(crate) fn home(self) -> Option<&'static Mailbox<Message>> {
        // SAFETY: null or from a `&'static`. Acquire: pairs with `set_home`, for the mailbox's contents.
        unsafe { self.home.load(Ordering::Acquire).as_ref() }
    }

    /// Binds a task to the worker that has taken it to start it.
    #[inline]
    pub(crate) fn set_home(self, mailbox: &'static Mailbox<Message>) {
        self.home
            .store(ptr::from_ref(mailbox).cast_mut(), Ordering::Release);
    }
}
