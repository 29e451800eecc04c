//! The wheel: which slot a deadline waits in, and which slot comes next.
//!
//! Time is counted in granules of 2^16 ns, 48 bits of them: six bytes, one for each level. `present` is the granule up
//! to which all has been sorted. A later one waits in the level of the highest byte in which it differs from the
//! present, in the slot that this byte says:
//!
//! ```text
//!   present    00 00 00 00 03 f0
//!   deadline   00 00 00 00 03 f7    level 0, slot f7
//!   deadline   00 00 00 00 05 11    level 1, slot 05
//! ```
//!
//! So every slot of a level comes before any slot of the levels above, and within a level the lower number comes
//! first. When the present moves on, but not into or past a slot that is in use, nobody's slot changes: the bytes
//! above the one that differs are the same as before, and the one that differs is still smaller.
#![forbid(unsafe_code)]

use super::NONE;

const GRANULE_BITS: u32 = 16;
const LEVEL_BITS: u32 = 8;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = ((u64::BITS - GRANULE_BITS) / LEVEL_BITS) as usize;

/// The granule that a deadline, in nanoseconds, lies in.
#[inline]
pub(super) fn granule_of(nanos: u64) -> u64 {
    nanos >> GRANULE_BITS
}

/// A level, and a slot of it.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    level: u32,
    number: usize,
}

impl Slot {
    /// Of the first level: its timers are all in one granule.
    pub(super) fn is_granule(self) -> bool {
        self.level == 0
    }
}

struct Level {
    /// First timer of each slot's list.
    heads: [u32; SLOTS],
    /// A bit for each slot that has any.
    occupied: [u64; SLOTS / 64],
}

pub(super) struct Wheel {
    present: u64,
    levels: Box<[Level; LEVELS]>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let empty = || Level {
            heads: [NONE; SLOTS],
            occupied: [0; SLOTS / 64],
        };
        Wheel {
            present: 0,
            levels: Box::new(std::array::from_fn(|_| empty())),
        }
    }

    /// Where a deadline in `granule` waits; none if the present has come to it.
    #[inline]
    pub(super) fn slot_of(&self, granule: u64) -> Option<Slot> {
        if granule <= self.present {
            return None;
        }
        let level = (granule ^ self.present).ilog2() / LEVEL_BITS;
        let number = (granule >> (level * LEVEL_BITS)) as usize % SLOTS;
        Some(Slot { level, number })
    }

    /// The first slot that has any timers.
    pub(super) fn first(&self) -> Option<Slot> {
        self.levels.iter().zip(0..).find_map(|(level, at)| {
            let word = level.occupied.iter().position(|&word| word != 0)?;
            Some(Slot {
                level: at,
                number: word * 64 + level.occupied[word].trailing_zeros() as usize,
            })
        })
    }

    /// The first granule of a slot in use.
    pub(super) fn start(&self, slot: Slot) -> u64 {
        let shift = slot.level * LEVEL_BITS;
        let above = self.present >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        above | (slot.number as u64) << shift
    }

    /// The beginning of a slot in use, in nanoseconds.
    pub(super) fn start_ns(&self, slot: Slot) -> u64 {
        self.start(slot) << GRANULE_BITS
    }

    /// Moves the present on: no further than to the start of the first slot in use, which must be opened then.
    pub(super) fn advance(&mut self, granule: u64) {
        self.present = self.present.max(granule);
    }

    #[inline]
    fn level(&mut self, slot: Slot) -> &mut Level {
        &mut self.levels[slot.level as usize]
    }

    /// The first timer of a slot.
    pub(super) fn head(&self, slot: Slot) -> u32 {
        self.levels[slot.level as usize].heads[slot.number]
    }

    /// Puts a timer before the others of a slot; returns the first of these.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot, index: u32) -> u32 {
        let level = self.level(slot);
        level.occupied[slot.number / 64] |= 1 << (slot.number % 64);
        std::mem::replace(&mut level.heads[slot.number], index)
    }

    /// Empties a slot; returns the first of its timers.
    pub(super) fn clear(&mut self, slot: Slot) -> u32 {
        let head = self.head(slot);
        self.set_head(slot, NONE);
        head
    }

    /// Makes another timer the first of a slot, or none.
    pub(super) fn set_head(&mut self, slot: Slot, index: u32) {
        let level = self.level(slot);
        level.heads[slot.number] = index;
        if index == NONE {
            level.occupied[slot.number / 64] &= !(1 << (slot.number % 64));
        }
    }
}
