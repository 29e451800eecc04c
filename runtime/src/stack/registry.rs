//! Which slabs exist, readable from inside a signal handler.
//!
//! ```text
//! HEAD -> record -> record -> record -> null       appended at the front, never taken out
//!          live      free      live                a free record is taken for the next slab
//! ```
//!
//! The overflow handler may run at any moment, in the middle of anything: it can take no lock and
//! must not meet freed memory. So a record, once made, stays for ever and is used again after its
//! slab is gone; and it is read like a *seqlock*: the version is odd while the record describes a
//! slab, and a reader that sees the same odd version before and after has read one slab's fields.
//!
//! | version | meaning                          | next                      |
//! |---------|----------------------------------|---------------------------|
//! | even    | free                             | +1: claimed, then filled  |
//! | odd     | claimed (`end` = 0: matches nothing), then live | +1 by `retire` |

use std::mem::offset_of;
use std::ptr;

use super::layout::{Layout, Slot};
use crate::seam::sync::real::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

static HEAD: AtomicPtr<Record> = AtomicPtr::new(ptr::null_mut());

/// Where the list begins, and what of a [`Record`] is where, for a debugger: start, end, usable bytes and guard
/// bytes of a slot, the next record.
pub(crate) const fn for_debugger() -> (*mut (), [usize; 5]) {
    let offsets = [
        offset_of!(Record, start),
        offset_of!(Record, end),
        offset_of!(Record, usable_bytes),
        offset_of!(Record, guard_bytes),
        offset_of!(Record, next),
    ];
    ((&raw const HEAD).cast_mut().cast(), offsets)
}

/// One slab: where it lies and how its slots are laid out.
#[derive(Debug)]
pub(super) struct Record {
    version: AtomicUsize,
    start: AtomicUsize,
    /// One past the slab; 0 while the other fields are being filled in or are no longer true.
    end: AtomicUsize,
    usable_bytes: AtomicUsize,
    guard_bytes: AtomicUsize,
    // Written before the record enters the list, never after.
    next: *const Record,
}

// SAFETY: every field is atomic but `next`, which is not written once others can see the record
// (`append`), and points to a record that lives for ever and is itself shareable.
unsafe impl Sync for Record {}
// SAFETY: as for Sync; nothing in a record belongs to a thread.
unsafe impl Send for Record {}

/// Makes the slab at `start` with `slots` slots known, until [`Record::retire`].
pub(super) fn publish(start: usize, slots: usize, layout: Layout) -> &'static Record {
    let record = records().find(|record| record.claim());
    let record = record.unwrap_or_else(append);
    record.start.store(start, Relaxed);
    record.usable_bytes.store(layout.usable_bytes, Relaxed);
    record.guard_bytes.store(layout.guard_bytes, Relaxed);
    // Release: pairs with the Acquire in `find`, so who sees the end sees the fields before it.
    let end = start + slots * layout.stride_bytes();
    record.end.store(end, Release);
    record
}

/// The slot around `address`, if that lies in a slab. Takes no lock and allocates nothing.
pub(super) fn slot_around(address: usize) -> Option<Slot> {
    records().find_map(|record| record.slot_around(address))
}

impl Record {
    /// The sizes of the slab's slots. For the owner of something in the slab.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            usable_bytes: self.usable_bytes.load(Relaxed),
            guard_bytes: self.guard_bytes.load(Relaxed),
        }
    }

    /// The slot around `address`, which the caller owns and therefore is in this slab.
    pub(super) fn own_slot(&self, address: usize) -> Slot {
        self.layout().slot_around(self.start.load(Relaxed), address)
    }

    /// Forgets the slab, which is about to be unmapped.
    pub(super) fn retire(&self) {
        self.end.store(0, Relaxed);
        // Release: who sees the record as free, and fills it anew, does so after the store above.
        self.version.fetch_add(1, Release);
    }

    /// Takes a free record for the caller.
    fn claim(&self) -> bool {
        let version = self.version.load(Relaxed);
        if !version.is_multiple_of(2) {
            return false;
        }
        // AcqRel: pairs with `retire` before us, and hands its `end` = 0 on to who reads our version.
        let claimed = self
            .version
            .compare_exchange(version, version + 1, AcqRel, Relaxed)
            .is_ok();
        // Release: pairs with the fence in `slot_around`: a reader that met one of the stores that
        // follow meets the new version too, and rejects what it mixed.
        fence(Release);
        claimed
    }

    fn slot_around(&self, address: usize) -> Option<Slot> {
        // Acquire: pairs with `claim`; the loads below come after it.
        let version = self.version.load(Acquire);
        // Acquire: pairs with `publish`, so the fields are those that go with this end.
        let end = self.end.load(Acquire);
        let (start, layout) = (self.start.load(Relaxed), self.layout());
        // Acquire: the loads above come before the second look at the version.
        fence(Acquire);
        let steady = version % 2 == 1 && self.version.load(Relaxed) == version;
        (steady && (start..end).contains(&address)).then(|| layout.slot_around(start, address))
    }
}

