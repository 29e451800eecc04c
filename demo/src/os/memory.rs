//! Memory that stays shared across `fork`.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU32;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Words that a process and the children it forks from now on all see and may all write.
///
/// Ordinary memory is private to each after a `fork`; this is mapped `MAP_SHARED`.
#[derive(Debug)]
pub struct SharedWords {
    base: NonNull<AtomicU32>,
    words: NonZeroUsize,
}

impl SharedWords {
    const PAGE_BYTES: usize = 4096;

    /// Maps one page, all zero.
    ///
    /// # Errors
    /// The system's: ENOMEM when no memory or no mapping is left (`vm.max_map_count`).
    pub fn new() -> io::Result<SharedWords> {
        SharedWords::of_bytes(Self::PAGE_BYTES)
    }

    /// Maps so many bytes, rounded up to whole words and one at least, all zero.
    ///
    /// # Errors
    /// As of [`SharedWords::new`].
    pub fn of_bytes(bytes: usize) -> io::Result<SharedWords> {
        let words =
            NonZeroUsize::new(bytes.div_ceil(size_of::<AtomicU32>())).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a null hint lets the kernel choose an unused range, so no mapping that anybody
        // holds a reference into is replaced. Unmapped in `drop`, once.
        let page = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                Self::bytes(words),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        let base = NonNull::new(page.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(SharedWords { base, words })
    }

    /// No more than `of_bytes` was asked for, rounded up: it does not overflow.
    fn bytes(words: NonZeroUsize) -> usize {
        words.get() * size_of::<AtomicU32>()
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU32];

    fn deref(&self) -> &[AtomicU32] {
        // SAFETY: `of_bytes` mapped so many words readable, writable, zeroed and page-aligned, and zero is a
        // valid `AtomicU32`. It stays mapped while `self` is borrowed. Other threads and processes
        // reach it only through this same function, hence as atomics: no plain access races.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.words.get()) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this exact range came from `mmap_anonymous` in `of_bytes`; `&mut self` proves that no
        // slice from `deref` is alive. In a forked child it unmaps the child's own view only.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), Self::bytes(self.words)) };
        debug_assert!(unmapped.is_ok());
    }
}

// SAFETY: the pointer is to a mapping that belongs to the process, not to a thread; all access to
// it is atomic (see `deref`), and `drop` needs the last owner.
unsafe impl Send for SharedWords {}
// SAFETY: a shared reference gives `&[AtomicU32]` and nothing else, which is `Sync` itself.
unsafe impl Sync for SharedWords {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn a_fresh_page_is_all_zero_and_keeps_what_is_written() {
        let words = SharedWords::new().unwrap();
        assert_eq!(words.len(), 1024);
        assert!(words.iter().all(|word| word.load(Relaxed) == 0));
        words[1023].store(7, Relaxed);
        assert_eq!(words[1023].load(Relaxed), 7);
    }

    #[test]
    fn as_many_words_are_mapped_as_the_bytes_need() {
        let words = |bytes| SharedWords::of_bytes(bytes).unwrap().len();
        assert_eq!([0, 1, 5, 1 << 20].map(words), [1, 1, 2, 1 << 18]);
    }
}
