//! The end of a thread: its thread-locals are destroyed, and who has borrowed one must not go on.
//!
//! A stack that is suspended inside `LocalKey::with` borrows a thread-local, and the compiler takes for granted
//! that the destructors of thread-locals come after everybody else. They do not: the thread's end runs them, and so
//! does exit(3), on top of whatever it is called by; and a destructor may resume that stack. So whoever resumes has to
//! know whether something is gone that was there when the stack was suspended.
//!
//! std gives all such destructors to the C library, which keeps a list of them for each thread and runs it
//! from its head, the youngest first (`__cxa_thread_atexit_impl`). Whenever a stack has been suspended, [`mark`] looks
//! whether the list has grown, and puts a destructor of our own in front, a *sentinel*:
//!
//! ```text
//!   A is suspended, mark 1     head ► 1 ► X                  1: a sentinel
//!   K comes into use           head ► K ► 1 ► X
//!   B is suspended, mark 2     head ► 2 ► K ► 1 ► X          B may borrow K
//!   B again, mark 2            head ► 2 ► K ► 1 ► X          nothing new: four loads and a comparison
//!   the thread ends            head ► K ► 1 ► X              sentinel 2 has run: mark 2 does not hold any more
//!                              head ► 1 ► X                  K is gone; its destructor might have resumed A, not B
//! ```
//!
//! So a mark holds as long as everything is there that was there when it was made. To ask that takes a load and a
//! comparison, as long as no sentinel has come or gone. There are few: one for each thread-local at most.
//!
//! The head is a thread-local of the C library, without a name that we could link to. It is found in the library's
//! thread-local memory as the one word that changes with each registration, to the address of what was registered. Where
//! there is no such word, as in musl, a mark tells nothing: whoever resumes pays for a [walk](is_destroying) of the stack,
//! and nobody is [told](tell), of an exit(3) either, which in musl runs no such destructors.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

#[cfg(target_env = "gnu")]
mod list;

use super::walk::{functions, image_of, is_on_stack};
use crate::seam::sync::Once;
use crate::seam::sync::real::atomic::{AtomicUsize, Ordering};

/// The head of a list, or its next entry: null if there is none.
type Link = *const c_void;

/// One thread's state.
struct Thread {
    /// Where the C library keeps the head of this thread's list.
    head: Cell<*const Link>,
    /// What the head was when a sentinel was last put there; [`NONE`] if that one has run.
    seen: Cell<Link>,
    /// The serial number of the youngest sentinel that has not run.
    newest: Cell<usize>,
    /// That sentinel, and behind it all older ones; null if there is none.
    sentinels: Cell<*const Sentinel>,
    /// How many there have been.
    made: Cell<usize>,
    /// Who is to be told when one has run.
    told: Cell<Option<fn()>>,
}

/// A destructor of ours that has not run.
struct Sentinel {
    serial: usize,
    older: *const Sentinel,
}

/// Where no entry is, and what an empty list does not have for its head either.
const NONE: Link = ptr::without_provenance(1);

/// The head of an empty list, for a thread whose own is not known: null.
static NO_LIST: usize = 0;

thread_local! {
    // Const, and nothing to drop: it is there until the thread is gone.
    static THREAD: Thread = const {
        Thread {
            head: Cell::new((&raw const NO_LIST).cast()),
            seen: Cell::new(NONE),
            newest: Cell::new(0),
            sentinels: Cell::new(ptr::null()),
            made: Cell::new(0),
            told: Cell::new(None),
        }
    };
}

/// A point in a thread's life; see [`holds`](Mark::holds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl Mark {
    /// Of a thread whose list cannot be read.
    const UNKNOWN: Mark = Mark(usize::MAX);

    /// All thread-locals are there that were there when this mark was made, on the same thread.
    #[inline(always)]
    pub(crate) fn holds(self) -> bool {
        THREAD.with(|thread| self.0 == thread.newest.get() || self.holds_in(thread))
    }

    #[cold]
    #[inline(never)]
    fn holds_in(self, thread: &Thread) -> bool {
        if self == Mark::UNKNOWN {
            return !is_destroying();
        }
        // Serial numbers decrease on the way.
        thread.sentinels().any(|sentinel| sentinel.serial == self.0)
    }
}

/// Marks the present: to be called when a stack has been suspended, before anything else runs on this thread.
#[inline(always)]
pub(crate) fn mark() -> Mark {
    THREAD.with(|thread| {
        if thread.head() == thread.seen.get() {
            Mark(thread.newest.get())
        } else {
            thread.renew()
        }
    })
}

