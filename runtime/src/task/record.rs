//! Records: the memory of a task, and all that depends on the types of its closure and result.
//!
//! ```text
//!   | Task: header of fixed shape | body: the closure, or the result, or nothing |
//!                                 ^ body_offset
//! ```
//!
//! The header is the same for all, so the scheduler handles tasks without knowing their types; what must know
//! them goes through the [`VTable`].

use std::alloc::Layout;
use std::cell::{Cell, OnceCell, UnsafeCell};
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit, offset_of};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;

use super::{
    HANDLE, Joiner, MAY_MOVE, Payload, REF, Stage, Task, TaskPtr, Token, WaitReason, drop_quietly,
    memory,
};
use crate::id::Id;
use crate::interrupts::{Cancelled, Interrupts, caught};
use crate::seam::sync::atomic::{AtomicPtr, AtomicUsize};
use crate::stack::Label;

#[repr(C)]
struct Record<F, T> {
    task: Task,
    body: Body<F, T>,
}

/// Which it is, the task's `stage` tells.
#[repr(C)]
union Body<F, T> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<Result<T, Payload>>,
}

/// What depends on the types of closure and result.
pub(super) struct VTable {
    /// Where the body begins.
    pub(super) body_offset: usize,
    /// Runs the closure, or drops it if cancelled, and stores the result. Never unwinds.
    pub(super) run: unsafe fn(TaskPtr) -> Ending,
    /// Drops what the body is, and stores a failure as the result. Never unwinds.
    pub(super) fail: unsafe fn(TaskPtr, Payload),
    /// Drops a result that nobody will take; hands it back if it is a panic. Never unwinds.
    pub(super) dispose: unsafe fn(TaskPtr) -> Option<Payload>,
    /// Drops what is left and frees the record.
    pub(super) free: unsafe fn(TaskPtr),
}

/// This file, as debug information names it: whose frames lie below those of a coroutine's own.
pub(crate) const RECORD_FILE: &str = file!();

/// How a coroutine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Returned,
    Panicked,
    Cancelled,
}

impl Ending {
    #[inline(always)]
    fn of<T>(result: &Result<T, Payload>) -> Self {
        match result {
            Ok(_) => Ending::Returned,
            Err(payload) if payload.is::<Cancelled>() => Ending::Cancelled,
            Err(_) => Ending::Panicked,
        }
    }
}

/// How a coroutine is to be spawned.
pub(crate) struct Birth {
    pub(crate) id: Id,
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
    /// 0: the default.
    pub(crate) stack_bytes: usize,
    pub(crate) may_move: bool,
    pub(crate) at: u64,
    pub(crate) in_scope: InScope,
}

/// The scope that a coroutine was spawned in, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InScope {
    /// The address of what it shares with its children; 0: none.
    pub(crate) address: usize,
    /// The number of the coroutine that is inside of it; 0: a plain thread is.
    pub(crate) parent: u64,
}

impl TaskPtr {
    /// Makes the record of a coroutine that will run `closure`, with two references: the runtime's, and
    /// the handle's.
    ///
    /// # Errors
    /// `OutOfMemory`; the closure is dropped then.
    ///
    /// # Safety
    /// The closure, and the result until it is taken, stay valid until the coroutine has finished; if
    /// `birth.may_move`, both may be sent to another thread.
    #[inline]
    pub(crate) unsafe fn new<F, T>(birth: Birth, closure: F) -> io::Result<Self>
    where
        F: FnOnce() -> T,
    {
        let Some(record) = memory::take(Layout::new::<Record<F, T>>()) else {
            return Err(out_of_memory());
        };
        let record = record.cast::<Record<F, T>>();
        let task = Task {
            token: Cell::new(Token::Empty),
            wait_reason: Cell::new(WaitReason::Unpark),
            unparked: Cell::new(false),
            stage: Cell::new(Stage::Fresh),
            parks: Cell::new(0),
            context: Cell::new(None),
            interrupts: Interrupts::new(),
            wait: Cell::new(MaybeUninit::uninit()),
            position: AtomicUsize::new(0),
            joiner: Cell::new(Joiner::NOBODY),
            locals: OnceCell::new(),
            told: Cell::new(0),
            state: AtomicUsize::new(HANDLE | (2 * REF) | if birth.may_move { MAY_MOVE } else { 0 }),
            home: AtomicPtr::new(ptr::null_mut()),
            remote_joiner: UnsafeCell::new(None),
            vtable: const { &VTable::of::<F, T>() },
            label: Label {
                name: birth.name.map(Box::new),
                id: birth.id,
                spawned_at: birth.spawned_at,
            },
            born_at: birth.at,
            in_scope: birth.in_scope,
            stack_kib: u32::try_from(birth.stack_bytes.div_ceil(1024)).unwrap_or(u32::MAX),
        };
        let body = Body {
            closure: ManuallyDrop::new(closure),
        };
        // SAFETY: freshly allocated with this layout, so writable, aligned and nobody else's.
        unsafe { record.write(Record { task, body }) };
        Ok(TaskPtr(record.cast()))
    }

