//! Stacks: where coroutines run, each with a guard below it.
//!
//! ```text
//!             +-- Stacks: one per worker -------------------------------------+
//! acquire <---|  class 64 KiB:  idle, hottest last | idle, pages given back   |
//! release --->|                 slab | slab | slab: slots nobody has had yet  |
//!             |  class 1 MiB:   ...                                           |
//!             +---------------------------------------------------------------+
//!                 |                       |
//!              slab: mmap, guards      registry: which slabs exist
//!              layout: arithmetic                 ^
//!                                      overflow: SIGSEGV in a guard -> whose stack was it?
//! ```
//!
//! | file          | what it holds                                                              |
//! |---------------|----------------------------------------------------------------------------|
//! | [`layout`]    | where guard, stack and label of a slot lie                                 |
//! | [`slab`]      | one mapping for many slots; guards and first pages by the batch            |
//! | [`guard`]     | the two ways of guarding, and what the second leaves to others             |
//! | [`class`]     | stacks of one size: reuse, growth, giving pages back                       |
//! | [`stacks`]    | all sizes of one worker                                                    |
//! | [`pool`]      | a bounded pool; the worker keeps whole contexts warm in one                |
//! | [`watermark`] | how much of a stack was ever touched                                       |
//! | [`registry`]  | slabs, findable from a signal handler                                      |
//! | [`overflow`]  | the signal handler, and what it says                                       |
//!
//! Neighbours: [`sys::memory`](crate::sys::memory) below, `context` above.
//!
//! **Memory.** Address space is reserved, pages come with the first touch. A parked coroutine costs
//! the topmost page of its stack, 4,096 bytes, and 136 bytes of page tables (its share, at a stride
//! of 68 KiB); nothing is recorded about a slot that is out but the 16 bytes of its [`Stack`].

mod class;
mod guard;
mod layout;
pub(crate) mod overflow;
mod overflow_calls;
pub(crate) mod pool;
mod registry;
mod slab;
mod stacks;
mod watermark;

use std::{io, num::NonZeroUsize, ops::Range, panic::Location, ptr};

pub(crate) use layout::BASE_BYTES;
pub(crate) use registry::for_debugger as registry_for_debugger;
pub(crate) use stacks::Stacks;
pub(crate) use watermark::Watermarks;

use crate::{id::Id, sys::memory};
use layout::{Layout, Slot};
use registry::Record;

/// Least usable bytes: a panic with a printed backtrace takes 21-22 KB, 16 KiB is a trap.
pub(crate) const STACK_BYTES_MIN: usize = 32 << 10;
/// Most usable or guard bytes; more is a slip of the pen (a size of -1), not a wish.
pub(crate) const STACK_BYTES_MAX: usize = 1 << 36;

const WORD_BYTES: usize = size_of::<usize>();

/// What the stacks of one worker are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackConfig {
    /// Usable size of a stack when the coroutine asks for nothing else; rounded up to whole pages
    /// and to [`STACK_BYTES_MIN`].
    pub(crate) stack_bytes: usize,
    /// Size of the guard below each stack; rounded up to whole pages, at least one. A frame of
    /// foreign code larger than this, compiled without stack probes, can step over it.
    pub(crate) guard_bytes: usize,
    /// Returned stacks are zeroed at once, not when a batch of them is full.
    pub(crate) zero_on_release: bool,
    /// Idle stacks fault when touched: finds uses of a stack that was given back, at two system
    /// calls and two mappings for each.
    pub(crate) protect_idle: bool,
}

impl Default for StackConfig {
    /// 64 KiB of stack, of which untouched pages cost nothing, and a guard of one page.
    fn default() -> Self {
        Self {
            stack_bytes: 64 << 10,
            guard_bytes: 1,
            zero_on_release: false,
            protect_idle: false,
        }
    }
}

impl StackConfig {
    /// Checks both sizes, so that the answer comes when the runtime is built.
    ///
    /// # Errors
    /// `InvalidInput` for a size beyond [`STACK_BYTES_MAX`].
    pub(crate) fn check(&self) -> io::Result<()> {
        self.layout(self.stack_bytes, memory::page_bytes())
            .map(|_| ())
    }

