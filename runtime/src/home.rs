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

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::Duration;

use crate::context::Context;
use crate::id::Ids;
use crate::injector::Injector;
use crate::interrupts::{Cancelled, FrameId};
use crate::mailbox::Mailbox;
use crate::run_queue::RunQueue;
use crate::seam::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::seam::sync::{Arc, thread, thread_local};
use crate::stack::{StackConfig, Stacks, pool::Pool};
use crate::task::{Joiner, Message, TaskPtr, Token};
use crate::timer::Timers;

/// Turns between two looks at messages, timers and descriptors, however busy the run queue is.
pub(crate) const TURNS_PER_POLL: u32 = 64;

/// Hand-overs in a row before the longest waiting coroutine gets its turn: some 100 us at most. A join
/// that runs its child, and the child's return to the joiner, are hand-overs; a tree of coroutines
/// is walked depth first by them, so the bound must not be small beside its depth.
const HANDOVERS_MAX: u32 = 4096;

/// What a timer does.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Wakes a coroutine of this worker, which takes the timer back before it returns from its wait.
    Wake(TaskPtr),
    /// Says that the deadline of a frame has passed, which takes the timer back when it is left.
    Expire(TaskPtr, FrameId),
}

/// How a runtime was built.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) stacks: StackConfig,
    /// Idle stacks kept warm by each worker.
    pub(crate) idle_stacks_max: usize,
    /// How long the end of `run` waits for coroutines that were cancelled.
    pub(crate) grace: Duration,
    pub(crate) name: Option<Box<str>>,
    pub(crate) report_overflow: bool,
}

/// What a runtime is about. Set by the worker that runs the first coroutine, followed by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// The first coroutine has finished: all others are cancelled, and whoever starts now is too.
    Ending,
    /// The grace period is over: who is left is given up.
    Abandoning,
    /// The worker threads go.
    Stopping,
}

/// One worker's own things. Its thread only.
pub(crate) struct Home {
    // Every turn.
    current: Cell<Option<Context>>,
    turns_left: Cell<u32>,
    queue: UnsafeCell<RunQueue<Runnable>>,

    // Every join of a child that has not started.
    handovers_left: Cell<u32>,
    several: bool,
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
    pub(crate) timers: RefCell<Timers<Target>>,
    // Seldom.
    pub(crate) stacks: RefCell<Stacks>,
    /// All contexts, idle or not.
    pub(crate) contexts: RefCell<Vec<Context>>,
    /// Contexts of unusual size that nobody runs on any more.
    pub(crate) retired: RefCell<Vec<Context>>,
    /// The phase of the runtime that this worker has acted upon.
    pub(crate) phase: Cell<Phase>,
    pub(crate) index: usize,
    pub(crate) mailbox: &'static Mailbox<Message>,
    pub(crate) shared: Arc<Shared>,
}

/// What the workers of one runtime share.
pub(crate) struct Shared {
    // Never changes.
    pub(crate) config: Config,
    pub(crate) seats: Box<[Seat]>,
    /// Each worker can have a core: then one that waits for another may spin.
    pub(crate) cores_for_all: bool,
    // Any thread.
    /// Spawned by plain threads, not started.
    pub(crate) injector: Injector<Fresh>,
    injected: AtomicU64,
    pub(crate) sleepers: AtomicUsize,
    phase: AtomicU8,
}

/// What one worker shows to the others.
pub(crate) struct Seat {
    pub(crate) mailbox: &'static Mailbox<Message>,
    /// Spawned by this worker, not started, free to be taken by any.
    pub(crate) fresh: Injector<Fresh>,
    pub(crate) counts: Arc<Counts>,
}

/// What one worker has done so far.
#[derive(Default)]
pub(crate) struct Counts {
    // Written by this worker alone, so without a read-modify-write; read by any.
    spawned: AtomicU64,
    finished: AtomicU64,
    /// Spawned by others, and taken by this worker.
    taken: AtomicU64,
    pub(crate) stacks: AtomicUsize,
    // Any worker.
    /// Spawned by this worker, and taken by others.
    stolen: AtomicU64,
}

/// Adds one to a counter of which the caller is the only writer.
#[inline(always)]
fn count(counter: &AtomicU64) -> u64 {
    let count = counter.load(Ordering::Relaxed) + 1;
    // Release: who adds up the counts to learn that all is finished sees what came before.
    counter.store(count, Ordering::Release);
    count
}

/// An entry of the run queue: one that has started, by the context it goes on with, or one that has not, by
/// its record. So a turn of one that has started touches its stack alone, not its record.
///
/// One pointer: records and contexts are aligned, which leaves the lowest bit to tell them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runnable(NonNull<u8>);

