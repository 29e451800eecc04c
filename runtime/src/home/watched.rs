//! Watched: what a watchdog sees of a worker, and how it has it tell where it is.
//!
//! ```text
//!   worker                                 watchdog
//!   turn: 41, 42, 43 ... 0: nobody runs    the same number for 100 ms: what keeps it there?
//!   in the middle of turn 43  ◄──SIGURG──  wanted: 43
//!   who runs, and its frames: taken ─────► reads it
//! ```
//!
//! The number is a store a turn, in the [observed](super::observed) kind of round only.

use std::panic::Location;
use std::time::Duration;

use super::{Home, entered};
use crate::seam::sync::real::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use crate::seam::sync::real::{Condvar, Mutex, lock};
use crate::sys::interrupt::interrupt;
use crate::sys::thread::ThreadId;
use crate::sys::walk;
use crate::task::TaskPtr;

/// What a worker shows to a watchdog.
#[derive(Default)]
pub(crate) struct Watched {
    /// The kernel's number of the thread that the worker was on last.
    thread: AtomicI32,
    /// The number of the turn that is being made; 0 for none.
    turn: AtomicU64,
    sample: Sample,
}

/// Frames that are taken at most.
const FRAMES_MAX: usize = 64;
/// Bytes of a name that are.
const NAME_MAX: usize = 64;

/// Where a worker was in the middle of a turn; written by a signal handler.
struct Sample {
    state: AtomicU32,
    /// The turn that is wanted.
    turn: AtomicU64,
    id: AtomicU64,
    spawned_at: AtomicPtr<Location<'static>>,
    name: [AtomicU8; NAME_MAX],
    name_len: AtomicUsize,
    frames: [AtomicUsize; FRAMES_MAX],
    frames_len: AtomicUsize,
}

const IDLE: u32 = 0;
const WANTED: u32 = 1;
/// The handler writes.
const TAKING: u32 = 2;
const TAKEN: u32 = 3;
/// That turn was over.
const MISSED: u32 = 4;

/// Who was found in the middle of a turn, and where.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Number, name if it has one, and where it was spawned.
    pub(crate) who: Option<(u64, Option<String>, Option<&'static Location<'static>>)>,
    /// Addresses of calls, the innermost first.
    pub(crate) frames: Vec<usize>,
}

impl Default for Sample {
    fn default() -> Self {
        Sample {
            state: AtomicU32::new(IDLE),
            turn: AtomicU64::new(0),
            id: AtomicU64::new(0),
            spawned_at: AtomicPtr::default(),
            name: [const { AtomicU8::new(0) }; NAME_MAX],
            name_len: AtomicUsize::new(0),
            frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
            frames_len: AtomicUsize::new(0),
        }
    }
}

// ---- The watchdog's side ----------------------------------------------------------------------------

impl Watched {
    /// The number of the turn that is being made, if any.
    pub(crate) fn turn(&self) -> Option<u64> {
        Some(self.turn.load(Ordering::Relaxed)).filter(|turn| *turn != 0)
    }

    pub(crate) fn thread(&self) -> ThreadId {
        ThreadId::from_raw(self.thread.load(Ordering::Relaxed))
    }

    /// Has the worker tell who runs there, and where that is; none if that turn is over. Waits for the
    /// answer, but not for long: a thread in the middle of some system calls cannot be interrupted.
    pub(crate) fn find(&self, turn: u64, sleep: impl Fn(Duration)) -> Option<Found> {
        let sample = &self.sample;
        sample.turn.store(turn, Ordering::Relaxed);
        // Release: the handler that sees it wanted sees which.
        sample.state.store(WANTED, Ordering::Release);
        let sent = interrupt(self.thread(), answer);
        for _ in 0..200 {
            // Acquire: pairs with the Release in `take`.
            match sample.state.load(Ordering::Acquire) {
                WANTED if sent.is_ok() => sleep(Duration::from_millis(1)),
                TAKING => sleep(Duration::from_millis(1)),
                TAKEN => return Some(sample.read()),
                MISSED => return None,
                _ => break,
            }
        }
        // If it begins to answer just now, it is left to do so; the next question comes after this turn.
        let _ = sample
            .state
            .compare_exchange(WANTED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        (self.turn() == Some(turn)).then(Found::default)
    }
}

impl Sample {
    fn read(&self) -> Found {
        let len = self.name_len.load(Ordering::Relaxed).min(NAME_MAX);
        let name = self.name[..len].iter();
        let name: Vec<u8> = name.map(|byte| byte.load(Ordering::Relaxed)).collect();
        let name = (len > 0).then(|| String::from_utf8_lossy(&name).into_owned());
        // SAFETY: null, or from a `&'static Location`, by `take`.
        let spawned_at = unsafe { self.spawned_at.load(Ordering::Relaxed).as_ref() };
        let id = self.id.load(Ordering::Relaxed);
        let frames = &self.frames[..self.frames_len.load(Ordering::Relaxed).min(FRAMES_MAX)];
        Found {
            who: (id != 0).then_some((id, name, spawned_at)),
            frames: frames
                .iter()
                .map(|frame| frame.load(Ordering::Relaxed))
                .collect(),
        }
    }
}

// ---- The worker's side --------------------------------------------------------------------------------

impl Watched {
    /// A turn begins, or, by 0, a round is over.
    #[inline]
    pub(super) fn note_turn(&self, turn: u64) {
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// The worker is on the calling thread.
    pub(crate) fn note_thread(&self) {
        let here = ThreadId::here().into_raw();
        self.thread.store(here, Ordering::Relaxed);
    }
}

/// Answers a watchdog, in a signal handler, on the thread of the worker that is asked. False if none is.
///
/// Signal-safe: atomics, thread-locals without a destructor, the unwinder. That one may be met in the middle of a stack
/// switch, some ten instructions of which no table tells how they have moved the stack pointer, only if a turn that has lasted for a
/// hundred milliseconds is over in just these.
fn answer() -> bool {
    let asked = entered().find(|home| home.seat().watched.sample.is_wanted());
    if let Some(home) = asked {
        home.take_sample();
    }
    asked.is_some()
}

impl Sample {
    fn is_wanted(&self) -> bool {
        // Acquire: pairs with the Release in `find`.
        self.state.load(Ordering::Acquire) == WANTED
    }

