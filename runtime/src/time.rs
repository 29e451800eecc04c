//! Time: sleeping, and bounding how long something may take.
//!
//! All of it works on plain OS threads too, where it blocks the thread. The clock is monotonic.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use std::time::{Duration, Instant};

use crate::home::{self, Target};
use crate::interrupts::{Cause, FrameId, Raise};
use crate::park::{self, WaitReason, Wake};
use crate::seam::clock;

/// Waits for at least `duration`. `Duration::MAX` is for ever.
///
/// Never early; late by the wake-up of an idle core, some 50 us, or up to 175 us more when many sleep.
/// Cost: two stack switches and O(1) in the live timers of the worker, but O(log n) in those that are due within
/// some 65 us.
///
/// # Panics
/// Unwinds if the coroutine is cancelled or a [`timeout`] around it passes.
///
/// ```
/// use runtime::time::{self, Duration, Instant};
///
/// runtime::run(|| {
///     let start = Instant::now();
///     time::sleep(Duration::from_millis(2));
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn sleep(duration: Duration) {
    if !duration.is_zero() {
        sleep_to(clock::after(duration));
    }
}

/// Waits until `deadline`; not at all if it has passed.
///
/// # Panics
/// As [`sleep`].
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    if clock::now() < deadline {
        sleep_to(Some(deadline));
    }
}

/// Waits until the worker's timer says that it is time: no second look at the clock.
#[track_caller]
fn sleep_to(deadline: Option<Instant>) {
    while park::park_until(WaitReason::Sleep.alone(), deadline) == Wake::Unparked {}
}

/// The time that [`timeout`] or [`deadline`] allowed is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time allowed is over")
    }
}

impl std::error::Error for Elapsed {}

/// Runs `f` for `duration` at most.
///
/// When the time is over, `f` unwinds from its current or next suspension point up to here, running
/// destructors: so any code can be bounded, also a library's that knows nothing of it. If it completes all
/// the same, its value is returned, however late. Frames nest, and the outermost that has passed wins.
///
/// # Errors
/// [`Elapsed`].
///
/// # Panics
/// With whatever `f` panics with.
///
/// ```
/// use runtime::time::{self, Duration, Elapsed};
///
/// runtime::run(|| {
///     assert_eq!(time::timeout(Duration::from_secs(9), || 7), Ok(7));
///     let never = || time::sleep(Duration::MAX);
///     assert_eq!(time::timeout(Duration::from_millis(1), never), Err(Elapsed));
/// });
/// ```
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    match clock::after(duration) {
        Some(end) => deadline(end, f),
        None => Ok(f()), // the clock cannot count that far: never
    }
}

/// As [`timeout`], with the point in time at which it is over.
///
/// # Errors
/// [`Elapsed`].
///
/// # Panics
/// With whatever `f` panics with.
pub fn deadline<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    if cfg!(panic = "abort") {
        panic!("a timeout can end what it bounds only in a program built with panic = \"unwind\"");
    }
    let frame = Frame::enter(deadline);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    let id = frame.id;
    drop(frame);
    outcome.map_err(|payload| match payload.downcast_ref() {
        Some(Raise(Cause::Elapsed(raised))) if *raised == id => Elapsed,
        _ => resume_unwind(payload),
    })
}

/// One frame of a timeout, entered; left when dropped.
struct Frame {
    id: FrameId,
}

impl Frame {
    fn enter(deadline: Instant) -> Self {
        let id = park::with_interrupts(|interrupts| interrupts.push_frame(deadline));
        watch_frame(id, deadline);
        Frame { id }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let timer = park::with_interrupts(|interrupts| interrupts.pop_frame(self.id));
        if let (Some(timer), Some((home, _))) = (timer, home::current()) {
            home.timers.borrow_mut().cancel(timer);
        }
    }
}

/// Has the worker's timers watch a frame of the calling coroutine. A plain thread looks at its frames itself.
pub(crate) fn watch_frame(id: FrameId, deadline: Instant) {
    if let Some((home, task)) = home::current() {
        let timer = home
            .timers
            .borrow_mut()
            .insert(deadline, Target::Expire(task, id));
        task.interrupts.set_frame_timer(id, timer);
    }
}

/// Points in time at equal distances; the first is one `period` from now.
///
/// # Panics
/// If `period` is zero.
///
/// ```
/// use runtime::time::{self, Duration, Instant};
///
/// runtime::run(|| {
///     let start = Instant::now();
///     let mut ticks = time::interval(Duration::from_millis(1));
///     (0..3).for_each(|_| drop(ticks.tick()));
///     assert!(start.elapsed() >= Duration::from_millis(3));
/// });
/// ```
pub fn interval(period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "an interval of zero would tick without end: give it a period"
    );
    Interval {
        next: clock::after(period),
        period,
    }
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Option<Instant>,
    period: Duration,
}

impl Interval {
    /// Waits for the next tick and returns when it was due. Ticks that were missed are not made up for: the
    /// first comes at once, and the next on the old grid.
    ///
    /// # Panics
    /// As [`sleep`].
    #[track_caller]
    pub fn tick(&mut self) -> Instant {
        if self.next.is_none_or(|next| clock::now() < next) {
            sleep_to(self.next);
        }
        let due = self.next.unwrap_or_else(clock::now);
        let late = clock::now().saturating_duration_since(due);
        let missed = u32::try_from(late.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX);
        self.next = self
            .period
            .checked_mul(missed.saturating_add(1))
            .and_then(|ahead| due.checked_add(ahead));
        due
    }
}
