//! Home: what a coroutine sees of its worker, and all that workers share.
//!
//! A started coroutine runs on one thread for life. Everything it needs to yield, park, wake a
//! neighbour or spawn is in that worker's [`Home`], which this thread finds by one thread-local
//! pointer and nobody else touches: plain cells, no atomic operation.
//!
//! ```text
//!              spawn ──► queue (one worker) or injector (several) ─┐
//!   yield, local wake ──► queue, at its end ───────────────────────┤
//!    join's hand-over ──► queue, at its front ─────────────────────┴─► take ──► worker resumes it
//!       other threads ──► mailbox ──► (worker) ──► queue
//! ```
//!
//! [`Shared`] is the other half: what the workers of one runtime reach of each other.

mod counts;
mod due;
mod lives;
mod observed;
mod shared;
mod turns;
mod watched;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::time::Instant;

use crate::context::Context;
use crate::id::Ids;
use crate::mailbox::Mailbox;
use crate::run_queue::{Position, RunQueue};
use crate::seam::clock;
use crate::seam::sync::{Arc, thread_local};
use crate::stack::{Stacks, pool::Pool};
use crate::sys::thread_end::Latest;
use crate::task::{Message, TaskPtr, Token};
use crate::timer::Timers;

pub(crate) use counts::Counts;
pub(crate) use due::{DUE_MAX, Target};
use observed::Observed;
pub(crate) use observed::record_elsewhere;
pub(crate) use shared::{Config, Phase, Seat, Shared, Suspicion};
use turns::HANDOVERS_MAX;
pub(crate) use turns::{Runnable, TURNS_PER_POLL};
pub(crate) use watched::{Found, Watched};

/// One worker's own things. Its thread only.
pub(crate) struct Home {
    // Every turn.
    current: Cell<Option<Context>>,
    /// Coroutines that may still start in this round without a turn of the worker's.
    starts_left: Cell<u32>,
    round_ended: Cell<bool>,
    observed: Observed,
    queue: UnsafeCell<RunQueue<Runnable>>,
    /// When somebody was last suspended: while this holds, the thread-locals are there that any of them may borrow.
    pub(crate) last_turn: Latest,

    // Every join of a child that has not started.
    handovers_left: Cell<u32>,
    pub(crate) several: bool,
    watched: bool,
    /// The coroutine whose panic hook runs: not current meanwhile, so that nothing suspends there.
    in_hook: Cell<Option<Context>>,

    // Every spawn, start and end.
    pub(crate) ids: Ids,
    counts: Arc<Counts>,
    /// Up to this many may have been spawned before more stacks are looked for: each finds one when it starts.
    spawned_max: Cell<u64>,
    /// No memory was left for another stack when it last looked.
    starved: Cell<bool>,
    pub(crate) idle: RefCell<Pool<Context>>,

    // Waits.
    /// Wake-ups so far: coroutines that were parked and can run.
    wakes: Cell<u64>,
    pub(crate) timers: RefCell<Timers<Target>>,
    /// Who stood first in the queue when timers fired last: before that one gets its turn, none fires.
    behind_the_due: Cell<Position>,

    // Every park.
    /// What time it is, or was lately: see [`read_clock`](Home::read_clock).
    pub(crate) clock: Cell<u64>,
    /// How many waits have begun that could close a circle.
    waits_for_others: Cell<u64>,

    // Seldom.
    /// Whoever is resumed next is to call this, and to suspend again.
    pub(crate) visit: Cell<Option<fn()>>,
    /// The worker that this thread was running when this one entered it, if any.
    outside: Cell<*const Home>,
    pub(crate) stacks: RefCell<Stacks>,
    /// All contexts, idle or not.
    pub(crate) contexts: RefCell<Vec<Context>>,
    /// Contexts of unusual size that nobody runs on any more.
    pub(crate) retired: RefCell<Vec<Context>>,
    /// Thread-locals are gone that others may have borrowed, and the one that runs is below their destructors: for good.
    pub(crate) ending: Cell<bool>,
    /// The phase of the runtime that this worker has acted upon.
    pub(crate) phase: Cell<Phase>,
    pub(crate) index: usize,
    pub(crate) mailbox: &'static Mailbox<Message>,
    pub(crate) shared: Arc<Shared>,
}

/// A coroutine that has not started and may do so on any worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fresh(pub(crate) TaskPtr);

// SAFETY: made by `spawn` alone, of a coroutine whose closure is `Send`; its cells are touched by
// whoever took it out of the injector, whose lock orders that after what its spawner wrote. While it is in there, others
// may look by that lock at what never changes: see `Shared::show_fresh`.
unsafe impl Send for Fresh {}