/// The mark of the last suspension, kept where that happens most.
///
/// It remembers what the head was, so to find that nothing is new takes two loads and a comparison.
pub(crate) struct Latest {
    mark: Cell<Mark>,
    /// As in [`Thread`].
    head: Cell<*const Link>,
    /// What the head was when the mark was made; [`NONE`] if the mark must be looked at again.
    seen: Cell<Link>,
}

impl Latest {
    pub(crate) fn new() -> Self {
        Latest {
            mark: Cell::new(mark()),
            head: Cell::new((&raw const NO_LIST).cast()),
            seen: Cell::new(NONE),
        }
    }

    /// Marks the present, as [`mark`].
    ///
    /// # Safety
    /// [`distrust`](Self::distrust) was called when this thread began to do so, and since then whenever `told` was.
    #[inline(always)]
    pub(crate) unsafe fn renew(&self) {
        // SAFETY: it points to `NO_LIST`, or to where this thread has its own, as `renew_for_sure` has found.
        if unsafe { self.head.get().read_volatile() } != self.seen.get() {
            self.renew_for_sure();
        }
    }

    #[cold]
    #[inline(never)]
    fn renew_for_sure(&self) {
        let mark = mark();
        self.mark.set(mark);
        if mark != Mark::UNKNOWN {
            THREAD.with(|thread| {
                self.head.set(thread.head.get());
                self.seen.set(thread.seen.get());
            });
        }
    }

    /// Forgets the head: this is another thread's, or an entry may have come to where one was that has gone.
    pub(crate) fn distrust(&self) {
        self.head.set((&raw const NO_LIST).cast());
        self.seen.set(NONE);
    }

    /// The mark [holds](Mark::holds).
    pub(crate) fn holds(&self) -> bool {
        self.mark.get().holds()
    }
}

/// From now on `told` is called when marks of this thread have ceased to hold, before anything is destroyed that was there
/// when they were made.
pub(crate) fn tell(told: fn()) {
    THREAD.with(|thread| thread.told.set(Some(told)));
}

impl Thread {
    #[inline(always)]
    fn head(&self) -> Link {
        // SAFETY: it points to `NO_LIST`, or to the C library's variable of this thread, as `list::head` has found. That
        // one is written by functions of the C library, on this thread, and is there as long as the thread.
        unsafe { self.head.get().read_volatile() }
    }

    /// Puts a sentinel in front.
    #[cold]
    #[inline(never)]
    fn renew(&self) -> Mark {
        if self.head.get() == (&raw const NO_LIST).cast() {
            let Some(head) = list::head() else {
                return Mark::UNKNOWN;
            };
            self.head.set(head);
        }
        let serial = self.made.get() + 1;
        let older = self.sentinels.get();
        let sentinel = Box::into_raw(Box::new(Sentinel { serial, older }));
        if !list::register(run, sentinel.cast()) {
            // SAFETY: nobody else has it.
            drop(unsafe { Box::from_raw(sentinel) });
            return Mark::UNKNOWN;
        }
        self.made.set(serial);
        self.newest.set(serial);
        self.sentinels.set(sentinel);
        self.seen.set(self.head());
        Mark(serial)
    }

    /// Those that have not run, the youngest first.
    fn sentinels(&self) -> impl Iterator<Item = &Sentinel> {
        // SAFETY: a sentinel is freed when it runs, which takes it out of this chain, as the first: a younger one would
        // have run before. None runs meanwhile.
        let sentinel = |sentinel: *const Sentinel| unsafe { sentinel.as_ref() };
        std::iter::successors(sentinel(self.sentinels.get()), move |younger| {
            sentinel(younger.older)
        })
    }
}

/// What the C library calls when a sentinel's turn has come.
extern "C" fn run(object: *const c_void) {
    THREAD.with(|thread| {
        // SAFETY: `renew` has made it, and it runs once.
        let sentinel = unsafe { Box::from_raw(object.cast::<Sentinel>().cast_mut()) };
        // Its entry is about to be freed, and may be used again by that of another.
        thread.seen.set(NONE);
        thread.sentinels.set(sentinel.older);
        let newest = thread.sentinels().next();
        thread
            .newest
            .set(newest.map_or(0, |sentinel| sentinel.serial));
        if let Some(told) = thread.told.get() {
            told();
        }
    });
}

// ---- Without glibc there is no list that we could read --------------------------------------------------------------

#[cfg(not(target_env = "gnu"))]
mod list {
    use super::{Link, c_void};

    pub(super) fn head() -> Option<*const Link> {
        None
    }

    pub(super) fn register(_: extern "C" fn(*const c_void), _: *const c_void) -> bool {
        false
    }
}

