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
//!   | guard |  ...   frames of the coroutine | main | link | Header |
//!                                                         ^ base that corosensei is given
//! ```
//!
//! Neighbours: `stack` below gives the memory; `worker` resumes, `park` suspends, nobody else.

use std::cell::Cell;
use std::convert::Infallible;
use std::mem::{MaybeUninit, size_of};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use corosensei::{Coroutine, CoroutineResult};

use crate::stack::Stack;

/// What suspends: corosensei's end of the switch, valid as long as its context.
type Yielder = corosensei::Yielder<(), Suspension>;

/// Why a context has switched back. It comes in a register, so to tell it costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a context that has yielded is in no queue yet"]
pub(crate) enum Suspension {
    /// It can go on at once: whoever has resumed it puts it behind the others.
    Yielded,
    /// It waits until somebody puts it into a queue, or has ended.
    Waits,
}

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

/// What a switch needs lies in one cache line: corosensei's link to the resumer, which it keeps in the 16
/// bytes below the base, and the first 48 bytes of this.
///
/// ```text
///   ... frames | link | coroutine | yielder + attention | tenant | stack | index | account
///              ^ 64 n        ^ base + 0 .. 40    ^ 48 .. 64 n + 64
/// ```
///
/// The rest is in the next line, which a switch touches only where turns are accounted for.
#[repr(C)]
struct Header {
    coroutine: Coroutine<(), Suspension, Infallible, Bounds>,
    /// The address of the `Yielder`, set at the first resume, and the attention bit.
    yielder: Cell<*const Yielder>,

    /// Whose turn it is on this stack, in the owner's terms; null between coroutines.
    tenant: Cell<*const ()>,
    stack: Stack,
    /// Where the owner keeps this context in its list of all.
    index: Cell<usize>,
    account: Cell<Account>,
}

/// What the one that runs here has had so far, if that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// How often it was resumed, its start included.
    pub(crate) switches: u64,
    /// For how long it ran, in ticks.
    pub(crate) ticks: u64,
}

/// Size of a header, for a debugger.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// What corosensei keeps right below the base.
const LINK_BYTES: usize = 16;
const LINE_BYTES: usize = 64;

/// Whoever runs here must look closer at its next suspension. A bit of the yielder's address, which is even.
const ATTENTION: usize = 1;

/// A context, suspended or running: one pointer, to be copied at will.
///
/// It is there until its owner, the worker, takes its stack back by [`into_stack`](Context::into_stack),
/// which it does with idle ones that nobody else knows of any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(NonNull<Header>);

impl Context {
    /// Lays a context on `stack`; its first [`resume`](Context::resume) enters `main`, which never
    /// returns and may hold nothing that needs a drop while it is suspended between coroutines.
    ///
    /// Cost: touches the topmost page of the stack.
    pub(crate) fn new(stack: Stack, main: fn()) -> Self {
        let top = corosensei::stack::Stack::base(&stack).get();
        let limit = corosensei::stack::Stack::limit(&stack);
        let line = (top - size_of::<Header>() - LINK_BYTES) & !(LINE_BYTES - 1);
        let base = NonZeroUsize::new(line + LINK_BYTES).expect("a stack is above address 0");
        let header = NonNull::new(std::ptr::with_exposed_provenance_mut::<Header>(base.get()));
        let header = header.expect("a stack is above address 0");
        let coroutine =
            Coroutine::with_stack(Bounds { base, limit }, move |yielder: &Yielder, ()| {
                // SAFETY: the header was written before the first resume, and outlives the stack's use.
                let place = unsafe { &(*header.as_ptr()).yielder };
                let bit = place.get().addr() & ATTENTION;
                place.set(std::ptr::from_ref(yielder).map_addr(|address| address | bit));
                main();
                unreachable!("the main loop of a context never returns")
            });
        // SAFETY: the header lies between the base that corosensei was given, 16 bytes into a cache line and so
        // aligned for a header, and the base of the slot that `stack` owns.
        unsafe {
            header.write(Header {
                coroutine,
                yielder: Cell::new(std::ptr::null()),
                tenant: Cell::new(std::ptr::null()),
                stack,
                index: Cell::new(usize::MAX),
                account: Cell::new(Account::default()),
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
    pub(crate) unsafe fn resume(self) -> Suspension {
        // SAFETY: the caller promises to be the only one in here, so the `&mut` is unique; see `header`.
        let coroutine = unsafe { &mut (*self.0.as_ptr()).coroutine };
        match coroutine.resume(()) {
            CoroutineResult::Yield(suspension) => suspension,
            CoroutineResult::Return(never) => match never {},
        }
    }

    /// Switches back to whoever resumed this context.
    ///
    /// # Safety
    /// Called on the stack of this context, or on one that was resumed from there (a generator's), while
    /// the context is being resumed.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self, suspension: Suspension) {
        let yielder = self
            .yielder()
            .get()
            .map_addr(|address| address & !ATTENTION);
        // SAFETY: the caller runs on the context, so it has been resumed: its yielder is set, and lives
        // at the top of that stack.
        unsafe { (*yielder).suspend(suspension) }
    }

    #[inline(always)]
    fn yielder(&self) -> &Cell<*const Yielder> {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).yielder })
    }