/// Adds a record to the list, claimed by the caller.
#[cold]
fn append() -> &'static Record {
    let record = Box::leak(Box::new(Record {
        version: AtomicUsize::new(1),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        usable_bytes: AtomicUsize::new(0),
        guard_bytes: AtomicUsize::new(0),
        next: HEAD.load(Relaxed),
    }));
    loop {
        let next = record.next.cast_mut();
        // Release: pairs with the Acquire in `records`, so the new record is whole for its readers.
        match HEAD.compare_exchange_weak(next, record, Release, Relaxed) {
            Ok(_) => return record,
            Err(newer) => record.next = newer,
        }
    }
}

/// All records, the newest first.
fn records() -> impl Iterator<Item = &'static Record> {
    // Acquire: pairs with the Release in `append`. Later links were written before it, too: each
    // appender has read its `next` from HEAD, in the same release sequence.
    let mut next = HEAD.load(Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: the pointer is null or comes from `append`: a leaked box, whole before it could be
        // found, and never freed or borrowed mutably after that.
        let record = unsafe { next.as_ref()? };
        next = record.next;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        usable_bytes: 8 << 12,
        guard_bytes: 1 << 12,
    };
    /// Not an address that any mapping can have, so no other test's slab lies there.
    const NOWHERE: usize = 1 << 60;

    #[test]
    fn slab_is_found_by_each_address_in_it_until_retired() {
        let record = publish(NOWHERE, 4, LAYOUT);
        let end = NOWHERE + 4 * LAYOUT.stride_bytes();
        assert_eq!(slot_around(NOWHERE), Some(LAYOUT.slot(NOWHERE, 0)));
        assert_eq!(slot_around(end - 1), Some(LAYOUT.slot(NOWHERE, 3)));
        assert_eq!((slot_around(NOWHERE - 1), slot_around(end)), (None, None));
        record.retire();
        assert_eq!(slot_around(NOWHERE), None);
    }

    #[test]
    fn free_record_is_used_again() {
        let start = NOWHERE << 1;
        let count_of =
            |wanted: &Record| records().filter(|&record| ptr::eq(record, wanted)).count();
        for round in 0..10 {
            let record = publish(start + round, 1, LAYOUT);
            assert_eq!(count_of(record), 1);
            assert_eq!(
                slot_around(start + round).map(|slot| slot.limit),
                Some(start + round)
            );
            record.retire();
            assert!(
                record.version.load(Relaxed) >= 2,
                "it has been live and is no more"
            );
        }
        // The tests beside this one hold a few records at a time, not ten each.
        assert!(records().count() < 10 * 10);
    }

    #[test]
    fn reader_never_mixes_the_fields_of_two_slabs() {
        use crate::seam::sync::{Arc, atomic::AtomicBool, thread};
        let start = NOWHERE + (1 << 50);
        let wide = Layout {
            usable_bytes: 1 << 20,
            ..LAYOUT
        };
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                for round in 0..200_000 {
                    let layout = [LAYOUT, wide][round % 2];
                    publish(start, 2 - round % 2, layout).retire();
                }
                done.store(true, Release);
            })
        };
        while !done.load(Acquire) {
            if let Some(slot) = slot_around(start + LAYOUT.stride_bytes()) {
                let expected = if slot.layout == wide { 0 } else { 1 };
                assert!([LAYOUT, wide].contains(&slot.layout), "{slot:?}");
                assert_eq!(
                    (slot.limit, slot.index),
                    (start + expected * LAYOUT.stride_bytes(), expected)
                );
            }
        }
        writer.join().unwrap();
    }
}
