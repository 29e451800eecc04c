//! Reader-writer locks: a value that many may read at a time, or one change.
//!
//! [`raw`] tells who may; here is the value, behind guards that unlock.

mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::seam::clock;

use raw::{Access, Place, RawRwLock};

/// A value that any number may read at a time, or one at a time write.
///
/// As [`std::sync::RwLock`], but whoever has to wait lets others run, and there is no poisoning. Guards may be held
/// across a yield or a wait.
///
/// **First come, first served**, readers and writers alike: a reader that comes while a writer waits goes behind it.
/// So neither starves: nobody is overtaken, and those who read next to each other in the queue read together.
///
/// ```
/// use runtime::sync::RwLock;
///
/// runtime::run(|| {
///     let table = RwLock::new(vec![1, 2, 3]);
///     runtime::scope(|s| {
///         for _ in 0..5 {
///             s.spawn(|| assert!(table.read().len() >= 3)); // all at a time, if they come together
///         }
///         s.spawn(|| table.write().push(4));
///     });
///     assert_eq!(*table.read(), [1, 2, 3, 4]);
/// });
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: whoever owns the lock owns the value, and nothing else of it belongs to a thread.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: `&RwLock` gives access to one writer, which may move the value out (`T: Send`), or to readers of several
// threads together (`T: Sync`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock that nobody holds.
        pub const fn new(value: T) -> Self {
            RwLock {
                raw: RawRwLock::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, of which nobody else can know any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it to read, waiting for those who write, or came before to do so.
    ///
    /// # Panics
    /// If the caller writes: it would wait for itself. A reader which locks once more while a writer waits is told of only
    /// when [deadlocks](crate::observe::Deadlock) are looked for: it waits behind that writer, and the writer for it, for ever.
    ///
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[inline(always)]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let place = self.raw.lock(Access::Read);
        self.reader(place)
    }

    /// Locks it to write, waiting for all others who have it or came before.
    ///
    /// # Panics
    /// If the caller writes already: it would wait for itself. So would one that reads, which is told of only when
    /// [deadlocks](crate::observe::Deadlock) are looked for.
    ///
    /// Unwinds as [`read`](Self::read).
    #[inline(always)]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.raw.lock(Access::Write);
        self.writer()
    }

    /// Locks it to read if nobody writes, or waits. Never waits.
    ///
    /// ```
    /// use runtime::sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// let one = lock.try_read().unwrap();
    /// let two = lock.try_read().unwrap();
    /// assert!(lock.try_write().is_none());
    /// drop((one, two));
    /// assert!(lock.try_write().is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let place = self.raw.try_lock(Access::Read)?;
        Some(self.reader(place))
    }

    /// Locks it to write if nobody reads, writes or waits. Never waits.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.try_lock(Access::Write)?;
        Some(self.writer())
    }

    /// Locks it to read, waiting `duration` at most. If its turn comes when the time is just over, it is locked.
    ///
    /// # Panics
    /// Unwinds as [`read`](Self::read). The writer itself waits in vain.
    ///
    /// ```
    /// use runtime::{sync::RwLock, time::Duration};
    ///
    /// let lock = RwLock::new(());
    /// let writer = lock.write();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[track_caller]
    pub fn read_timeout(&self, duration: Duration) -> Option<RwLockReadGuard<'_, T>> {
        let place = self.raw.lock_until(Access::Read, clock::after(duration))?;
        Some(self.reader(place))
    }

    /// Locks it to read, waiting until `deadline` at most.
    ///
    /// # Panics
    /// As [`read_timeout`](Self::read_timeout).
    #[track_caller]
    pub fn read_deadline(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        let place = self.raw.lock_until(Access::Read, Some(deadline))?;
        Some(self.reader(place))
    }

    /// Locks it to write, waiting `duration` at most.
    ///
    /// # Panics
    /// As [`read_timeout`](Self::read_timeout).
    #[track_caller]
    pub fn write_timeout(&self, duration: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.lock_until(Access::Write, clock::after(duration))?;
        Some(self.writer())
    }

    /// Locks it to write, waiting until `deadline` at most.
    ///
    /// # Panics
    /// As [`read_timeout`](Self::read_timeout).
    #[track_caller]
    pub fn write_deadline(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.lock_until(Access::Write, Some(deadline))?;
        Some(self.writer())
    }

    /// The value, without locking: nobody else knows of it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cfg(all(test, shuttle))]
    pub(super) fn begin_to_write_and_leave(&self) {
        self.raw.begin_and_leave(Access::Write);
    }

    /// Of whoever has just locked it to read.
    #[inline(always)]
    fn reader(&self, place: Place) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard {
            lock: self,
            place,
            not_send: PhantomData,
        }
    }

    /// Of whoever has just locked it to write.
    #[inline(always)]
    fn writer(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard {
            lock: self,
            not_send: PhantomData,
        }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("RwLock");
        match self.try_read() {
            Some(value) => lock.field("value", &&*value),
            None => lock.field("value", &format_args!("<locked>")),
        };
        lock.finish()
    }
}

/// A [`RwLock`], locked to read until this is dropped. It stays on its thread, as std's does.
#[must_use = "a reader-writer lock is unlocked when its guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    place: Place,
    not_send: PhantomData<*mut ()>,
}

/// A [`RwLock`], locked to write until this is dropped. It stays on its thread, as std's does.
#[must_use = "a reader-writer lock is unlocked when its guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: `&RwLockReadGuard` is as good as a `&T`, and no more.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on reading what it has written: nobody writes in between, and others may read from now on.
    ///
    /// ```
    /// use runtime::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write();
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!((*reader, *lock.read()), (2, 2));
    /// ```
    #[track_caller]
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        mem::forget(guard);
        let place = lock.raw.downgrade();
        lock.reader(place)
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: from a lock to its unlock there are only readers: see `raw`. The guard is borrowed meanwhile.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: from a lock to its unlock there is this writer alone: see `raw`. The guard is borrowed meanwhile.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed by the caller alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock_read(self.place);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
