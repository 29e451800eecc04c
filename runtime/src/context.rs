//! Contexts: a stack with a place to continue at, and the switch between two of them.
//!
//! The only file that names corosensei's `Coroutine`. Switching is asymmetric, like call and return:
//!
//! ```text
//!   worker's stack                       a coroutine's stack
//!   Context::resume  ── registers saved ──►  continues after its last suspend
//!   returns          ◄── registers saved ──  suspend
//! ```
//!
//! A context outlives the coroutine that runs on it: its `main` is a loop that runs one coroutine
//! after the other, so that the next one needs no switch, or at most a resume, instead of a new
//! stack. What the worker must know of a context lies at the top of its stack, beside the first
//! frames, where the switch has brought the cache lines in anyway:
//!
//! ```text
//!   limit                                                       base of the slot
//!   | guard |  ...   frames of the coroutine | main | Header |
//!                                                   ^ base that corosensei is given
//! ```
//!
//! Neighbours: `stack` below gives the memory; `worker` resumes, `park` suspends, nobody else.

use std::cell::Cell;
use std::convert::Infallible;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use corosensei::{Coroutine, CoroutineResult};

use crate::stack::Stack;

/// What suspends: corosensei's end of the switch, valid as long as its context.
type Yielder = corosensei::Yielder<(), ()>;

/// The part of a stack that corosensei may use: what lies below the [`Header`].
struct Bounds {
    base: NonZeroUsize,
    limit: NonZeroUsize,
}

// SAFETY: corosensei asks for a guard page, at least `MIN_STACK_SIZE` usable bytes and both ends
// aligned to `STACK_ALIGNMENT`. `Stack` promises the same of itself, with 32 KiB at least; `base` lies
// `HEADER_BYTES` below its base, a multiple of the alignment that is small beside 32 KiB. The `Stack`
// lies in the same header as the `Coroutine` that got these bounds, and leaves it last.
unsafe impl corosensei::stack::Stack for Bounds {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        self.limit
    }
}

struct Header {
    coroutine: Coroutine<(), (), Infallible, Bounds>,
    yielder: Cell<*const Yielder>,
    stack: Stack,
    /// Where the owner keeps this context in its list of all.
    index: Cell<usize>,
    /// Whose turn it is on this stack, in the owner's terms; null between coroutines.
    tenant: Cell<*const ()>,
}

/// Room for the header in whole cache lines.
const HEADER_BYTES: usize = size_of::<Header>().next_multiple_of(64);

/// Owner of a context, suspended or running.
///
/// Dropping it leaks the stack; [`into_stack`](Context::into_stack) is how it ends.
#[derive(PartialEq, Eq)]
pub(crate) struct Context(NonNull<Header>);

/// The end of a context that its coroutine suspends through.
#[derive(Clone, Copy)]
pub(crate) struct Suspender(*const Yielder);

impl Context {
    /// Lays a context on `stack`; its first [`resume`](Context::resume) enters `main`, which never
    /// returns and may hold nothing that needs a drop while it is suspended between coroutines.
    ///
    /// Cost: touches the topmost page of the stack.
    pub(crate) fn new(stack: Stack, main: fn()) -> Self {
        let top = corosensei::stack::Stack::base(&stack).get();
        let limit = corosensei::stack::Stack::limit(&stack);
        let base = NonZeroUsize::new(top - HEADER_BYTES).expect("a stack is above address 0");
        let header = NonNull::new(std::ptr::with_exposed_provenance_mut::<Header>(base.get()));
        let header = header.expect("a stack is above address 0");
        let coroutine = Coroutine::with_stack(Bounds { base, limit }, move |yielder: &Yielder, ()| {
            // SAFETY: the header was written before the first resume, and outlives the stack's use.
            unsafe { &(*header.as_ptr()).yielder }.set(yielder);
            main();
            unreachable!("the main loop of a context never returns")
        });
        // SAFETY: `header .. header + HEADER_BYTES` is the top of the slot that `stack` owns, which
        // corosensei does not use because it was given `base`; it is aligned, since the slot's base is
        // aligned to 16 and the size of a header a multiple of that.
        unsafe {
            header.write(Header {
                coroutine,
                yielder: Cell::new(std::ptr::null()),
                stack,
                index: Cell::new(usize::MAX),
                tenant: Cell::new(std::ptr::null()),
            });
        }
        Context(header)
    }

    /// A shared field of the header. `new` wrote it, and it stays until `into_stack` takes `self`.
    #[inline(always)]
    fn field<T>(&self, field: impl FnOnce(*mut Header) -> *const T) -> &T {
        // SAFETY: the callers below name fields other than `coroutine`, the one that is ever borrowed
        // mutably (in `resume`), and the header lives as long as `self`.
        unsafe { &*field(self.0.as_ptr()) }
    }