    /// The slot for a stack of at least `stack_bytes`.
    fn layout(&self, stack_bytes: usize, page_bytes: usize) -> io::Result<Layout> {
        Ok(Layout {
            usable_bytes: whole_pages("stack", stack_bytes.max(STACK_BYTES_MIN), page_bytes)?,
            guard_bytes: whole_pages("stack guard", self.guard_bytes.max(1), page_bytes)?,
        })
    }
}

/// `bytes` rounded up to whole pages.
fn whole_pages(what: &str, bytes: usize, page_bytes: usize) -> io::Result<usize> {
    if bytes > STACK_BYTES_MAX {
        let text = format!("a {what} of {bytes} bytes: at most {STACK_BYTES_MAX} are possible");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes.next_multiple_of(page_bytes))
}

/// Who runs on a stack: what the report of its overflow says.
#[derive(Debug)]
pub(crate) struct Label {
    /// In two boxes, because most have none: one word here.
    pub(crate) name: Option<Box<Box<str>>>,
    pub(crate) id: Id,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Label {
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }
}

/// A stack, owned: nobody else runs on it or gets it until it is [released](Stacks::release).
///
/// A stack that is dropped instead is lost, and with it the right to unmap its slab: never a
/// dangling stack, at worst a leak.
#[derive(Debug)]
#[must_use = "a stack that is not released is leaked"]
pub(crate) struct Stack {
    /// The highest address; it also tells the slot.
    base: NonZeroUsize,
    record: &'static Record,
}

// SAFETY: corosensei asks for a guard, `MIN_STACK_SIZE` (4 KiB) usable bytes and both ends aligned to
// `STACK_ALIGNMENT` (16). `StackConfig::layout` makes the usable part at least 32 KiB, of which
// colour and header take less than 1 KiB, and the guard at least a page; `Slab::issue` puts the guard
// in before it makes a `Stack`, and nothing takes it out before the slab is unmapped, for which all
// its stacks must have come back. `limit` is page-aligned, `base` 16-aligned (tested in `layout`).
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.slot().limit).expect("a slab is not at address 0")
    }
}

/// A stack for the time of a call.
struct Borrowed<'a>(&'a Stack);

// SAFETY: it has the ends of a `Stack`, which promises all that is asked for, and is there longer than this.
unsafe impl corosensei::stack::Stack for Borrowed<'_> {
    fn base(&self) -> NonZeroUsize {
        self.0.base
    }

    fn limit(&self) -> NonZeroUsize {
        corosensei::stack::Stack::limit(self.0)
    }
}

impl Stack {
    fn new(base: usize, record: &'static Record) -> Self {
        Self {
            base: NonZeroUsize::new(base).expect("a base is above its slab's start"),
            record,
        }
    }

    /// The size that was asked for, rounded up. (Up to 1 KiB of it is colour and header.)
    pub(crate) fn usable_bytes(&self) -> usize {
        self.record.layout().usable_bytes
    }

    /// How much of the stack has been touched, in whole pages, since its pages were last given back.
    ///
    /// What an earlier coroutine on this stack touched counts, too. Cost: one mincore(2) for each
    /// 4 MiB of stack.
    pub(crate) fn high_water_bytes(&self) -> usize {
        watermark::high_water_bytes(self.slot().usable(), memory::page_bytes())
    }

    /// The same, of many in the order of their addresses: neighbours share a call.
    pub(crate) fn high_water_bytes_among(&self, marks: &mut Watermarks) -> usize {
        marks.of(self.slot().usable(), memory::page_bytes())
    }

