//! An asymmetric pair of memory barriers: one side pays nothing, the other for both.
//!
//! ```text
//!   often, cheap            seldom, dear
//!   write a                 write b
//!   light()                 heavy()
//!   read b                  read a          at least one of them sees what the other wrote
//! ```
//!
//! Two `SeqCst` fences would promise the same. The light one only keeps the compiler from swapping the two
//! accesses; the heavy one, membarrier(2), makes the processor of the other thread keep them in order too: that
//! thread passes a full barrier somewhere. If before its write of `a`, its read comes after `b` was written;
//! if after, the write comes before `a` is read; and if in between, both hold.
//!
//! Under a model checker, which knows nothing of system calls, both are the fences that they stand for.
#![forbid(unsafe_code)]

#[cfg(not(any(loom, shuttle)))]
mod real {
    use crate::seam::sync::real::atomic::{Ordering, compiler_fence};
    use crate::sys::membarrier;

    #[inline(always)]
    pub(crate) fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        membarrier::all_threads();
    }

    /// Whether there is a heavy one. Cost: a load; see [`membarrier::is_available`] for the first call.
    pub(crate) fn is_available() -> bool {
        membarrier::is_available()
    }
}

#[cfg(any(loom, shuttle))]
mod real {
    use crate::seam::sync::atomic::{Ordering, fence};

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_available() -> bool {
        true
    }
}

pub(crate) use real::{heavy, is_available, light};
