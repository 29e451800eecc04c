//! Stacks of one size: reuse, growth, and giving pages back.
//!
//! ```text
//!   acquire: first of           class                          release
//!   1 the warm, last one first  warm    [s3 s9 s4]  <--------- a stack comes back
//!   2 the clean                 clean   [s7 s1 ...] <- batch - a full batch loses its pages
//!   3 a slot never used         slabs   [16][32][64]
//!   4 a new slab                        [128]
//! ```
//!
//! Giving the pages of one stack back costs 1,217 ns, in a batch of 16 it costs 250 ns each, in one
//! of 64 185 ns (`MADV_DONTNEED`, one touched page of 64 KiB, one core of a virtual machine): so
//! returned stacks wait, warm, until a batch is full.

use std::io;

use super::{
    Stack, StackConfig,
    guard::Guarding,
    layout::Layout,
    slab::{Slab, slots_first},
};
use crate::sys::memory::{self, Span};

/// Returned stacks that keep their pages until there are this many: at most 32 x 64 KiB of default
/// stacks that were used to the brim.
pub(super) const WARM_MAX: usize = 32;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Class {
    layout: Layout,
    slabs: Vec<Slab>,
    /// The first slab with slots that nobody has had.
    filling: usize,
    /// Returned, pages still in place; the hottest last.
    warm: Vec<Stack>,
    /// Returned, pages given back. Has room for every slot, so that a stack can come back when there
    /// is no memory left at all.
    clean: Vec<Stack>,
    /// Slots of all slabs.
    slots: usize,
    /// Stacks handed out and not returned.
    in_use: usize,
    /// Stacks that coroutines will ask for when they start.
    promised: usize,
}

impl Class {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            slabs: Vec::new(),
            filling: 0,
            warm: Vec::with_capacity(WARM_MAX),
            clean: Vec::new(),
            slots: 0,
            in_use: 0,
            promised: 0,
        }
    }

    /// A stack of this class, as [`Stacks::acquire`](super::Stacks::acquire).
    pub(super) fn acquire(
        &mut self,
        config: &StackConfig,
        guarding: &mut Guarding,
    ) -> io::Result<Stack> {
        let stack = match self.warm.pop().or_else(|| self.clean.pop()) {
            Some(stack) => self.reopen(stack, config)?,
            None => self.issue(guarding)?,
        };
        self.in_use += 1;
        Ok(stack)
    }

    /// Sees to it that `total` stacks can be out at a time, as [`Stacks::reserve`](super::Stacks::reserve).
    pub(super) fn reserve(&mut self, total: usize, guarding: &mut Guarding) -> io::Result<usize> {
        while self.slots < total {
            self.grow(*guarding)?;
        }
        if *guarding == Guarding::Advised {
            return Ok(self.slots);
        }
        // Each guard is a mapping of its own and may be refused: better now than when a coroutine starts.
        while self.in_use + self.warm.len() + self.clean.len() < total {
            let stack = self.issue(guarding)?;
            self.clean.push(stack);
        }
        Ok(total)
    }

    /// As [`Stacks::promise`](super::Stacks::promise).
    pub(super) fn promise(&mut self, guarding: &mut Guarding) -> io::Result<()> {
        self.reserve(self.in_use + self.promised + 1, guarding)?;
        self.promised += 1;
        Ok(())
    }

    /// One promise is about to be kept, or was made by somebody else.
    pub(super) fn redeem(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// Takes a stack back.
    pub(super) fn release(&mut self, stack: Stack, config: &StackConfig) {
        self.warm.push(stack);
        self.in_use = self.in_use.saturating_sub(1);
        let at_once = config.zero_on_release || config.protect_idle;
        if at_once || self.warm.len() >= WARM_MAX {
            self.give_pages_back(config);
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    #[cfg(test)]
    pub(super) fn slabs(&self) -> &[Slab] {
        &self.slabs
    }

    /// Makes a returned stack usable again.
    fn reopen(&mut self, stack: Stack, config: &StackConfig) -> io::Result<Stack> {
        if config.protect_idle {
            // SAFETY: the usable part of a slot that is ours; the guard is not in it.
            if let Err(refusal) = unsafe { memory::allow(stack.slot().usable()) } {
                self.clean.push(stack);
                return Err(refusal);
            }
        }
        Ok(stack)
    }

    /// A slot that nobody has had yet, from the first slab that has one.
    fn issue(&mut self, guarding: &mut Guarding) -> io::Result<Stack> {
        loop {
            while let Some(slab) = self.slabs.get_mut(self.filling) {
                let issued = slab.issue(self.in_use);
                *guarding = slab.guarding();
                if let Some(outcome) = issued {
                    return outcome;
                }
                self.filling += 1;
            }
            self.grow(*guarding)?;
        }
    }

    #[cold]
    fn grow(&mut self, guarding: Guarding) -> io::Result<()> {
        let slots = match self.slabs.last() {
            Some(slab) => slab.slots_next(),
            None => slots_first(self.layout),
        };
        self.slabs.try_reserve(1)?;
        let idle = self.clean.len();
        self.clean.try_reserve(self.slots + slots - idle)?;
        let slab = Slab::map(self.layout, slots, guarding)?;
        self.slots += slab.slots();
        self.slabs.push(slab);
        Ok(())
    }

    /// Gives the pages of all warm stacks back.
    #[cold]
    pub(super) fn give_pages_back(&mut self, config: &StackConfig) {
        let mut spans = [Span { start: 0, bytes: 0 }; WARM_MAX];
        let count = self.warm.len();
        for (span, stack) in spans.iter_mut().zip(&self.warm) {
            *span = stack.slot().usable();
        }
        let spans = &spans[..count];
        // SAFETY: usable parts of slots that came back and are ours: nobody reads what they hold.
        let given_back = unsafe { memory::discard(spans) };
        for &span in spans {
            if given_back.is_err() && config.zero_on_release {
                wipe(span);
            }
            if config.protect_idle {
                // SAFETY: as above, and `reopen` allows it again. Refused for want of mappings, the
                // stack stays open: what is lost is only the check.
                let _ = unsafe { memory::deny(span) };
            }
        }
        self.clean.append(&mut self.warm);
    }

    /// Unmaps the slabs that nobody can be running on, and forgets the others.
    pub(super) fn unmap_idle_slabs(mut self) {
        let mut idle = self.clean;
        idle.append(&mut self.warm);
        idle.sort_unstable_by_key(Stack::address);
        for slab in self.slabs {
            if slab.all_idle(&idle) {
                // SAFETY: all stacks that the slab issued are in `idle`, which ends here.
                unsafe { slab.unmap() };
            }
        }
    }
}

/// Overwrites a stack whose pages cannot be given back (locked memory) with zeros.
#[cold]
fn wipe(span: Span) {
    let start = std::ptr::with_exposed_provenance_mut::<u8>(span.start);
    // SAFETY: the usable part of a slot that came back: mapped, writable, and nobody else's.
    unsafe { start.write_bytes(0, span.bytes) };
}