thread_local! {
    /// The worker that runs on this thread; null on a plain thread.
    static HOME: Cell<*const Home> = const { Cell::new(std::ptr::null()) };
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// The worker of this thread.
///
/// Good until the worker leaves the thread, which it does when no coroutine of its runs. So a coroutine
/// may use it until it returns, except across a suspension of its own: ask again then, it costs a load.
#[inline(always)]
pub(crate) fn here<'a>() -> Option<&'a Home> {
    // SAFETY: `enter` has put it there, and its guard takes it away before the home goes.
    unsafe { HOME.get().as_ref() }
}

/// The context that runs on this thread, and its worker.
#[inline(always)]
pub(crate) fn running<'a>() -> Option<(&'a Home, Context)> {
    let home = here()?;
    Some((home, home.current.get()?))
}

/// The coroutine that runs on this thread, and its worker. None inside a panic hook: nothing can suspend
/// there, so it counts as a plain thread.
#[inline(always)]
pub(crate) fn current<'a>() -> Option<(&'a Home, TaskPtr)> {
    let (home, context) = running()?;
    // SAFETY: the home's own contexts are current.
    Some((home, unsafe { TaskPtr::tenant_of(context) }?))
}

/// The coroutine that runs on this thread, also inside a panic hook.
pub(crate) fn strand<'a>() -> Option<(&'a Home, TaskPtr)> {
    current().or_else(|| {
        let home = here()?;
        // SAFETY: the home's own context.
        Some((home, unsafe { TaskPtr::tenant_of(home.in_hook.get()?) }?))
    })
}

/// Runs a panic hook as on a plain thread, whoever it is that panics.
pub(crate) fn in_hook(hook: impl FnOnce()) {
    let strand = running();
    if let Some((home, _)) = strand {
        home.in_hook.set(home.current.take());
    }
    let outer = IN_HOOK.replace(true);
    hook(); // a panic in here ends the process
    IN_HOOK.set(outer);
    if let Some((home, context)) = strand {
        home.current.set(Some(context));
        home.in_hook.set(None);
    }
}

/// A panic hook runs on this thread.
pub(crate) fn is_in_hook() -> bool {
    IN_HOOK.get()
}

/// The workers that have entered this thread, the innermost first.
pub(crate) fn entered<'a>() -> impl Iterator<Item = &'a Home> {
    // SAFETY: as for `here`: those outside are there as long as the one inside.
    std::iter::successors(here(), |home| unsafe { home.outside.get().as_ref() })
}

/// Lets nobody run any more but the coroutine that does, if thread-locals are going that the others may have borrowed: by
/// an exit(3) that it has called.
pub(crate) fn end_with_the_thread() {
    entered().for_each(|home| home.last_turn.distrust());
    for home in entered().filter(|home| !home.last_turn.holds()) {
        home.ending.set(true);
        if let Some(context) = home.current.get() {
            context.set_attention(true);
        }
    }
}

/// Where the caller is: by which worker and on which context it runs. Compared, never followed.
#[inline(always)]
pub(crate) fn place() -> (*const (), Option<Context>) {
    let home = here();
    (
        home.map_or(std::ptr::null(), |home| std::ptr::from_ref(home).cast()),
        home.and_then(|home| home.current.get()),
    )
}

/// Keeps a worker on its thread; gives the place back to whoever had it before.
pub(crate) struct Entered {
    previous: *const Home,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(home) = here() {
            home.seat().set_occupied(false);
        }
        HOME.set(self.previous);
    }
}

