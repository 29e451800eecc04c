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
//! | `REF` ...  | number of references: one of the runtime until finished, one of the handle,  |
//! |            | one for each [`TaskRef`]                                                     |
//!
//! A spawn and a join on one worker need no atomic read-modify-write: see [`finish`](TaskPtr::finish).

mod holder;
pub(crate) mod memory;
mod payload;
mod record;
mod reference;
mod wait_reason;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::Waker;

use crate::context::{Context, prefetch};
use crate::id::Id;
use crate::interrupts::Interrupts;
use crate::mailbox::Mailbox;
use crate::run_queue::Position;
use crate::seam::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
use crate::stack::Label;
use crate::sys::process::report;

pub(crate) use holder::Holder;
pub(crate) use payload::{Payload, drop_quietly};
use payload::{read_by_words, text_of};
use record::VTable;
pub(crate) use record::{Birth, Ending, InScope, RECORD_FILE};
pub(crate) use reference::TaskRef;
pub(crate) use wait_reason::{Wait, WaitReason};

const FINISHED: usize = 1;
const WAITER: usize = 1 << 1;
const CANCEL: usize = 1 << 2;
const HANDLE: usize = 1 << 3;
const WATCHED: usize = 1 << 4;
const REF: usize = 1 << 5;

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

/// Who of the same worker waits for the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joiner {
    Nobody,
    /// The coroutine that has resumed this one, and goes on when it suspends or ends.
    Resumer,
    /// This one, parked.
    Parked(TaskPtr),
}

/// The header of a coroutine's record.
#[repr(C)]
pub(crate) struct Task {
    // Home worker only; what a yield, a park and a wake touch comes first.
    pub(crate) token: Cell<Token>,
    pub(crate) wait_reason: Cell<WaitReason>,
    /// `coroutine::unpark` was called and not yet consumed by `coroutine::park`.
    pub(crate) unparked: Cell<bool>,
    /// What the body is; after the end the handle owner's.
    stage: Cell<Stage>,
    /// How often it has parked. Tells one wait from the next.
    parks: Cell<u32>,
    context: Cell<Option<Context>>,
    pub(crate) interrupts: Interrupts,
    /// What it waits for, or has waited for last; see [`Wait`].
    wait_on: Cell<*const ()>,
    wait_site: Cell<&'static Location<'static>>,
    /// When it parked last, by the worker's clock; the lowest bit: it does not wait longer than until a deadline.
    parked_at: Cell<u64>,
    /// Who of the same worker is in `join` of this one.
    joiner: Cell<Joiner>,
    locals: OnceCell<Box<RefCell<Locals>>>,
    /// Those who want events recorded know its name: by their generation.
    pub(crate) told: Cell<u32>,

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
    pub(crate) stack_bytes: usize,
    /// May start on another worker than the one that spawned it.
    pub(crate) may_move: bool,
}

/// A wait, as the record of a coroutine tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) wait: Wait,
    /// Since when, by the clock of its worker.
    pub(crate) since: u64,
    /// It ends at a deadline.
    pub(crate) is_timed: bool,
    /// How many it was in before, and this one.
    pub(crate) number: u32,
}

/// Whom a coroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Who has what it wants, as `sync::strand` numbers them, and where that one got it.
    Holder(u64, Option<&'static Location<'static>>),
    /// The end of this one.
    End(Id),
    /// The ends of all children of the scope with this address.
    Scope(usize),
}

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
}

// ---- On the home worker: start, run, finish ------------------------------------------------------

impl TaskPtr {
    /// Gives the coroutine its stack.
    #[inline]
    pub(crate) fn adopt(self, context: Context) {
        // SAFETY: the task is in a context's label until `leave` takes the context out again.
        unsafe { context.stack().set_label(&raw const self.label) };
        context.tenant().set(self.0.as_ptr().cast_const().cast());
        self.context.set(Some(context));
    }

    /// The stack it runs on.
    #[inline(always)]
    pub(crate) fn context(self) -> Context {
        self.context
            .get()
            .expect("a coroutine that runs has a stack")
    }

    /// Notes what it waits for, from this time of its worker's clock on, and whether no longer than until a deadline.
    #[inline(always)]
    pub(crate) fn note_wait(self, wait: Wait, at: u64, is_timed: bool) {
        self.wait_reason.set(wait.reason);
        self.wait_on.set(wait.on);
        self.wait_site.set(wait.site);
        self.parked_at.set(at | u64::from(is_timed));
        self.parks.set(self.parks.get().wrapping_add(1));
    }

