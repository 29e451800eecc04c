//! Tasks: one coroutine's record, from its spawn until the last who knows of it lets go.
//!
//! One allocation holds it all: a header of fixed shape, which the scheduler works with, and behind
//! it the closure, later replaced by the result.
//!
//! ```text
//!            spawn             started             finished            joined
//!   body     closure           (on the stack)      result              -
//!   context  -                 its stack           -                   -
//!   refs     runtime + handle  runtime + handle    handle              freed
//! ```
//!
//! **Who may touch what.** A started coroutine never changes thread, so most fields belong to its
//! *home worker* and are plain cells. What others need is in `state`, an atomic word:
//!
//! | bits       | meaning                                                                      |
//! |------------|------------------------------------------------------------------------------|
//! | `FINISHED` | the result is in place (Release by the finisher, Acquire by the joiner)      |
//! | `WAITER`   | a joiner that is not at home has left its unparker in `remote_joiner`        |
//! | `CANCEL`   | cancellation was asked for                                                   |
//! | `HANDLE`   | the `JoinHandle` is alive, so the result is its to take                      |
//! | `WATCHED`  | a select waits for the end: `remote_joiner` is its, for so long               |
//! | `MAY_MOVE` | it may start on another worker than the one that spawned it; of no meaning later |
//! | `REF` ...  | number of references: one of the runtime until finished, one of the handle,  |
//! |            | one for each [`TaskRef`]                                                     |
//!
//! A spawn and a join on one worker need no atomic read-modify-write: see [`finish`](TaskPtr::finish).

mod holder;
mod life;
pub(crate) mod memory;
mod owners;
mod payload;
mod record;
mod reference;
mod wait_reason;
mod waits;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::Waker;

use crate::context::Context;
use crate::id::Id;
use crate::interrupts::Interrupts;
use crate::mailbox::Mailbox;
use crate::run_queue::Position;
use crate::seam::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::stack::Label;

pub(crate) use holder::{Held, Holder, Holders, READERS_KNOWN};
pub(crate) use payload::{Payload, drop_quietly};
use payload::{read_by_words, text_of};
use record::VTable;
pub(crate) use record::{Birth, Ending, InScope, RECORD_FILE};
pub(crate) use reference::TaskRef;
pub(crate) use wait_reason::{Wait, WaitReason};
use waits::LastWait;
pub(crate) use waits::WaitsFor;

const FINISHED: usize = 1;
const WAITER: usize = 1 << 1;
const CANCEL: usize = 1 << 2;
const HANDLE: usize = 1 << 3;
const WATCHED: usize = 1 << 4;
const MAY_MOVE: usize = 1 << 5;
const REF: usize = 1 << 6;

/// How a park and an unpark meet; see [`park`](crate::park).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Token {
    /// Runnable or running, nobody has called.
    Empty,
    /// Suspended, in no queue.
    Parked,
    /// A wake-up came before the park.
    Notified,
    /// Finished: no wake-up means anything any more.
    Finished,
}

/// What lies behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The closure.
    Fresh,
    /// Nothing: the closure runs, or the result has been taken.
    Empty,
    /// The result.
    Finished,
}

/// Who of the same worker waits for the end: a coroutine that is parked, by its record, or one of the constants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joiner(*const Task);

impl Joiner {
    pub(crate) const NOBODY: Joiner = Joiner(ptr::null());
    /// The coroutine that has resumed this one, and goes on when it suspends or ends.
    pub(crate) const RESUMER: Joiner = Joiner(ptr::without_provenance(1));

    #[inline(always)]
    pub(crate) fn parked(task: TaskPtr) -> Self {
        Joiner(task.0.as_ptr())
    }

    #[inline(always)]
    pub(crate) fn as_parked(self) -> Option<TaskPtr> {
        if self == Joiner::RESUMER {
            return None;
        }
        NonNull::new(self.0.cast_mut()).map(TaskPtr)
    }
}

/// The header of a coroutine's record.
#[repr(C)]
pub(crate) struct Task {
    // Home worker only; what a yield, a park and a wake touch comes first.
    pub(crate) token: Cell<Token>,
    /// What it waits for, or has waited for last.
    pub(crate) wait_reason: Cell<WaitReason>,
    /// `coroutine::unpark` was called and not yet consumed by `coroutine::park`.
    pub(crate) unparked: Cell<bool>,
    /// What the body is; after the end the handle owner's.
    stage: Cell<Stage>,
    /// How often it has parked. Tells one wait from the next.
    parks: Cell<u32>,
    context: Cell<Option<Context>>,
    pub(crate) interrupts: Interrupts,
    /// More about that wait; there once it has parked.
    wait: Cell<MaybeUninit<LastWait>>,
    /// Who of the same worker is in `join` of this one.
    joiner: Cell<Joiner>,
    locals: OnceCell<Box<RefCell<Locals>>>,
    /// What those know of it who want events recorded; see the recorder's `Told`.
    pub(crate) told: Cell<u32>,
    /// The stack that was asked for; 0: the default.
    stack_kib: u32,

