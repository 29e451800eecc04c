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

mod builder;
mod handle;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::home;
use crate::park::{self, WaitReason, Wake};
use crate::seam::clock;
use crate::task::{Message, Payload, TaskRef};

pub use builder::Builder;
pub use handle::JoinHandle;
pub(crate) use handle::cancel;

pub use crate::id::Id;
pub use crate::interrupts::Cancelled;
pub use crate::scope::{Scope, ScopedJoinHandle, scope};
pub use crate::time::sleep;
pub use crate::together::{join_all, race};

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
    Builder::new()
        .spawn(f)
        .unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
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
    Builder::new()
        .spawn_local(f)
        .unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
}

#[cold]
#[track_caller]
fn outside(what: &str) -> ! {
    panic!(
        "{what} needs a coroutine to be called from: enter a runtime with runtime::run(..) or Runtime::run(..)"
    )
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
    let Some((_, task)) = home::strand() else {
        outside("coroutine::current")
    };
    Coroutine {
        task: TaskRef::new(task),
    }
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
        f.debug_struct("Coroutine")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish()
    }
}

/// How much of its stack a coroutine has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackUsage {
    /// Bytes from the top of the stack to the deepest page that was ever touched since the stack came from the system: the
    /// coroutine's high-water mark, or that of one that ran there before.
    pub high_water: usize,
    /// Bytes that it may use.
    pub usable: usize,
}

/// How much of its stack the calling coroutine has used. Cost: mincore(2), a system call for each 4 MiB.
///
/// # Panics
/// Outside a coroutine.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let usage = coroutine::stack_usage();
///     assert!(0 < usage.high_water && usage.high_water <= usage.usable);
/// });
/// ```
#[track_caller]
pub fn stack_usage() -> StackUsage {
    let Some((_, task)) = home::strand() else {
        outside("coroutine::stack_usage")
    };
    let context = task.context();
    StackUsage {
        high_water: context.stack().high_water_bytes(),
        usable: context.stack().usable_bytes(),
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
        Some((_, context)) => park::yield_now(context),
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
    let Some((_, task)) = home::strand() else {
        outside("coroutine::park")
    };
    while !task.unparked.replace(false) {
        park::park(WaitReason::Unpark.alone());
    }
}

/// As [`park`], for `duration` at most.
///
/// # Panics
/// As [`park`].
#[track_caller]
pub fn park_timeout(duration: Duration) {
    let Some((_, task)) = home::strand() else {
        outside("coroutine::park_timeout")
    };
    let deadline = clock::after(duration);
    while !task.unparked.replace(false) {
        if park::park_until(WaitReason::Unpark.alone(), deadline) == Wake::TimedOut {
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
