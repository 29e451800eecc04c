//! Interrupts: what may be raised in one strand of execution, a coroutine's or a plain thread's.
//!
//! Two things make a coroutine unwind from a suspension point: its cancellation, which goes to its
//! root, and the passing of a deadline, which goes to the frame of the `timeout` that set it. Both
//! are *sticky*: swallowed by a `catch_unwind` on the way, they are raised again at the next suspension.
//!
//! ```text
//!   frames, outermost first      raised                    caught by
//!   [ 3 s | 1 s | 2 s ]          1 s has passed: frame 2   timeout of frame 2: Err(Elapsed)
//!   cancelled                    Cancelled                 the root: join gets Err(Cancelled)
//! ```
//!
//! **Never while it unwinds.** A second panic in a destructor would abort the process. But `thread::panicking()`
//! speaks of the thread: it is true for all coroutines of a worker while one of them is suspended in a destructor.
//! Whoever is about to raise something then [looks at the stack](crate::sys::walk), which tells for sure.
//!
//! Plain data and rules; `park` does the raising.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::seam::sync::thread_local;
use crate::timer::TimerKey;

/// What [`join`](crate::coroutine::JoinHandle::join) returns of a coroutine that was cancelled, as the
/// payload of its `Err`.
///
/// ```
/// use runtime::coroutine::{self, Cancelled};
///
/// runtime::run(|| {
///     let sleeper = coroutine::spawn(|| coroutine::park());
///     sleeper.cancel();
///     assert!(sleeper.join().unwrap_err().is::<Cancelled>());
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the coroutine was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// The payload that unwinds.
pub(crate) struct Raise(pub(crate) Cause);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Cancelled,
    /// The deadline of the frame with this number has passed.
    Elapsed(FrameId),
}

/// Names one frame of a `timeout`; unique in its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameId(u64);

/// One `timeout` that the strand is inside of.
pub(crate) struct Frame {
    pub(crate) id: FrameId,
    pub(crate) deadline: Instant,
    /// Pending in the worker's timers; none on a plain thread, or once fired.
    pub(crate) timer: Option<TimerKey>,
    pub(crate) expired: bool,
}

thread_local! {
    static NEXT_FRAME: Cell<u64> = const { Cell::new(1) };
}

/// What may be raised in one strand. Its thread only.
///
/// Whoever changes it so that something may be due sees to it that the strand looks here at its next suspension.
pub(crate) struct Interrupts {
    cancelled: Cell<bool>,
    raised: Cell<u16>,
    shields: Cell<u32>,
    /// What most strands never have.
    frames: OnceCell<Box<RefCell<Vec<Frame>>>>,
}

impl Interrupts {
    pub(crate) const fn new() -> Self {
        Interrupts {
            cancelled: Cell::new(false),
            raised: Cell::new(0),
            shields: Cell::new(0),
            frames: OnceCell::new(),
        }
    }

    /// Cancels the strand, for good.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
    }

    /// It owns memory.
    pub(crate) fn has_boxes(&self) -> bool {
        self.frames.get().is_some()
    }

    /// Calls `f` with the frames; `empty` if there never was one.
    fn frames<T>(&self, empty: T, f: impl FnOnce(&mut Vec<Frame>) -> T) -> T {
        self.frames
            .get()
            .map_or(empty, |frames| f(&mut frames.borrow_mut()))
    }

    /// The same, and makes room for some.
    fn frames_to_be(&self) -> RefMut<'_, Vec<Frame>> {
        self.frames.get_or_init(Box::default).borrow_mut()
    }

    /// Something waits to be raised, though perhaps not now.
    pub(crate) fn is_pending(&self) -> bool {
        self.cancelled.get()
            || self.frames(false, |frames| frames.iter().any(|frame| frame.expired))
    }

    /// What is to be raised at this suspension point, unless it is in the middle of an unwinding.
    ///
    /// The outermost expired frame wins: unwinding to it ends the inner ones as well.
    pub(crate) fn due(&self) -> Option<Cause> {
        if cfg!(panic = "abort") || self.shields.get() > 0 {
            return None;
        }
        if self.cancelled.get() {
            return Some(Cause::Cancelled);
        }
        self.frames(None, |frames| {
            frames
                .iter()
                .find(|frame| frame.expired)
                .map(|frame| Cause::Elapsed(frame.id))
        })
    }

    /// Counts what is about to be raised; returns how often that makes.
    pub(crate) fn count_raise(&self) -> u16 {
        self.raised.set(self.raised.get().saturating_add(1));
        self.raised.get()
    }

    /// Holds everything off until `f` returns, which must be in this same strand.
    pub(crate) fn shielded<T>(&self, f: impl FnOnce() -> T) -> T {
        self.add_shields(1);
        let outcome = catch_unwind(AssertUnwindSafe(f));
        self.remove_shields(1);
        outcome.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// How many frames and how many shields the strand is inside of.
    #[inline]
    pub(crate) fn inside(&self) -> (usize, u32) {
        (self.depth(), self.shields.get())
    }

    /// Holds everything off until they are removed.
    pub(crate) fn add_shields(&self, count: u32) {
        self.shields.set(self.shields.get() + count);
    }

    pub(crate) fn remove_shields(&self, count: u32) {
        // Saturating: a foreign stack switcher may have carried the beginning of a shield elsewhere.
        self.shields.set(self.shields.get().saturating_sub(count));
    }
}