const FRESH_BIT: usize = 1;

impl Runnable {
    #[inline(always)]
    pub(crate) fn started(context: Context) -> Self {
        Runnable(context.into_raw())
    }

    #[inline]
    pub(crate) fn fresh(task: TaskPtr) -> Self {
        Runnable(task.into_raw().map_addr(|address| address | FRESH_BIT))
    }

    /// Its context, or, if it has not started, its record.
    #[inline(always)]
    pub(crate) fn look(self) -> Result<Context, TaskPtr> {
        if self.0.addr().get() & FRESH_BIT == 0 {
            // SAFETY: without the bit it came from a context.
            Ok(unsafe { Context::from_raw(self.0) })
        } else {
            // SAFETY: with the bit it came from a task, which is alive: it has not even started.
            let clear = |address: NonZeroUsize| NonZeroUsize::new(address.get() & !FRESH_BIT);
            Err(unsafe { TaskPtr::from_raw(self.0.map_addr(|address| clear(address).expect("not null"))) })
        }
    }
}

/// A coroutine that has not started and may do so on any worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fresh(pub(crate) TaskPtr);

// SAFETY: made by `spawn` alone, of a coroutine whose closure is `Send`; its cells are touched by
// whoever took it out of the injector, whose lock orders that after what its spawner wrote.
unsafe impl Send for Fresh {}