impl Home {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Home {
            current: Cell::new(None),
            starts_left: Cell::new(TURNS_PER_POLL),
            round_ended: Cell::new(false),
            observed: Observed::new(config),
            queue: UnsafeCell::new(RunQueue::new()),
            handovers_left: Cell::new(HANDOVERS_MAX),
            several: config.workers > 1,
            watched: config.watched,
            in_hook: Cell::new(None),
            ids: Ids::new(),
            counts: shared.seats[index].counts.clone(),
            spawned_max: Cell::new(0),
            starved: Cell::new(false),
            idle: RefCell::new(Pool::new(usize::MAX)),
            wakes: Cell::new(0),
            timers: RefCell::new(Timers::new(clock::now())),
            behind_the_due: Cell::new(0),
            clock: Cell::new(shared.ticks(clock::now())),
            waits_for_others: Cell::new(0),
            visit: Cell::new(None),
            outside: Cell::new(std::ptr::null()),
            stacks: RefCell::new(Stacks::new(config.stacks)),
            contexts: RefCell::new(Vec::new()),
            retired: RefCell::new(Vec::new()),
            last_turn: Latest::new(),
            ending: Cell::new(false),
            phase: Cell::new(Phase::Running),
            index,
            mailbox: shared.seats[index].mailbox,
            shared,
        }
    }

    /// Puts this worker on the calling thread.
    ///
    /// # Safety
    /// The home outlives the guard, and stays where it is.
    pub(crate) unsafe fn enter(&self) -> Entered {
        self.last_turn.distrust();
        let previous = HOME.replace(self);
        self.outside.set(previous);
        self.seat().set_occupied(true);
        Entered { previous }
    }

    /// The run queue. Nothing that is called with it calls back, so one borrow never meets another.
    #[inline(always)]
    fn queue<T>(&self, f: impl FnOnce(&mut RunQueue<Runnable>) -> T) -> T {
        // SAFETY: this thread's only (`Home` is not `Sync`), and the closures in this file call nothing
        // but the queue's own methods, which know of no `Home`.
        f(unsafe { &mut *self.queue.get() })
    }

    #[inline(always)]
    pub(crate) fn set_current(&self, context: Option<Context>) {
        self.current.set(context);
    }

    /// Somebody has just been suspended, or has ended.
    #[inline(always)]
    pub(crate) fn note_suspension(&self) {
        // SAFETY: distrusted on entering the thread, and when that begins to destroy its thread-locals.
        unsafe { self.last_turn.renew() };
    }

    /// Notes what time it is, for the records of those who park. Read when the worker needs the time anyway, and at every
    /// 16th poll else: a park reads no clock.
    pub(crate) fn read_clock(&self, now: Instant) {
        self.clock.set(self.shared.ticks(now));
    }

    /// How many waits have begun that could close a circle.
    pub(crate) fn waits_for_others(&self) -> u64 {
        self.waits_for_others.get()
    }

    /// Somebody begins to wait for what other coroutines do.
    #[inline(always)]
    pub(crate) fn count_wait_for_others(&self) {
        self.waits_for_others.set(self.waits_for_others.get() + 1);
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.shared.seats[self.index]
    }

    /// A stack stays as it is between two coroutines.
    pub(crate) fn keeps_stacks(&self) -> bool {
        let stacks = &self.shared.config.stacks;
        !stacks.zero_on_release && !stacks.protect_idle
    }

    /// Somebody can run at once.
    pub(crate) fn is_runnable(&self) -> bool {
        self.queue(|queue| !queue.is_empty()) || self.several && !self.seat().fresh.is_empty()
    }
}

// ---- Waking ------------------------------------------------------------------------------------------

impl Home {
    /// Wakes a coroutine of this worker. Plain stores; nothing is allocated while the queue has room.
    #[inline]
    pub(crate) fn wake(&self, task: TaskPtr) {
        match task.token.get() {
            Token::Parked => {
                self.unpark(task);
                self.enqueue(task.context());
            }
            Token::Empty => task.token.set(Token::Notified),
            Token::Notified | Token::Finished => {}
        }
    }

    /// It is not parked any more; whoever calls puts it into the queue.
    #[inline(always)]
    fn unpark(&self, task: TaskPtr) {
        task.token.set(Token::Empty);
        self.wakes.set(self.wakes.get() + 1);
        if self.is_observed() {
            self.record_wake(task);
        }
    }

    /// Wakes the coroutine that has waited in `join` for the one that ends now: it runs next.
    #[inline]
    fn wake_joiner(&self, joiner: TaskPtr) {
        if joiner.token.get() == Token::Parked {
            self.unpark(joiner);
            self.hand_over(Runnable::started(joiner.context()));
        } else {
            self.wake(joiner);
        }
    }

    /// Does what another thread, or this one, asks for by a message.
    pub(crate) fn obey(&self, message: Message) {
        let task = match &message {
            Message::Wake(task) | Message::Unpark(task) | Message::Cancel(task) => task.get(),
            Message::Do(_) => {
                if let Message::Do(errand) = message {
                    errand();
                }
                return;
            }
        };
        // Too late: it has finished, or it never was this worker's and the mailbox had another owner then.
        if task.is_finished() || !task.is_home(self.mailbox) {
            return;
        }
        match message {
            Message::Wake(_) | Message::Do(_) => {}
            Message::Unpark(_) => task.unparked.set(true),
            Message::Cancel(_) => {
                task.interrupts.cancel();
                task.attract_attention();
            }
        }
        self.wake(task);
    }
}