    /// What it waits for, or has waited for last.
    pub(crate) fn last_wait(self) -> Waited {
        Waited {
            wait: Wait {
                reason: self.wait_reason.get(),
                on: self.wait_on.get(),
                site: self.wait_site.get(),
            },
            since: self.parked_at.get() & !1,
            is_timed: self.parked_at.get() & 1 != 0,
            number: self.parks.get(),
        }
    }

    /// Whom it waits for, if it is parked and that can be told.
    ///
    /// By the home worker, outside of this coroutine.
    pub(crate) fn waits_for(self) -> Option<WaitsFor> {
        if self.token.get() != Token::Parked {
            return None;
        }
        let on = self.wait_on.get();
        match self.wait_reason.get() {
            reason if reason.has_holder() => {
                // SAFETY: whoever parks for such a reason names the holder's place of an object that its frames borrow,
                // and it is parked on this thread, so they are there.
                let (number, since) = unsafe { &*on.cast::<Holder>() }.look();
                Some(WaitsFor::Holder(number, since))
            }
            WaitReason::Join => {
                // SAFETY: whoever joins has the handle, which keeps the other's record; its label never changes.
                let label = unsafe { &(*on.cast::<Task>()).label };
                Some(WaitsFor::End(label.id))
            }
            WaitReason::Scope => Some(WaitsFor::Scope(on.addr())),
            _ => None,
        }
    }

    /// Something other than what it waits for can end its wait: a timeout around it, or a cancellation.
    pub(crate) fn may_leave(self) -> bool {
        let is_cancelled = self.state.load(Ordering::Relaxed) & CANCEL != 0;
        is_cancelled || self.interrupts.depth() > 0 || self.interrupts.is_pending()
    }

    /// Starts to fetch what a wake-up and a park touch.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        prefetch(self.0.as_ptr().cast_const().cast());
    }

    /// Makes it look at its interrupts when it next suspends, or goes on from where it has.
    #[inline]
    pub(crate) fn attract_attention(self) {
        if let Some(context) = self.context.get() {
            context.set_attention(true);
        }
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

    /// Runs the body to its end. The result is then in place, but not yet announced.
    #[inline]
    pub(crate) fn run(self) -> Ending {
        // SAFETY: the worker calls it once, on the coroutine's own stack.
        unsafe { (self.vtable.run)(self) }
    }

    /// Announces the result and lets go of the task. Returns who of this worker waits in `join` for it.
    ///
    /// When such a local joiner holds the last other reference, nobody else can know of this task: the
    /// joiner owns the handle, and only holders of references make more. Then plain stores do, and the
    /// runtime's reference goes to the joiner. In all other cases one read-modify-write announces the
    /// result and drops the reference.
    #[inline]
    pub(crate) fn finish(self) -> Joiner {
        let joiner = self.joiner.replace(Joiner::Nobody);
        if joiner != Joiner::Nobody {
            self.leave();
            self.token.set(Token::Finished);
            // Acquire: pairs with the Release of those who dropped their references.
            if self.state.load(Ordering::Acquire) / REF == 2 {
                self.state
                    .store(FINISHED | HANDLE | (2 * REF), Ordering::Relaxed);
            } else {
                self.state.fetch_or(FINISHED, Ordering::AcqRel);
            }
            return joiner;
        }
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & HANDLE == 0 {
                // The result is nobody's: drop it here, on the coroutine, where a destructor may block. If it
                // makes coroutine-locals, they end here too: the record may be freed by another thread.
                self.interrupts.shielded(|| self.dispose());
                drop_quietly(record::drop_locals(self, Ok(())));
            }
            let context = self.leave();
            self.token.set(Token::Finished);
            let waits = state & WAITER != 0;
            // Our reference goes with the announcement, unless there is still a waker to be taken.
            let finished = (state | FINISHED) - if waits { 0 } else { REF };
            // Release: the result is the joiner's to read. Acquire: the waker that it left; and as the last one,
            // we free what others used.
            match self.state.compare_exchange_weak(
                state,
                finished,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if waits => self.wake_waiter(),
                Ok(_) if finished < REF => {
                    // SAFETY: that was the last reference.
                    unsafe { (self.vtable.free)(self) };
                }
                Ok(_) => {}
                Err(now) => {
                    // The handle has been dropped, or a joiner has come or gone, just now.
                    state = now;
                    self.token.set(Token::Empty);
                    if let Some(context) = context {
                        self.adopt(context);
                    }
                    continue;
                }
            }
            return Joiner::Nobody;
        }
    }

    /// Wakes the joiner whose `WAITER` bit was set when the end was announced.
    #[cold]
    fn wake_waiter(self) {
        // SAFETY: with `FINISHED` and `WAITER` set by one operation the slot is the finisher's alone.
        let waker = unsafe { (*self.remote_joiner.get()).take() };
        self.release(1);
        // A waker may be anyone's: what it throws must not end the scheduler.
        if let Some(waker) = waker
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake()))
        {
            drop_quietly(payload);
        }
    }

    /// Ends a coroutine that could not run, or that is given up, with an error for its joiner.
    ///
    /// # Safety
    /// It does not run and never will; its body, if it has started, stays where it is.
    pub(crate) unsafe fn fail(self, payload: Payload) -> Joiner {
        // SAFETY: nobody reads the body before `finish` announces it.
        unsafe { (self.vtable.fail)(self, payload) };
        self.finish()
    }

    /// Takes the context of a coroutine that has finished, while still running on it.
    #[inline]
    pub(crate) fn leave(self) -> Option<Context> {
        let context = self.context.take();
        if let Some(context) = context {
            context.tenant().set(ptr::null());
            context.stack().clear_label();
        }
        context
    }

    /// Drops the result that nobody will take, and reports it if it is a panic.
    #[cold]
    fn dispose(self) {
        // SAFETY: the result is in place, and the caller is its owner: no handle is left.
        if let Some(payload) = unsafe { (self.vtable.dispose)(self) } {
            let name = self.label.name.as_deref().unwrap_or("<unnamed>");
            report(&format!(
                "coroutine '{name}' (id {}), spawned at {}, panicked, and nobody joined it: {}",
                self.label.id,
                self.label.spawned_at,
                text_of(&*payload),
            ));
            drop_quietly(payload);
        }
    }
}

