//! The inner lock of every object that coroutines and threads wait for: for a few dozen instructions at a time.
//!
//! Most such objects are used by the coroutines of one worker, on one thread, where a lock is needed only in case
//! somebody else comes some day. So the lock is *biased*: it belongs to one worker, which takes and leaves it by plain
//! stores, until another thread comes, once, and takes the bias away for good.
//!
//! ```text
//!            by whom it is taken                                   how
//!   OPEN     anyone; nobody is preferred yet                       compare-and-swap of `held`
//!     │ 32 times in a row by the same worker
//!     ▼
//!   BIASED   that worker                                           inside = true; light barrier; still biased?
//!     │ another thread: bias = REVOKING; heavy barrier; waits until `inside` is false
//!     ▼
//!   SHARED   anyone, for ever; from OPEN at once when a            compare-and-swap of `held`
//!            second worker or a plain thread comes
//! ```
//!
//! The owner writes `inside` and then reads `bias`; who revokes writes `bias` and then reads `inside`. With the
//! [`barrier`] between, at least one sees what the other wrote: the owner gives way, or the other waits for it
//! (Dekker's algorithm; Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001).
//!
//! A revocation costs up to 5 us. What lives for a few operations only never gets so far as to be biased.
//!
//! **The rules.** Held for a few dozen instructions, never across a suspension, never while code of the user's runs, which
//! a `Drop` or `Clone` is: it might come back to the same lock. There is no poison, because nothing panics in there.

use std::cell::UnsafeCell;
#[cfg(not(any(loom, shuttle)))]
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::home;
use crate::mailbox::Mailbox;
use crate::seam::barrier;
#[cfg(any(loom, shuttle))]
use crate::seam::schedule;
use crate::seam::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
#[cfg(not(any(loom, shuttle)))]
use crate::seam::sync::real;
use crate::seam::sync::thread;
use crate::task::Message;

/// A value behind such a lock.
pub(crate) struct Lock<T> {
    /// [`OPEN`], a worker's token with [`TRIAL`] or alone, [`REVOKING`] or [`SHARED`].
    bias: AtomicUsize,
    /// The owner's: it is in, or about to look whether it may be.
    inside: AtomicBool,
    /// Of whoever has the lock while it is not biased.
    held: AtomicBool,
    /// Guarded by `held`: how often the worker on trial has taken it.
    uses: AtomicU8,
    value: UnsafeCell<T>,
}

// SAFETY: a lock owns its value and nothing else.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: `&Lock` gives access to the value only to who holds the lock, one at a time.
unsafe impl<T: Send> Sync for Lock<T> {}
// Nothing panics while it is held, so no value is left half changed.
impl<T> UnwindSafe for Lock<T> {}
impl<T> RefUnwindSafe for Lock<T> {}

/// Nobody has taken it yet.
const OPEN: usize = 0;
/// The token of a plain thread, which never gets the bias.
const PLAIN: usize = 1;
/// The bias is being taken away.
const REVOKING: usize = 2;
/// Nobody has the bias, or ever will.
const SHARED: usize = 3;
/// A bit beside a token: its worker is the only one that has come so far.
const TRIAL: usize = 4;

/// Tokens have these bits clear.
const STATE_BITS: usize = 7;
const _: () = assert!(align_of::<Mailbox<Message>>() > STATE_BITS);

/// So often a worker takes an open lock, and nobody else does, before it gets the bias.
const TRIALS: u8 = if cfg!(any(loom, shuttle)) { 1 } else { 32 };

/// What tells one worker from all others: its mailbox, which is never freed.
///
/// A worker is on one thread at a time, and whoever moves it to another (`Runtime::run`), or gives its mailbox to a
/// later worker (`Mailbox::retire`, then `hire`), has synchronised with both. So all that is done in the name of one
/// token is done by one thread after the other, and plain stores do between them.
#[inline(always)]
fn token() -> usize {
    home::here().map_or(PLAIN, |home| std::ptr::from_ref(home.mailbox).addr())
}