thread_local! {
    /// The worker that runs on this thread; null on a plain thread.
    static HOME: Cell<*const Home> = const { Cell::new(std::ptr::null()) };
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

/// Runs a panic hook on the coroutine that panics, as on a plain thread.
pub(crate) fn in_hook(hook: impl FnOnce()) {
    let Some((home, context)) = running() else { return hook() };
    home.in_hook.set(home.current.take());
    hook(); // a panic in here ends the process
    home.current.set(Some(context));
    home.in_hook.set(None);
}

/// Keeps a worker on its thread; gives the place back to whoever had it before.
pub(crate) struct Entered {
    previous: *const Home,
}

impl Drop for Entered {
    fn drop(&mut self) {
        HOME.set(self.previous);
    }
}

impl Home {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        Home {
            current: Cell::new(None),
            turns_left: Cell::new(TURNS_PER_POLL),
            queue: UnsafeCell::new(RunQueue::new()),
            handovers_left: Cell::new(HANDOVERS_MAX),
            several: config.workers > 1,
            in_hook: Cell::new(None),
            ids: Ids::new(),
            counts: shared.seats[index].counts.clone(),
            spawned_max: Cell::new(0),
            starved: Cell::new(false),
            idle: RefCell::new(Pool::new(usize::MAX)),
            timers: RefCell::new(Timers::new()),
            stacks: RefCell::new(Stacks::new(config.stacks)),
            contexts: RefCell::new(Vec::new()),
            retired: RefCell::new(Vec::new()),
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
        Entered { previous: HOME.replace(self) }
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

// ---- Who runs next ---------------------------------------------------------------------------------

impl Home {
    /// Starts a new round of turns, until the next poll.
    pub(crate) fn renew_turns(&self) {
        self.turns_left.set(TURNS_PER_POLL);
        if self.several && let Some(task) = self.take_fresh() {
            // One in a round, so that those who have started, however many, do not keep the fresh from starting.
            self.enqueue_fresh(task);
        }
    }

    /// Ends the round: the worker polls before it resumes anyone.
    pub(crate) fn end_turns(&self) {
        self.turns_left.set(0);
    }

    /// Uses up one turn; false if none was left.
    #[inline(always)]
    pub(crate) fn use_turn(&self) -> bool {
        let left = self.turns_left.get();
        if left == 0 {
            return false;
        }
        self.turns_left.set(left - 1);
        true
    }

    /// Makes a coroutine of this worker runnable, behind all others.
    #[inline(always)]
    pub(crate) fn enqueue(&self, context: Context) {
        self.queue(|queue| queue.push(Runnable::started(context)));
    }

    /// Makes a coroutine of this worker the one that runs next; now and then the last one, lest it and
    /// its like keep all others waiting.
    #[inline]
    fn hand_over(&self, runnable: Runnable) {
        let left = self.handovers_left.get();
        if left == 0 {
            self.handovers_left.set(HANDOVERS_MAX);
            let position = self.queue(|queue| queue.push(runnable));
            if let Err(fresh) = runnable.look() {
                fresh.set_position(position);
            }
        } else {
            self.handovers_left.set(left - 1);
            self.queue(|queue| queue.push_front(runnable));
        }
    }

    /// Takes who runs next.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<Runnable> {
        let next = self.queue(|queue| {
            let next = queue.pop();
            fetch_ahead(queue);
            next
        });
        if next.is_none() && self.several { self.take_fresh().map(Runnable::fresh) } else { next }
    }

    fn take_fresh(&self) -> Option<TaskPtr> {
        self.seat().fresh.pop(|fresh| self.bind(fresh)).map(|fresh| fresh.0)
    }

    /// Makes a coroutine that could have started anywhere this worker's.
    fn bind(&self, fresh: Fresh) {
        fresh.0.set_home(self.mailbox);
    }

    /// Takes a coroutine that plain threads have spawned, or that another worker has not got round to.
    pub(crate) fn take_from_others(&self) -> Option<TaskPtr> {
        let shared = &*self.shared;
        let mut others = (1..shared.seats.len()).map(|n| &shared.seats[(self.index + n) % shared.seats.len()]);
        let has_stack = self.reserve_stack().is_ok();
        self.starved.set(!has_stack);
        let task = shared.injector.pop(|fresh| self.bind(fresh)).or_else(|| {
            if !has_stack {
                return None; // whoever has them can start them
            }
            others.find_map(|seat| {
                let stolen = seat.fresh.pop(|fresh| self.bind(fresh))?;
                seat.counts.stolen.fetch_add(1, Ordering::Relaxed);
                Some(stolen)
            })
        })?;
        // It wants a stack of ours now.
        count(&self.counts.taken);
        self.spawned_max.set(self.spawned_max.get().saturating_sub(1));
        Some(task.0)
    }

    /// Takes who runs next, if that one can start on the default stack that has just become free.
    #[inline]
    pub(crate) fn take_startable(&self) -> Option<TaskPtr> {
        let left = self.turns_left.get();
        if left == 0 {
            return None;
        }
        let task = self.queue(|queue| {
            let task = queue.ahead(0)?.look().err()?;
            if task.stack_bytes != 0 {
                return None;
            }
            queue.pop();
            Some(task)
        })?;
        self.turns_left.set(left - 1);
        Some(task)
    }

    /// Takes a child that has not started out of its turn; false if it has started, or is not here.
    #[inline(always)]
    pub(crate) fn claim(&self, child: TaskPtr) -> bool {
        if self.several && child.may_move {
            return self.seat().fresh.remove(child.position(), Fresh(child), |fresh| self.bind(fresh));
        }
        child.is_home(self.mailbox) && self.queue(|queue| queue.remove(child.position(), Runnable::fresh(child)))
    }

    /// Runs a child that the calling coroutine has claimed, right here, on a stack of its own, until it ends or suspends
    /// for the first time: a call. From then on it is a coroutine like any other. False if it could not
    /// be done here: it runs next then.
    ///
    /// Against parking the caller, and going to the worker for the child and again for the caller, this saves two
    /// switches and two turns: half of a spawn and join.
    #[inline(always)]
    pub(crate) fn run_child(&self, child: TaskPtr) -> bool {
        let left = self.handovers_left.get();
        let may = child.stack_bytes == 0 && left > 0 && self.use_turn();
        let idle = if may { self.idle.borrow_mut().pop() } else { None };
        let (Some(context), Some(caller)) = (idle, self.current.get()) else {
            self.hand_over(Runnable::fresh(child));
            return false;
        };
        self.handovers_left.set(left - 1);
        child.set_joiner(Joiner::Resumer);
        self.begin(child, context);
        self.set_current(Some(context));
        // SAFETY: it was idle, so nobody is inside, and it is this thread's. Whoever resumes it later is the worker.
        unsafe { context.resume() };
        self.set_current(Some(caller));
        true
    }
}

/// From this many runnable on, they do not all stay in the second-level cache from turn to turn.
const FETCH_MIN: usize = 256;

/// Brings the context of a coroutine a few turns ahead into the cache, and with it the translation of its
/// page, where the frames are that it will go on in.
#[inline(always)]
fn fetch_ahead(queue: &RunQueue<Runnable>) {
    if queue.span() > FETCH_MIN {
        fetch_ahead_now(queue);
    }
}

#[inline]
fn fetch_ahead_now(queue: &RunQueue<Runnable>) {
    const AHEAD: usize = 8;
    if let Some(Ok(context)) = queue.ahead(AHEAD).map(Runnable::look) {
        context.prefetch();
    }
}

// ---- Waking ------------------------------------------------------------------------------------------

impl Home {
    /// Wakes a coroutine of this worker. Plain stores; nothing is allocated while the queue has room.
    #[inline]
    pub(crate) fn wake(&self, task: TaskPtr) {
        match task.token.get() {
            Token::Parked => {
                task.token.set(Token::Empty);
                self.enqueue(task.context());
            }
            Token::Empty => task.token.set(Token::Notified),
            Token::Notified | Token::Finished => {}
        }
    }

    /// Wakes the coroutine that has waited in `join` for the one that ends now: it runs next.
    #[inline]
    fn wake_joiner(&self, joiner: TaskPtr) {
        if joiner.token.get() == Token::Parked {
            joiner.token.set(Token::Empty);
            self.hand_over(Runnable::started(joiner.context()));
        } else {
            self.wake(joiner);
        }
    }

    /// Does what another thread, or this one, asks for by a message.
    pub(crate) fn obey(&self, message: Message) {
        let (Message::Wake(task) | Message::Unpark(task) | Message::Cancel(task)) = &message;
        let task = task.get();
        // Too late: it has finished, or it never was this worker's and the mailbox had another owner then.
        if task.is_finished() || !task.is_home(self.mailbox) {
            return;
        }
        match message {
            Message::Wake(_) => {}
            Message::Unpark(_) => task.unparked.set(true),
            Message::Cancel(_) => {
                task.interrupts.cancel();
                task.attract_attention();
            }
        }
        self.wake(task);
    }

    /// Does what a timer is for.
    pub(crate) fn fire(&self, target: Target) {
        match target {
            Target::Wake(task) => self.wake(task),
            Target::Expire(task, frame) => {
                if task.interrupts.expire(frame) {
                    task.attract_attention();
                    self.wake(task);
                }
            }
        }
    }
}

// ---- Birth and end ---------------------------------------------------------------------------------

impl Home {
    /// Sees to it that one more coroutine will find a stack.
    ///
    /// # Errors
    /// Those of mmap(2): no address space or memory is left.
    #[inline(always)]
    pub(crate) fn reserve_stack(&self) -> io::Result<()> {
        if self.counts.spawned.load(Ordering::Relaxed) < self.spawned_max.get() { Ok(()) } else { self.reserve_more() }
    }

    #[cold]
    fn reserve_more(&self) -> io::Result<()> {
        let counts = &*self.counts;
        let spawned = counts.spawned.load(Ordering::Relaxed);
        let came = spawned + counts.taken.load(Ordering::Relaxed);
        let went = counts.finished.load(Ordering::Relaxed) + counts.stolen.load(Ordering::Relaxed);
        // Those who live or wait to start, and the one to come. Whoever ends from now on makes room for more,
        // which is found out the next time.
        let wanted = came.saturating_sub(went) as usize + 1;
        let have = self.stacks.borrow_mut().reserve(self.shared.config.stacks.stack_bytes, wanted)?;
        self.spawned_max.set(spawned + 1 + (have - wanted) as u64);
        Ok(())
    }

    /// Sees to it that one more coroutine of this unusual size will find a stack.
    ///
    /// With several workers that is found out when it starts: nobody knows where that will be.
    ///
    /// # Errors
    /// As [`reserve_stack`](Self::reserve_stack), and `InvalidInput` for an absurd size.
    #[cold]
    pub(crate) fn promise_stack(&self, stack_bytes: usize) -> io::Result<()> {
        let mut stacks = self.stacks.borrow_mut();
        if self.several { stacks.reserve(stack_bytes, 1).map(drop) } else { stacks.promise(stack_bytes) }
    }

    /// Takes a new coroutine in.
    #[inline(always)]
    pub(crate) fn admit(&self, task: TaskPtr) {
        count(&self.counts.spawned);
        if self.several && task.may_move {
            let shared = &*self.shared;
            if self.seat().fresh.push(Fresh(task), &shared.sleepers, |position| task.set_position(position)) {
                shared.wake_a_sleeper();
            }
        } else {
            task.set_home(self.mailbox);
            task.set_position(self.queue(|queue| queue.push(Runnable::fresh(task))));
        }
    }

    /// Gives a coroutine its stack: it starts with the next resume of `context`, or is running on it.
    #[inline]
    pub(crate) fn begin(&self, task: TaskPtr, context: Context) {
        task.adopt(context);
        if self.shared.phase() != Phase::Running {
            task.request_cancel();
        }
    }

    /// Keeps the default stack of a coroutine that has finished for the next one.
    #[inline]
    pub(crate) fn retire(&self, context: Context) {
        let refused = self.idle.borrow_mut().push(context);
        debug_assert!(refused.is_none(), "the pool is unbounded; idle workers trim it");
    }

    /// Puts a coroutine from elsewhere, which has not started, into the queue.
    pub(crate) fn enqueue_fresh(&self, task: TaskPtr) {
        task.set_position(self.queue(|queue| queue.push(Runnable::fresh(task))));
    }

    /// Some worker has coroutines that could start here.
    pub(crate) fn anything_to_take(&self) -> bool {
        let shared = &self.shared;
        let stealable = || !self.starved.get() && shared.seats.iter().any(|seat| !seat.fresh.is_empty_for_sure());
        !shared.injector.is_empty_for_sure() || self.several && stealable()
    }

    /// Forgets who was runnable: those who have started were given up; the others never will, and are told so.
    pub(crate) fn clear_queue(&self) {
        while let Some(next) = self.take() {
            if let Err(fresh) = next.look() {
                // SAFETY: it was just taken out of the queue, and has not started.
                let joiner = unsafe { fresh.fail(Box::new(Cancelled)) };
                self.bury(joiner);
            }
        }
    }

    /// Announces the end of a coroutine, whose result is in place and whose context has been left. Returns
    /// whether whoever resumed it waits for that, and goes on at once.
    #[inline(always)]
    pub(crate) fn finish(&self, task: TaskPtr) -> bool {
        let joiner = task.finish();
        self.bury(joiner);
        joiner == Joiner::Resumer
    }

    /// Counts an end, and wakes the joiner.
    #[inline(always)]
    pub(crate) fn bury(&self, joiner: Joiner) {
        count(&self.counts.finished);
        if let Joiner::Parked(joiner) = joiner {
            self.wake_joiner(joiner);
        }
    }

    /// How many of its coroutines have a stack and have not finished.
    pub(crate) fn live(&self) -> usize {
        // SAFETY: the list holds this worker's contexts.
        self.contexts.borrow().iter().filter(|context| unsafe { TaskPtr::tenant_of(**context) }.is_some()).count()
    }
}

impl Shared {
    /// Takes in a coroutine that a plain thread has spawned.
    pub(crate) fn inject(&self, task: TaskPtr) {
        self.injected.fetch_add(1, Ordering::Release);
        let somebody_sleeps = self.injector.push(Fresh(task), &self.sleepers, |position| task.set_position(position));
        if self.seats.len() == 1 {
            self.seats[0].mailbox.wake();
        } else if somebody_sleeps {
            self.wake_a_sleeper();
        }
    }

    /// Wakes a worker that sleeps, if any, because there is something to take.
    #[cold]
    fn wake_a_sleeper(&self) {
        if let Some(seat) = self.seats.iter().find(|seat| seat.mailbox.is_asleep()) {
            seat.mailbox.wake();
        }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.seats.iter().for_each(|seat| seat.mailbox.wake());
    }

    /// How many coroutines have been spawned and have finished; equal only if there was a moment at
    /// which all had finished.
    ///
    /// The ends are added up first. Both sums only grow, and an end comes after its spawn, so between the
    /// two sums there was a moment with at most the spawns of the second and at least the ends of the first.
    pub(crate) fn spawned_and_finished(&self) -> (u64, u64) {
        // Acquire: pairs with the Release in `count`.
        let finished = self.seats.iter().map(|seat| seat.counts.finished.load(Ordering::Acquire)).sum();
        let spawned: u64 = self.seats.iter().map(|seat| seat.counts.spawned.load(Ordering::Acquire)).sum();
        (spawned + self.injected.load(Ordering::Acquire), finished)
    }

    pub(crate) fn phase(&self) -> Phase {
        // Acquire: pairs with the Release below, for what led to the new phase.
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Ending,
            2 => Phase::Abandoning,
            _ => Phase::Stopping,
        }
    }

    /// Enters a phase and makes all workers look.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.wake_all();
    }

    pub(crate) fn new(config: Config, mailboxes: Vec<&'static Mailbox<Message>>) -> Self {
        let cores_for_all = config.workers == 1 || thread::available_parallelism().is_ok_and(|cores| cores.get() >= config.workers);
        Shared {
            config,
            cores_for_all,
            seats: mailboxes.into_iter().map(Seat::new).collect(),
            injector: Injector::new(),
            injected: AtomicU64::new(0),
            sleepers: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
        }
    }
}

impl Seat {
    fn new(mailbox: &'static Mailbox<Message>) -> Self {
        Seat {
            mailbox,
            fresh: Injector::new(),
            counts: Arc::default(),
        }
    }
}
