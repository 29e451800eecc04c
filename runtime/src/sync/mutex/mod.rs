//! Mutexes: a value that one at a time may use.
//!
//! [`raw`] tells who may; here is the value that they may use, behind guards that unlock.

mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::seam::clock;

use raw::RawMutex;

/// A value that one coroutine or thread at a time may use: the one that has the guard.
///
/// As [`std::sync::Mutex`], but whoever has to wait lets others run, and there is no poisoning: a guard dropped by a
/// panic unlocks, and the next one finds the value as it was left. The guard may be held across a yield or a wait.
///
/// **First come, first served.** An unlock hands the mutex to the one that has waited longest, and it is that one's
/// before it runs: nobody overtakes, not even the one that unlocks and locks at once again. So with *n* before it,
/// whoever waits is the holder after *n* + 1 unlocks.
///
/// Cost of a lock and an unlock that need not wait: on one worker two dozen plain instructions, no atomic
/// read-modify-write; among several threads two compare-and-swaps. One that waits: two stack switches more.
///
/// ```
/// use runtime::sync::Mutex;
///
/// runtime::run(|| {
///     let total = Mutex::new(0);
///     runtime::scope(|s| {
///         for n in 1..=10 {
///             let total = &total;
///             s.spawn(move || {
///                 let mut total = total.lock();
///                 let seen = *total;
///                 runtime::yield_now(); // the others wait meanwhile
///                 *total = seen + n;
///             });
///         }
///     });
///     assert_eq!(total.into_inner(), 55);
/// });
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: whoever owns the mutex owns the value, and nothing else of it belongs to a thread.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: `&Mutex` gives access to the value to one at a time, which may move it out: `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A mutex that nobody holds.
        pub const fn new(value: T) -> Self {
            Mutex {
                raw: RawMutex::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, of which nobody else can know any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, waiting until it is this one's turn.
    ///
    /// # Panics
    /// If the caller holds it already: it would wait for itself. Whoever has locked it counts as the holder until the
    /// guard is dropped, though it has given that to a neighbour.
    ///
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.lock();
        self.guard()
    }

    /// Locks it if nobody holds it, or has been handed it. Never waits.
    ///
    /// ```
    /// use runtime::sync::Mutex;
    ///
    /// let mutex = Mutex::new("value");
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// drop(guard);
    /// assert!(mutex.try_lock().is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| self.guard())
    }

    /// Locks it, waiting `duration` at most. If its turn comes when the time is just over, it is locked.
    ///
    /// # Panics
    /// Unwinds as [`lock`](Self::lock). The holder itself waits in vain.
    ///
    /// ```
    /// use runtime::{sync::Mutex, time::Duration};
    ///
    /// let mutex = Mutex::new(());
    /// let guard = mutex.lock();
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[track_caller]
    pub fn lock_timeout(&self, duration: Duration) -> Option<MutexGuard<'_, T>> {
        let locked = self.raw.lock_until(clock::after(duration));
        locked.then(|| self.guard())
    }

    /// Locks it, waiting until `deadline` at most.
    ///
    /// # Panics
    /// As [`lock_timeout`](Self::lock_timeout).
    #[track_caller]
    pub fn lock_deadline(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        let locked = self.raw.lock_until(Some(deadline));
        locked.then(|| self.guard())
    }

    /// The value, without locking: nobody else knows of it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cfg(all(test, shuttle))]
    pub(super) fn begin_and_leave(&self) {
        self.raw.begin_and_leave();
    }

    /// Of whoever has just locked it.
    #[inline(always)]
    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            not_send: PhantomData,
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mutex = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(value) => mutex.field("value", &&*value),
            None => mutex.field("value", &format_args!("<locked>")),
        };
        mutex.finish()
    }
}

/// A [`Mutex`], locked until this is dropped.
///
/// It stays on its thread, as std's does:
///
/// ```compile_fail,E0277
/// fn may_go_to_another_thread<T: Send>() {}
/// may_go_to_another_thread::<runtime::sync::MutexGuard<'_, ()>>();
/// ```
#[must_use = "a mutex is unlocked when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: `&MutexGuard` is as good as a `&T`, and no more.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex that it locks.
    pub(super) fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }

    /// A guard of a part of the value, which keeps the whole locked.
    ///
    /// ```
    /// use runtime::sync::{Mutex, MutexGuard};
    ///
    /// let pair = Mutex::new((1, "one"));
    /// let mut number = MutexGuard::map(pair.lock(), |pair| &mut pair.0);
    /// *number += 1;
    /// drop(number);
    /// assert_eq!(*pair.lock(), (2, "one"));
    /// ```
    pub fn map<U: ?Sized>(
        guard: Self,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let mutex = guard.mutex;
        // SAFETY: the guard's holder is alone with the value, and so is the new guard's, which takes its place. If
        // `part` unwinds, nothing of the reference is left, and the guard unlocks.
        let part = std::ptr::from_mut(part(unsafe { &mut *mutex.value.get() }));
        mem::forget(guard);
        MappedMutexGuard {
            raw: &mutex.raw,
            part,
            borrowed: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: there is one guard from a lock to its unlock: see `raw`. It is borrowed meanwhile.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed by the caller alone.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A part of what a [`Mutex`] holds, which is locked until this is dropped; see [`MutexGuard::map`].
#[must_use = "a mutex is unlocked when its guard is dropped"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    raw: &'a RawMutex,
    part: *mut T,
    borrowed: PhantomData<&'a mut T>,
}

// SAFETY: `&MappedMutexGuard` is as good as a `&T`, and no more.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a part of the value that this guard, in the place of the mutex's, is alone with.
        unsafe { &*self.part }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed by the caller alone.
        unsafe { &mut *self.part }
    }
}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
