//! Parking: how a coroutine stops, and how anyone may start it again.
//!
//! A park and an unpark meet through a one-slot token, so their order does not matter:
//!
//! | token    | meaning                          | next `park`      | next `unpark`         |
//! |----------|----------------------------------|------------------|-----------------------|
//! | Empty    | running, nobody has called       | suspends: Parked | Notified              |
//! | Parked   | suspended, in no queue           | cannot happen    | Empty, into run queue |
//! | Notified | a wake-up came early             | returns: Empty   | Notified              |
//! | Finished | its coroutine has ended          | cannot happen    | nothing               |
//!
//! The token is the home worker's: an unpark from there is two plain stores; one from elsewhere
//! is a message, which the worker obeys after it has switched away from whoever runs.
//!
//! **Spurious returns are allowed**, so every wait is a loop: *try, register, park, try again*. What is to be
//! raised, a cancellation or a passed deadline, is raised on the way **into** a park only. So an operation
//! that was completed while its coroutine slept is found complete by the next try, and nothing is lost.
//!
//! On a plain OS thread the same calls block the thread. Inside a panic hook too: nothing suspends there, because a
//! second panic meanwhile would abort the process.

mod thread;

use std::task::{RawWaker, RawWakerVTable, Waker};
use std::time::Instant;

use crate::context::{Context, Suspension};
use crate::home::{self, Home, Target};
use crate::interrupts::{Cause, Interrupts, raise};
use crate::mailbox::Mailbox;
use crate::recorder::{self, Kind};
use crate::seam::clock;
use crate::sys::walk;
use crate::task::{Message, TaskPtr, TaskRef, Token};
use crate::timer::TimerKey;

pub(crate) use crate::task::{Wait, WaitReason};
pub(crate) use thread::{ThreadSeat, thread_deadline, thread_seat};
use thread::{park_thread, raise_on_thread, this_thread};

/// Why a wait with a deadline has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Somebody called, or nobody: look whether what was waited for has come.
    Unparked,
    /// The deadline has passed.
    TimedOut,
}

/// Waits until unparked, or for no reason.
///
/// # Panics
/// Unwinds if cancellation or a passed deadline is due, before it waits.
#[inline(always)]
pub(crate) fn park(wait: Wait) {
    match home::current() {
        Some((home, task)) => park_coroutine(home, task, wait, false),
        None => drop(park_thread(None)),
    }
}

/// Waits until unparked, until `deadline`, or for no reason.
///
/// # Panics
/// As [`park`].
#[inline(always)]
pub(crate) fn park_until(wait: Wait, deadline: Option<Instant>) -> Wake {
    match (home::current(), deadline) {
        (None, _) => park_thread(deadline),
        (Some((home, task)), None) => {
            park_coroutine(home, task, wait, false);
            Wake::Unparked
        }
        (Some((home, task)), Some(deadline)) => {
            let alarm = Alarm::set(home, task, deadline);
            park_coroutine(home, task, wait, true);
            alarm.take_back()
        }
    }
}

#[inline(always)]
fn park_coroutine(home: &Home, task: TaskPtr, wait: Wait, is_timed: bool) {
    let context = task.context();
    if context.attention() {
        raise_if_due(task);
    }
    if task.token.get() == Token::Notified {
        task.token.set(Token::Empty);
        return;
    }
    debug_assert_eq!(task.token.get(), Token::Empty);
    task.token.set(Token::Parked);
    task.note_wait(wait, home.clock.get(), is_timed);
    if wait.reason.is_for_others() {
        home.count_wait_for_others();
    }
    suspend(context, Suspension::Waits);
    if context.attention() {
        receive_visits(context);
    }
}

/// Goes to sleep again each time that it was resumed for a [visit](Home::visit) alone.
#[cold]
#[inline(never)]
fn receive_visits(context: Context) {
    while let Some(visit) = home::here().and_then(|home| home.visit.take()) {
        visit();
        suspend(context, Suspension::Waits);
    }
}