// ---- Any thread: references, join, cancellation ---------------------------------------------------

impl TaskPtr {
    /// The result is in place.
    #[inline]
    pub(crate) fn is_finished(self) -> bool {
        // Acquire: pairs with the Release in `finish`, so the result is ours to read.
        self.state.load(Ordering::Acquire) & FINISHED != 0
    }

    /// Says who waits for the end of this task of the same worker, and gets the runtime's reference then.
    #[inline(always)]
    pub(crate) fn set_joiner(self, joiner: Joiner) {
        self.joiner.set(joiner);
    }

    /// A waker was left, and has not been taken back.
    pub(crate) fn has_remote_joiner(self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITER != 0
    }

    /// Leaves `waker` to be woken when this task finishes; false if it has.
    ///
    /// # Safety
    /// The caller owns the handle, and leaves one waker at a time: a former one was taken back before the task
    /// finished.
    pub(crate) unsafe fn set_remote_joiner(self, waker: Waker) -> bool {
        // SAFETY: `WAITER` is not set, so the slot is the handle owner's.
        unsafe { *self.remote_joiner.get() = Some(waker) };
        // Release: the waker is the finisher's to read. Acquire: if finished, the result is ours.
        let state = self.state.fetch_or(WAITER, Ordering::AcqRel);
        state & FINISHED == 0
    }

    /// Takes a waker back, unless the finisher has it already.
    ///
    /// # Safety
    /// The caller owns the handle.
    pub(crate) unsafe fn clear_remote_joiner(self) {
        // Acquire: if finished in between, the finisher's use of the slot is over or it is its alone.
        let state = self.state.fetch_and(!WAITER, Ordering::AcqRel);
        if state & WAITER != 0 && state & FINISHED == 0 {
            // SAFETY: the bit was ours to clear, so the finisher has not looked and will not.
            unsafe { *self.remote_joiner.get() = None };
        }
    }

