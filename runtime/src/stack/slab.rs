//! Slabs: many stacks in one mapping, guards and first pages put in by the batch.
//!
//! ```text
//!            handed out            prepared            not touched yet
//! slab   | s0 | s1 | ... | s40 | s41 | ... | s63 | s64 | ............... |
//!                              ^issued     ^guarded
//!                                ^populated: topmost pages already in memory
//! ```
//!
//! A mapping for each stack (and another for its guard) ends at 32,750 stacks with the kernel's
//! default of 65,530 mappings. Here a slab of up to 16,384 slots is one mapping, with guards that
//! are page-table entries (`MADV_GUARD_INSTALL`): a million guarded stacks are some seventy mappings.
//! A guard is put in once, before its slot is first handed out, and stays for ever.
//!
//! What a cold stack costs: acquire, lay a context on it, run to the first suspend. Median of three
//! runs in turn, 500,000 stacks, one pinned core of a virtual machine (Linux 6.18):
//!
//! | guards       | topmost pages           | ns    |
//! |--------------|-------------------------|-------|
//! | one by one   | page fault each         | 1,777 |
//! | batch of 32  | page fault each         | 1,576 |
//! | batch of 32  | populated, batch of 32  | 1,319 |
//! | batch of 64  | populated, batch of 64  | 1,286 |
//!
//! (mprotect and a page fault each: 3,279, for 30,000 stacks.)

use std::io;

use super::{
    Stack,
    guard::{self, Guarding},
    layout::{Layout, Slot},
    registry::{self, Record},
};
use crate::sys::memory::{self, Span};

/// Slots of a class's first slab, and most slots of any.
const SLOTS_FIRST: usize = 16;
const SLOTS_MAX: usize = 16 << 10;
/// No slab is larger than this, unless a single slot is.
const SLAB_BYTES_MAX: usize = 2 << 30;
/// With a mapping for each guard, large slabs save nothing.
const SLOTS_MAX_DENIED: usize = 256;
/// Guards put in by one call.
const GUARD_BATCH: usize = 32;
/// Topmost pages are brought in ahead for up to one in so many of the slots in use: the bound on
/// what a program pays for stacks that it may never ask for.
const POPULATE_SHARE: usize = 8;
/// Fewer than this are not worth a call.
const POPULATE_MIN: usize = 4;

/// One mapping, divided into slots. Not unmapped by drop: only [`Slab::unmap`] knows that it may.
#[derive(Debug)]
pub(super) struct Slab {
    record: &'static Record,
    layout: Layout,
    start: usize,
    slots: usize,
    /// Slots that have been handed out at least once: `0..issued`.
    issued: usize,
    /// Slots whose guard is in: `0..guarded`.
    guarded: usize,
    /// Slots whose topmost page was brought in or is in use: `0..populated`.
    populated: usize,
    /// How many of the guards are mappings.
    denied: usize,
    /// How the next guards are put in.
    guarding: Guarding,
}

impl Slab {
    /// Maps a slab of `slots` slots, or of fewer when the system is short of memory.
    ///
    /// Then it takes half of the most that it can get and refuses to take the last bit: a process
    /// without any address space left could not even report the error (seen: an abort in the first
    /// `Vec` that had to grow).
    pub(super) fn map(layout: Layout, slots: usize, guarding: Guarding) -> io::Result<Self> {
        let bytes = |slots| slots * layout.stride_bytes();
        let mut most = slots;
        loop {
            match memory::reserve(bytes(most)) {
                Ok(start) if most == slots => {
                    return Ok(Self::new(start.get(), layout, slots, guarding));
                }
                Ok(start) => {
                    let slots = most / 2;
                    let spared = Span {
                        start: start.get() + bytes(slots),
                        bytes: bytes(most - slots),
                    };
                    // SAFETY: the upper part of what was reserved just now, known to nobody.
                    unsafe { memory::unmap(spared)? };
                    return Ok(Self::new(start.get(), layout, slots, guarding));
                }
                Err(_) if most >= 4 * slots_first(layout) => most /= 2,
                Err(refusal) => return Err(refusal),
            }
        }
    }

    fn new(start: usize, layout: Layout, slots: usize, guarding: Guarding) -> Self {
        let bytes = slots * layout.stride_bytes();
        memory::forbid_huge_pages(Span { start, bytes });
        Self {
            record: registry::publish(start, slots, layout),
            layout,
            start,
            slots,
            issued: 0,
            guarded: 0,
            populated: 0,
            denied: 0,
            guarding,
        }
    }

    /// How many slots the slab after this one should have.
    pub(super) fn slots_next(&self) -> usize {
        let slots_max = match self.guarding {
            Guarding::Advised => SLOTS_MAX,
            Guarding::Denied => SLOTS_MAX_DENIED,
        };
        slots_within_bounds(self.layout, (self.slots * 2).min(slots_max))
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots * self.layout.stride_bytes()
    }

    /// How this slab's guards have been put in so far, which is how the next one's will be.
    pub(super) fn guarding(&self) -> Guarding {
        self.guarding
    }

    /// Hands out a slot that nobody has had yet; `None` when there is no such slot any more.
    ///
    /// `in_use` is how many stacks of the class are out, from which follows how many are likely to
    /// be asked for soon.
    pub(super) fn issue(&mut self, in_use: usize) -> Option<io::Result<Stack>> {
        if self.issued == self.slots {
            return None;
        }
        if self.issued == self.guarded
            && let Err(refusal) = self.guard_more()
        {
            return Some(Err(refusal));
        }
        if self.issued == self.populated {
            self.populate_more(in_use / POPULATE_SHARE);
        }
        let slot = self.slot(self.issued);
        self.issued += 1;
        Some(Ok(Stack::new(slot.base(), self.record)))
    }