/// Lets all others run that can, then returns.
#[inline(always)]
pub(crate) fn yield_now(context: Context) {
    if context.attention() {
        refuse_to_suspend();
    }
    suspend(context, Suspension::Yielded);
    // Once more: a yield has nothing to lose.
    if context.attention() {
        look_up(context);
    }
}

/// Switches to whoever resumed this coroutine: the worker, or a parent that joins it. One that waits has left a token
/// that says how to wake it.
#[inline(always)]
fn suspend(context: Context, suspension: Suspension) {
    // SAFETY: `context` is the one that runs, and this is its stack or a generator's above it.
    unsafe { context.suspend(suspension) }
}

#[cold]
#[inline(never)]
fn look_up(context: Context) {
    receive_visits(context);
    // SAFETY: a coroutine of this worker runs there: the caller.
    if let Some(task) = unsafe { TaskPtr::tenant_of(context) } {
        raise_if_due(task);
    }
}

/// Raises what is due in the coroutine that runs.
#[cold]
#[inline(never)]
fn raise_if_due(task: TaskPtr) {
    refuse_to_suspend();
    if let Some(cause) = due() {
        if task.interrupts.count_raise() > SWALLOWED_MAX {
            give_way(task);
        }
        raise(cause);
    }
    if !task.interrupts.is_pending() {
        task.context().set_attention(false);
    }
}

/// # Panics
/// In a forked child, and when destructors of thread-locals run on top of the coroutine.
#[cold]
#[inline(never)]
fn refuse_to_suspend() {
    crate::sys::process::refuse_in_forked_child();
    let ending = home::here().is_some_and(|home| home.ending.get());
    assert!(
        !ending,
        "a destructor of a thread-local yields or waits, while the process exits: what the other coroutines were \
         suspended with may be gone"
    );
}

/// What is to be raised in the strand that runs, now.
///
/// Cost: nothing, if nothing is, or nobody of this thread unwinds; else a walk of the stack.
pub(crate) fn due() -> Option<Cause> {
    let cause = with_interrupts(Interrupts::due)?;
    (!is_unwinding()).then_some(cause)
}

/// A second panic must not begin here: in a destructor that an unwinding of this strand runs, or in a panic hook.
pub(crate) fn is_unwinding() -> bool {
    std::thread::panicking()
        && (home::is_in_hook() || {
            let stack = home::current().map(|(_, task)| task.context().stack().addresses());
            walk::is_unwinding(stack)
        })
}

/// Raises what is due in the strand that runs, if anything.
pub(crate) fn check() {
    match home::current() {
        Some((_, task)) => raise_if_due(task),
        None => this_thread(|thread| raise_on_thread(&thread.interrupts)),
    }
}

/// Whether [`check`] would raise something in the strand that runs.
pub(crate) fn is_due() -> bool {
    if home::current().is_none() {
        // A plain thread has no timers that do it.
        this_thread(|thread| thread.interrupts.expire_due(clock::now()));
    }
    due().is_some()
}

/// So often may a coroutine swallow what is raised in it before it has to let others run in between.
const SWALLOWED_MAX: u16 = 1000;

/// Lets the others run, and the worker, which may find that it has waited long enough for this one.
fn give_way(task: TaskPtr) {
    suspend(task.context(), Suspension::Yielded);
    receive_visits(task.context());
}

/// Makes the calling coroutine look at its interrupts when it next suspends.
pub(crate) fn attract_attention() {
    if let Some((_, context)) = home::running() {
        context.set_attention(true);
    }
}

/// A timer that wakes a coroutine, taken back on every way out of the wait.
struct Alarm<'a> {
    home: &'a Home,
    key: TimerKey,
}

impl<'a> Alarm<'a> {
    fn set(home: &'a Home, task: TaskPtr, deadline: Instant) -> Self {
        let key = home
            .timers
            .borrow_mut()
            .insert(deadline, Target::wake(task));
        Alarm { home, key }
    }