    /// As [`set_remote_joiner`](Self::set_remote_joiner), for one that only shares the handle.
    pub(crate) fn watch(self, waker: Waker) -> bool {
        // Acquire: pairs with the Release in `unwatch`; who watched before has left the slot.
        let before = self.state.fetch_or(WATCHED, Ordering::Acquire);
        if before & WATCHED != 0 {
            panic!("two selects wait for the end of one coroutine: let one at a time do so");
        }
        if before & FINISHED != 0 {
            // The finisher may still be busy with the slot.
            self.state.fetch_and(!WATCHED, Ordering::Release);
            return false;
        }
        // SAFETY: the handle is borrowed, so nobody joins, and the bit keeps all others away that share it.
        let waits = unsafe { self.set_remote_joiner(waker) };
        if !waits {
            self.unwatch();
        }
        waits
    }

    /// Ends a [`watch`](Self::watch).
    pub(crate) fn unwatch(self) {
        // SAFETY: as in `watch`.
        unsafe { self.clear_remote_joiner() };
        // Release: see `watch`.
        self.state.fetch_and(!WATCHED, Ordering::Release);
    }

    /// Takes the result out.
    ///
    /// # Safety
    /// Finished; the caller owns the handle, whose type is `T`, and has not taken the result before.
    #[inline]
    pub(crate) unsafe fn take<T>(self) -> Result<T, Payload> {
        assert!(
            self.stage.replace(Stage::Empty) == Stage::Finished,
            "a result is taken once"
        );
        // SAFETY: finished, so the body is the result, of this type, at the place that the vtable tells; the
        // caller owns it, and nobody reads it again.
        unsafe {
            read_by_words(
                self.0
                    .byte_add(self.vtable.body_offset)
                    .cast::<Result<T, Payload>>()
                    .as_ptr(),
            )
        }
    }

    /// Drops the handle's reference; `joined`: its result has been taken. `gift`: references that
    /// the finisher has left to the joiner.
    #[inline]
    pub(crate) fn drop_handle(self, joined: bool, gift: usize) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state & FINISHED != 0 {
                if !joined {
                    self.dispose();
                }
                // `HANDLE` may stay set: with `FINISHED` nobody looks at it.
                self.release(1 + gift);
                return;
            }
            let detached = (state & !HANDLE) - REF;
            // Release: nothing that we did with the task comes after this.
            match self.state.compare_exchange_weak(
                state,
                detached,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Drops the reference that the finisher has left to its local joiner.
    pub(crate) fn return_gift(self) {
        self.release(1);
    }

    /// Drops `count` references; frees the task with the last. Without an atomic read-modify-write
    /// when no others are left.
    #[inline]
    fn release(self, count: usize) {
        // Acquire: pairs with the Release of those who dropped theirs, before we free what they used.
        let last = self.state.load(Ordering::Acquire) / REF == count
            || (self.state.fetch_sub(count * REF, Ordering::Release) / REF == count && {
                fence(Ordering::Acquire);
                true
            });
        if last {
            // SAFETY: nobody refers to the task any more: only holders of a reference make others.
            unsafe { (self.vtable.free)(self) };
        }
    }

    /// Asks for cancellation; true if nobody had.
    pub(crate) fn request_cancel(self) -> bool {
        // Acquire: pairs with the Release below. If the coroutine has looked before, its home is known after this,
        // and a message goes there; if not, it will see the bit.
        self.state.fetch_or(CANCEL, Ordering::Acquire) & CANCEL == 0
    }

    /// Whether cancellation was asked for; looked at when the coroutine starts, after its home was set.
    #[inline(always)]
    fn cancel_requested(self) -> bool {
        let state = if self.may_move {
            // A read-modify-write, because it reads the latest value. Release: the home, see above.
            self.state.fetch_or(0, Ordering::Release)
        } else {
            // The home was set before anyone had a handle to cancel with.
            self.state.load(Ordering::Relaxed)
        };
        state & CANCEL != 0
    }

    /// The mailbox of the home worker; none while it may start anywhere.
    #[inline]
    pub(crate) fn home(self) -> Option<&'static Mailbox<Message>> {
        // SAFETY: null or from a `&'static`. Acquire: pairs with `set_home`, for the mailbox's contents.
        unsafe { self.home.load(Ordering::Acquire).as_ref() }
    }

    /// Binds a task to the worker that has taken it to start it.
    #[inline]
    pub(crate) fn set_home(self, mailbox: &'static Mailbox<Message>) {
        self.home
            .store(ptr::from_ref(mailbox).cast_mut(), Ordering::Release);
    }
}
