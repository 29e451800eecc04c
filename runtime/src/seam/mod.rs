//! The seams: the few doors through which the crate reaches what a test may want to replace.
//!
//! | door         | gives                                       | who may stand behind it             |
//! |--------------|---------------------------------------------|-------------------------------------|
//! | [`sync`]     | atomics, locks, threads, thread-locals      | std, or the model checkers' doubles |
//! | [`barrier`]  | the asymmetric memory barrier               | membarrier(2), two fences           |
//! | [`clock`]    | what time it is                             | the monotonic clock, virtual time   |
//! | [`schedule`] | which runnable coroutine goes next          | first come first served, a seed     |
//!
//! Nothing else in the crate names `std::sync`, `std::thread` or `Instant::now`.
#![forbid(unsafe_code)]

pub(crate) mod barrier;
pub(crate) mod clock;
pub(crate) mod schedule;
pub(crate) mod sync;