    // Any thread.
    state: AtomicUsize,
    /// The home worker's mailbox; null until started, or spawned for one worker only.
    home: AtomicPtr<Mailbox<Message>>,
    /// Where it stands in a queue while it has not started; a hint to everyone but who has that queue.
    position: AtomicUsize,
    /// Guarded by `WAITER`: the joiner's until the bit is set, then the finisher's.
    remote_joiner: UnsafeCell<Option<Waker>>,

    // Never changes.
    vtable: &'static VTable,
    pub(crate) label: Label,
    /// When it was spawned, by the clock of the worker that did.
    pub(crate) born_at: u64,
    pub(crate) in_scope: InScope,
}

// A spawn writes all of it, and 100,000 at once come from memory: with a result of two words it is three cache lines.
#[cfg(not(any(loom, shuttle)))] // whose atomics are larger
const _: () = assert!(size_of::<Task>() <= 176);

/// Values of `coroutine_local!`, by the address of their key, oldest first.
pub(crate) type Locals = Vec<(*const (), Rc<dyn Any>)>;

/// What other threads tell a worker about its coroutines.
pub(crate) enum Message {
    /// Wake it: what it waits for may have come.
    Wake(TaskRef),
    /// The same, and it is `coroutine::park` that it shall return from.
    Unpark(TaskRef),
    /// Cancellation was asked for; the `CANCEL` bit is set already.
    Cancel(TaskRef),
    /// To do this, between two rounds of turns. For reports.
    Do(Box<Errand>),
}

/// What a worker does for somebody else, on its own thread. Boxed once more in a message, to keep that small.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// A task known to be alive: whoever holds one of these is cleared before the runtime's reference goes.
///
/// Held by: the run queue and the injectors (a task in there has not finished), the worker (the one that
/// runs), timers and wait nodes (removed before their coroutine returns from the wait), and the
/// references that are counted, `JoinHandle` and [`TaskRef`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPtr(NonNull<Task>);

impl Deref for TaskPtr {
    type Target = Task;

    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: alive, see the type. Only shared references to a `Task` are ever made; what changes in
        // it is in cells of its home worker, or atomic.
        unsafe { self.0.as_ref() }
    }
}

impl TaskPtr {
    /// The coroutine's number.
    pub(crate) fn id(self) -> Id {
        self.label.id
    }

    /// It may start on another worker than the one that spawned it.
    #[inline(always)]
    pub(crate) fn may_move(self) -> bool {
        self.state.load(Ordering::Relaxed) & MAY_MOVE != 0
    }

    /// It is to run on a stack of the default size.
    #[inline(always)]
    pub(crate) fn wants_default_stack(self) -> bool {
        self.stack_kib == 0
    }

    /// Usable bytes of the stack that was asked for.
    pub(crate) fn stack_bytes(self) -> usize {
        self.stack_kib as usize * 1024
    }

    /// Where it stood when it was last put into a queue.
    #[inline(always)]
    pub(crate) fn position(self) -> Position {
        self.position.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set_position(self, position: Position) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Its coroutine-locals.
    pub(crate) fn locals(&self) -> &RefCell<Locals> {
        self.locals.get_or_init(Box::default)
    }

    /// Whether both are the same coroutine's home: the calling worker's own.
    #[inline]
    pub(crate) fn is_home(self, mailbox: &'static Mailbox<Message>) -> bool {
        ptr::eq(self.home.load(Ordering::Relaxed), mailbox)
    }

    /// The coroutine that runs on, or is suspended on, `context`.
    ///
    /// # Safety
    /// `context` is one that this worker's tasks [adopt](Self::adopt) and [leave](Self::leave).
    #[inline(always)]
    pub(crate) unsafe fn tenant_of(context: Context) -> Option<TaskPtr> {
        NonNull::new(context.tenant().get().cast_mut().cast()).map(TaskPtr)
    }

    /// As a number that is a multiple of 8, and back.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw), and the task is alive: see the type.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        TaskPtr(raw.cast())
    }
}
