//! Signals that somebody waits for: a handler notes them, and rings.
//!
//! ```text
//!   kernel ──► handler ──► for each watcher that wants it: pending |= bit; ring its eventfd
//!                  └─────► whoever handled the signal before us, if anybody
//! ```
//!
//! A handler may run in the middle of anything, also while a watcher leaves. So **watchers are never freed**, only
//! taken off and used again: one that is rung too late looks, and finds nothing. A process keeps as many
//! as it ever had at a time, an eventfd each.
//!
//! signalfd(2) would need no handler, but the signals be blocked in every thread of the process, by whoever starts
//! them; and a child inherits what is blocked.
//!
//! Sources: sigaction(2), signal(7), signal-safety(7).

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

use super::eventfd::EventFd;
use super::signal::{Handler, Info, action_of, install, set_action};
use crate::seam::sync::real::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::seam::sync::real::{Mutex, lock};

/// Signals have the numbers 1 to 64: bit 0 to 63 of a set.
const SIGNALS: usize = 64;

/// Those that the processor raises: to return from their handler is to raise them again.
const FAULTS: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

/// Who waits for signals; a link of a list that only grows.
struct Watcher {
    // Any thread, and the handler.
    wanted: AtomicU64,
    pending: AtomicU64,
    bell: EventFd,
    // Never changes once it is in the list.
    next: AtomicPtr<Watcher>,
}

/// The list's first.
static WATCHERS: AtomicPtr<Watcher> = AtomicPtr::new(ptr::null_mut());

/// Who handled each signal when we came: null or a leaked box.
static PREVIOUS: [AtomicPtr<libc::sigaction>; SIGNALS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

thread_local! {
    /// Signals that this thread is handling, one bit each.
    static PASSING_ON: Cell<u64> = const { Cell::new(0) };
}

/// What changes seldom.
static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    free: Vec::new(),
    users: [0; SIGNALS],
});

struct Registry {
    free: Vec<&'static Watcher>,
    /// How many watchers want each signal.
    users: [usize; SIGNALS],
}

/// A set of signals, watched until dropped.
pub(crate) struct Watch {
    watcher: &'static Watcher,
    signals: u64,
}

impl Watch {
    /// Watches `signals`, which do not do what they would by default from now on.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal, for SIGKILL and SIGSTOP, and for faults; `EMFILE`.
    pub(crate) fn new(signals: impl Iterator<Item = c_int>) -> io::Result<Self> {
        let mut registry = lock(&REGISTRY);
        let mut watch = Watch {
            watcher: registry.watcher()?,
            signals: 0,
        };
        for signal in signals {
            if let Err(error) = registry.add(&mut watch, signal) {
                drop(registry);
                drop(watch);
                return Err(error);
            }
        }
        Ok(watch)
    }

    /// Takes the signals that have come since it was last asked, one bit each.
    pub(crate) fn take(&self) -> u64 {
        // First silence, then the look: who notes a signal in between rings again.
        self.watcher.bell.silence();
        // Acquire: pairs with the Release in `handle`, for what came before the signal.
        // Only what we want: a handler that was late for whoever had the watcher before may have noted something.
        self.watcher.pending.swap(0, Ordering::Acquire) & self.signals
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watcher.bell.as_fd()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut registry = lock(&REGISTRY);
        self.watcher.wanted.store(0, Ordering::Relaxed);
        for index in (0..SIGNALS).filter(|index| self.signals & 1 << index != 0) {
            registry.remove(index);
        }
        self.watcher.pending.store(0, Ordering::Relaxed);
        self.watcher.bell.silence();
        registry.free.push(self.watcher);
    }
}

