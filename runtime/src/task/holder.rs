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

    /// This one has locked it, there.
    #[inline(always)]
    pub(crate) fn note(&self, holder: u64, site: &'static Location<'static>) {
        self.set(holder);
        let site = ptr::from_ref(site).cast_mut();
        self.site.store(site, Ordering::Relaxed);
    }

    /// Who holds it, and where that one has locked it: of two moments, if somebody locks it right now. None: nobody.
    pub(crate) fn look(&self) -> Option<Held> {
        let site = self.site.load(Ordering::Relaxed);
        let by = self.get();
        // SAFETY: null or from a `&'static`.
        let at = unsafe { site.as_ref() };
        (by != 0).then_some(Held {
            by,
            at,
            is_next: false,
        })
    }
}

/// Who is inside of a reader-writer lock, and who is to write next. Written under the lock.
pub(crate) struct Holders {
    pub(crate) writer: Holder,
    /// Those of them that are known.
    pub(crate) readers: [Holder; READERS_KNOWN],
    /// The first that waits, if it is to write, and where.
    pub(crate) next_writer: Holder,
}

/// So many readers of a lock are known; of more, the first. Each takes 16 bytes.
pub(crate) const READERS_KNOWN: usize = 4;

impl Holders {
    pub(crate) const fn nobody() -> Self {
        Holders {
            writer: Holder::nobody(),
            readers: [const { Holder::nobody() }; READERS_KNOWN],
            next_writer: Holder::nobody(),
        }
    }

    /// For whom one waits that wants to write: the writer, or each reader.
    pub(super) fn of_writer(&self) -> Vec<Held> {
        match self.writer.look() {
            Some(writer) => vec![writer],
            None => self.readers.iter().filter_map(Holder::look).collect(),
        }
    }

    /// For whom one waits that wants to read: the writer; if others read, the one that is to write before it.
    pub(super) fn of_reader(&self) -> Vec<Held> {
        let next = || {
            let next = self.next_writer.look()?;
            Some(Held {
                is_next: true,
                ..next
            })
        };
        self.writer.look().or_else(next).into_iter().collect()
    }
}

/// Somebody that another one waits for, as a report tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// By number: see `sync::strand`.
    pub(crate) by: u64,
    /// Where that one has locked it, or waits for it.
    pub(crate) at: Option<&'static Location<'static>>,
    /// It does not have it yet: its turn is next.
    pub(crate) is_next: bool,
}
