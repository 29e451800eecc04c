//! Parking a plain OS thread: what it has in the place of a coroutine's token and timers.
//!
//! | state    | meaning                       | next `park`          | next `unpark`        |
//! |----------|-------------------------------|----------------------|----------------------|
//! | Empty    | running, nobody has called    | looks around, sleeps | Notified             |
//! | Asleep   | blocked, or about to          | cannot happen        | Notified, and a ring |
//! | Notified | a call came early             | returns: Empty       | Notified             |
//!
//! The same as std's own `thread::park` on systems without a futex. Its token is not used here: a user's `unpark` of
//! this thread, for purposes of its own, would be taken away by a wait of ours.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::task::Waker;
use std::time::Instant;

use super::{Unparker, Wake, is_unwinding};
use crate::interrupts::{Cause, Interrupts, raise};
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(any(loom, shuttle)))]
use crate::seam::sync::thread;
use crate::seam::sync::{Arc, Condvar, Mutex, lock, program_thread_local};

/// What a plain thread has of a coroutine: a place to park, and deadlines.
pub(super) struct ThisThread {
    pub(super) parker: Arc<ThreadParker>,
    pub(super) interrupts: Interrupts,
}

pub(super) struct ThreadParker {
    // Any thread.
    /// [`EMPTY`], [`ASLEEP`] or [`NOTIFIED`].
    state: AtomicU32,
    /// Held between the decision to sleep and the sleep, so that no call falls between the two.
    falling_asleep: Mutex<()>,
    changed: Condvar,
}

/// Running, nobody has called.
const EMPTY: u32 = 0;
/// Blocked, or about to.
const ASLEEP: u32 = 1;
/// Somebody has called.
const NOTIFIED: u32 = 2;

program_thread_local! {
    static THREAD: RefCell<Option<std::rc::Rc<ThisThread>>> = const { RefCell::new(None) };
}

/// Where a plain thread parks, kept for the whole of a wait: at the end of the thread there is one for each occasion.
pub(crate) struct ThreadSeat(std::rc::Rc<ThisThread>);

/// The seat of the thread that calls.
pub(crate) fn thread_seat() -> ThreadSeat {
    ThreadSeat(this_thread(std::rc::Rc::clone))
}

impl ThreadSeat {
    /// Wakes whoever parks here.
    pub(crate) fn unparker(&self) -> Unparker {
        Unparker(Waker::from(self.0.parker.clone()))
    }

    /// As [`park_until`], of the thread whose seat it is.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> Wake {
        park_thread_at(&self.0, deadline)
    }
}

/// Works on this thread's own; made at the first call. While the thread ends, on one for the occasion.
pub(super) fn this_thread<T>(f: impl FnOnce(&std::rc::Rc<ThisThread>) -> T) -> T {
    let kept = THREAD.try_with(|kept| {
        kept.borrow_mut()
            .get_or_insert_with(ThisThread::new)
            .clone()
    });
    f(&kept.unwrap_or_else(|_| ThisThread::new()))
}

impl ThisThread {
    fn new() -> std::rc::Rc<Self> {
        let parker = Arc::new(ThreadParker {
            state: AtomicU32::new(EMPTY),
            falling_asleep: Mutex::new(()),
            changed: Condvar::new(),
        });
        std::rc::Rc::new(ThisThread {
            parker,
            interrupts: Interrupts::new(),
        })
    }
}

impl std::task::Wake for ThreadParker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `take_notice`, for what the caller has done.
        if self.state.swap(NOTIFIED, Ordering::Release) == ASLEEP {
            // The sleeper holds this until it sleeps.
            drop(lock(&self.falling_asleep));
            self.changed.notify_one();
        }
    }
}

impl ThreadParker {
    /// Takes a call, if one has come.
    fn take_notice(&self) -> bool {
        // Acquire: pairs with the Release in `wake_by_ref`.
        let taken =
            self.state
                .compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Looks for a call for a moment, up to the time that it takes to fall asleep and to be woken.
    #[cfg(not(any(loom, shuttle)))]
    fn look_around(&self) -> bool {
        const SPINS_MAX: u32 = 1 << 6;
        const YIELDS: u32 = 4;
        let called = || self.state.load(Ordering::Relaxed) == NOTIFIED && self.take_notice();
        let mut spins = 1;
        while spins <= SPINS_MAX {
            if called() {
                return true;
            }
            (0..spins).for_each(|_| std::hint::spin_loop());
            spins *= 2;
        }
        // Whoever is to call may need this core.
        (0..YIELDS).any(|_| {
            thread::yield_now();
            called()
        })
    }

    /// Under a model checker the sleep is what matters.
    #[cfg(any(loom, shuttle))]
    fn look_around(&self) -> bool {
        self.take_notice()
    }

    /// Blocks the thread until a call has come, true, or `until` has passed.
    fn sleep(&self, until: Option<Instant>) -> bool {
        let mut asleep = lock(&self.falling_asleep);
        let awake =
            self.state
                .compare_exchange(EMPTY, ASLEEP, Ordering::Relaxed, Ordering::Relaxed);
        if awake.is_err() {
            return self.take_notice();
        }
        loop {
            asleep = match until {
                None => self
                    .changed
                    .wait(asleep)
                    .unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(until) => {
                    let left = until.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        // Acquire: a call that has come just now is taken.
                        return self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
                    }
                    let waited = self.changed.wait_timeout(asleep, left);
                    waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
                }
            };
            if self.take_notice() {
                return true;
            }
        }
    }
}

/// Blocks the calling thread until unparked, until `deadline` or until a frame of `timeout` is due.
pub(super) fn park_thread(deadline: Option<Instant>) -> Wake {
    this_thread(|thread| park_thread_at(thread, deadline))
}

fn park_thread_at(thread: &ThisThread, deadline: Option<Instant>) -> Wake {
    raise_on_thread(&thread.interrupts);
    let until = earliest(deadline, thread.interrupts.next_deadline());
    let parker = &thread.parker;
    let was_notified = parker.look_around() || parker.sleep(until);
    let timed_out = !was_notified && deadline.is_some_and(|deadline| deadline <= clock::now());
    if timed_out {
        Wake::TimedOut
    } else {
        Wake::Unparked
    }
}

/// The deadline that a wait of this plain thread must not outlast: that of an enclosing `timeout`.
///
/// # Panics
/// Unwinds to that `timeout` if it has passed.
pub(crate) fn thread_deadline(deadline: Option<Instant>) -> Option<Instant> {
    this_thread(|thread| {
        raise_on_thread(&thread.interrupts);
        earliest(deadline, thread.interrupts.next_deadline())
    })
}

pub(super) fn raise_on_thread(interrupts: &Interrupts) {
    if interrupts.depth() > 0 {
        interrupts.expire_due(clock::now());
        if let Some(cause @ Cause::Elapsed(_)) = interrupts.due()
            && !is_unwinding()
        {
            raise(cause);
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How many timeouts and how many shields the calling thread is inside of.
#[inline]
pub(super) fn inside() -> (usize, u32) {
    let of_thread = |kept: &RefCell<Option<std::rc::Rc<ThisThread>>>| {
        let kept = kept.borrow();
        kept.as_ref().map(|thread| thread.interrupts.inside())
    };
    THREAD.try_with(of_thread).ok().flatten().unwrap_or((0, 0))
}
