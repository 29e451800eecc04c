//! Scopes: coroutines that may borrow from the frame that spawns them, because it waits for them.
//!
//! ```text
//!   scope(|s| { s.spawn(a); s.spawn(b); c })      returns when a, b and c have ended
//!                    │           │
//!                    └─ panics   └─ is cancelled, unwinds; then the scope panics with what a threw
//! ```
//!
//! The waiting is the scope's, not the handles': a handle may be forgotten, and still nothing outlives the
//! frame. The scope first catches what its body throws, then waits, and raises last, so it never
//! waits in the middle of an unwinding.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::coroutine::{self, Builder, Cancelled, Id, JoinHandle, Result};
use crate::home;
use crate::interrupts::caught;
use crate::park::{self, Unparker, Wait, WaitReason};
use crate::seam::sync::atomic::{AtomicUsize, Ordering};
use crate::seam::sync::{Arc, Mutex, lock};
use crate::task::{InScope, Payload, TaskRef, drop_quietly};

/// Where scoped coroutines are spawned; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    state: Arc<State>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What the children share with the scope; counted, because the last child's end goes on for a moment after
/// the scope has seen it.
struct State {
    /// The number of the coroutine that is inside of the scope; 0: a plain thread is.
    parent_id: u64,
    running: AtomicUsize,
    // Any thread; guarded by their locks.
    /// Who waits for the end of the last child.
    parent: Mutex<Option<Unparker>>,
    children: Mutex<Children>,
    /// What the first child threw whose handle nobody joins.
    thrown: Mutex<Option<Payload>>,
}

struct Children {
    places: Vec<Place>,
    free: Vec<usize>,
    /// Whoever comes now is cancelled at once.
    cancelled: bool,
}

/// What is known of one child. Its spawner, who learns its record, and its end come in any order; whoever comes
/// second frees the place.
enum Place {
    Spawning,
    Alive(TaskRef),
    Ended,
}

/// Owner of a scoped coroutine's result. Dropping or forgetting it does not detach the coroutine from its scope.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    slot: Arc<Slot<T>>,
    state: Arc<State>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

/// Where a child leaves its result.
struct Slot<T>(Mutex<Option<Result<T>>>);

/// Runs `f`, which may spawn coroutines that borrow from outside; returns when all of them have ended.
///
/// If `f` or a child panics, the other children are cancelled and waited for; then the panic goes on here, unless
/// somebody has joined the child that panicked, and so dealt with it. If the calling coroutine is cancelled,
/// so are the children.
///
/// # Panics
/// With what `f` or a child panicked with; outside a coroutine, when the first child is spawned.
///
/// ```
/// runtime::run(|| {
///     let words = ["one", "two", "three"];
///     let mut lengths = [0; 3];
///     runtime::scope(|s| {
///         for (word, length) in words.iter().zip(&mut lengths) {
///             s.spawn(move || *length = word.len());
///         }
///     });
///     assert_eq!(lengths, [3, 3, 5]);
/// });
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let state = Arc::new(State::new());
    let scope = Scope {
        state,
        scope: PhantomData,
        env: PhantomData,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if outcome.is_err() {
        scope.state.cancel_children();
    }
    let wait = WaitReason::Scope.on(Arc::as_ptr(&scope.state));
    let interrupted = scope.state.wait(wait);
    let thrown = lock(&scope.state.thrown).take();
    match (outcome, thrown) {
        // What a child threw came first: the body has at most stumbled over its absence.
        (_, Some(payload)) | (Err(payload), None) => resume_unwind(payload),
        (Ok(value), None) => {
            if interrupted {
                // The children were cancelled for it, so their work is not done.
                park::check();
            }
            value
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a coroutine in this scope; it may begin on any worker.
    ///
    /// # Panics
    /// Outside a coroutine, and when no memory is left for another stack.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let slot = Arc::new(Slot(Mutex::new(None)));
        let place = self.state.enter();
        let end = End {
            state: self.state.clone(),
            place,
        };
        let child = Child {
            f,
            slot: slot.clone(),
            end,
        };
        let builder = Builder::new().in_scope(InScope {
            address: Arc::as_ptr(&self.state).addr(),
            parent: self.state.parent_id,
        });
        // SAFETY: `scope` does not return before `End` is dropped. By then the closure is gone, run or dropped, and
        // the child has let go of the slot; so a result that is left is the handle's, which cannot leave `'scope`.
        // What the record keeps is a `()`. `F` and `T` are `Send`.
        let handle = unsafe { builder.spawn_unchecked(move || child.run(), true) };
        let handle = handle.unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"));
        self.state.know(place, handle.task_ref());
        ScopedJoinHandle {
            handle,
            slot,
            state: self.state.clone(),
            scope: PhantomData,
        }
    }

    /// Cancels all children, and those to come.
    pub(crate) fn cancel_all(&self) {
        self.state.cancel_children();
    }
}

/// A child's work. The fields are dropped in this order, also when it never runs: first all that may borrow, then
/// the end is told.
struct Child<F, T> {
    f: F,
    slot: Arc<Slot<T>>,
    end: End,
}

impl<F: FnOnce() -> T, T> Child<F, T> {
    fn run(self) {
        let Child { f, slot, end } = self;
        let outcome = catch_unwind(AssertUnwindSafe(f)).map_err(caught);
        if outcome
            .as_ref()
            .is_err_and(|payload| !payload.is::<Cancelled>())
        {
            end.state.cancel_children();
        }
        *lock(&slot.0) = Some(outcome);
        end.state.let_go(slot);
        drop(end);
    }
}

/// Tells the scope that a child has ended.
struct End {
    state: Arc<State>,
    place: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        self.state.leave(self.place);
    }
}

