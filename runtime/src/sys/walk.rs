//! Walking the stack: whose frames are on it, and whether one of them is in the middle of an unwinding. For decisions that
//! are seldom: a microsecond per frame, or less.
//!
//! Of a destructor that runs because something unwinds, nothing on the stack tells but the call it was called by: the
//! unwinder has jumped into code that the compiler has laid there for the purpose (a landing pad), and is not on the
//! stack meanwhile. But of each call the function's table tells what becomes of a panic that comes out of it:
//!
//! | the call lies in        | a panic out of it                         | its actions in the table              |
//! |-------------------------|-------------------------------------------|---------------------------------------|
//! | ordinary code           | goes on, perhaps by way of a landing pad  | none, or cleanups                     |
//! | `catch_unwind`          | is caught                                 | a catch                               |
//! | a landing pad           | ends the process: two panics at a time    | a filter, which lets nothing through  |
//! | an `extern "C"` function | ends the process: nothing may come out   | the same                              |
//!
//! So a panic that begins here, and is not caught before, ends the process if and only if some call on the stack has a
//! filter; inlining carries it along. The table, the language-specific data of the Itanium C++ ABI, is what Rust's own
//! `rust_eh_personality` decides by.

use std::ffi::c_void;
use std::ops::{ControlFlow, Range};

use crate::seam::sync::real::atomic::{AtomicUsize, Ordering};

// The unwinder that std itself is linked with (Itanium C++ ABI: Exception Handling, level I, and what all
// implementations have beside it).
type Trace = extern "C" fn(*mut c_void, *mut c_void) -> i32;
// SAFETY: these are the signatures that the ABI document gives, and libgcc and LLVM's libunwind have.
unsafe extern "C" {
    fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> i32;
    fn _Unwind_GetIPInfo(context: *mut c_void, before: *mut i32) -> usize;
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
    fn _Unwind_GetRegionStart(context: *mut c_void) -> usize;
    fn _Unwind_GetLanguageSpecificData(context: *mut c_void) -> *const u8;
    fn _Unwind_FindEnclosingFunction(pc: *mut c_void) -> *mut c_void;
}

/// A frame, during the walk.
struct Frame(*mut c_void);

impl Frame {
    /// An address in the call that the frame is in.
    fn call(&self) -> usize {
        let mut before = 0;
        // SAFETY: the context is the unwinder's, as long as the frame is handed out.
        let ip = unsafe { _Unwind_GetIPInfo(self.0, &mut before) };
        if before == 0 {
            ip.saturating_sub(1)
        } else {
            ip
        }
    }

    /// A signal has interrupted it: it is in no call.
    fn is_interrupted(&self) -> bool {
        let mut before = 0;
        // SAFETY: as in `call`.
        unsafe { _Unwind_GetIPInfo(self.0, &mut before) };
        before != 0
    }

    /// Where its stack pointer will be when that call returns.
    fn stack_pointer(&self) -> usize {
        // SAFETY: as in `call`.
        unsafe { _Unwind_GetCFA(self.0) }
    }

    /// The start of its function; 0 if nothing is known of it.
    fn function(&self) -> usize {
        // SAFETY: takes any address.
        unsafe { _Unwind_FindEnclosingFunction(self.call() as *mut c_void) as usize }
    }

    /// A panic that comes out of the call ends the process.
    fn lets_nothing_through(&self) -> bool {
        // SAFETY: as in `call`; the table is that of the function that starts there.
        unsafe {
            let (table, start) = (
                _Unwind_GetLanguageSpecificData(self.0),
                _Unwind_GetRegionStart(self.0),
            );
            !table.is_null() && has_filter(Reader(table), self.call().wrapping_sub(start) as u64)
        }
    }
}

/// Calls `f` with each frame of this stack, innermost first, until it breaks off.
fn walk(mut f: impl FnMut(Frame) -> ControlFlow<()>) {
    struct Walk<'a>(&'a mut dyn FnMut(Frame) -> ControlFlow<()>);
    extern "C" fn step(context: *mut c_void, argument: *mut c_void) -> i32 {
        // SAFETY: `argument` is the `Walk` below, which nobody else uses during the walk.
        let walk = unsafe { &mut *argument.cast::<Walk<'_>>() };
        match (walk.0)(Frame(context)) {
            ControlFlow::Continue(()) => 0, // _URC_NO_REASON
            ControlFlow::Break(()) => 4,    // _URC_NORMAL_STOP
        }
    }
    let mut walk = Walk(&mut f);
    // SAFETY: `step` keeps the contract of a trace function, and `walk` outlives the call.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
}

