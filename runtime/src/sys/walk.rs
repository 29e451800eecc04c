//! Walking the stack: whose frames are on it. For decisions that are seldom: about a microsecond per frame.

use std::ffi::c_void;

/// The functions on this stack, innermost first.
pub(super) fn functions() -> Vec<usize> {
    let mut functions = Vec::new();
    functions_on_stack(|function| {
        functions.push(function);
        false
    });
    functions
}

/// Calls `f` with the start of each function on this stack, innermost first, until it returns true.
pub(super) fn functions_on_stack(mut f: impl FnMut(usize) -> bool) -> bool {
    // The unwinder that std itself is linked with (Itanium C++ ABI: Exception Handling, level I).
    type Trace = extern "C" fn(*mut c_void, *mut c_void) -> i32;
    // SAFETY: these are the signatures that the ABI document gives.
    unsafe extern "C" {
        fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> i32;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
        fn _Unwind_FindEnclosingFunction(pc: *mut c_void) -> *mut c_void;
    }
    struct Walk<'a> {
        f: &'a mut dyn FnMut(usize) -> bool,
        found: bool,
    }
    extern "C" fn step(context: *mut c_void, argument: *mut c_void) -> i32 {
        // SAFETY: `argument` is the `Walk` below, which nobody else uses during the walk; `context` is the
        // unwinder's for the length of this call.
        let (walk, function) = unsafe {
            let pc = _Unwind_GetIP(context).saturating_sub(1);
            (
                &mut *argument.cast::<Walk<'_>>(),
                _Unwind_FindEnclosingFunction(pc as *mut c_void),
            )
        };
        walk.found = !function.is_null() && (walk.f)(function as usize);
        if walk.found { 4 } else { 0 } // _URC_NORMAL_STOP, _URC_NO_REASON
    }
    let mut walk = Walk {
        f: &mut f,
        found: false,
    };
    // SAFETY: `step` keeps the contract of a trace function, and `walk` outlives the call.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.found
}

/// Where the program or library that holds `address` is loaded.
pub(super) fn image_of(address: usize) -> Option<usize> {
    // SAFETY: all-zero is a valid value of this C struct of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr(3) takes any address, and writes `info`.
    let found = unsafe { libc::dladdr(address as *const c_void, &mut info) };
    (found != 0).then_some(info.dli_fbase as usize)
}
