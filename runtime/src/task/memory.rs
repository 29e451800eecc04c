//! Memory for records: a few free ones of each size are kept by the thread that freed them.
//!
//! A spawn and a join take one and give it back; by the general allocator that is 150 instructions of the
//! 500 that both take together, by this list 20. What a thread keeps is bounded, and [`trim`] gives it back.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;

use crate::seam::sync::thread_local;

/// Sizes are rounded up to this, and blocks aligned to a quarter of it, as by the general allocator.
const STEP_BYTES: usize = 64;
const ALIGN: usize = 16;
/// Number of sizes kept: up to 512 bytes.
const CLASSES: usize = 8;
/// Most blocks of one size: 32 MiB of those of a usual coroutine, until the worker has been idle for a while.
const KEPT_MAX: u32 = 1 << 17;

/// A free block: its first word leads to the next.
struct Free {
    next: Option<NonNull<Free>>,
}

/// The free blocks of one size.
struct List {
    first: Cell<Option<NonNull<Free>>>,
    len: Cell<u32>,
}

struct Lists([List; CLASSES]);

thread_local! {
    static LISTS: Lists = const { Lists([const { List { first: Cell::new(None), len: Cell::new(0) } }; CLASSES]) };
}

/// Which list a layout belongs to, if any. Folded away: the layout is a constant wherever this is called.
#[inline(always)]
const fn class_of(layout: Layout) -> Option<usize> {
    let class = layout.size().div_ceil(STEP_BYTES) - 1;
    if class < CLASSES && layout.align() <= ALIGN {
        Some(class)
    } else {
        None
    }
}

/// What the general allocator is asked for, for a block of this class.
const fn block(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * STEP_BYTES, ALIGN) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

/// Memory for `layout`, whose size is not zero; none if the system has none.
#[inline(always)]
pub(super) fn take(layout: Layout) -> Option<NonNull<u8>> {
    let Some(class) = class_of(layout) else {
        // SAFETY: the size is not zero.
        return NonNull::new(unsafe { alloc(layout) });
    };
    // While the thread ends there is no list.
    if let Ok(Some(kept)) = LISTS.try_with(|lists| lists.0[class].pop()) {
        return Some(kept);
    }
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc(block(class)) })
}

/// Takes memory back.
///
/// # Safety
/// It came from [`take`] with the same layout, and nobody uses it any more.
#[inline(always)]
pub(super) unsafe fn give(memory: NonNull<u8>, layout: Layout) {
    let Some(class) = class_of(layout) else {
        // SAFETY: `take` got it with this layout.
        return unsafe { dealloc(memory.as_ptr(), layout) };
    };
    // SAFETY: a block of this class, as the caller says, and nobody else's.
    let kept = LISTS.try_with(|lists| unsafe { lists.0[class].push(memory) });
    if kept != Ok(true) {
        // SAFETY: `take` got it with the layout of its class.
        unsafe { dealloc(memory.as_ptr(), block(class)) };
    }
}

/// Gives the free blocks of this thread back to the system.
pub(crate) fn trim() {
    let _ = LISTS.try_with(Lists::clear);
}

impl List {
    #[inline(always)]
    fn pop(&self) -> Option<NonNull<u8>> {
        let free = self.first.get()?;
        // SAFETY: a block in the list is ours, and begins with its `Free`.
        self.first.set(unsafe { free.as_ref() }.next);
        self.len.set(self.len.get() - 1);
        Some(free.cast())
    }

    /// Keeps a block; false if there are enough.
    ///
    /// # Safety
    /// The block is of this list's size, and nobody else's.
    #[inline(always)]
    unsafe fn push(&self, memory: NonNull<u8>) -> bool {
        if self.len.get() == KEPT_MAX {
            return false;
        }
        let free = memory.cast::<Free>();
        // SAFETY: 64 bytes at least, aligned to 16, ours by the caller's promise.
        unsafe {
            free.write(Free {
                next: self.first.get(),
            })
        };
        self.first.set(Some(free));
        self.len.set(self.len.get() + 1);
        true
    }
}

impl Lists {
    fn clear(&self) {
        for (class, list) in self.0.iter().enumerate() {
            while let Some(memory) = list.pop() {
                // SAFETY: `take` got it with the layout of its class; the list was its last place.
                unsafe { dealloc(memory.as_ptr(), block(class)) };
            }
        }
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_was_given_back_is_taken_next_by_its_size_alone() {
        let (small, large) = (Layout::new::<[u64; 8]>(), Layout::new::<[u64; 20]>());
        let block = take(small).unwrap();
        // SAFETY: just taken, with this layout.
        unsafe { give(block, small) };
        let other = take(large).unwrap();
        assert_ne!(other, block);
        assert_eq!(
            take(Layout::new::<[u64; 5]>()),
            Some(block),
            "of the same class"
        );
        // SAFETY: both are taken, by layouts of these classes.
        unsafe { (give(block, small), give(other, large)) };
        trim();
        LISTS.with(|lists| {
            assert!(
                lists
                    .0
                    .iter()
                    .all(|list| list.len.get() == 0 && list.first.get().is_none())
            )
        });
    }
}
