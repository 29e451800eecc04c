//! The order of the runnable: which of them goes next.
//!
//! The run queue asks here, with the number of those that wait, for the place (0 = longest waiting)
//! of the one to run. First come first served is place 0, which the compiler folds away; a seeded
//! schedule would answer with any other place.
#![forbid(unsafe_code)]

/// The place in the queue of the coroutine that runs next, `0..runnable`.
#[inline(always)]
pub(crate) fn pick(_runnable: usize) -> usize {
    0
}

/// Has a model checker follow one order only from here on: it would try some without end.
#[cfg(loom)]
pub(crate) fn explore_no_further() {
    loom::skip_branch();
}

/// shuttle tries no more orders than it is told to.
#[cfg(shuttle)]
pub(crate) fn explore_no_further() {}