    /// Whether the one who runs here must look closer at its next suspension.
    #[inline(always)]
    pub(crate) fn attention(self) -> bool {
        self.yielder().get().addr() & ATTENTION != 0
    }

    /// Says that it must, or need not any more.
    pub(crate) fn set_attention(self, attention: bool) {
        let bit = if attention { ATTENTION } else { 0 };
        let yielder = self.yielder();
        yielder.set(yielder.get().map_addr(|address| address & !ATTENTION | bit));
    }

    /// Starts to fetch what a switch to it needs first, or, other than 0 bytes below that, a part of its frames.
    #[inline(always)]
    pub(crate) fn prefetch(self, bytes_below: usize) {
        prefetch(self.0.as_ptr().cast::<u8>().wrapping_sub(bytes_below));
    }

    /// As a number that is even, and back.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw).
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Context(raw.cast())
    }

    /// Where the owner's list of all contexts has this one.
    pub(crate) fn index(&self) -> &Cell<usize> {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).index })
    }

    /// What the one that runs on it has had so far: nothing, if nobody counts.
    #[inline]
    pub(crate) fn account(&self) -> &Cell<Account> {
        // SAFETY: a place in the header, not read here.
        self.field(|header| unsafe { &raw const (*header).account })
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
        let Header {
            mut coroutine,
            stack,
            ..
        } = unsafe { self.0.read() };
        // SAFETY: the caller promises that no frame on the stack has anything to drop.
        unsafe { coroutine.force_reset() };
        stack
    }
}

/// Asks the processor for a cache line that will be needed soon.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

// ---- Generators: the same switch, with values -----------------------------------------------------------

/// corosensei's coroutine on one of our stacks, for `generator`.
///
/// None goes in when it is to end. Nothing comes out of one that cannot, and is never resumed again.
pub(crate) struct RawGenerator<In, Out, Ret>
where
    In: 'static,
    Out: 'static,
    Ret: 'static,
{
    coroutine: Coroutine<Option<In>, MaybeUninit<Out>, Ret, Stack>,
    has_given_up: bool,
}

type Inner<In, Out> = corosensei::Yielder<Option<In>, MaybeUninit<Out>>;

/// The end that a generator suspends through.
pub(crate) struct RawYielder<In, Out>(*const Inner<In, Out>);

impl<In, Out, Ret> RawGenerator<In, Out, Ret> {
    /// Makes a generator of `body`, out of which nothing unwinds. What is given to it first is not None.
    pub(crate) fn new<F>(stack: Stack, body: F) -> Self
    where
        F: FnOnce(RawYielder<In, Out>, Option<In>) -> Ret + 'static,
    {
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Inner<In, Out>, first| {
            body(RawYielder(yielder), first)
        });
        RawGenerator {
            coroutine,
            has_given_up: false,
        }
    }

    /// Switches to it; `Err` when it returns.
    #[inline(always)]
    pub(crate) fn resume(&mut self, value: In) -> Result<Out, Ret> {
        debug_assert!(!self.has_given_up);
        match self.coroutine.resume(Some(value)) {
            // SAFETY: `RawYielder::suspend` has given a value. `give_up` does not, but that is called only inside `end`.
            CoroutineResult::Yield(out) => Ok(unsafe { out.assume_init() }),
            CoroutineResult::Return(ret) => Err(ret),
        }
    }

    /// Has it end, from where it is suspended. None if it has given up: it must be forgotten.
    pub(crate) fn end(&mut self) -> Option<Ret> {
        match self.coroutine.resume(None) {
            CoroutineResult::Yield(_) => {
                self.has_given_up = true;
                None
            }
            CoroutineResult::Return(ret) => Some(ret),
        }
    }

    /// It has returned, or panicked.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.coroutine.done()
    }

    /// It has frames to unwind.
    pub(crate) fn is_suspended(&self) -> bool {
        self.coroutine.started() && !self.coroutine.done()
    }

    /// Drops the body of one that has not started.
    pub(crate) fn drop_body(&mut self) {
        assert!(!self.is_suspended());
        self.coroutine.force_unwind();
    }

    /// Takes the stack of one that is done.
    pub(crate) fn into_stack(self) -> Stack {
        self.coroutine.into_stack()
    }
}

impl<In, Out> RawYielder<In, Out> {
    /// Switches back to whoever resumed the generator; returns what comes in next.
    #[inline(always)]
    pub(crate) fn suspend(&self, value: Out) -> Option<In> {
        // SAFETY: the body gets it by value and hands out references that end with the body, while the
        // yielder lies at the bottom of the body's own stack. It is not `Send`.
        unsafe { (*self.0).suspend(MaybeUninit::new(value)) }
    }

    /// Switches back for the last time, without a value.
    ///
    /// # Safety
    /// The generator has been told to [end](RawGenerator::end).
    pub(crate) unsafe fn give_up(&self) -> ! {
        // SAFETY: as in `suspend`; the caller promises that nobody takes this for a value.
        unsafe { (*self.0).suspend(MaybeUninit::uninit()) };
        unreachable!("one that has given up is resumed")
    }
}