impl<T> Lock<T> {
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new(value: T) -> Self {
        Lock {
            bias: AtomicUsize::new(OPEN),
            inside: AtomicBool::new(false),
            held: AtomicBool::new(false),
            uses: AtomicU8::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// The checkers' atomics are not const.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new(value: T) -> Self {
        Lock {
            bias: AtomicUsize::new(OPEN),
            inside: AtomicBool::new(false),
            held: AtomicBool::new(false),
            uses: AtomicU8::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock and takes it. To take it twice is a deadlock.
    ///
    /// Cost: by the worker that has the bias, a dozen plain instructions, and one to unlock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.lock_as(token())
    }

    /// As [`lock`](Self::lock), by the worker with this token.
    #[inline(always)]
    fn lock_as(&self, token: usize) -> Guard<'_, T> {
        // Acquire: if `SHARED`, pairs with the Release of who revoked, for what the last owner did.
        let bias = self.bias.load(Ordering::Acquire);
        if bias == token {
            debug_assert!(
                !self.inside.load(Ordering::Relaxed),
                "an inner lock is taken twice"
            );
            self.inside.store(true, Ordering::Relaxed);
            // Pairs with the heavy one in `revoke`.
            barrier::light();
            if self.bias.load(Ordering::Relaxed) == token {
                return self.guard(&self.inside);
            }
            self.step_back();
        } else if bias == SHARED && self.try_hold() {
            return self.guard(&self.held);
        }
        self.lock_slowly(token)
    }

    #[inline(always)]
    fn guard<'a>(&'a self, flag: &'a AtomicBool) -> Guard<'a, T> {
        Guard {
            lock: self,
            flag,
            not_send: PhantomData,
        }
    }

    #[inline(always)]
    fn try_hold(&self) -> bool {
        // Acquire: pairs with the Release in the guard's drop.
        self.held
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// The bias was taken away while the owner was on its way in.
    #[cold]
    fn step_back(&self) {
        // Release, though nothing was done inside: who revokes may see this `false` in the place of the one that the
        // owner's last guard has left, and must see all that came before that.
        self.inside.store(false, Ordering::Release);
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(&self, token: usize) -> Guard<'_, T> {
        let mut patience = Patience::new();
        loop {
            // Acquire: as in `lock_as`.
            let bias = self.bias.load(Ordering::Acquire);
            if bias == REVOKING {
                patience.wait();
            } else if is_owner(bias) {
                if !self.revoke(bias) {
                    patience.wait();
                }
            } else if self.try_hold() {
                // Whoever holds it is alone to change the bias while that is no owner.
                match self.bias.load(Ordering::Relaxed) {
                    SHARED => return self.guard(&self.held),
                    bias if !is_owner(bias) && bias != REVOKING => {
                        return self.try_out(bias, token);
                    }
                    // Biased in between.
                    _ => self.held.store(false, Ordering::Release),
                }
            } else {
                patience.wait();
            }
        }
    }

    /// Takes an open lock, which the caller holds: the bias comes nearer, or is out of the question from now on.
    fn try_out(&self, bias: usize, token: usize) -> Guard<'_, T> {
        let may_own = token != PLAIN && (bias == OPEN || bias == token | TRIAL);
        if !may_own || !barrier::is_available() {
            self.bias.store(SHARED, Ordering::Release);
            return self.guard(&self.held);
        }
        let uses = self.uses.load(Ordering::Relaxed) + 1;
        if uses < TRIALS {
            self.uses.store(uses, Ordering::Relaxed);
            self.bias.store(token | TRIAL, Ordering::Relaxed);
            return self.guard(&self.held);
        }
        self.inside.store(true, Ordering::Relaxed);
        // Release: pairs with the Acquire in `revoke`, which must see us inside.
        self.bias.store(token, Ordering::Release);
        // Release: who takes it next sees that it is biased.
        self.held.store(false, Ordering::Release);
        self.guard(&self.inside)
    }

    /// Takes the bias away, and returns when the owner is out; false if another thread does.
    #[cold]
    fn revoke(&self, owner: usize) -> bool {
        // Acquire: pairs with the Release in `try_out`.
        let ours =
            self.bias
                .compare_exchange(owner, REVOKING, Ordering::Acquire, Ordering::Relaxed);
        if ours.is_err() {
            return false;
        }
        // Pairs with the light one in `lock_as`: either we see the owner inside, or it sees us and steps back.
        barrier::heavy();
        let mut patience = Patience::new();
        // Acquire: pairs with the Release of the owner's guard.
        while self.inside.load(Ordering::Acquire) {
            patience.wait();
        }
        // Release: what the owner has done is anyone's to see who sees this.
        self.bias.store(SHARED, Ordering::Release);
        true
    }
}

fn is_owner(bias: usize) -> bool {
    bias > STATE_BITS && bias & STATE_BITS == 0
}

/// The lock, held until this is dropped.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// What is true because of us: `inside` or `held`.
    flag: &'a AtomicBool,
    /// The owner's flag is written by its thread.
    not_send: PhantomData<*mut ()>,
}