    /// Switches to this context until it suspends.
    ///
    /// # Safety
    /// Nobody else is inside `resume` of this context, and the calling thread is the one that
    /// resumed it first.
    #[inline(always)]
    pub(crate) unsafe fn resume(&self) {
        // SAFETY: the caller promises to be the only one in here, so the `&mut` is unique; see `header`.
        let coroutine = unsafe { &mut (*self.0.as_ptr()).coroutine };
        match coroutine.resume(()) {
            CoroutineResult::Yield(()) => {}
            CoroutineResult::Return(never) => match never {},
        }
    }

    /// The end to suspend through; valid once resumed.
    #[inline]
    pub(crate) fn suspender(&self) -> Suspender {
        // SAFETY: a place in the header, not read here.
        Suspender(self.field(|header| unsafe { &raw const (*header).yielder }).get())
    }

    /// A second name for the same context, for the list of all contexts.
    ///
    /// # Safety
    /// The copy is not resumed, and is gone before [`into_stack`](Context::into_stack).
    pub(crate) unsafe fn alias(&self) -> Context {
        Context(self.0)
    }

    /// Starts to fetch the header, and the frames below it, into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        let header = self.0.as_ptr().cast::<u8>();
        crate::task::prefetch(header);
        crate::task::prefetch(header.wrapping_sub(128));
    }

    /// Where the owner's list of all contexts has this one.
    pub(crate) fn index(&self) -> &Cell<usize> {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).index })
    }

    /// Who runs on it, in the owner's terms.
    #[inline]
    pub(crate) fn tenant(&self) -> &Cell<*const ()> {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).tenant })
    }

    /// The stack that it lies on.
    #[inline]
    pub(crate) fn stack(&self) -> &Stack {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).stack })
    }

    /// Takes the stack back.
    ///
    /// # Safety
    /// The context is suspended in its main loop, between coroutines: nothing on it needs a drop.
    pub(crate) unsafe fn into_stack(self) -> Stack {
        // SAFETY: the header is read once, `self` and all aliases are gone.
        let Header { mut coroutine, stack, .. } = unsafe { self.0.read() };
        // SAFETY: the caller promises that no frame on the stack has anything to drop.
        unsafe { coroutine.force_reset() };
        stack
    }
}

impl Suspender {
    pub(crate) const NONE: Suspender = Suspender(std::ptr::null());

    /// Switches back to whoever resumed the context.
    ///
    /// # Safety
    /// Called on the stack of its context, or on one that was resumed from there (a generator's),
    /// while the context is being resumed.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self) {
        // SAFETY: the caller runs on the context, so it has been resumed and its yielder is set and lives at
        // the top of that stack.
        unsafe { (*self.0).suspend(()) }
    }
}

// ---- Generators: the same switch, with values -----------------------------------------------------------

/// corosensei's coroutine on one of our stacks, for `generator`.
pub(crate) struct RawGenerator<In, Out, Ret>
where
    In: 'static,
    Out: 'static,
    Ret: 'static,
{
    coroutine: Coroutine<In, Out, Ret, Stack>,
}

/// The end that a generator suspends through.
pub(crate) struct RawYielder<In, Out>(*const corosensei::Yielder<In, Out>);

impl<In, Out, Ret> RawGenerator<In, Out, Ret> {
    pub(crate) fn new<F>(stack: Stack, body: F) -> Self
    where
        F: FnOnce(RawYielder<In, Out>, In) -> Ret + 'static,
    {
        let coroutine = Coroutine::with_stack(stack, move |yielder: &corosensei::Yielder<In, Out>, first| {
            body(RawYielder(yielder), first)
        });
        RawGenerator { coroutine }
    }

    /// Switches to it; `Err` when it returns.
    #[inline(always)]
    pub(crate) fn resume(&mut self, value: In) -> Result<Out, Ret> {
        match self.coroutine.resume(value) {
            CoroutineResult::Yield(out) => Ok(out),
            CoroutineResult::Return(ret) => Err(ret),
        }
    }

    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.coroutine.done()
    }

    /// It has frames to unwind.
    pub(crate) fn is_suspended(&self) -> bool {
        self.coroutine.started() && !self.coroutine.done()
    }

    /// Unwinds it from where it is suspended, or drops its body if it has not started.
    pub(crate) fn unwind(&mut self) {
        self.coroutine.force_unwind();
    }

    /// Takes the stack of one that is done.
    pub(crate) fn into_stack(self) -> Stack {
        self.coroutine.into_stack()
    }
}

impl<In, Out> RawYielder<In, Out> {
    /// Switches back to whoever resumed the generator.
    #[inline(always)]
    pub(crate) fn suspend(&self, value: Out) -> In {
        // SAFETY: the body gets it by value and hands out references that end with the body, while the
        // yielder lies at the bottom of the body's own stack. It is not `Send`.
        unsafe { (*self.0).suspend(value) }
    }
}
