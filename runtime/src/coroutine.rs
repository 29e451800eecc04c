//! Coroutines, as `std::thread` has threads.
//!
//! ```
//! use runtime::coroutine;
//!
//! let sum: u32 = runtime::run(|| {
//!     let children: Vec<_> = (1..=10).map(|n| coroutine::spawn(move || n * n)).collect();
//!     children.into_iter().map(|child| child.join().unwrap()).sum()
//! });
//! assert_eq!(sum, 385);
//! ```

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::home::{self, Home};
use crate::park::{self, WaitReason, Wake};
use crate::seam::clock;
use crate::task::{Birth, Joiner, Message, Payload, TaskPtr, TaskRef};

pub use crate::id::Id;
pub use crate::interrupts::Cancelled;
pub use crate::scope::{Scope, ScopedJoinHandle, scope};
pub use crate::time::sleep;

/// What a join returns: the value, or what the coroutine panicked with.
pub type Result<T> = std::result::Result<T, Payload>;

/// Starts a coroutine that may begin on any worker, and stays on the one where it does.
///
/// It runs when the caller yields, waits or finishes. Cost: one allocation; a stack is handed out only
/// when it starts.
///
/// # Panics
/// Outside a coroutine, and when no memory is left for another stack: see [`Builder::spawn`].
///
/// ```
/// runtime::run(|| assert_eq!(runtime::spawn(|| 6 * 7).join().unwrap(), 42));
/// ```
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
}

/// Starts a coroutine on this worker: neither closure nor result need be `Send`.
///
/// # Panics
/// As [`spawn`].
///
/// ```
/// use std::rc::Rc;
///
/// runtime::run(|| {
///     let shared = Rc::new(5);
///     let also = shared.clone();
///     assert_eq!(runtime::spawn_local(move || *also + 1).join().unwrap(), 6);
/// });
/// ```
#[track_caller]
#[inline]
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new().spawn_local(f).unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
}

/// Settings for a coroutine to be: its name and the size of its stack.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let worker = coroutine::Builder::new().name("parser").stack_size(256 << 10);
///     let handle = worker.spawn(|| coroutine::current().name().map(str::to_owned)).unwrap();
///     assert_eq!(handle.join().unwrap().as_deref(), Some("parser"));
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_bytes: usize,
}

impl Builder {
    /// No name, and the runtime's default stack.
    pub fn new() -> Self {
        Builder::default()
    }

    /// The name that reports call it by.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Usable bytes of its stack, rounded up to pages and to the least size, 32 KiB.
    ///
    /// Pages that it never touches cost nothing.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = bytes.max(1);
        self
    }

    /// As [`spawn`](self::spawn()).
    ///
    /// # Errors
    /// `OutOfMemory` and the like when there is no memory or address space for another stack;
    /// `InvalidInput` for an absurd stack size. The closure is dropped; the runtime goes on.
    ///
    /// # Panics
    /// Outside a coroutine.
    #[track_caller]
    #[inline]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: closure and result are `'static` and `Send`.
        unsafe { self.spawn_unchecked(f, true) }
    }

    /// As [`spawn_local`](self::spawn_local()).
    ///
    /// # Errors
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Panics
    /// Outside a coroutine.
    #[track_caller]
    #[inline]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: closure and result are `'static`, and the coroutine stays on this worker. A handle to a
        // result that is not `Send` is not `Send` either.
        unsafe { self.spawn_unchecked(f, false) }
    }

    /// # Safety
    /// Closure and result stay valid until the coroutine has finished and been joined or detached; both
    /// may be sent to another thread if `may_move`.
    #[track_caller]
    #[inline]
    pub(crate) unsafe fn spawn_unchecked<F, T>(self, f: F, may_move: bool) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let Some((home, _)) = home::strand() else { outside("spawn") };
        // SAFETY: the caller's promise.
        unsafe { self.spawn_on(home, f, may_move) }
    }

    /// # Safety
    /// As [`spawn_unchecked`](Self::spawn_unchecked); `home` is that of the calling thread.
    #[track_caller]
    #[inline]
    pub(crate) unsafe fn spawn_on<F, T>(self, home: &Home, f: F, may_move: bool) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        if self.stack_bytes == 0 {
            home.reserve_stack()?;
        } else {
            home.promise_stack(self.stack_bytes)?;
        }
        let birth = Birth {
            id: home.ids.take(),
            name: self.name,
            spawned_at: Location::caller(),
            stack_bytes: self.stack_bytes,
            may_move,
        };
        // SAFETY: the caller's promise.
        let task = unsafe { TaskPtr::new(birth, f) }?;
        home.admit(task);
        Ok(JoinHandle::new(task))
    }

    /// As [`spawn`](Builder::spawn), from a plain thread into a runtime.
    ///
    /// # Safety
    /// As [`spawn_unchecked`](Self::spawn_unchecked), with `may_move`.
    #[track_caller]
    pub(crate) unsafe fn inject<F, T>(self, shared: &home::Shared, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let birth = Birth {
            id: Id::take_one(),
            name: self.name,
            spawned_at: Location::caller(),
            stack_bytes: self.stack_bytes,
            may_move: true,
        };
        // SAFETY: the caller's promise.
        let task = unsafe { TaskPtr::new(birth, f) }?;
        shared.inject(task);
        Ok(JoinHandle::new(task))
    }
}

