//! Turns: who of a worker runs next.
//!
//! ```text
//!            ┌ hand-over: a join's child, and back          yield, wake, spawn ┐
//!   take ◄── queue: [ next | ........ first come, first served ........ | last ]
//! ```

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use super::{Fresh, Home, counts::count, here};
use crate::context::{Context, Suspension};
use crate::run_queue::RunQueue;
use crate::seam::sync::atomic::Ordering;
use crate::task::{Joiner, TaskPtr};

/// Turns between two looks at messages, timers and descriptors, however busy the run queue is.
pub(crate) const TURNS_PER_POLL: u32 = 64;

/// Hand-overs in a row before the longest waiting coroutine gets its turn: some 100 us at most. A join
/// that runs its child, and the child's return to the joiner, are hand-overs; a tree of coroutines
/// is walked depth first by them, so the bound must not be small beside its depth.
pub(super) const HANDOVERS_MAX: u32 = 4096;

/// An entry of the run queue: one that has started, by the context it goes on with, or one that has not, by
/// its record. So a turn of one that has started touches its stack alone, not its record.
///
/// One pointer: records and contexts are aligned, which leaves the lowest bit to tell them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runnable(NonNull<u8>);

const FRESH_BIT: usize = 1;

impl Runnable {
    #[inline(always)]
    pub(crate) fn started(context: Context) -> Self {
        Runnable(context.into_raw())
    }

    #[inline]
    pub(crate) fn fresh(task: TaskPtr) -> Self {
        Runnable(task.into_raw().map_addr(|address| address | FRESH_BIT))
    }

    /// Its context, or, if it has not started, its record.
    #[inline(always)]
    pub(crate) fn look(self) -> Result<Context, TaskPtr> {
        if self.0.addr().get() & FRESH_BIT == 0 {
            // SAFETY: without the bit it came from a context.
            Ok(unsafe { Context::from_raw(self.0) })
        } else {
            let clear = |address: NonZeroUsize| NonZeroUsize::new(address.get() & !FRESH_BIT);
            let task = self
                .0
                .map_addr(|address| clear(address).expect("a record is not at address 0"));
            // SAFETY: with the bit it came from a task, which is alive: it has not even started.
            Err(unsafe { TaskPtr::from_raw(task) })
        }
    }
}

impl Home {
    /// Starts a new round of turns, until the next poll.
    pub(crate) fn begin_round(&self) {
        self.starts_left.set(TURNS_PER_POLL);
        self.round_ended.set(false);
        self.look_who_observes();
        if self.several
            && let Some(task) = self.take_fresh()
        {
            // One in a round, so that those who have started, however many, do not keep the fresh from starting.
            self.enqueue_fresh(task);
        }
    }

    /// Ends the round: the worker polls before it resumes anyone.
    pub(crate) fn end_round(&self) {
        self.round_ended.set(true);
    }

    /// Whether the round was ended; asked once.
    #[inline(always)]
    pub(crate) fn take_round_ended(&self) -> bool {
        self.round_ended.replace(false)
    }

    /// Uses up one start beside the worker's turns; false if none was left in this round, which then ends.
    #[inline(always)]
    fn use_start(&self) -> bool {
        let left = self.starts_left.get();
        if left == 0 {
            self.end_round();
            return false;
        }
        self.starts_left.set(left - 1);
        true
    }

    /// Makes a coroutine of this worker runnable, behind all others.
    #[inline(always)]
    pub(crate) fn enqueue(&self, context: Context) {
        self.queue(|queue| queue.push(Runnable::started(context)));
    }

    /// Makes a coroutine of this worker the one that runs next; now and then the last one, lest it and
    /// its like keep all others waiting.
    #[inline]
    pub(super) fn hand_over(&self, runnable: Runnable) {
        let left = self.handovers_left.get();
        if left == 0 {
            self.handovers_left.set(HANDOVERS_MAX);
            let position = self.queue(|queue| queue.push(runnable));
            if let Err(fresh) = runnable.look() {
                fresh.set_position(position);
            }
        } else {
            self.handovers_left.set(left - 1);
            self.queue(|queue| queue.push_front(runnable));
        }
    }

    /// Puts a coroutine that has yielded behind all others, and takes who runs next.
    #[inline(always)]
    pub(crate) fn rotate(&self, yielded: Context) -> Runnable {
        self.queue(|queue| {
            let next = queue.rotate(Runnable::started(yielded));
            fetch_ahead(queue);
            next
        })
    }

    /// All in the queue, in its order.
    pub(crate) fn queued(&self) -> Vec<Runnable> {
        self.queue(|queue| {
            (0..queue.span())
                .filter_map(|place| queue.ahead(place))
                .collect()
        })
    }