/// Whether the caller is called, directly or not, by a destructor that an unwinding runs, or by an `extern "C"` function:
/// nothing may be raised here.
///
/// Of the caller's frames down to the bottom of `stack`; all, without. What was switched to from there counts too, as a
/// generator's stack does. The frame that switched does not: its switch is no call that the table knows. So whoever
/// switches does it in a function that no unwinding has entered, called by who may be in one.
pub(crate) fn is_unwinding(stack: Option<Range<usize>>) -> bool {
    let (mut has_come_there, mut found) = (false, false);
    walk(|frame| {
        if let Some(stack) = &stack {
            let is_there = stack.contains(&frame.stack_pointer());
            if has_come_there && !is_there {
                return ControlFlow::Break(());
            }
            has_come_there = is_there;
        }
        found = frame.lets_nothing_through();
        if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    found
}

/// Writes addresses in the calls on this stack, from what a signal has interrupted on, innermost first; returns how many.
///
/// In the handler of that signal. As signal-safe as the unwinder, which reads tables that the dynamic loader finds
/// without a lock, or else under one that it holds while it loads or unloads a library.
pub(crate) fn record_interrupted(into: &[AtomicUsize]) -> usize {
    let (mut len, mut is_below) = (0, false);
    walk(|frame| {
        if !is_below && frame.is_interrupted() {
            is_below = true;
            len = 0;
        }
        let Some(slot) = into.get(len) else {
            return ControlFlow::Break(());
        };
        slot.store(frame.call(), Ordering::Relaxed);
        len += 1;
        ControlFlow::Continue(())
    });
    len
}

/// A call on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    /// An address in its code.
    pub(crate) address: usize,
    /// Where the stack pointer will be when it returns: its frame lies below.
    pub(crate) frame_end: usize,
}

/// Calls `f` with each call, innermost first, up to those of the bottom of `stack`.
pub(crate) fn calls(stack: &Range<usize>, mut f: impl FnMut(Call)) {
    let mut has_come_there = false;
    walk(|frame| {
        let call = Call {
            address: frame.call(),
            frame_end: frame.stack_pointer(),
        };
        let is_there = stack.contains(&call.frame_end);
        if has_come_there && !is_there {
            return ControlFlow::Break(());
        }
        has_come_there |= is_there;
        f(call);
        ControlFlow::Continue(())
    });
}

/// The functions on this stack, innermost first.
pub(super) fn functions() -> Vec<usize> {
    let mut functions = Vec::new();
    walk(|frame| {
        functions.push(frame.function());
        ControlFlow::Continue(())
    });
    functions
}

/// Whether this function is on this stack.
pub(super) fn is_on_stack(function: usize) -> bool {
    let mut found = false;
    walk(|frame| {
        found = frame.function() == function;
        if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    found
}

/// Where the program or library that holds `address` is loaded.
pub(super) fn image_of(address: usize) -> Option<usize> {
    // SAFETY: all-zero is a valid value of this C struct of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr(3) takes any address, and writes `info`.
    let found = unsafe { libc::dladdr(address as *const c_void, &mut info) };
    (found != 0).then_some(info.dli_fbase as usize)
}

// ---- The table of a function ----------------------------------------------------------------------------------------

/// Whether the call at `offset` from the function's start has a filter among its actions.
///
/// ```text
///   header      encoding of a base, [base], encoding of types, [offset of types], encoding of the call sites
///   call sites  { start, length, landing pad, first action: 1 + offset among the actions, or 0 } ...   by start
///   actions     { filter if negative, catch if positive, cleanup if 0; offset of the next, or 0 } ...
/// ```
///
/// # Safety
/// `table` is at the start of the language-specific data of a function, in this form.
unsafe fn has_filter(mut table: Reader, offset: u64) -> bool {
    // SAFETY: the table ends with the last action of the call, so all that is read is of it.
    unsafe {
        let base = table.byte();
        if base != OMITTED {
            table.encoded(base);
        }
        if table.byte() != OMITTED {
            table.unsigned();
        }
        let encoding = table.byte();
        let length = table.unsigned();
        let actions = table.0.add(length as usize);
        while table.0 < actions {
            let (start, length) = (table.encoded(encoding), table.encoded(encoding));
            let (landing_pad, action) = (table.encoded(encoding), table.unsigned());
            if offset < start {
                break;
            }
            if offset < start + length {
                return landing_pad != 0
                    && action != 0
                    && has_filter_among(Reader(actions.add(action as usize - 1)));
            }
        }
        false
    }
}

/// # Safety
/// `action` is at an action of a table.
unsafe fn has_filter_among(mut action: Reader) -> bool {
    loop {
        // SAFETY: the actions of a call are a list that ends with one whose offset is 0.
        unsafe {
            if action.signed() < 0 {
                return true;
            }
            let from = action.0;
            match action.signed() {
                0 => return false,
                offset => action = Reader(from.offset(offset as isize)),
            }
        }
    }
}

/// Reads a table, in the encodings of DWARF.
struct Reader(*const u8);

/// What is said of a value that is not there.
const OMITTED: u8 = 0xff;

impl Reader {
    /// # Safety
    /// Another byte is there.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: the caller's promise.
        unsafe { self.fixed::<1>()[0] }
    }

    /// # Safety
    /// `N` more bytes are there.
    unsafe fn fixed<const N: usize>(&mut self) -> [u8; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let bytes = self.0.cast::<[u8; N]>().read();
            self.0 = self.0.add(N);
            bytes
        }
    }

    /// A LEB128 number, and how many bits it has.
    ///
    /// # Safety
    /// One is there.
    unsafe fn leb128(&mut self) -> (u64, u32) {
        let (mut value, mut bits) = (0, 0);
        loop {
            // SAFETY: it ends with the first byte whose highest bit is not set.
            let byte = unsafe { self.byte() };
            value |= u64::from(byte & 0x7f).checked_shl(bits).unwrap_or(0);
            bits += 7;
            if byte & 0x80 == 0 {
                return (value, bits);
            }
        }
    }

    /// # Safety
    /// An unsigned LEB128 number is there.
    unsafe fn unsigned(&mut self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.leb128() }.0
    }

    /// # Safety
    /// A signed LEB128 number is there.
    unsafe fn signed(&mut self) -> i64 {
        // SAFETY: the caller's promise.
        let (value, bits) = unsafe { self.leb128() };
        let unused = 64_u32.saturating_sub(bits);
        (value << unused).cast_signed() >> unused
    }

    /// A number in this encoding; the compiler gives all of a call site without a sign, from the function's start.
    ///
    /// # Safety
    /// One is there.
    unsafe fn encoded(&mut self, encoding: u8) -> u64 {
        // SAFETY: the caller's promise.
        unsafe {
            match encoding & 0x0f {
                0x01 => self.unsigned(),
                0x02 | 0x0a => u16::from_ne_bytes(self.fixed()).into(),
                0x03 | 0x0b => u32::from_ne_bytes(self.fixed()).into(),
                0x04 | 0x0c => u64::from_ne_bytes(self.fixed()),
                0x09 => self.signed().cast_unsigned(),
                _ => usize::from_ne_bytes(self.fixed()) as u64,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// Calls its function when dropped.
    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    /// As a suspension point: something may come out of it.
    #[inline(never)]
    fn look(found: &mut Vec<bool>) {
        found.push(is_unwinding(None));
        if black_box(false) {
            resume_unwind(Box::new(()));
        }
    }

    /// What `f` finds in an unwinding that it begins itself.
    fn found_by(f: impl FnOnce(&mut Vec<bool>)) -> Vec<bool> {
        let mut found = Vec::new();
        let _ = catch_unwind(AssertUnwindSafe(|| f(&mut found)));
        found
    }

    fn unwind() {
        if black_box(true) {
            resume_unwind(Box::new(()));
        }
    }

    #[test]
    fn a_destructor_in_an_unwinding_is_told_from_one_that_is_not() {
        assert_eq!(found_by(look), [false]);
        let usual = found_by(|found| {
            let _looks = OnDrop(|| look(found));
            black_box(());
        });
        assert_eq!(usual, [false]);
        let unwinding = found_by(|found| {
            let _looks = OnDrop(|| look(found));
            unwind();
        });
        assert_eq!(unwinding, [true]);
    }

    #[test]
    fn what_a_destructor_in_an_unwinding_calls_is_in_it_too_and_a_catch_does_not_hide_that() {
        let inside = found_by(|found| {
            let _looks = OnDrop(|| {
                let _ = catch_unwind(AssertUnwindSafe(|| look(found)));
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let _looks = OnDrop(|| look(found));
                    unwind();
                }));
                let _looks = OnDrop(|| look(found));
                black_box(());
            });
            unwind();
        });
        assert_eq!(inside, [true; 3]);
    }

    #[test]
    fn each_of_several_values_is_dropped_in_the_unwinding() {
        let found = std::cell::RefCell::new(Vec::new());
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let looks = || OnDrop(|| look(&mut found.borrow_mut()));
            let _several = Vec::from([looks(), looks()]);
            let _last: Box<dyn Fn()> = {
                let captured = looks();
                Box::new(move || _ = &captured)
            };
            unwind();
        }));
        assert_eq!(*found.borrow(), [true; 3]);
    }

    #[test]
    fn nothing_may_come_out_of_a_c_function() {
        extern "C" fn callback(found: &mut Vec<bool>) {
            look(found);
        }
        let callback = black_box(callback as extern "C" fn(&mut Vec<bool>));
        assert_eq!(found_by(|found| callback(found)), [true]);
    }

    /// What is found where only the frame of this function, and what it calls, is asked for.
    #[inline(never)]
    fn look_within() -> bool {
        let local = black_box(0_u8);
        let above = (&raw const local).addr() + 1;
        let found = is_unwinding(Some(above - 4096..above));
        if black_box(false) {
            resume_unwind(Box::new(()));
        }
        found
    }

    #[test]
    fn frames_beyond_the_given_stack_do_not_count() {
        let found = found_by(|found| {
            let _looks = OnDrop(|| found.push(look_within()));
            unwind();
        });
        assert_eq!(found, [false]);
    }
}
