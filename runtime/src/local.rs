//! Coroutine-locals: `thread_local!`, with a coroutine where std has a thread.
//!
//! A `thread_local!` is shared by all coroutines of a worker; a [`coroutine_local!`](crate::coroutine_local)
//! is each one's own, made at its first use and dropped when the coroutine ends, youngest first. On a
//! plain OS thread it is the thread's.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::home;
use crate::seam::sync::thread_local;
use crate::task::Locals;

/// Declares values that each coroutine has of its own.
///
/// ```
/// use std::cell::Cell;
///
/// runtime::coroutine_local! {
///     /// How deep we are.
///     static DEPTH: Cell<u32> = Cell::new(0);
/// }
///
/// runtime::run(|| {
///     DEPTH.with(|depth| depth.set(7));
///     let other = runtime::spawn(|| DEPTH.with(Cell::get));
///     assert_eq!(other.join().unwrap(), 0);
///     assert_eq!(DEPTH.with(Cell::get), 7);
/// });
/// ```
#[macro_export]
macro_rules! coroutine_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr);* $(;)?) => {
        $(
            $(#[$attribute])*
            $visibility static $name: $crate::local::LocalKey<$type> = $crate::local::LocalKey::new(|| $init);
        )*
    };
}

/// Gives access to a value declared with [`coroutine_local!`](crate::coroutine_local).
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// The value is not there any more: its coroutine, or thread, is ending and has dropped its locals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread has dropped its locals already")
    }
}

impl std::error::Error for AccessError {}

thread_local! {
    /// Those of the plain thread.
    static OF_THREAD: RefCell<Locals> = const { RefCell::new(Vec::new()) };
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        LocalKey { init }
    }

    /// Calls `f` with the value, which is made now if this is its first use. `f` may yield and wait.
    ///
    /// Cost: a search among the coroutine's locals, in order of their first use.
    ///
    /// # Panics
    /// On a plain thread that is ending, as [`std::thread::LocalKey::with`].
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f)
            .expect("a coroutine-local is used after its thread has dropped it")
    }

    /// As [`with`](Self::with).
    ///
    /// # Errors
    /// [`AccessError`] on a plain thread that is ending.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = match home::strand() {
            Some((_, task)) => self.value(task.locals()),
            None => OF_THREAD
                .try_with(|locals| self.value(locals))
                .map_err(|_| AccessError)?,
        };
        // The value is counted, so it stays while `f` waits, whatever becomes of the list.
        Ok(f(value.downcast_ref().expect("a key has one type")))
    }

    fn value(&'static self, locals: &RefCell<Locals>) -> Rc<dyn Any> {
        let key = std::ptr::from_ref(self).cast();
        let found = |locals: &Locals| {
            locals
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, value)| value.clone())
        };
        if let Some(value) = found(&locals.borrow()) {
            return value;
        }
        // No borrow is held: `init` may use other locals, and wait.
        let made: Rc<dyn Any> = Rc::new((self.init)());
        locals.borrow_mut().push((key, made.clone()));
        made
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey { .. }")
    }
}