    /// Takes who runs next.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<Runnable> {
        let next = self.queue(|queue| {
            let next = queue.pop();
            fetch_ahead(queue);
            next
        });
        if next.is_none() && self.several {
            self.take_fresh().map(Runnable::fresh)
        } else {
            next
        }
    }

    fn take_fresh(&self) -> Option<TaskPtr> {
        self.seat()
            .fresh
            .pop(|fresh| self.bind(fresh))
            .map(|fresh| fresh.0)
    }

    /// Makes a coroutine that could have started anywhere this worker's.
    fn bind(&self, fresh: Fresh) {
        fresh.0.set_home(self.mailbox);
    }

    /// Takes a coroutine that plain threads have spawned, or that another worker has not got round to.
    pub(crate) fn take_from_others(&self) -> Option<TaskPtr> {
        let shared = &*self.shared;
        let mut others =
            (1..shared.seats.len()).map(|n| &shared.seats[(self.index + n) % shared.seats.len()]);
        let has_stack = self.has_stack();
        self.starved.set(!has_stack);
        let task = shared.injector.pop(|fresh| self.bind(fresh)).or_else(|| {
            if !has_stack {
                return None; // whoever has them can start them
            }
            others.find_map(|seat| {
                let stolen = seat.fresh.pop(|fresh| self.bind(fresh))?;
                seat.counts.stolen.fetch_add(1, Ordering::Relaxed);
                Some(stolen)
            })
        })?;
        // It wants a stack of ours now.
        count(&self.counts.taken);
        self.spawned_max
            .set(self.spawned_max.get().saturating_sub(1));
        Some(task.0)
    }

    /// Takes who runs next, if that one can start on the default stack that has just become free.
    #[inline]
    pub(crate) fn take_startable(&self) -> Option<TaskPtr> {
        let left = self.starts_left.get();
        if left == 0 {
            return None;
        }
        let task = self.queue(|queue| {
            let task = queue.ahead(0)?.look().err()?;
            if !task.wants_default_stack() {
                return None;
            }
            queue.pop();
            Some(task)
        })?;
        self.starts_left.set(left - 1);
        Some(task)
    }

    /// Takes a child that has not started out of its turn; false if it has started, or is not here.
    #[inline(always)]
    pub(crate) fn claim(&self, child: TaskPtr) -> bool {
        if self.several && child.may_move() {
            return self
                .seat()
                .fresh
                .remove(child.position(), Fresh(child), |fresh| self.bind(fresh));
        }
        child.is_home(self.mailbox)
            && self.queue(|queue| queue.remove(child.position(), Runnable::fresh(child)))
    }

    /// Runs a child that the calling coroutine has claimed, right here, on a stack of its own, until it ends or suspends
    /// for the first time: a call. From then on it is a coroutine like any other. False if it could not
    /// be done here: it runs next then.
    ///
    /// Against parking the caller, and going to the worker for the child and again for the caller, this saves two
    /// switches and two turns: half of a spawn and join.
    ///
    /// Whoever calls it sees to [`note_suspension`](Self::note_suspension), if the child has not ended.
    #[inline(always)]
    pub(crate) fn run_child(&self, child: TaskPtr) -> bool {
        let left = self.handovers_left.get();
        let may = child.wants_default_stack() && left > 0 && self.use_start();
        let idle = if may {
            self.idle.borrow_mut().pop()
        } else {
            None
        };
        let (Some(context), Some(caller)) = (idle, self.current.get()) else {
            if may {
                self.starts_left.set(self.starts_left.get() + 1); // it was not used
            }
            self.hand_over(Runnable::fresh(child));
            return false;
        };
        self.handovers_left.set(left - 1);
        child.set_joiner(Joiner::RESUMER);
        self.begin(child, context);
        self.set_current(Some(context));
        // SAFETY: it was idle, so nobody is inside, and it is this thread's. Whoever resumes it later is the worker.
        let suspension = unsafe {
            if self.is_observed() {
                self.resume_observed(caller, child, context)
            } else {
                context.resume()
            }
        };
        // Asked for again, as in the worker's loop: a pointer kept on the stack is known too late.
        let home = here().expect("a coroutine stays on its worker's thread");
        home.set_current(Some(caller));
        if suspension == Suspension::Yielded {
            home.enqueue(context);
        }
        true
    }
}

impl Home {
    /// Resumes a coroutine that waits, or has yielded, for no more than to call `visit` on its stack.
    ///
    /// # Safety
    /// It is suspended in [`park`](crate::park), and a coroutine of this worker.
    pub(crate) unsafe fn visit(&self, context: Context, visit: fn()) {
        let attention = context.attention();
        self.visit.set(Some(visit));
        context.set_attention(true);
        let current = self.current.replace(Some(context));
        // SAFETY: suspended, so nobody is inside; it is this thread's.
        let suspension = unsafe { context.resume() };
        debug_assert_eq!(suspension, Suspension::Waits);
        self.current.set(current);
        self.visit.set(None);
        context.set_attention(attention);
    }
}

/// From this many runnable on, they do not all stay in the first-level cache and translation buffer from turn to turn.
const FETCH_MIN: usize = 32;

/// Brings the context of a coroutine a few turns ahead into the cache, and with it the translation of its
/// page, where the frames are that it will go on in.
#[inline(always)]
fn fetch_ahead(queue: &RunQueue<Runnable>) {
    if queue.span() > FETCH_MIN {
        fetch_ahead_now(queue);
    }
}

#[inline]
fn fetch_ahead_now(queue: &RunQueue<Runnable>) {
    const AHEAD: usize = 6;
    if let Some(Ok(context)) = queue.ahead(AHEAD).map(Runnable::look) {
        context.prefetch(0);
    }
}