impl Registry {
    /// A watcher that wants nothing yet.
    fn watcher(&mut self) -> io::Result<&'static Watcher> {
        if let Some(watcher) = self.free.pop() {
            return Ok(watcher);
        }
        let watcher: &'static Watcher = Box::leak(Box::new(Watcher {
            wanted: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            bell: EventFd::new()?,
            next: AtomicPtr::new(WATCHERS.load(Ordering::Relaxed)),
        }));
        // Release: pairs with the Acquire in `handle`, so the watcher is whole. The lock keeps others from the list.
        WATCHERS.store(ptr::from_ref(watcher).cast_mut(), Ordering::Release);
        Ok(watcher)
    }

    fn add(&mut self, watch: &mut Watch, signal: c_int) -> io::Result<()> {
        let index = usize::try_from(signal)
            .ok()
            .and_then(|number| number.checked_sub(1));
        let index = index.filter(|&index| index < SIGNALS && !FAULTS.contains(&signal));
        let Some(index) = index else {
            let text = format!("signal {signal} cannot be waited for");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        if watch.signals & 1 << index != 0 {
            return Ok(());
        }
        if self.users[index] == 0 {
            hook(signal, index)?;
        }
        self.users[index] += 1;
        watch.signals |= 1 << index;
        watch.watcher.wanted.store(watch.signals, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        self.users[index] -= 1;
        if self.users[index] == 0 {
            unhook(index as c_int + 1, index);
        }
    }
}

/// Puts our handler in front of whoever handles `signal` now.
fn hook(signal: c_int, index: usize) -> io::Result<()> {
    let action = action_of(signal)?;
    if !is_ours(&action) {
        let known = PREVIOUS[index].load(Ordering::Relaxed);
        // SAFETY: null or a box leaked below and not written since.
        let known = unsafe { known.as_ref() };
        let same = known.is_some_and(|known| {
            (known.sa_sigaction, known.sa_flags) == (action.sa_sigaction, action.sa_flags)
        });
        if !same {
            // Release: pairs with the Acquire in `handle`, so the action is whole. Before the handler is in place. What
            // was there before is leaked: a handler may be looking at it.
            let action = Box::into_raw(Box::new(action));
            PREVIOUS[index].store(action, Ordering::Release);
        }
    }
    let handler: Handler = handle;
    install(signal, handler as libc::sighandler_t, libc::SA_SIGINFO)
}

/// Puts back whoever was there, unless somebody has come after us, and may call us still.
fn unhook(signal: c_int, index: usize) {
    // SAFETY: null or a box leaked by `hook` and not written since.
    let previous = unsafe { PREVIOUS[index].load(Ordering::Relaxed).as_ref() };
    if let (Ok(action), Some(previous)) = (action_of(signal), previous)
        && is_ours(&action)
    {
        // SAFETY: the action was in place before, by those who answer for it.
        let _ = unsafe { set_action(signal, previous) };
    }
}

fn is_ours(action: &libc::sigaction) -> bool {
    let handler: Handler = handle;
    action.sa_sigaction == handler as libc::sighandler_t
}

/// Notes the signal, rings, and passes it on to whoever was there before. Signal-safe: atomics, write(2), and a
/// thread-local that is there from the thread's beginning.
///
/// Who was before us may be somebody who came after us, the last time, and passes on to us in turn: that ends here.
extern "C" fn handle(signal: c_int, info: *mut Info, context: *mut c_void) {
    let index = signal as usize - 1;
    let mine = 1_u64 << index;
    let passing_on = PASSING_ON.get();
    if passing_on & mine != 0 {
        return;
    }
    // Other signals may come in between. They leave the set as they find it.
    PASSING_ON.set(passing_on | mine);
    // SAFETY: the thread's own errno, which the code that was interrupted may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    // Acquire: pairs with the Release in `Registry::watcher`.
    let mut next = WATCHERS.load(Ordering::Acquire);
    // SAFETY: null or a watcher, which is never freed.
    while let Some(watcher) = unsafe { next.as_ref() } {
        if watcher.wanted.load(Ordering::Relaxed) & 1 << index != 0 {
            // Release: what came before the signal is the waiter's to see.
            let before = watcher.pending.fetch_or(1 << index, Ordering::Release);
            // Whoever has set the bit has rung, or is about to.
            if before & 1 << index == 0 {
                watcher.bell.ring();
            }
        }
        next = watcher.next.load(Ordering::Relaxed);
    }
    // Acquire: pairs with the Release in `hook`.
    // SAFETY: null or a leaked box.
    if let Some(previous) = unsafe { PREVIOUS[index].load(Ordering::Acquire).as_ref() } {
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {}
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: with SA_SIGINFO set, who installed the action gave a function of three arguments, and gets
                // those of the kernel.
                let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: without SA_SIGINFO it is a function of one argument, and neither of the two constants.
                let handler =
                    unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    PASSING_ON.set(passing_on);
}