// ---- Where the list cannot be read ---------------------------------------------------------------------------------

/// Whether the calling thread is running destructors of thread-locals.
///
/// Whoever may then have been destroyed cannot be asked, so the stack is: the C library runs all such
/// destructors from one function, whose address a short-lived thread finds out the first time.
/// Cost: a walk of the stack, about a microsecond per frame, and a thread the first time.
fn is_destroying() -> bool {
    let runner = runner_of_destructors();
    runner != 0 && is_on_stack(runner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::mpsc::{self, Sender};

    /// Calls its function at the thread's end.
    struct AtEnd(Option<Box<dyn FnOnce()>>);

    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.take().unwrap()();
        }
    }

    thread_local! {
        static FIRST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static SECOND: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static THIRD: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }

    /// Tells at the thread's end which of the marks hold, in the order of their numbers.
    fn tell(marks: &[Mark], to: &Sender<Vec<bool>>) -> Option<AtEnd> {
        let (marks, to) = (marks.to_vec(), to.clone());
        let told = move || {
            to.send(marks.into_iter().map(Mark::holds).collect())
                .unwrap()
        };
        Some(AtEnd(Some(Box::new(told))))
    }

    #[test]
    fn a_mark_holds_until_something_goes_that_was_there_before_it() {
        let (told, hears) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut marks = vec![mark()];
            FIRST.with(|_| ());
            marks.push(mark());
            assert_ne!(marks[0], marks[1]);
            SECOND.with(|_| ());
            marks.push(mark());
            assert_eq!(marks[2], mark(), "nothing is new");
            THIRD.with(|_| ());
            assert!(marks.iter().all(|mark| mark.holds()));
            FIRST.set(tell(&marks, &told));
            SECOND.set(tell(&marks, &told));
            THIRD.set(tell(&marks, &told));
        });
        thread.join().unwrap();
        let holds: Vec<_> = hears.iter().collect();
        assert_eq!(
            holds,
            [
                [true, true, true],
                [true, true, false],
                [true, false, false]
            ],
            "the third goes first"
        );
    }

    /// The entries of those that have run are used again, for others.
    #[test]
    fn marks_that_are_made_while_the_thread_ends_are_told_from_those_before() {
        let (told, hears) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            FIRST.with(|_| ());
            let before = [mark()];
            SECOND.with(|_| ());
            let later = mark();
            FIRST.set(Some(AtEnd(Some(Box::new(move || {
                for _ in 0..100 {
                    let new = mark();
                    assert!(new.holds() && new != before[0] && new != later);
                    assert!(!before[0].holds() && !later.holds());
                }
                told.send(()).unwrap();
            })))));
        });
        thread.join().unwrap();
        assert_eq!(hears.recv(), Ok(()));
    }

    #[test]
    fn the_latest_mark_is_not_taken_for_new_where_an_entry_is_used_again() {
        thread_local! {
            static LATEST: Latest = const {
                Latest {
                    mark: Cell::new(Mark(0)),
                    head: Cell::new((&raw const NO_LIST).cast()),
                    seen: Cell::new(NONE),
                }
            };
        }
        // SAFETY: distrusted whenever `told` is called.
        let renew = || LATEST.with(|latest| unsafe { latest.renew() });
        let (told, hears) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            super::tell(|| LATEST.with(Latest::distrust));
            FIRST.with(|_| ());
            renew();
            SECOND.with(|_| ());
            renew();
            let later = LATEST.with(|latest| latest.mark.get());
            assert_eq!(later, mark(), "nothing is new");
            // The sentinel of the second has run; another entry comes to where its own was, or elsewhere.
            SECOND.set(Some(AtEnd(Some(Box::new(move || {
                THIRD.with(|_| ());
                renew();
                assert!(LATEST.with(Latest::holds));
                assert_ne!(LATEST.with(|latest| latest.mark.get()), later);
                told.send(()).unwrap();
            })))));
        });
        thread.join().unwrap();
        assert_eq!(hears.recv(), Ok(()));
    }

    #[test]
    fn a_destructor_of_a_thread_local_is_told_from_all_else() {
        let (told, hears) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let also = told.clone();
            drop(AtEnd(Some(Box::new(move || {
                also.send(is_destroying()).unwrap()
            }))));
            FIRST.set(Some(AtEnd(Some(Box::new(move || {
                told.send(is_destroying()).unwrap()
            })))));
        });
        assert_eq!(hears.recv(), Ok(false), "in the thread's own code");
        assert_eq!(hears.recv(), Ok(true), "in the destructor");
        thread.join().unwrap();
        assert!(!is_destroying());
    }
}