#[cold]
#[track_caller]
fn outside(what: &str) -> ! {
    panic!("{what} needs a coroutine to be called from: enter a runtime with runtime::run(..) or Runtime::run(..)")
}

/// Owner of a coroutine's result. Dropping it detaches the coroutine, which goes on.
///
/// Coroutines and plain threads may join, and a handle may be sent between them.
pub struct JoinHandle<T> {
    task: TaskPtr,
    result: PhantomData<T>,
}

// SAFETY: the handle gives access to the result, a `T`, and to the parts of the record that any thread may
// use; the others are touched only after `is_home` has said that this thread is the coroutine's own.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives no access to the result.
unsafe impl<T> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    fn new(task: TaskPtr) -> Self {
        JoinHandle { task, result: PhantomData }
    }

    /// Waits until the coroutine has finished, and returns its result.
    ///
    /// A child that has not started runs at once, before all others: a tree of coroutines is walked depth
    /// first, with a handful of stacks. Cost then: four stack switches, no atomic operation.
    ///
    /// # Errors
    /// What it panicked with, or [`Cancelled`].
    // Inlined down to the switch, like all that suspends often: a `ret` that was called before the suspension, and
    // returns after it, is mispredicted, and so is the next switch.
    #[inline(always)]
    pub fn join(self) -> Result<T> {
        let gift = if self.task.is_finished() { 0 } else { self.wait() };
        let task = std::mem::ManuallyDrop::new(self).task;
        // SAFETY: finished; the handle is ours, of this type, and gone after this.
        let result = unsafe { task.take::<T>() };
        task.drop_handle(true, gift);
        result
    }

    /// Waits for the end; returns the number of references that the finisher has left to us.
    #[inline(always)]
    fn wait(&self) -> usize {
        let task = self.task;
        if let Some((home, me)) = home::current() {
            if home.claim(task) {
                if home.run_child(task) && task.is_finished() {
                    return 1;
                }
                self.wait_at_home(me);
                return 1;
            }
            if task.is_home(home.mailbox) {
                self.wait_at_home(me);
                return 1;
            }
        }
        self.wait_remotely();
        0
    }

    /// Waits until the coroutine has finished, and leaves the result where it is.
    pub(crate) fn wait_finished(&self) {
        if !self.task.is_finished() && self.wait() == 1 {
            self.task.return_gift();
        }
    }

    #[inline(always)]
    fn wait_at_home(&self, me: TaskPtr) {
        struct Joining(TaskPtr);
        impl Drop for Joining {
            fn drop(&mut self) {
                self.0.set_joiner(Joiner::Nobody);
            }
        }
        self.task.set_joiner(Joiner::Parked(me));
        let joining = Joining(self.task);
        while !self.task.is_finished() {
            park::park(WaitReason::Join);
        }
        std::mem::forget(joining);
    }

    #[cold]
    fn wait_remotely(&self) {
        struct Joining(TaskPtr);
        impl Drop for Joining {
            fn drop(&mut self) {
                // SAFETY: the handle is ours while we wait.
                unsafe { self.0.clear_remote_joiner() };
            }
        }
        // SAFETY: the handle is ours, and `Joining` takes the waker back.
        let waits = unsafe { self.task.set_remote_joiner(park::unparker().into_waker()) };
        let joining = Joining(self.task);
        while waits && !self.task.is_finished() {
            park::park(WaitReason::Join);
        }
        std::mem::forget(joining);
    }

    /// Makes the coroutine unwind from its current or next suspension point, as if it panicked there with
    /// [`Cancelled`], but without a message. Does not wait for that: [`join`](Self::join) does.
    ///
    /// Destructors run, and may block. One that has not started never does. One that has finished keeps its
    /// result.
    ///
    /// ```
    /// use runtime::{coroutine, time::{self, Duration}};
    ///
    /// runtime::run(|| {
    ///     let sleeper = coroutine::spawn(|| time::sleep(Duration::from_secs(3600)));
    ///     runtime::yield_now();
    ///     sleeper.cancel();
    ///     assert!(sleeper.join().is_err());
    /// });
    /// ```
    pub fn cancel(&self) {
        cancel(&TaskRef::new(self.task));
    }

    /// It has finished: [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Its number.
    pub fn id(&self) -> Id {
        self.task.id()
    }

    /// A counted reference to the record.
    pub(crate) fn task_ref(&self) -> TaskRef {
        TaskRef::new(self.task)
    }
}