impl<'a, T> Guard<'a, T> {
    /// The lock that this is the guard of, to be taken again later.
    #[inline(always)]
    pub(crate) fn of(guard: &Self) -> &'a Lock<T> {
        guard.lock
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard is alone with the value: see `lock`, and the module for why that is so.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with the Acquire of who comes next, or revokes.
        self.flag.store(false, Ordering::Release);
    }
}

/// How to wait for a lock: at first far from its cache line, so that the holder's core can do many operations in a
/// row with it; then by letting others have this core, one of which may be the holder's thread.
struct Patience {
    spins: u32,
}

const SPINS_MIN: u32 = 64;
#[cfg(not(any(loom, shuttle)))]
const SPINS_MAX: u32 = 2048;

impl Patience {
    fn new() -> Self {
        Patience { spins: SPINS_MIN }
    }

    #[cfg(any(loom, shuttle))]
    fn wait(&mut self) {
        self.spins *= 2;
        if self.spins > SPINS_MIN << 2 {
            // Two that wait could go on giving way to each other for ever, which no scheduler does.
            schedule::explore_no_further();
        }
        thread::yield_now();
    }

    #[cfg(not(any(loom, shuttle)))]
    fn wait(&mut self) {
        if self.spins > SPINS_MAX || !several_cores() {
            thread::yield_now();
            return;
        }
        for _ in 0..self.spins {
            spin_loop();
        }
        self.spins *= 2;
    }
}

