//! Due: what a worker does when timers fire.
//!
//! ```text
//!   timers ──► due: up to 56 ──fetch──► records, stacks
//!                              ──wake──► queue: [ due ... | those who were there ... ]
//!                                                         ^ behind_the_due
//! ```
//!
//! **Those whom timers wake run next**, before all that are in the queue. Ten thousand sleepers do not fit into the
//! caches, and what a wake-up and the turn after it need of each lies on two pages of its own. Waiting for both in turn
//! took most of a sleep's time; so the cache lines are asked for many at a time, and the turns come
//! while they are there.
//!
//! **The others are not kept waiting for long**: a round has more turns than timers fire before it, and if it ends
//! early, no more fire before the one that stood first has had its turn.

use super::{Home, Runnable, TURNS_PER_POLL};
use crate::context::Context;
use crate::interrupts::FrameId;
use crate::task::{TaskPtr, Token};

/// So many timers fire between two rounds, at most: an eighth of the turns is left for the others.
pub(crate) const DUE_MAX: usize = TURNS_PER_POLL as usize / 8 * 7;

/// What a timer does.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Wakes a coroutine of this worker, which takes the timer back before it returns from its wait.
    Wake(TaskPtr, Whereabouts),
    /// Says that the deadline of a frame has passed, which takes the timer back when it is left.
    Expire(TaskPtr, FrameId),
}

impl Target {
    /// Wakes the coroutine that calls, whose record is `task`.
    #[inline]
    pub(crate) fn wake(task: TaskPtr) -> Self {
        Target::Wake(task, Whereabouts::here(task.context()))
    }

    /// Starts to fetch what a wake-up and the turn after it touch.
    #[inline(always)]
    fn prefetch(self) {
        match self {
            Target::Wake(task, whereabouts) => {
                task.prefetch();
                whereabouts.prefetch();
            }
            Target::Expire(task, _) => task.prefetch(),
        }
    }
}

/// Where a coroutine's stack is touched first when it goes on: at its context, and so many bytes below. An address to
/// fetch from, not to look at.
#[derive(Clone, Copy)]
pub(crate) struct Whereabouts {
    context: Context,
    depth: u32,
}

/// Lines of the innermost frames that are fetched: those of a `sleep` and part of its caller's.
const FRAME_LINES: usize = 4;
const LINE_BYTES: usize = 64;

impl Whereabouts {
    /// Those of the coroutine that calls. On a generator's stack the distance may be too large to be noted.
    #[inline]
    fn here(context: Context) -> Self {
        let base = context.into_raw().addr().get();
        Whereabouts {
            context,
            depth: u32::try_from(base.wrapping_sub(stack_pointer())).unwrap_or(0),
        }
    }

    #[inline(always)]
    fn prefetch(self) {
        self.context.prefetch(0);
        for line in 0..FRAME_LINES {
            let below = (self.depth as usize).wrapping_sub(line * LINE_BYTES);
            self.context.prefetch(below);
        }
    }
}

/// The address of a local right below the frame of the caller, where its suspension will save the registers.
#[inline(never)]
fn stack_pointer() -> usize {
    let local = 0u8;
    std::hint::black_box(&raw const local).addr()
}

impl Home {
    /// Whether those who stood behind the ones whom timers woke last have got a turn.
    pub(crate) fn may_fire(&self) -> bool {
        let behind = self.behind_the_due.get();
        self.queue(|queue| queue.is_empty() || queue.head().wrapping_sub(behind).cast_signed() > 0)
    }

    /// Does what these timers are for. Those who are woken run next, in this order.
    pub(crate) fn fire(&self, due: &[Target]) {
        due.iter().for_each(|target| target.prefetch());
        self.behind_the_due.set(self.queue(|queue| queue.head()));
        // From the last to the first: each goes before those that are there.
        for &target in due.iter().rev() {
            match target {
                Target::Wake(task, _) => self.wake_first(task),
                Target::Expire(task, frame) => {
                    if task.interrupts.expire(frame) {
                        task.attract_attention();
                        self.wake_first(task);
                    }
                }
            }
        }
    }

    /// As [`wake`](Self::wake), before all others.
    #[inline]
    fn wake_first(&self, task: TaskPtr) {
        if task.token.get() == Token::Parked {
            self.unpark(task);
            self.queue(|queue| queue.push_front(Runnable::started(task.context())));
        } else {
            self.wake(task);
        }
    }
}