    /// # Safety
    /// The task was made with these types. The place is only good for what `stage` says.
    unsafe fn body<F, T>(self) -> *mut Body<F, T> {
        let record = self.0.cast::<Record<F, T>>().as_ptr();
        // SAFETY: a record begins with its task (`repr(C)`), and the pointer came from the record.
        unsafe { &raw mut (*record).body }
    }
}

#[cold]
fn out_of_memory() -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        "no memory is left for the record of a coroutine",
    )
}

impl Task {
    /// It owns something beside the body: few do.
    ///
    /// # Safety
    /// Nobody else refers to the task any more.
    #[inline]
    unsafe fn has_boxes(&self) -> bool {
        // SAFETY: nobody else looks at it, as the caller says.
        let has_joiner = unsafe { (*self.remote_joiner.get()).is_some() };
        self.label.name.is_some()
            || self.locals.get().is_some()
            || self.interrupts.has_boxes()
            || has_joiner
    }
}

impl VTable {
    const fn of<F: FnOnce() -> T, T>() -> Self {
        VTable {
            body_offset: offset_of!(Record<F, T>, body),
            run: run::<F, T>,
            fail: fail::<F, T>,
            dispose: dispose::<F, T>,
            free: free::<F, T>,
        }
    }
}

/// # Safety
/// The worker's, on the coroutine's own stack, once; the types are those that the task was made with.
unsafe fn run<F: FnOnce() -> T, T>(task: TaskPtr) -> Ending {
    debug_assert_eq!(task.stage.get(), Stage::Fresh, "a coroutine is run once");
    // SAFETY: the vtable belongs to the types; the worker is alone with the body until the end is announced.
    let body = unsafe { task.body::<F, T>() };
    task.stage.set(Stage::Empty);
    // SAFETY: `Fresh`, so the body is the closure, and it is taken once.
    let closure = unsafe { ManuallyDrop::take(&mut (*body).closure) };
    let result = if task.cancel_requested() {
        task.interrupts.shielded(|| drop_quietly(closure));
        Err(Box::new(Cancelled) as Payload)
    } else {
        catch_unwind(AssertUnwindSafe(closure)).map_err(caught)
    };
    let result = if task.locals.get().is_some() {
        drop_locals(task, result)
    } else {
        result
    };
    let ending = Ending::of(&result);
    // SAFETY: as above; the body is empty.
    unsafe { (*body).result = ManuallyDrop::new(result) };
    task.stage.set(Stage::Finished);
    ending
}

/// Drops the coroutine's locals, youngest first; they may use the older ones, and block. The first panic is the
/// result.
#[cold]
pub(super) fn drop_locals<T>(task: TaskPtr, mut result: Result<T, Payload>) -> Result<T, Payload> {
    task.interrupts.shielded(|| {
        loop {
            let Some((_, value)) = task.locals().borrow_mut().pop() else {
                break;
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                match &result {
                    Ok(_) => drop_quietly(std::mem::replace(&mut result, Err(payload))),
                    Err(_) => drop_quietly(payload),
                }
            }
        }
    });
    result
}

/// # Safety
/// The caller is alone with the body, whose types these are.
unsafe fn fail<F, T>(task: TaskPtr, payload: Payload) {
    // SAFETY: the caller is alone with the body.
    unsafe {
        drop_body::<F, T>(task);
        (*task.body::<F, T>()).result = ManuallyDrop::new(Err(payload));
    }
    task.stage.set(Stage::Finished);
}

/// # Safety
/// The caller owns the result, whose types these are.
unsafe fn dispose<F, T>(task: TaskPtr) -> Option<Payload> {
    if task.stage.get() == Stage::Finished {
        // SAFETY: the caller owns the result, see `TaskPtr::dispose`; by its stage it is one.
        let result = unsafe { &mut *(*task.body::<F, T>()).result };
        if result
            .as_ref()
            .is_err_and(|payload| !payload.is::<Cancelled>())
        {
            task.stage.set(Stage::Empty);
            // SAFETY: read once, by its new stage.
            return unsafe { ptr::read(result) }.err();
        }
    }
    // SAFETY: the caller owns the body.
    unsafe { drop_body::<F, T>(task) };
    None
}

/// Drops what the body is, if anything.
///
/// # Safety
/// The caller is alone with it; the types are those that the task was made with.
unsafe fn drop_body<F, T>(task: TaskPtr) {
    // SAFETY: as promised; the stage tells which it is, and says from now on that it is nothing.
    unsafe {
        let body = task.body::<F, T>();
        match task.stage.replace(Stage::Empty) {
            Stage::Fresh => drop_quietly(ManuallyDrop::take(&mut (*body).closure)),
            Stage::Finished => drop_quietly(ManuallyDrop::take(&mut (*body).result)),
            Stage::Empty => {}
        }
    }
}

/// # Safety
/// Nobody refers to the task any more; the types are those that it was made with.
unsafe fn free<F, T>(task: TaskPtr) {
    // SAFETY: the last reference is gone. The closure has run or was dropped, and the result was taken or disposed
    // of; what may be left of a forgotten handle's is dropped here.
    unsafe {
        drop_body::<F, T>(task);
        if task.has_boxes() {
            ptr::drop_in_place(task.0.as_ptr());
        }
        memory::give(task.0.cast(), Layout::new::<Record<F, T>>());
    }
}
