//! Slots: where, in the frame of one that waits, the value lies that goes over.
//!
//! ```text
//!   receiver's frame             the channel's queue           sender
//!   Slot: None  ◄──── place ──── Node { payload: place } ◄──── put(place, value), under the lock
//!   sender's frame                                             receiver
//!   Slot: Some  ◄──── place ──── Node { payload: place } ◄──── take(place), under the lock
//! ```
//!
//! A value so moves once, from frame to frame. A slot that is left by unwinding drops what is in it then.

use std::cell::UnsafeCell;
use std::ptr;

use crate::wait::Place;

/// A place for one value, on the stack of one that waits.
pub(super) struct Slot<T>(UnsafeCell<Option<T>>);

/// The payload of one that waits in a select: it is told only; what it gets is kept in the channel for it.
pub(super) const RESERVE: Place = Place::NOWHERE;

/// The payload of one that wants to know when something can be had, and gets nothing.
pub(super) const WATCH: Place = Place(ptr::without_provenance(1));

impl<T> Slot<T> {
    #[inline(always)]
    pub(super) fn new(value: Option<T>) -> Self {
        Slot(UnsafeCell::new(value))
    }

    /// What leads others here.
    #[inline(always)]
    pub(super) fn place(&self) -> Place {
        Place(self.0.get().cast_const().cast())
    }

    #[inline(always)]
    pub(super) fn into_inner(self) -> Option<T> {
        self.0.into_inner()
    }

    /// Takes what is in it.
    ///
    /// # Safety
    /// Nobody else is led here any more.
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get()).take() }
    }
}

/// Puts a value into the slot of one that waits for it.
///
/// # Safety
/// The place is that of a `Slot<T>`, whose waiter the caller is just granting this.
#[inline(always)]
pub(super) unsafe fn put<T>(place: Place, value: T) {
    debug_assert!(place != RESERVE && place != WATCH);
    // SAFETY: the caller's promise: the slot is there until the grant is published, and meanwhile it is ours. It is empty,
    // so there is nothing to drop.
    unsafe { place.0.cast::<Option<T>>().cast_mut().write(Some(value)) };
}

/// Takes the value out of the slot of one that waits to get rid of it.
///
/// # Safety
/// As for [`put`]; and it has not been taken.
#[inline(always)]
pub(super) unsafe fn take<T>(place: Place) -> T {
    debug_assert!(place != RESERVE && place != WATCH);
    // SAFETY: as in `put`.
    let value = unsafe { (*place.0.cast::<Option<T>>().cast_mut()).take() };
    debug_assert!(value.is_some());
    // SAFETY: the caller's promise.
    unsafe { value.unwrap_unchecked() }
}
