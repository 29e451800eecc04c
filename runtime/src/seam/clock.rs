//! The clock of the runtime: monotonic, never set back, stops while the machine is suspended
//! (clock_gettime(2), `CLOCK_MONOTONIC`).
//!
//! One read costs about 20 ns through the vDSO, so the worker reads it once for a batch of timers.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// What time it is.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The instant `after` from now; `None` is "never": it lies beyond what the clock can count.
pub(crate) fn after(after: Duration) -> Option<Instant> {
    now().checked_add(after)
}
