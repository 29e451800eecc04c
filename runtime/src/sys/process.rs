//! What the runtime must know of its process: has it been forked; and how it says something.

use std::cell::Cell;

use crate::seam::sync::Once;
use crate::seam::sync::real::atomic::{AtomicBool, Ordering};

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

/// How many threads the process has; none if that cannot be told (/proc is not mounted).
pub(crate) fn threads_of_process() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}