impl State {
    fn new() -> Self {
        State {
            parent_id: home::strand().map_or(0, |(_, task)| task.id().get()),
            running: AtomicUsize::new(0),
            parent: Mutex::new(None),
            children: Mutex::new(Children {
                places: Vec::new(),
                free: Vec::new(),
                cancelled: false,
            }),
            thrown: Mutex::new(None),
        }
    }

    /// Counts a child in; returns its place.
    fn enter(&self) -> usize {
        self.running.fetch_add(1, Ordering::Relaxed);
        let mut children = lock(&self.children);
        let place = children.free.pop().unwrap_or(children.places.len());
        if place == children.places.len() {
            children.places.push(Place::Spawning);
        }
        place
    }

    /// Notes who the child is, unless it has ended already.
    fn know(&self, place: usize, child: TaskRef) {
        let mut children = lock(&self.children);
        if children.cancelled {
            coroutine::cancel(&child);
        }
        match children.places[place] {
            Place::Ended => children.vacate(place),
            _ => children.places[place] = Place::Alive(child),
        }
    }

    fn leave(&self, place: usize) {
        let mut children = lock(&self.children);
        let known = std::mem::replace(&mut children.places[place], Place::Ended);
        if matches!(known, Place::Alive(_)) {
            children.vacate(place);
        }
        drop(children);
        drop(known);
        // Release: what the child did is the parent's to see.
        if self.running.fetch_sub(1, Ordering::Release) == 1 {
            let parent = lock(&self.parent).clone();
            if let Some(parent) = parent {
                parent.unpark();
            }
        }
    }

    /// Cancels all children, and those to come.
    fn cancel_children(&self) {
        let mut children = lock(&self.children);
        children.cancelled = true;
        // A message each, and nothing of the user's: the lock may be held.
        for place in &children.places {
            if let Place::Alive(child) = place {
                coroutine::cancel(child);
            }
        }
    }

    /// Gives up one of the two claims to a result; the last one disposes of it: a panic goes to the scope.
    fn let_go<T>(&self, slot: Arc<Slot<T>>) {
        let Some(slot) = Arc::into_inner(slot) else {
            return;
        };
        match slot.0.into_inner() {
            Ok(Some(Err(payload))) if !payload.is::<Cancelled>() => {
                let mut thrown = lock(&self.thrown);
                let surplus = if thrown.is_none() {
                    thrown.replace(payload)
                } else {
                    Some(payload)
                };
                drop(thrown);
                drop_quietly(surplus); // may wait
            }
            outcome => drop_quietly(outcome),
        }
    }

    /// Waits until no child is left. If the parent is cancelled meanwhile, or a timeout around it passes, so are they;
    /// returns whether that was so.
    fn wait(&self, wait: Wait) -> bool {
        let mut interrupted = false;
        // Acquire: pairs with the Release in `leave`.
        while self.running.load(Ordering::Acquire) > 0 {
            if !interrupted && park::due().is_some() {
                interrupted = true;
                self.cancel_children();
            }
            // Anew each time: a generator around us may have been resumed by another coroutine.
            *lock(&self.parent) = Some(park::unparker());
            if self.running.load(Ordering::Acquire) > 0 {
                coroutine::shield(|| park::park(wait));
            }
        }
        interrupted
    }
}

impl Children {
    fn vacate(&mut self, place: usize) {
        self.places[place] = Place::Spawning;
        self.free.push(place);
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits until the coroutine has finished, and returns its result.
    ///
    /// # Errors
    /// What it panicked with, or [`Cancelled`].
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let ScopedJoinHandle { handle, slot, .. } = &self;
        while !handle.is_finished() {
            handle.wait_finished();
        }
        let outcome = lock(&slot.0).take();
        outcome.unwrap_or_else(|| Err(Box::new(Cancelled)))
    }

    /// As [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Its number.
    pub fn id(&self) -> Id {
        self.handle.id()
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        // A panic that nobody has joined is the scope's. The place of the slot is taken by an empty one.
        let empty = Arc::new(Slot(Mutex::new(None)));
        self.state.let_go(std::mem::replace(&mut self.slot, empty));
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.state.running.load(Ordering::Relaxed);
        f.debug_struct("Scope")
            .field("running", &running)
            .finish_non_exhaustive()
    }
}