    /// Puts in the guards of the next batch of slots, at least one.
    #[cold]
    fn guard_more(&mut self) -> io::Result<()> {
        if self.guarding == Guarding::Advised {
            let batch = GUARD_BATCH.min(self.slots - self.guarded);
            let guards = self.spans(self.guarded, batch, Slot::guard);
            // SAFETY: the guards of slots not yet handed out: `layout` keeps them apart from all
            // usable ranges, and nothing but this slab knows of them.
            if unsafe { guard::advise(&guards[..batch]) } {
                self.guarded += batch;
                return Ok(());
            }
            self.guarding = Guarding::Denied;
        }
        // SAFETY: as above; and a guard is never allowed again.
        unsafe { guard::deny(self.slot(self.guarded).guard())? };
        self.guarded += 1;
        self.denied += 1;
        Ok(())
    }

    /// Brings in the topmost pages of up to `ahead` of the next slots; failing is only slower.
    #[cold]
    fn populate_more(&mut self, ahead: usize) {
        let batch = ahead.min(self.guarded - self.issued).min(GUARD_BATCH);
        if batch < POPULATE_MIN {
            self.populated = self.issued + 1;
            return;
        }
        let page_bytes = memory::page_bytes();
        let pages = self.spans(self.issued, batch, |slot| slot.topmost(page_bytes));
        let _ = memory::populate(&pages[..batch]);
        self.populated = self.issued + batch;
    }

    /// A batch of spans, one for each slot from `first` on.
    fn spans(&self, first: usize, count: usize, of: impl Fn(Slot) -> Span) -> [Span; GUARD_BATCH] {
        let mut spans = [Span { start: 0, bytes: 0 }; GUARD_BATCH];
        for (index, span) in spans[..count].iter_mut().enumerate() {
            *span = of(self.slot(first + index));
        }
        spans
    }

    fn slot(&self, index: usize) -> Slot {
        self.layout.slot(self.start, index)
    }

    /// Whether all stacks ever handed out are among `idle`, which is sorted by base.
    pub(super) fn all_idle(&self, idle: &[Stack]) -> bool {
        let before = |address| idle.partition_point(|stack| stack.address() < address);
        before(self.start + self.bytes()) - before(self.start) == self.issued
    }

    /// Unmaps the slab.
    ///
    /// # Safety
    /// All stacks that it ever handed out have come back and are never used again.
    pub(super) unsafe fn unmap(self) {
        let (start, bytes) = (self.start, self.bytes());
        self.record.retire();
        guard::forget_denied(self.denied);
        // SAFETY: the range is one `reserve`d by `map`; as the caller promises, nobody refers to it.
        let unmapped = unsafe { memory::unmap(Span { start, bytes }) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// How many slots the first slab of a class should have.
pub(super) fn slots_first(layout: Layout) -> usize {
    slots_within_bounds(layout, SLOTS_FIRST)
}

fn slots_within_bounds(layout: Layout, wanted: usize) -> usize {
    wanted.min(SLAB_BYTES_MAX / layout.stride_bytes()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        usable_bytes: 64 << 10,
        guard_bytes: 4 << 10,
    };

    fn issue_all(slab: &mut Slab) -> Vec<Stack> {
        std::iter::from_fn(|| slab.issue(1_000_000))
            .collect::<io::Result<_>>()
            .unwrap()
    }

    #[test]
    fn every_slot_is_issued_once_and_is_guarded_before() {
        for guarding in [Guarding::Advised, Guarding::Denied] {
            let mut slab = Slab::map(LAYOUT, 100, guarding).unwrap();
            let mut stacks = issue_all(&mut slab);
            assert_eq!((stacks.len(), slab.guarded), (100, 100));
            assert!(slab.all_idle(&stacks));
            stacks.dedup_by_key(|stack| stack.address());
            assert_eq!(stacks.len(), 100);
            assert!(!slab.all_idle(&stacks[1..]));
            // SAFETY: none of the stacks was ever used.
            unsafe { slab.unmap() };
        }
    }

    #[test]
    fn st10_a_million_default_stacks_take_fewer_than_100_slabs() {
        let (mut slots, mut slabs, mut step) = (0, 0, slots_first(LAYOUT));
        while slots < 1_000_000 {
            (slots, slabs) = (slots + step, slabs + 1);
            step = slots_within_bounds(LAYOUT, (step * 2).min(SLOTS_MAX));
        }
        assert!(slabs < 100, "{slabs}");
    }

    #[test]
    fn slabs_of_large_stacks_stay_bounded_in_bytes() {
        let layout = Layout {
            usable_bytes: 1 << 30,
            ..LAYOUT
        };
        assert_eq!(slots_first(layout), 1);
        let huge = Layout {
            usable_bytes: 1 << 36,
            ..LAYOUT
        };
        assert_eq!(slots_within_bounds(huge, SLOTS_MAX), 1);
    }

    #[test]
    fn few_stacks_bring_no_pages_in_ahead() {
        let mut slab = Slab::map(LAYOUT, 64, Guarding::Advised).unwrap();
        let stacks: Vec<_> = (0..8)
            .map(|in_use| slab.issue(in_use).unwrap().unwrap())
            .collect();
        assert_eq!(slab.populated, slab.issued);
        for stack in &stacks {
            assert_eq!(stack.high_water_bytes(), 0);
        }
        // SAFETY: none of the stacks was ever used.
        unsafe { slab.unmap() };
    }
}
