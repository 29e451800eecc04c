//! Interrupts: has another thread of the process call a function, in the middle of whatever it does.
//!
//! By SIGURG, which a process does not notice unless it has asked for it, so that one more of them harms nobody
//! (Go's runtime chose it for that reason). It is sent with SA_RESTART: a system call that it meets goes on, but for those
//! that never do (signal(7): nanosleep(2), epoll_wait(2), ..), which return `EINTR`.

use std::ffi::{c_int, c_void};
use std::{io, mem, ptr};

use super::signal::{Handler, Info, action_of, install};
use super::thread::ThreadId;
use crate::seam::sync::Once;
use crate::seam::sync::real::atomic::{AtomicPtr, Ordering};

/// What is to be called; whether the interrupt was for it.
type Callee = fn() -> bool;

static CALLEE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Who handled the signal before us: null or a leaked box.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Has `thread` call `callee`, which must be signal-safe: no lock, no allocation. It is the same for all calls.
///
/// # Errors
/// `ESRCH`: there is no such thread any more.
pub(crate) fn interrupt(thread: ThreadId, callee: Callee) -> io::Result<()> {
    static HOOK: Once = Once::new();
    CALLEE.store(callee as *mut (), Ordering::Release);
    HOOK.call_once(|| {
        if let Ok(previous) = action_of(libc::SIGURG) {
            PREVIOUS.store(Box::leak(Box::new(previous)), Ordering::Release);
        }
        let _ = install(
            libc::SIGURG,
            on_signal as *const () as libc::sighandler_t,
            libc::SA_SIGINFO,
        );
    });
    // SAFETY: takes numbers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.0, libc::SIGURG) };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut Info, context: *mut c_void) {
    // SAFETY: errno is the thread's own, and always there.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    let callee = CALLEE.load(Ordering::Acquire);
    // SAFETY: null, or stored by `interrupt`, from a function of this type.
    let callee = unsafe { mem::transmute::<*mut (), Option<Callee>>(callee) };
    if !callee.is_some_and(|callee| callee()) {
        // Acquire: pairs with the Release in `interrupt`, so the action is whole.
        let previous = PREVIOUS.load(Ordering::Acquire);
        // SAFETY: null, or a box leaked by `interrupt` and not written since.
        if let Some(previous) = unsafe { previous.as_ref() } {
            // SAFETY: our own arguments, and nothing follows that uses them.
            unsafe { pass_on(previous, signal, info, context) };
        }
    }
    *errno = before;
}

/// # Safety
/// The arguments are those of the handler that calls this; `previous` was in place before it.
unsafe fn pass_on(
    previous: &libc::sigaction,
    signal: c_int,
    info: *mut Info,
    context: *mut c_void,
) {
    match previous.sa_sigaction {
        // By default it is ignored too.
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO set, who installed the action gave a function of three arguments.
            let handler = unsafe { mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is a function of one argument.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}