    fn note(&self, task: Option<TaskPtr>) {
        let label = task.as_ref().map(|task| &task.label);
        self.id
            .store(label.map_or(0, |label| label.id.get()), Ordering::Relaxed);
        let site = label.map_or(std::ptr::null(), |label| {
            std::ptr::from_ref(label.spawned_at)
        });
        self.spawned_at.store(site.cast_mut(), Ordering::Relaxed);
        let name = label.and_then(|label| label.name()).unwrap_or("");
        let name = &name.as_bytes()[..name.floor_char_boundary(NAME_MAX)];
        for (to, from) in self.name.iter().zip(name) {
            to.store(*from, Ordering::Relaxed);
        }
        self.name_len.store(name.len(), Ordering::Relaxed);
    }
}

/// Bytes of stack that [`answer`] and the unwinder may take, the kernel's frame included. std gives its threads 8 KiB for
/// signal handlers.
const ANSWER_BYTES: usize = 32 << 10;

impl Home {
    /// Bytes of stack that signal handlers on this worker's thread need, beside that of the overflow.
    pub(crate) fn handler_bytes(&self) -> usize {
        if self.watched { ANSWER_BYTES } else { 0 }
    }

    fn take_sample(&self) {
        let watched = &self.seat().watched;
        let sample = &watched.sample;
        let taken =
            sample
                .state
                .compare_exchange(WANTED, TAKING, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return; // the watchdog has given up, just now
        }
        let turn = watched.turn.load(Ordering::Relaxed);
        let answer = if turn == sample.turn.load(Ordering::Relaxed) {
            let context = self.current.get().or(self.in_hook.get());
            // SAFETY: a context of this worker, in the middle of a turn of its, on this thread.
            sample.note(context.and_then(|context| unsafe { TaskPtr::tenant_of(context) }));
            let frames = walk::record_interrupted(&sample.frames);
            sample.frames_len.store(frames, Ordering::Relaxed);
            TAKEN
        } else {
            MISSED
        };
        // Release: who sees the answer sees all of it.
        sample.state.store(answer, Ordering::Release);
    }
}

// ---- The watchdog's sleep -----------------------------------------------------------------------------

/// Wakes the watchdog of a runtime when its workers begin to work.
#[derive(Default)]
pub(crate) struct Kennel {
    asleep: AtomicBool,
    // Any thread; guarded by its lock.
    state: Mutex<KennelState>,
    called: Condvar,
}

#[derive(Default)]
struct KennelState {
    called: bool,
    closed: bool,
}

impl Kennel {
    /// Waits for so long; or, if nobody works, until somebody does. False once the runtime has ended.
    pub(crate) fn wait(&self, pause: Duration, somebody_works: impl Fn() -> bool) -> bool {
        let mut state = lock(&self.state);
        state.called = false;
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `rouse`: either we see that somebody works, or it sees us asleep.
        fence(Ordering::SeqCst);
        if somebody_works() {
            self.asleep.store(false, Ordering::Relaxed);
        }
        if self.asleep.load(Ordering::Relaxed) {
            while !state.called && !state.closed {
                state = self.called.wait(state).unwrap_or_else(|e| e.into_inner());
            }
        }
        if !state.closed {
            let waited = self
                .called
                .wait_timeout_while(state, pause, |state| !state.closed);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        !state.closed
    }

    /// A worker begins to work, and has said so.
    pub(crate) fn rouse(&self) {
        fence(Ordering::SeqCst); // pairs with the one in `wait`
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            lock(&self.state).called = true;
            self.called.notify_all();
        }
    }

    /// The runtime ends.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.called.notify_all();
    }
}