/// Asks for the cancellation of `task`, from any thread.
///
/// # Panics
/// In a program that cannot unwind.
pub(crate) fn cancel(task: &TaskRef) {
    assert!(cfg!(panic = "unwind"), "a coroutine can be cancelled only in a program built with panic = \"unwind\"");
    if task.get().request_cancel() {
        park::tell(task, Message::Cancel);
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.drop_handle(false, 0);
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id()).field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

// ---- The one that runs -----------------------------------------------------------------------------------

/// A coroutine, as others may know it: its number and name, and the right to unpark it.
#[derive(Clone)]
pub struct Coroutine {
    task: TaskRef,
}

/// The coroutine that calls.
///
/// # Panics
/// Outside a coroutine.
#[track_caller]
pub fn current() -> Coroutine {
    let Some((_, task)) = home::strand() else { outside("coroutine::current") };
    Coroutine { task: TaskRef::new(task) }
}

impl Coroutine {
    /// Its number.
    pub fn id(&self) -> Id {
        self.task.get().id()
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.task.name()
    }

    /// Lets its current or next [`park`] return. Any thread may call it; a coroutine that has finished
    /// does not mind.
    pub fn unpark(&self) {
        park::tell(&self.task, Message::Unpark);
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

/// Lets every other coroutine of this worker run that can, then returns.
///
/// Cost: two stack switches and a place in the run queue.
///
/// # Panics
/// Outside a coroutine. Unwinds if the coroutine is [cancelled](JoinHandle::cancel) or a
/// [`timeout`](crate::time::timeout) around it has passed.
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
///
/// runtime::run(|| {
///     let order = Rc::new(RefCell::new(Vec::new()));
///     for name in ["a", "b"] {
///         let order = order.clone();
///         runtime::spawn_local(move || {
///             for turn in 1..=2 {
///                 order.borrow_mut().push(format!("{name}{turn}"));
///                 runtime::yield_now();
///             }
///         });
///     }
///     (0..3).for_each(|_| runtime::yield_now());
///     assert_eq!(*order.borrow(), ["a1", "b1", "a2", "b2"]);
/// });
/// ```
#[inline(always)]
#[track_caller]
pub fn yield_now() {
    match home::running() {
        Some((home, context)) => park::yield_now(home, context),
        None => yield_elsewhere(),
    }
}

/// A yield in a panic hook does nothing.
#[cold]
#[track_caller]
fn yield_elsewhere() {
    if home::strand().is_none() {
        outside("yield_now");
    }
}

/// Waits until somebody calls [`Coroutine::unpark`]; returns at once if somebody has since the last park.
///
/// # Panics
/// Outside a coroutine. Unwinds if cancelled or timed out, as every wait.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let parent = coroutine::current();
///     coroutine::spawn(move || parent.unpark());
///     coroutine::park();
/// });
/// ```
#[track_caller]
pub fn park() {
    let Some((_, task)) = home::strand() else { outside("coroutine::park") };
    while !task.unparked.replace(false) {
        park::park(WaitReason::Unpark);
    }
}

/// As [`park`], for `duration` at most.
///
/// # Panics
/// As [`park`].
#[track_caller]
pub fn park_timeout(duration: Duration) {
    let Some((_, task)) = home::strand() else { outside("coroutine::park_timeout") };
    let deadline = clock::after(duration);
    while !task.unparked.replace(false) {
        if park::park_until(WaitReason::Unpark, deadline) == Wake::TimedOut {
            // A wake-up that came at the same time stays for the next park.
            return;
        }
    }
}

/// Runs `f` to its end though the coroutine be cancelled or timed out; what was held off is raised at the
/// first suspension point after it.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let writer = coroutine::spawn(|| coroutine::shield(|| {
///         runtime::yield_now(); // cancelled here, and yet
///         "all written"
///     }));
///     runtime::yield_now();
///     writer.cancel();
///     assert_eq!(writer.join().unwrap(), "all written");
/// });
/// ```
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    // The strand is asked for again at the end: inside a generator it may be another one then.
    park::with_interrupts(|interrupts| interrupts.add_shields(1));
    let outcome = catch_unwind(AssertUnwindSafe(f));
    park::with_interrupts(|interrupts| interrupts.remove_shields(1));
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}
