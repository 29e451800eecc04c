//! Who holds a lock, and where it was locked: written by the holder, read by reports, at any time.

use std::panic::Location;
use std::ptr;

use crate::seam::sync::real::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Who holds something, by number: see `sync::strand`. 0: nobody.
pub(crate) struct Holder {
    number: AtomicU64,
    /// Where it was locked last.
    site: AtomicPtr<Location<'static>>,
}

// Relaxed, all of it: the object's own lock orders what matters. A report is content with what was so lately.
impl Holder {
    pub(crate) const fn nobody() -> Self {
        Holder {
            number: AtomicU64::new(0),
            site: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set(&self, holder: u64) {
        self.number.store(holder, Ordering::Relaxed);
    }

    /// The caller has locked it.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn note_site(&self) {
        let site = ptr::from_ref(Location::caller()).cast_mut();
        self.site.store(site, Ordering::Relaxed);
    }

    /// Who holds it, and where that one has locked it: of two moments, if somebody locks it right now.
    pub(crate) fn look(&self) -> (u64, Option<&'static Location<'static>>) {
        let site = self.site.load(Ordering::Relaxed);
        // SAFETY: null or from a `&'static`.
        (self.get(), unsafe { site.as_ref() })
    }
}
