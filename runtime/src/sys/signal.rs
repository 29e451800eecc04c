//! Signals that report a fault: hook SIGSEGV and SIGBUS, pass on what is not ours, end the process.
//!
//! ```text
//! touch of bad memory --kernel--> our handler --ours--> report, abort
//!                                      \--not ours--> chain: whoever was there before us
//! ```
//!
//! A handler runs in the middle of anything. What is marked *signal-safe* here may be called from
//! one: it takes no lock and allocates nothing.
//!
//! Sources: sigaction(2), sigaltstack(2), signal-safety(7).

use std::{
    ffi::{c_int, c_void},
    io,
    mem::MaybeUninit,
    ptr,
};

pub(crate) use libc::siginfo_t as Info;
pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGWINCH,
};

use super::memory::Span;
use crate::seam::sync::real::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};

/// What the kernel calls: signal number, what happened, and the registers at that moment.
pub(crate) type Handler = extern "C" fn(c_int, *mut Info, *mut c_void);

/// What the kernel raises when memory is touched that may not be touched.
const MEMORY_FAULTS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Who handled each of [`MEMORY_FAULTS`] before us: null until hooked, then a leaked box.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Where memory was touched and where the stack of the culprit was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) address: usize,
    /// `None` where this file does not know the processor's registers.
    pub(crate) stack_pointer: Option<usize>,
    /// Where the frame ends that was being made, page by page, if that is what has faulted.
    pub(crate) probes_down_to: Option<usize>,
}

/// Puts `handler` in front of whoever handles memory faults now. To be called once.
///
/// It runs on the thread's alternate stack where there is one: the stack at fault may be full.
pub(crate) fn hook_memory_faults(handler: Handler) -> io::Result<()> {
    for (signal, previous) in MEMORY_FAULTS.into_iter().zip(&PREVIOUS) {
        let action = Box::leak(Box::new(action_of(signal)?));
        // Release: pairs with the Acquire in `chain`. Before the handler is in place, so that it
        // never runs without somebody to pass the fault on to.
        previous.store(action, Release);
        install(signal, handler as libc::sighandler_t, libc::SA_SIGINFO)?;
    }
    Ok(())
}

/// What touched memory where; `None` if the signal was sent by kill(2) or its like. Signal-safe.
///
/// # Safety
/// `info` and `context` are what the kernel passed to the handler of a memory fault.
pub(crate) unsafe fn fault(info: *const Info, context: *const c_void) -> Option<Fault> {
    // SAFETY: the kernel's siginfo_t lives until the handler returns.
    let info = unsafe { &*info };
    // Positive: raised by the kernel. Otherwise the address field holds the sender's pid and uid.
    (info.si_code > 0).then(|| Fault {
        // SAFETY: for a memory fault the kernel fills in the address.
        address: unsafe { info.si_addr() } as usize,
        // SAFETY: passed on.
        stack_pointer: unsafe { stack_pointer(context) },
        // SAFETY: likewise.
        probes_down_to: unsafe { probes_down_to(context) },
    })
}