/// Starts to unwind because of `cause`. Calls no panic hook.
pub(crate) fn raise(cause: Cause) -> ! {
    resume_unwind(Box::new(Raise(cause)))
}

/// What a caught payload means to the root: a raised cancellation becomes [`Cancelled`].
pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    if payload.is::<Raise>() {
        Box::new(Cancelled)
    } else {
        payload
    }
}

// ---- Frames of timeouts ----------------------------------------------------------------------------

impl Interrupts {
    /// Enters a frame, the innermost from now on.
    pub(crate) fn push_frame(&self, deadline: Instant) -> FrameId {
        let id = FrameId(NEXT_FRAME.replace(NEXT_FRAME.get() + 1));
        self.frames_to_be().push(Frame {
            id,
            deadline,
            timer: None,
            expired: false,
        });
        id
    }

    /// Notes the timer that watches a frame's deadline.
    pub(crate) fn set_frame_timer(&self, id: FrameId, timer: TimerKey) {
        self.frames((), |frames| {
            if let Some(frame) = frames.iter_mut().find(|frame| frame.id == id) {
                frame.timer = Some(timer);
            }
        });
    }

    /// Leaves a frame; returns the timer that still watches it.
    pub(crate) fn pop_frame(&self, id: FrameId) -> Option<TimerKey> {
        self.frames(None, |frames| {
            let place = frames.iter().rposition(|frame| frame.id == id)?;
            frames.remove(place).timer
        })
    }

    /// Notes that a frame's deadline has passed; false if nobody is inside that frame any more.
    pub(crate) fn expire(&self, id: FrameId) -> bool {
        self.frames(false, |frames| {
            let Some(frame) = frames.iter_mut().find(|frame| frame.id == id) else {
                return false;
            };
            (frame.timer, frame.expired) = (None, true);
            true
        })
    }

    /// Expires the frames that are due at `now`, for a strand without a timer of the worker's.
    pub(crate) fn expire_due(&self, now: Instant) {
        self.frames((), |frames| {
            frames
                .iter_mut()
                .filter(|frame| frame.deadline <= now)
                .for_each(|frame| frame.expired = true);
        });
    }

    /// The earliest deadline of a frame that has not expired.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.frames(None, |frames| {
            frames
                .iter()
                .filter(|frame| !frame.expired)
                .map(|frame| frame.deadline)
                .min()
        })
    }

    /// How many frames the strand is inside of.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.frames(0, |frames| frames.len())
    }

    /// Takes the frames from `depth` on: those of a generator that suspends.
    pub(crate) fn unlink_from(&self, depth: usize) -> Vec<Frame> {
        self.frames(Vec::new(), |frames| {
            if depth < frames.len() {
                frames.split_off(depth)
            } else {
                Vec::new()
            }
        })
    }

    /// Adds frames as the innermost ones: those of a generator that is resumed.
    pub(crate) fn link(&self, frames: Vec<Frame>) {
        self.frames_to_be().extend(frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_outermost_expired_frame_is_raised_first() {
        let (strand, now) = (Interrupts::new(), Instant::now());
        let outer = strand.push_frame(now);
        let inner = strand.push_frame(now);
        assert!(strand.expire(inner));
        assert_eq!(strand.due(), Some(Cause::Elapsed(inner)));
        assert!(strand.expire(outer));
        assert_eq!(strand.due(), Some(Cause::Elapsed(outer)));
        strand.pop_frame(inner);
        strand.pop_frame(outer);
        assert!(!strand.expire(outer), "nobody is in there");
        assert_eq!(strand.due(), None);
    }

    #[test]
    fn a_shield_holds_off_and_what_was_held_off_stays_due() {
        let strand = Interrupts::new();
        strand.cancel();
        strand.shielded(|| assert_eq!(strand.due(), None));
        assert_eq!(strand.due(), Some(Cause::Cancelled));
        assert!(strand.is_pending());
    }

    #[test]
    fn frames_leave_and_come_back_with_their_generator() {
        let (strand, now) = (Interrupts::new(), Instant::now());
        let outer = strand.push_frame(now + Duration::from_secs(5));
        let depth = strand.depth();
        strand.push_frame(now);
        let taken = strand.unlink_from(depth);
        assert_eq!((taken.len(), strand.depth()), (1, 1));
        strand.expire_due(now);
        assert_eq!(strand.due(), None, "the generator's frame is not ours now");
        strand.link(taken);
        strand.expire_due(now);
        assert!(matches!(strand.due(), Some(Cause::Elapsed(id)) if id != outer));
    }
}