    /// Runs `f` on this stack, which nobody else uses, instead of the one that calls. A walk of the stack goes on to
    /// the caller's.
    pub(crate) fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        corosensei::on_stack(Borrowed(self), f)
    }

    /// Whatever lies on it has one of these addresses.
    pub(crate) fn addresses(&self) -> Range<usize> {
        self.slot().limit..self.base.get()
    }

    /// Reads words on it, by their addresses; none for what is not on it, or not aligned.
    ///
    /// For who runs on it, or holds it up: nobody writes there meanwhile.
    pub(crate) fn words(&self) -> impl Fn(usize) -> Option<usize> {
        let addresses = self.addresses();
        move |address| {
            let is_there = addresses.contains(&address) && addresses.end - address >= WORD_BYTES;
            if !is_there || !address.is_multiple_of(WORD_BYTES) {
                return None;
            }
            let word = std::ptr::with_exposed_provenance::<usize>(address);
            // SAFETY: aligned, and between the limit and the base of a stack that is in use, whose pages can be read. Volatile:
            // it is some frame's, of which the compiler knows nothing here.
            Some(unsafe { word.read_volatile() })
        }
    }

    /// Says who runs on this stack from now on. One store, into a cache line that is in use.
    ///
    /// # Safety
    /// `label` stays where it is, unchanged, until it is replaced here or the stack is released: the
    /// overflow handler reads it.
    #[inline]
    pub(crate) unsafe fn set_label(&self, label: *const Label) {
        // SAFETY: `Slot::base` leaves 16 bytes above the base, aligned, mapped and writable as long
        // as the stack is out, and outside of what corosensei uses; `self` owns the stack. Volatile:
        // the reader is a signal handler on this thread.
        unsafe { self.header().write_volatile(label) }
    }

    /// Says that nobody runs on this stack.
    #[inline]
    pub(crate) fn clear_label(&self) {
        // SAFETY: null promises nothing.
        unsafe { self.set_label(ptr::null()) }
    }

    /// Where the label pointer of this stack is kept.
    #[inline]
    fn header(&self) -> *mut *const Label {
        ptr::with_exposed_provenance_mut(self.base.get())
    }

    fn address(&self) -> usize {
        self.base.get()
    }

    fn slot(&self) -> Slot {
        self.record.own_slot(self.base.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corosensei::stack::Stack as _;

    #[test]
    fn st11_sizes_are_rounded_up_or_refused_without_overflow() {
        let config = StackConfig::default();
        let usable = |bytes| config.layout(bytes, 4096).map(|layout| layout.usable_bytes);
        for small in [0, 1, 4095, STACK_BYTES_MIN] {
            assert_eq!(usable(small).unwrap(), STACK_BYTES_MIN);
        }
        assert_eq!(usable(STACK_BYTES_MIN + 1).unwrap(), STACK_BYTES_MIN + 4096);
        assert_eq!(usable(STACK_BYTES_MAX).unwrap(), STACK_BYTES_MAX);
        for absurd in [STACK_BYTES_MAX + 1, isize::MAX as usize, usize::MAX] {
            let refusal = usable(absurd).unwrap_err();
            assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput, "{refusal}");
        }
    }

    #[test]
    fn st11_guard_is_at_least_a_page_and_bounded() {
        let guard = |guard_bytes| {
            let config = StackConfig {
                guard_bytes,
                ..StackConfig::default()
            };
            config.check().and(config.layout(0, 4096))
        };
        assert_eq!(guard(0).unwrap().guard_bytes, 4096);
        assert_eq!(guard(65 << 10).unwrap().guard_bytes, 68 << 10);
        assert!(guard(usize::MAX).is_err());
    }

    #[test]
    fn label_does_not_disturb_the_stack_below_it() {
        let mut stacks = Stacks::new(StackConfig::default());
        let stack = stacks.acquire(0).unwrap();
        let label = Label {
            name: None,
            id: Id::of(1),
            spawned_at: Location::caller(),
        };
        let first_word = ptr::with_exposed_provenance_mut::<u64>(stack.base().get() - 8);
        // SAFETY: the test owns the stack; `label` outlives it.
        unsafe {
            first_word.write_volatile(u64::MAX);
            stack.set_label(&label);
            assert_eq!(first_word.read_volatile(), u64::MAX);
            assert_eq!(stack.header().read_volatile(), &raw const label);
        }
        assert_eq!(stack.high_water_bytes(), memory::page_bytes());
        stacks.release(stack);
    }

    #[test]
    fn handle_of_a_stack_is_two_words() {
        assert_eq!(size_of::<Option<Stack>>(), 16);
    }
}
