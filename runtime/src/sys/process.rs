//! What the runtime must know of its process and threads: has it been forked, is the thread ending.

use std::cell::Cell;
use std::ffi::c_void;

use crate::seam::sync::Once;
use crate::seam::sync::real::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The process is a forked child of one that had a runtime.
static FORKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Called in the child of a fork made on this thread.
    static IN_CHILD: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// From now on a fork of this process is noticed in the child, and `in_child` is called there if the thread
/// that forks called this (pthread_atfork(3)).
pub(crate) fn watch_forks(in_child: fn()) {
    extern "C" fn child() {
        FORKED.store(true, Ordering::Relaxed);
        if let Some(in_child) = IN_CHILD.get() {
            in_child();
        }
    }
    static ONCE: Once = Once::new();
    IN_CHILD.set(Some(in_child));
    ONCE.call_once(|| {
        // SAFETY: `child` is a plain function that stays; it stores into an atomic and a const
        // thread-local, and calls what says of itself that it may be called there.
        unsafe { libc::pthread_atfork(None, None, Some(child)) };
    });
}

/// This process has been forked off from one whose runtime it cannot use.
pub(crate) fn is_forked_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// # Panics
/// In a forked child.
pub(crate) fn refuse_in_forked_child() {
    assert!(
        !is_forked_child(),
        "the runtime cannot be used in a forked child: its descriptors are shared with the parent, and its other \
         threads are gone. Start programs with posix_spawn or exec instead, or fork before the first runtime"
    );
}

/// Sets by how much the kernel may delay the calling thread's timed waits (prctl(2), `PR_SET_TIMERSLACK`); returns
/// what it was.
pub(crate) fn set_timer_slack(nanos: u64) -> u64 {
    // SAFETY: these two take and return numbers.
    unsafe {
        let previous = libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_TIMERSLACK, nanos, 0, 0, 0);
        u64::try_from(previous).unwrap_or(0) // 0: the thread's default
    }
}

// ---- Telling -------------------------------------------------------------------------------------------

/// Says something on standard error, in one piece, or not at all if there is none: a report must not become a panic.
#[cold]
pub(crate) fn report(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Ends the process if the code in its scope unwinds, where frames below would be left that must not be.
pub(crate) struct NoUnwind;

impl NoUnwind {
    /// The scope has been left as it should be.
    #[inline(always)]
    pub(crate) fn passed(self) {
        std::mem::forget(self);
    }
}

impl Drop for NoUnwind {
    fn drop(&mut self) {
        report("the scheduler panicked: coroutines that are alive could not be ended in order");
        std::process::abort();
    }
}

// ---- The end of a thread -------------------------------------------------------------------------------

/// Whether the calling thread is running destructors of thread-locals.
///
/// Whoever may then have been destroyed cannot be asked, so the stack is: the C library runs all such
/// destructors from one function, whose address a short-lived thread finds out the first time.
/// Cost: a walk of the stack, about a microsecond per frame, and a thread the first time.
pub(crate) fn is_thread_ending() -> bool {
    let runner = runner_of_destructors();
    runner != 0 && functions_on_stack(|function| function == runner)
}

/// The C library's function that runs the destructors of thread-locals; 0 if it could not be found out.
fn runner_of_destructors() -> usize {
    static RUNNER: AtomicUsize = AtomicUsize::new(0);
    static ONCE: Once = Once::new();
    struct Probe;
    impl Drop for Probe {
        fn drop(&mut self) {
            // Outermost last: the thread's start, the runner, the destructor, this function. So of the
            // functions of the C library, the runner is the one that was entered last.
            let own = functions();
            let outermost = own.len().saturating_sub(1);
            let library = |address: usize| image_of(address);
            let c = library(libc::getpid as *const () as usize);
            let runner = own[..outermost.max(1).min(own.len())]
                .iter()
                .copied()
                .find(|&f| c.is_some() && library(f) == c);
            RUNNER.store(runner.unwrap_or(0), Ordering::Relaxed);
        }
    }
    thread_local! {
        static PROBE: Probe = const { Probe };
    }
    ONCE.call_once(|| {
        if let Ok(thread) = std::thread::Builder::new().spawn(|| PROBE.with(|_| ())) {
            // The destructors run before the thread can be joined.
            let _ = thread.join();
        }
    });
    RUNNER.load(Ordering::Relaxed)
}

/// The functions on this stack, innermost first.
fn functions() -> Vec<usize> {
    let mut functions = Vec::new();
    functions_on_stack(|function| {
        functions.push(function);
        false
    });
    functions
}

/// Calls `f` with the start of each function on this stack, innermost first, until it returns true.
fn functions_on_stack(mut f: impl FnMut(usize) -> bool) -> bool {
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
fn image_of(address: usize) -> Option<usize> {
    // SAFETY: all-zero is a valid value of this C struct of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr(3) takes any address, and writes `info`.
    let found = unsafe { libc::dladdr(address as *const c_void, &mut info) };
    (found != 0).then_some(info.dli_fbase as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_destructor_of_a_thread_local_is_told_from_all_else() {
        struct Tell(mpsc::Sender<bool>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.send(is_thread_ending());
            }
        }
        thread_local! {
            static TELL: std::cell::RefCell<Option<Tell>> = const { std::cell::RefCell::new(None) };
        }
        let (told, hears) = mpsc::channel();
        let also = told.clone();
        let thread = std::thread::spawn(move || {
            drop(Tell(also));
            TELL.set(Some(Tell(told)));
        });
        assert_eq!(hears.recv(), Ok(false), "in the thread's own code");
        assert_eq!(hears.recv(), Ok(true), "in the destructor");
        thread.join().unwrap();
        assert!(!is_thread_ending());
    }
}