/// While we spin, another thread can run.
#[cfg(not(any(loom, shuttle)))]
fn several_cores() -> bool {
    /// 0: not asked yet.
    static CORES: real::atomic::AtomicUsize = real::atomic::AtomicUsize::new(0);
    // Relaxed: no memory hangs on it.
    match CORES.load(Ordering::Relaxed) {
        0 => {
            let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
            CORES.store(cores, Ordering::Relaxed);
            cores > 1
        }
        cores => cores > 1,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::thread;

    const ONE: usize = 1 << 3;
    const OTHER: usize = 2 << 3;

    fn biased(token: usize) -> Lock<u64> {
        let lock = Lock::new(0);
        (0..TRIALS).for_each(|_| *lock.lock_as(token) += 1);
        assert_eq!(lock.bias.load(Ordering::Relaxed), token);
        lock
    }

    #[test]
    fn a_worker_gets_the_bias_by_and_by_and_loses_it_to_the_first_other() {
        let lock = biased(ONE);
        let guard = lock.lock_as(ONE);
        assert!(lock.inside.load(Ordering::Relaxed) && !lock.held.load(Ordering::Relaxed));
        drop(guard);
        for token in [OTHER, PLAIN, ONE] {
            let guard = lock.lock_as(token);
            assert!(!lock.inside.load(Ordering::Relaxed) && lock.held.load(Ordering::Relaxed));
            drop(guard);
            assert_eq!(lock.bias.load(Ordering::Relaxed), SHARED);
        }
    }

    #[test]
    fn whoever_comes_second_while_it_is_open_makes_it_shared_without_a_revocation() {
        for second in [OTHER, PLAIN] {
            let lock = Lock::new(0);
            drop(lock.lock_as(ONE));
            drop(lock.lock_as(second));
            assert_eq!(lock.bias.load(Ordering::Relaxed), SHARED);
        }
        let lock = Lock::new(0);
        drop(lock.lock());
        assert_eq!(lock.bias.load(Ordering::Relaxed), SHARED, "a plain thread");
    }

    #[test]
    fn a_coroutine_of_a_worker_takes_it_in_the_workers_name() {
        let lock = Lock::new(0);
        crate::run(|| (0..TRIALS).for_each(|_| *lock.lock() += 1));
        let bias = lock.bias.load(Ordering::Relaxed);
        assert!(is_owner(bias), "{bias:#x}");
        crate::run(|| *lock.lock() += 1);
        assert_eq!(*lock.lock(), u64::from(TRIALS) + 1);
        assert_eq!(lock.bias.load(Ordering::Relaxed), SHARED);
    }

    #[test]
    fn the_owner_and_those_who_revoke_are_never_in_together() {
        const EACH: u64 = 20_000;
        for round in 0..20 {
            let lock = biased(ONE);
            let before = *lock.lock_as(ONE);
            thread::scope(|s| {
                for token in [ONE, OTHER, PLAIN] {
                    let lock = &lock;
                    s.spawn(move || {
                        if token != ONE {
                            (0..round * 50).for_each(|_| spin_loop());
                        }
                        for _ in 0..EACH {
                            let mut value = lock.lock_as(token);
                            // Not one instruction, so that two at a time would lose some.
                            let seen = std::hint::black_box(*value);
                            *value = seen + 1;
                        }
                    });
                }
            });
            assert_eq!(*lock.lock(), before + 3 * EACH);
        }
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    #[cfg(debug_assertions)]
    fn taking_it_twice_is_noticed() {
        let lock = biased(ONE);
        let _first = lock.lock_as(ONE);
        let _second = lock.lock_as(ONE);
    }
}

/// The algorithm itself under loom, which tries every order of every access, and what weak memory makes of it:
/// `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p runtime --lib --release --target-dir target/loom lock::model`
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell as Watched;
    use loom::thread;
    use std::sync::Arc;

    const ONE: usize = 1 << 3;
    const OTHER: usize = 2 << 3;

    /// Enters `times` times; loom's cell sees to it that each visit happens after the one before.
    fn visit(lock: &Lock<Watched<usize>>, token: usize, times: usize) {
        for _ in 0..times {
            let guard = lock.lock_as(token);
            // SAFETY: whether this is so is what loom finds out.
            guard.with_mut(|visits| unsafe { *visits += 1 });
        }
    }

    /// Each visitor, a token and a number of times, on a thread of its own but for the first; `trials` visits of the
    /// first have been made before.
    fn all_orders(trials: usize, visitors: &'static [(usize, usize)]) {
        loom::model(move || {
            let lock = Arc::new(Lock::new(Watched::new(0)));
            let (first, others) = visitors.split_first().unwrap();
            visit(&lock, first.0, trials);
            let others: Vec<_> = others
                .iter()
                .map(|&(token, times)| {
                    let lock = lock.clone();
                    thread::spawn(move || visit(&lock, token, times))
                })
                .collect();
            visit(&lock, first.0, first.1);
            others.into_iter().for_each(|other| other.join().unwrap());
            let expected = trials + visitors.iter().map(|&(_, times)| times).sum::<usize>();
            let guard = lock.lock_as(PLAIN);
            // SAFETY: as above.
            guard.with(|visits| assert_eq!(unsafe { *visits }, expected));
        });
    }

    #[test]
    fn the_owner_and_one_that_revokes() {
        all_orders(1, &[(ONE, 2), (OTHER, 1)]);
    }

    #[test]
    fn the_owner_and_two_that_revoke() {
        all_orders(1, &[(ONE, 1), (OTHER, 1), (PLAIN, 1)]);
    }

    #[test]
    fn two_that_want_the_bias_of_an_open_lock() {
        all_orders(0, &[(ONE, 2), (OTHER, 1)]);
    }
}
