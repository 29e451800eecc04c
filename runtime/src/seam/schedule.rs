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

/// A number of `0..n`, each as likely as the other. `n` is not zero.
#[cfg(not(any(loom, shuttle)))]
#[inline]
pub(crate) fn draw(n: usize) -> usize {
    use crate::seam::sync::thread_local;
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    // A Weyl sequence, scrambled (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). Its
    // start, an address, differs from thread to thread.
    let next = STATE.with(|state| {
        let next = match state.get() {
            0 => (&raw const *state).addr() as u64,
            before => before.wrapping_add(0x9e37_79b9_7f4a_7c15),
        };
        state.set(next);
        next
    });
    let scrambled = (next ^ next >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let scrambled = (scrambled ^ scrambled >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (((scrambled >> 32) * n as u64) >> 32) as usize
}

/// A model checker makes all choices itself, and must be able to repeat them.
#[cfg(any(loom, shuttle))]
pub(crate) fn draw(_n: usize) -> usize {
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
