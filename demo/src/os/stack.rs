//! What a stack is made of: a range of memory, a guard below it, pages that come when they are touched.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// A row of empty stacks, which nobody uses: to see what it costs to make them.
#[derive(Debug)]
pub struct BareStacks {
    base: NonNull<u8>,
    count: usize,
}

/// The size of one, as the runtime's.
pub const STACK_BYTES: usize = 64 << 10;
/// Of its guard.
const GUARD_BYTES: usize = 4096;
/// `MADV_GUARD_INSTALL`, Linux 6.13, which libc does not name on every system.
const MADV_GUARD_INSTALL: libc::c_int = 102;

impl BareStacks {
    /// Reserves so many, one at least: no page of them is there yet.
    ///
    /// # Errors
    /// The system's.
    pub fn reserve(count: usize) -> io::Result<BareStacks> {
        let count = count.max(1);
        // SAFETY: a null hint lets the kernel choose an unused range. Unmapped in `drop`, once.
        let base = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                count * STACK_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Ok(BareStacks {
            base: NonNull::new(base.cast()).expect("the kernel maps nothing at address 0 unasked"),
            count,
        })
    }

    /// Guards the lowest page of stack `index`, in the way that this kernel does it best.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn guard(&mut self, index: usize) -> io::Result<()> {
        let lowest = self.place(index, 0).cast();
        // SAFETY: the page lies in our range, `&mut self` says that nobody touches it meanwhile, and `touch` never
        // does. It becomes untouchable; nothing else changes.
        if unsafe { libc::madvise(lowest, GUARD_BYTES, MADV_GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        Ok(unsafe { mprotect(lowest, GUARD_BYTES, MprotectFlags::empty()) }?)
    }

    /// Writes to the highest page of stack `index`, as its first frame does.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn touch(&mut self, index: usize) {
        let highest = self.place(index, STACK_BYTES - size_of::<u64>());
        // SAFETY: the last word of a stack of ours: mapped, aligned, never guarded (a guard is the lowest page), and
        // ours alone by `&mut self`.
        unsafe { highest.cast::<u64>().write_volatile(1) };
    }

    fn place(&mut self, index: usize, offset: usize) -> *mut u8 {
        assert!(index < self.count, "there are {} stacks", self.count);
        self.base
            .as_ptr()
            .wrapping_add(index * STACK_BYTES + offset)
    }
}

impl Drop for BareStacks {
    fn drop(&mut self) {
        // SAFETY: this exact range came from `mmap_anonymous` in `reserve`, and no pointer into it leaves this file.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.count * STACK_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_stack_can_still_be_touched_at_its_top() {
        let mut stacks = BareStacks::reserve(3).unwrap();
        for index in 0..3 {
            stacks.guard(index).unwrap();
            stacks.touch(index);
            stacks.touch(index);
        }
    }

    #[test]
    #[should_panic(expected = "there are 1 stacks")]
    fn a_stack_that_is_not_there_is_not_touched() {
        BareStacks::reserve(0).unwrap().touch(1);
    }
}