    fn take_back(self) -> Wake {
        let pending = self.home.timers.borrow_mut().cancel(self.key).is_some();
        std::mem::forget(self);
        if pending {
            Wake::Unparked
        } else {
            Wake::TimedOut
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.home.timers.borrow_mut().cancel(self.key);
    }
}

// ---- Who is to be woken ------------------------------------------------------------------------------

/// The right to wake one coroutine or thread, from anywhere; a std [`Waker`] at heart.
#[derive(Clone)]
pub(crate) struct Unparker(Waker);

/// An unparker of whoever calls. Cost: one atomic increment.
pub(crate) fn unparker() -> Unparker {
    Unparker(match home::current() {
        Some((_, task)) => waker_of(TaskRef::new(task)),
        None => this_thread(|thread| Waker::from(thread.parker.clone())),
    })
}

impl Unparker {
    /// Wakes it, or lets its next park return at once.
    pub(crate) fn unpark(&self) {
        self.0.wake_by_ref();
    }

    /// The same as a std waker.
    pub(crate) fn into_waker(self) -> Waker {
        self.0
    }
}

/// Wakes a coroutine from any thread.
pub(crate) fn wake(task: &TaskRef) {
    tell(task, Message::Wake);
}

/// Tells the home worker of `task`, directly if that is this thread's. Nothing happens to a coroutine that
/// has finished, or, as it has no home yet, to one that has not started.
pub(crate) fn tell(task: &TaskRef, message: fn(TaskRef) -> Message) {
    let Some(mailbox) = task.get().home() else {
        return;
    };
    match home::here() {
        Some(home) if std::ptr::eq(home.mailbox, mailbox) => home.obey(message(task.clone())),
        _ if task.get().is_finished() => {}
        _ => send(mailbox, task.clone(), message),
    }
}

/// Sends a message for `task` to its home worker, which is another than this thread's.
pub(crate) fn send(
    mailbox: &'static Mailbox<Message>,
    task: TaskRef,
    message: fn(TaskRef) -> Message,
) {
    if recorder::is_on() {
        home::record_elsewhere(Kind::Send, task.get());
    }
    mailbox.send(message(task));
}

fn waker_of(task: TaskRef) -> Waker {
    // SAFETY: the functions of the table keep the contract of `RawWaker`: the data pointer is a counted
    // reference to the task, which `clone` adds to and `drop` gives back; all are thread-safe.
    unsafe { Waker::from_raw(RawWaker::new(task.into_raw(), &WAKER)) }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |raw| {
        let task = borrowed(raw);
        RawWaker::new((*task).clone().into_raw(), &WAKER)
    },
    |raw| {
        // SAFETY: `wake` consumes the waker's reference.
        wake(&unsafe { TaskRef::from_raw(raw) });
    },
    |raw| wake(&borrowed(raw)),
    |raw| {
        // SAFETY: `drop` consumes the waker's reference.
        drop(unsafe { TaskRef::from_raw(raw) });
    },
);

/// The reference behind a waker that stays the waker's.
fn borrowed(raw: *const ()) -> std::mem::ManuallyDrop<TaskRef> {
    // SAFETY: the waker holds the reference while its functions are called; it is not dropped here.
    std::mem::ManuallyDrop::new(unsafe { TaskRef::from_raw(raw) })
}

/// Works on what may be raised in the strand that runs: the coroutine's, or the plain thread's.
pub(crate) fn with_interrupts<T>(f: impl FnOnce(&Interrupts) -> T) -> T {
    match home::current() {
        Some((_, task)) => f(&task.interrupts),
        None => this_thread(|thread| f(&thread.interrupts)),
    }
}

/// How many timeouts and how many shields the strand that runs is inside of.
#[inline]
pub(crate) fn inside() -> (usize, u32) {
    match home::current() {
        Some((_, task)) => task.interrupts.inside(),
        None => thread::inside(),
    }
}

/// Takes a timer back that this worker's timers hold.
pub(crate) fn cancel_timer(key: TimerKey) {
    if let Some(home) = home::here() {
        home.timers.borrow_mut().cancel(key);
    }
}
