//! Counted references to a task, for those who may outlive it: wakers, `Coroutine`s, messages.

use std::ptr::NonNull;

use super::{REF, TaskPtr};
use crate::seam::sync::atomic::Ordering;

/// A counted reference: keeps the record alive, also after the coroutine has finished.
pub(crate) struct TaskRef(TaskPtr);

// SAFETY: through a `TaskRef` other threads reach only the fields that any thread may use; the cells are
// touched after `is_home` has said that this is the home worker's thread. The result, whose type may not
// be `Send`, is dropped with the handle or by the coroutine, never by a `TaskRef`: `free` finds none.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    pub(crate) fn new(task: TaskPtr) -> Self {
        // Relaxed: the caller holds the task already, as in `Arc::clone`.
        task.state.fetch_add(REF, Ordering::Relaxed);
        TaskRef(task)
    }

    /// The task itself.
    #[inline]
    pub(crate) fn get(&self) -> TaskPtr {
        self.0
    }

    /// The name that the coroutine was given.
    pub(crate) fn name(&self) -> Option<&str> {
        // SAFETY: the label never changes, and the record lives as long as this reference to it.
        unsafe { self.0.0.as_ref() }.label.name()
    }

    /// As a raw pointer for a `RawWaker`; the reference is the pointer's now.
    pub(crate) fn into_raw(self) -> *const () {
        std::mem::ManuallyDrop::new(self).0.0.as_ptr().cast()
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw), and its reference is taken back once.
    pub(crate) unsafe fn from_raw(raw: *const ()) -> Self {
        TaskRef(TaskPtr(
            NonNull::new(raw.cast_mut().cast()).expect("from a reference"),
        ))
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        TaskRef::new(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
