//! Values that others have made: results on their way out, payloads of panics, destructors that may panic.

use std::any::Any;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::interrupts::Raise;

/// What a panic carries, as in [`std::thread::Result`].
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// Reads a value as it was written, a word at a time, if it is small.
///
/// A vector load of words that were stored one by one a moment ago cannot be forwarded from the store buffer and waits
/// for it to drain: 4 ns of a spawn and join.
///
/// # Safety
/// As [`ptr::read`].
#[inline(always)]
pub(super) unsafe fn read_by_words<T>(from: *const T) -> T {
    const WORDS_MAX: usize = 4;
    let words = size_of::<T>() / size_of::<usize>();
    if words > WORDS_MAX
        || !size_of::<T>().is_multiple_of(size_of::<usize>())
        || align_of::<T>() < align_of::<usize>()
    {
        // SAFETY: the caller's promise.
        return unsafe { from.read() };
    }
    let mut value = MaybeUninit::<T>::uninit();
    for word in 0..words {
        // SAFETY: both places have room for `words` words and are aligned for them; `MaybeUninit` words carry
        // padding and pointers as they are.
        unsafe {
            let word_read = from.cast::<MaybeUninit<usize>>().add(word).read_volatile();
            value
                .as_mut_ptr()
                .cast::<MaybeUninit<usize>>()
                .add(word)
                .write(word_read);
        }
    }
    // SAFETY: all its bytes have been copied.
    unsafe { value.assume_init() }
}

/// The text of a panic's payload, if it is one.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(a payload that is no text)",
    }
}

/// Drops a value whose destructor may panic; what it throws is forgotten, lest that panics too.
pub(crate) fn drop_quietly<T>(value: T) {
    match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Err(payload) if payload.is::<Raise>() => drop(payload),
        Err(payload) => std::mem::forget(payload),
        Ok(()) => {}
    }
}
