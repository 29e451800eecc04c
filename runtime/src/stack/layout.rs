//! Where things lie in a slab: pure arithmetic, shared by the allocator and the overflow handler.
//!
//! ```text
//! slab   | slot 0 | slot 1 | slot 2 | ...            one mmap, slots of equal size
//!
//! slot   low                                                              high
//!        | guard  |  usable bytes                                  |h |colour|
//!        ^limit   ^bottom                                      base^         ^top
//!                    <-- the stack grows down                     |<topmost page|
//! ```
//!
//! `h` is the header, 16 bytes: the pointer to the [`Label`](super::Label) of who runs there. It
//! lies in the same cache line as the first words of the stack, so writing it costs nothing extra.
//!
//! *Colour*: all tops are page-aligned, so the first frames of all stacks would compete for the same
//! few sets of the first-level cache. The base is therefore lowered by 0..[`COLOURS`] cache lines,
//! by slot number. The slots' stride is no power of two either (64 KiB + a guard of 4 KiB), which
//! spreads the tops over the sets of the larger caches. Raw resume + suspend around a ring of
//! coroutines, ns for the pair, best of 7, one pinned core of a virtual machine:
//!
//! | colours | bytes lost, at most | ring of 2 | 100  | 1,000 | 10,000 |
//! |---------|---------------------|-----------|------|-------|--------|
//! | 1       | 0                   | 2.9       | 9.7  | 12.7  | 15.7   |
//! | 8       | 448                 | 2.9       | 3.9  | 4.3   | 15.4   |
//! | 16      | 960                 | 2.9       | 3.6  | 4.1   | 17.4   |
//! | 32      | 1,984               | 2.9       | 3.1  | 3.8   | 19.2   |
//!
//! and the whole of `yield_now`, in raw pairs of the same run, on another machine (EPYC, Zen 1):
//!
//! | colours | ring of 2 | 100  | 10,000 |
//! |---------|-----------|------|--------|
//! | 16      | 1.40      | 1.66 | 6.3    |
//! | 24      | 1.29      | 1.57 | 5.9    |
//! | 32      | 1.37      | 1.55 | 4.6    |
//!
//! More colours leave a parked coroutine less of its one page: 2 KiB at least, where one that sleeps or reads needs 1.
#![forbid(unsafe_code)]

use crate::sys::memory::Span;

/// Number of different distances between base and top.
pub(super) const COLOURS: usize = 32;
/// One colour differs from the next by a cache line.
const COLOUR_BYTES: usize = 64;
/// The label pointer and padding: a base is aligned to 16 bytes.
const HEADER_BYTES: usize = 16;

/// What tells a slot's base, for a debugger: colours, bytes of each, bytes above.
pub(crate) const BASE_BYTES: [usize; 3] = [COLOURS, COLOUR_BYTES, HEADER_BYTES];

/// Sizes of a slot; whole pages. All else follows from them and from where the slab starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout {
    pub(super) usable_bytes: usize,
    pub(super) guard_bytes: usize,
}

/// One slot, found from its slab and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) layout: Layout,
    /// Lowest address: where the guard begins.
    pub(super) limit: usize,
    pub(super) index: usize,
}

impl Layout {
    /// Distance from one slot to the next.
    pub(super) fn stride_bytes(self) -> usize {
        self.usable_bytes + self.guard_bytes
    }

    /// Slot number `index` of the slab that starts at `slab`.
    pub(super) fn slot(self, slab: usize, index: usize) -> Slot {
        Slot {
            layout: self,
            limit: slab + index * self.stride_bytes(),
            index,
        }
    }

    /// The slot around `address`, an address inside the slab that starts at `slab`.
    pub(super) fn slot_around(self, slab: usize, address: usize) -> Slot {
        self.slot(slab, (address - slab) / self.stride_bytes())
    }
}

impl Slot {
    /// One past the highest address.
    pub(super) fn top(self) -> usize {
        self.limit + self.layout.stride_bytes()
    }

    /// Where the stack begins, highest address first: 16-aligned, in the topmost page.
    pub(super) fn base(self) -> usize {
        self.top() - HEADER_BYTES - (self.index % COLOURS) * COLOUR_BYTES
    }

    pub(super) fn guard(self) -> Span {
        Span {
            start: self.limit,
            bytes: self.layout.guard_bytes,
        }
    }

    pub(super) fn usable(self) -> Span {
        Span {
            start: self.limit + self.layout.guard_bytes,
            bytes: self.layout.usable_bytes,
        }
    }

    /// The one page that a parked coroutine with few frames touches.
    pub(super) fn topmost(self, page_bytes: usize) -> Span {
        Span {
            start: self.top() - page_bytes,
            bytes: page_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLAB: usize = 0x10_0000_0000;
    const LAYOUT: Layout = Layout {
        usable_bytes: 64 << 10,
        guard_bytes: 4 << 10,
    };

    #[test]
    fn slots_tile_the_slab_without_a_gap() {
        for index in 0..100 {
            let slot = LAYOUT.slot(SLAB, index);
            assert_eq!(slot.top(), LAYOUT.slot(SLAB, index + 1).limit);
            assert_eq!(slot.guard().start, slot.limit);
            assert_eq!(slot.guard().start + slot.guard().bytes, slot.usable().start);
            assert_eq!(slot.usable().start + slot.usable().bytes, slot.top());
        }
    }

    #[test]
    fn every_byte_of_a_slot_leads_back_to_it() {
        for index in [0, 1, 7, 99] {
            let slot = LAYOUT.slot(SLAB, index);
            for address in [slot.limit, slot.usable().start, slot.base(), slot.top() - 1] {
                assert_eq!(LAYOUT.slot_around(SLAB, address), slot);
            }
        }
    }

    #[test]
    fn bases_are_aligned_take_all_colours_and_leave_room_in_the_topmost_page() {
        let slots = (0..COLOURS).map(|index| LAYOUT.slot(SLAB, index));
        let mut lines: Vec<_> = slots
            .map(|slot| {
                assert_eq!(slot.base() % 16, 0);
                assert!(slot.base() + HEADER_BYTES <= slot.top());
                assert!(
                    slot.base() - slot.topmost(4096).start > 2048,
                    "room for the frames of a parked one"
                );
                (slot.base() % 4096) / COLOUR_BYTES
            })
            .collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), COLOURS);
    }

    #[test]
    fn header_shares_the_cache_line_of_the_first_words() {
        for index in 0..COLOURS {
            let base = LAYOUT.slot(SLAB, index).base();
            assert_eq!(base / COLOUR_BYTES, (base - 16) / COLOUR_BYTES);
        }
    }
}
