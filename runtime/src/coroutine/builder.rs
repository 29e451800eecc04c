//! Settings for a coroutine to be, and the ways to spawn it.

use std::io;
use std::panic::Location;

use super::{Id, JoinHandle, outside};
use crate::home::{self, Home};
use crate::seam::clock;
use crate::task::{Birth, InScope, TaskPtr};

/// Settings for a coroutine to be: its name and the size of its stack.
///
/// ```
/// use runtime::coroutine;
///
/// runtime::run(|| {
///     let worker = coroutine::Builder::new().name("parser").stack_size(256 << 10);
///     let handle = worker.spawn(|| coroutine::current().name().map(str::to_owned)).unwrap();
///     assert_eq!(handle.join().unwrap().as_deref(), Some("parser"));
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_bytes: usize,
    in_scope: InScope,
}

impl Builder {
    /// No name, and the runtime's default stack.
    pub fn new() -> Self {
        Builder::default()
    }

    /// The name that reports call it by.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Usable bytes of its stack, rounded up to pages and to the least size, 32 KiB.
    ///
    /// Pages that it never touches cost nothing.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = bytes.max(1);
        self
    }

    /// To be spawned in this scope.
    pub(crate) fn in_scope(mut self, scope: InScope) -> Self {
        self.in_scope = scope;
        self
    }

    /// As [`coroutine::spawn`](super::spawn()).
    ///
    /// # Errors
    /// `OutOfMemory` and the like when there is no memory or address space for another stack; `QuotaExceeded` when
    /// [`max_coroutines`](crate::Builder::max_coroutines) are alive; `InvalidInput` for an absurd stack size. The closure is dropped; the runtime goes on.
    ///
    /// # Panics
    /// Outside a coroutine.
    #[track_caller]
    #[inline]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: closure and result are `'static` and `Send`.
        unsafe { self.spawn_unchecked(f, true) }
    }

    /// As [`coroutine::spawn_local`](super::spawn_local()).
    ///
    /// # Errors
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Panics
    /// Outside a coroutine.
    #[track_caller]
    #[inline]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: closure and result are `'static`, and the coroutine stays on this worker. A handle to a
        // result that is not `Send` is not `Send` either.
        unsafe { self.spawn_unchecked(f, false) }
    }

    /// # Safety
    /// Closure and result stay valid until the coroutine has finished and been joined or detached; both
    /// may be sent to another thread if `may_move`.
    #[track_caller]
    #[inline]
    pub(crate) unsafe fn spawn_unchecked<F, T>(
        self,
        f: F,
        may_move: bool,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let Some((home, _)) = home::strand() else {
            outside("spawn")
        };
        // SAFETY: the caller's promise.
        unsafe { self.spawn_on(home, f, may_move) }
    }

    /// # Safety
    /// As [`spawn_unchecked`](Self::spawn_unchecked); `home` is that of the calling thread.
    #[track_caller]
    #[inline]
    pub(crate) unsafe fn spawn_on<F, T>(
        self,
        home: &Home,
        f: F,
        may_move: bool,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        if self.stack_bytes == 0 {
            home.reserve_stack()?;
        } else {
            home.promise_stack(self.stack_bytes)?;
        }
        let birth = Birth {
            id: home.ids.take(),
            name: self.name,
            spawned_at: Location::caller(),
            stack_bytes: self.stack_bytes,
            may_move,
            at: home.clock.get(),
            in_scope: self.in_scope,
        };
        // SAFETY: the caller's promise.
        let task = unsafe { TaskPtr::new(birth, f) }?;
        home.admit(task);
        Ok(JoinHandle::new(task))
    }

    /// As [`spawn`](Builder::spawn), from a plain thread into a runtime.
    ///
    /// # Safety
    /// As [`spawn_unchecked`](Self::spawn_unchecked), with `may_move`.
    #[track_caller]
    pub(crate) unsafe fn inject<F, T>(
        self,
        shared: &home::Shared,
        f: F,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        shared.check_room()?;
        let birth = Birth {
            id: Id::take_one(),
            name: self.name,
            spawned_at: Location::caller(),
            stack_bytes: self.stack_bytes,
            may_move: true,
            at: shared.ticks(clock::now()),
            in_scope: self.in_scope,
        };
        // SAFETY: the caller's promise.
        let task = unsafe { TaskPtr::new(birth, f) }?;
        shared.inject(task);
        Ok(JoinHandle::new(task))
    }
}
