//! Handles: waiting for a coroutine, and ending it.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Id, Result};
use crate::home;
use crate::park::{self, WaitReason};
use crate::recorder::{self, Kind};
use crate::task::{Joiner, Message, TaskPtr, TaskRef};

/// Owner of a coroutine's result. Dropping it detaches the coroutine, which goes on.
///
/// Coroutines and plain threads may join, and a handle may be sent between them.
pub struct JoinHandle<T> {
    task: TaskPtr,
    result: PhantomData<T>,
}

// SAFETY: the handle gives access to the result, a `T`, and to the parts of the record that any thread may
// use; the others are touched only after `is_home` has said that this thread is the coroutine's own.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives no access to the result.
unsafe impl<T> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(super) fn new(task: TaskPtr) -> Self {
        JoinHandle {
            task,
            result: PhantomData,
        }
    }

    /// Waits until the coroutine has finished, and returns its result.
    ///
    /// A child that has not started runs at once, before all others: a tree of coroutines is walked depth
    /// first, with a handful of stacks. Cost then: two stack switches, no atomic read-modify-write.
    ///
    /// # Errors
    /// What it panicked with, or [`Cancelled`](super::Cancelled).
    // Inlined down to the switch, like all that suspends often: a `ret` that was called before the suspension, and
    // returns after it, is mispredicted, and so is the next switch.
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let gift = if self.task.is_finished() {
            0
        } else {
            self.wait()
        };
        let task = std::mem::ManuallyDrop::new(self).task;
        // SAFETY: finished; the handle is ours, of this type, and gone after this.
        let result = unsafe { task.take::<T>() };
        task.drop_handle(true, gift);
        result
    }

    /// Waits for the end; returns the number of references that the finisher has left to us.
    #[inline(always)]
    #[track_caller]
    fn wait(&self) -> usize {
        let task = self.task;
        if let Some((home, me)) = home::current() {
            if home.claim(task) {
                if home.run_child(task) {
                    if task.is_finished() {
                        return 1;
                    }
                    home.note_suspension();
                }
                self.wait_at_home(me);
                return 1;
            }
            if task.is_home(home.mailbox) {
                self.wait_at_home(me);
                return 1;
            }
        }
        self.wait_remotely();
        0
    }

    /// Waits until the coroutine has finished, and leaves the result where it is.
    #[track_caller]
    pub(crate) fn wait_finished(&self) {
        if !self.task.is_finished() && self.wait() == 1 {
            self.task.return_gift();
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_at_home(&self, me: TaskPtr) {
        struct Joining(TaskPtr);
        impl Drop for Joining {
            fn drop(&mut self) {
                self.0.set_joiner(Joiner::NOBODY);
            }
        }
        self.task.set_joiner(Joiner::parked(me));
        let joining = Joining(self.task);
        while !self.task.is_finished() {
            park::park(WaitReason::Join.on(self.task.into_raw().as_ptr()));
        }
        std::mem::forget(joining);
    }

    #[cold]
    #[track_caller]
    fn wait_remotely(&self) {
        struct Joining(TaskPtr);
        impl Drop for Joining {
            fn drop(&mut self) {
                // SAFETY: the handle is ours while we wait.
                unsafe { self.0.clear_remote_joiner() };
            }
        }
        if !self.take_back_waker() {
            return;
        }
        // SAFETY: the handle is ours, the slot is empty, and `Joining` takes this waker back.
        let waits = unsafe { self.task.set_remote_joiner(park::unparker().into_waker()) };
        let joining = Joining(self.task);
        while waits && !self.task.is_finished() {
            park::park(WaitReason::Join.on(self.task.into_raw().as_ptr()));
        }
        std::mem::forget(joining);
    }

    /// Takes back the waker that a poll of this handle has left, if any. True: its slot is empty, and ours; false: the
    /// coroutine has finished.
    fn take_back_waker(&self) -> bool {
        if self.task.has_remote_joiner() {
            // SAFETY: the handle is ours.
            unsafe { self.task.clear_remote_joiner() };
        }
        // If it finished before the waker could be taken back, the slot is the finisher's, and this says so.
        !self.task.is_finished()
    }

    /// Makes the coroutine unwind from its current or next suspension point, as if it panicked there with
    /// [`Cancelled`](super::Cancelled), but without a message. Does not wait for that: [`join`](Self::join) does.
    ///
    /// Destructors run, and may block. One that has not started never does. One that has finished keeps its
    /// result.
    ///
    /// ```
    /// use runtime::{coroutine, time::{self, Duration}};
    ///
    /// runtime::run(|| {
    ///     let sleeper = coroutine::spawn(|| time::sleep(Duration::from_secs(3600)));
    ///     runtime::yield_now();
    ///     sleeper.cancel();
    ///     assert!(sleeper.join().is_err());
    /// });
    /// ```
    pub fn cancel(&self) {
        cancel(&TaskRef::new(self.task));
    }

    /// It has finished: [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Its number.
    pub fn id(&self) -> Id {
        self.task.id()
    }

    /// Leaves a waker for when it finishes; false if it has.
    ///
    /// # Panics
    /// If somebody has left one already.
    pub(crate) fn watch(&self, waker: std::task::Waker) -> bool {
        self.task.watch(waker)
    }

    /// Takes the waker back.
    pub(crate) fn unwatch(&self) {
        self.task.unwatch();
    }

    /// A counted reference to the record.
    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef::new(self.task)
    }
}

/// Asks for the cancellation of `task`, from any thread.
///
/// # Panics
/// In a program that cannot unwind.
pub(crate) fn cancel(task: &TaskRef) {
    if cfg!(panic = "abort") {
        panic!("a coroutine can be cancelled only in a program built with panic = \"unwind\"");
    }
    if task.get().request_cancel() {
        if recorder::is_on() {
            home::record_elsewhere(Kind::Cancel, task.get());
        }
        park::tell(task, Message::Cancel);
    }
}

/// The result does not lie in the handle, so nothing in here minds being moved.
impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    /// As [`join`](JoinHandle::join) returns it.
    type Output = Result<T>;

    /// For `async` code, under any executor. Unlike [`join`](JoinHandle::join) it does not run a child that has not
    /// started; dropping the handle detaches the coroutine.
    ///
    /// # Panics
    /// If polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.take_back_waker() {
            // SAFETY: the handle is ours, and the slot is empty. This waker is taken back by the next poll, by a join,
            // or by the drop.
            if unsafe { self.task.set_remote_joiner(context.waker().clone()) } {
                return Poll::Pending;
            }
        }
        // SAFETY: finished; the handle is ours, of this type. A result that was taken before makes it panic.
        Poll::Ready(unsafe { self.task.take::<T>() })
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.take_back_waker();
        self.task.drop_handle(false, 0);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