/// Passes a memory fault on to whoever handled it before us. Signal-safe as far as they are.
///
/// Without anybody, the default is restored, and the process dies as if we had never been there: by
/// the same instruction faulting again, or by the same signal being sent again.
///
/// # Safety
/// The arguments are those of the handler that calls this, which returns right after.
pub(crate) unsafe fn chain(signal: c_int, info: *mut Info, context: *mut c_void) {
    let slot = MEMORY_FAULTS.iter().position(|&known| known == signal);
    // Acquire: pairs with the Release in `hook_memory_faults`, so the action is whole.
    let previous = slot.map_or(ptr::null_mut(), |slot| PREVIOUS[slot].load(Acquire));
    // SAFETY: null or a box leaked by `hook_memory_faults` and not written since.
    let previous = unsafe { previous.as_ref() };
    match previous.map_or(libc::SIG_DFL, |action| action.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: passed on.
            unsafe { without_handler(signal, info, previous) }
        }
        handler if previous.is_some_and(|action| action.sa_flags & libc::SA_SIGINFO != 0) => {
            // SAFETY: with SA_SIGINFO set, who installed the action gave a function of three
            // arguments, and gets those of the kernel.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is a function of one argument, and neither of the two
            // constants, which are no functions.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

/// Ends the process by SIGABRT (exit status 134 in a shell), past any handler. Signal-safe.
pub(crate) fn abort() -> ! {
    let _ = install(libc::SIGABRT, libc::SIG_DFL, 0);
    // SAFETY: abort(3) has no precondition; it unblocks the signal.
    unsafe { libc::abort() }
}

/// Writes to standard error, as much as it takes. Signal-safe.
pub(crate) fn write_stderr(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: write(2) reads `text.len()` bytes of a slice that is borrowed for the call.
        let written = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(written) => text = &text[written..],
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The stack on which this thread runs signal handlers that ask for it; `None` if there is none.
pub(crate) fn alternate_stack() -> io::Result<Option<Span>> {
    let mut current = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: with a null new value, sigaltstack(2) only fills in the current one.
    check(unsafe { libc::sigaltstack(ptr::null(), current.as_mut_ptr()) })?;
    // SAFETY: filled in by the call that succeeded.
    let current = unsafe { current.assume_init() };
    let enabled = current.ss_flags & libc::SS_DISABLE == 0;
    Ok(enabled.then_some(Span {
        start: current.ss_sp as usize,
        bytes: current.ss_size,
    }))
}

/// Makes `stack` this thread's alternate stack, or leaves it without one.
///
/// # Safety
/// `stack` is writable memory that nobody else uses until this thread has another alternate stack
/// or none; none of the thread's handlers runs on the one before.
pub(crate) unsafe fn set_alternate_stack(stack: Option<Span>) -> io::Result<()> {
    let new = libc::stack_t {
        ss_sp: stack.map_or(ptr::null_mut(), |stack| {
            ptr::with_exposed_provenance_mut(stack.start)
        }),
        ss_flags: if stack.is_some() { 0 } else { libc::SS_DISABLE },
        ss_size: stack.map_or(0, |stack| stack.bytes),
    };
    // SAFETY: the kernel copies `new`; the caller answers for what it points to.
    check(unsafe { libc::sigaltstack(&new, ptr::null_mut()) })
}

/// # Safety
/// As [`chain`]; `previous` is the default or to ignore the signal.
unsafe fn without_handler(signal: c_int, info: *const Info, previous: Option<&libc::sigaction>) {
    // SAFETY: the kernel's siginfo_t lives until the handler returns.
    let sent = unsafe { (*info).si_code } <= 0;
    let ignored = previous.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN);
    if sent && ignored {
        return;
    }
    // A fault cannot be ignored: the kernel would kill, and so does the default.
    let _ = install(signal, libc::SIG_DFL, 0);
    if sent {
        // SAFETY: raise(3) is signal-safe; the signal stays pending until the handler returns.
        unsafe { libc::raise(signal) };
    }
}

/// # Safety
/// `context` is what the kernel passed to a handler.
#[cfg(target_arch = "x86_64")]
unsafe fn stack_pointer(context: *const c_void) -> Option<usize> {
    // SAFETY: the third argument of a handler is a ucontext_t, alive until the handler returns.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    Some(context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize)
}

/// # Safety
/// `context` is what the kernel passed to a handler.
#[cfg(target_arch = "aarch64")]
unsafe fn stack_pointer(context: *const c_void) -> Option<usize> {
    // SAFETY: the third argument of a handler is a ucontext_t, alive until the handler returns.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    Some(context.uc_mcontext.sp as usize)
}

/// # Safety
/// None: it does not look.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn stack_pointer(_context: *const c_void) -> Option<usize> {
    None
}

pub(super) fn action_of(signal: c_int) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new value, sigaction(2) only fills in the current one.
    check(unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) })?;
    // SAFETY: filled in by the call that succeeded.
    Ok(unsafe { action.assume_init() })
}

/// Signal-safe. `handler` is a [`Handler`] (with `SA_SIGINFO`) or `SIG_DFL`.
pub(super) fn install(signal: c_int, handler: libc::sighandler_t, flags: c_int) -> io::Result<()> {
    // SAFETY: all zeros is a sigaction: the default, with an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    // ONSTACK: the stack that the signal meets may be a full one. RESTART: a handler of ours never
    // makes somebody's system call fail.
    action.sa_flags = flags | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the callers in `sys` pass a handler that fits its flags and lives for ever.
    check(unsafe { libc::sigaction(signal, &action, ptr::null_mut()) })
}

/// # Safety
/// The action is one that may be in place, by its own contract.
pub(super) unsafe fn set_action(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the kernel reads the action during the call; the caller answers for what it does.
    check(unsafe { libc::sigaction(signal, action, ptr::null_mut()) })
}

fn check(status: c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The compiler makes a frame that is larger than a page by a loop that touches each page, with the end in `r11`:
/// `sub rsp, 4096; mov [rsp], 0; cmp rsp, r11; jne`. So this is it if there are whole pages in between.
///
/// # Safety
/// As for [`stack_pointer`].
#[cfg(target_arch = "x86_64")]
unsafe fn probes_down_to(context: *const c_void) -> Option<usize> {
    const PAGE_BYTES: usize = 4096;
    const FRAME_MAX: usize = 1 << 32;
    // SAFETY: the third argument of a handler is a ucontext_t, alive until the handler returns.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let register = |which: c_int| context.uc_mcontext.gregs[which as usize] as usize;
    let (pointer, end) = (register(libc::REG_RSP), register(libc::REG_R11));
    let left = pointer.checked_sub(end)?;
    (left.is_multiple_of(PAGE_BYTES) && left < FRAME_MAX).then_some(end)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn probes_down_to(_context: *const c_void) -> Option<usize> {
    None
}

/// From now on the process ends by SIGABRT, whatever comes: another fault, also of this handler's, or so many seconds.
pub(crate) fn abort_whatever_comes(seconds: u32) {
    extern "C" fn end(_signal: c_int) {
        abort()
    }
    let handler: extern "C" fn(c_int) = end;
    // SAFETY: all zeros is an empty set; sigaddset(3) and pthread_sigmask(3) are signal-safe and get a set of ours.
    unsafe {
        let mut faults: libc::sigset_t = MaybeUninit::zeroed().assume_init();
        for signal in MEMORY_FAULTS.into_iter().chain([libc::SIGALRM]) {
            let _ = install(signal, handler as libc::sighandler_t, 0);
            libc::sigaddset(&mut faults, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &faults, ptr::null_mut());
        libc::alarm(seconds);
    }
}
