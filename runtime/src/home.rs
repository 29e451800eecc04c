//! Home: what a coroutine sees of its worker, and all that workers share.
//!
//! A started coroutine runs on one thread for life. Everything it needs to yield, park, wake a
//! neighbour or spawn is in that worker's [`Home`], which this thread finds by one thread-local
//! pointer and nobody else touches: plain cells, no atomic operation.
//!
//! ```text
//!            spawn ──► queue (one worker) or injector (several) ─┐
//!   yield, local wake ──► queue ─────────────────────────────────┤
//!      join's hand-over ──► next ────────────────────────────────┴─► take ──► worker resumes it
//!   other threads ──► mailbox ──► (worker) ──► queue
//! ```
//!
//! [`Shared`] is the other half: what the workers of one runtime reach of each other.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::time::Duration;

use crate::context::Context;
use crate::id::Ids;
use crate::injector::Injector;
use crate::interrupts::FrameId;
use crate::mailbox::Mailbox;
use crate::run_queue::RunQueue;
use crate::seam::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use crate::seam::sync::{Arc, thread_local};
use crate::stack::{StackConfig, Stacks, pool::Pool};
use crate::task::{Message, TaskPtr, Token};
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
    current: Cell<Option<TaskPtr>>,
    next: Cell<Option<TaskPtr>>,
    turns_left: Cell<u32>,
    handovers_left: Cell<u32>,
    several: bool,
    queue: UnsafeCell<RunQueue<TaskPtr>>,

    // Every spawn, start and end.
    pub(crate) ids: Ids,
    /// Stacks that exist or can be had, less the coroutines that will want one.
    spare_stacks: Cell<usize>,
    pub(crate) idle: RefCell<Pool<Context>>,
    pub(crate) live: Cell<usize>,
    spawned: Cell<u64>,
    finished: Cell<u64>,
    /// Coroutines that others have spawned and this worker has taken.
    taken: Cell<u64>,

    // Waits.
    pub(crate) timers: RefCell<Timers<Target>>,
    /// Waits for messages, timers and descriptors with the thread, resuming nobody.
    pub(crate) wait_in_place: fn(),

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
    // Written by this worker alone, read by any.
    pub(crate) spawned: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) stacks: AtomicUsize,
    // Any worker.
    /// Coroutines that others have taken from here.
    stolen: AtomicU64,
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

/// The coroutine that runs on this thread, and its worker.
#[inline(always)]
pub(crate) fn current<'a>() -> Option<(&'a Home, TaskPtr)> {
    let home = here()?;
    Some((home, home.current.get()?))
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
    pub(crate) fn new(index: usize, shared: Arc<Shared>, wait_in_place: fn()) -> Self {
        let config = &shared.config;
        Home {
            current: Cell::new(None),
            next: Cell::new(None),
            turns_left: Cell::new(TURNS_PER_POLL),
            handovers_left: Cell::new(HANDOVERS_MAX),
            several: config.workers > 1,
            queue: UnsafeCell::new(RunQueue::new()),
            ids: Ids::new(),
            spare_stacks: Cell::new(0),
            idle: RefCell::new(Pool::new(usize::MAX)),
            live: Cell::new(0),
            spawned: Cell::new(0),
            finished: Cell::new(0),
            taken: Cell::new(0),
            timers: RefCell::new(Timers::new()),
            wait_in_place,
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
    fn queue<T>(&self, f: impl FnOnce(&mut RunQueue<TaskPtr>) -> T) -> T {
        // SAFETY: this thread's only (`Home` is not `Sync`), and the closures in this file call nothing
        // but the queue's own methods, which know of no `Home`.
        f(unsafe { &mut *self.queue.get() })
    }

    #[inline(always)]
    pub(crate) fn set_current(&self, task: Option<TaskPtr>) {
        self.current.set(task);
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.shared.seats[self.index]
    }

    /// Somebody can run at once.
    pub(crate) fn is_runnable(&self) -> bool {
        self.next.get().is_some() || self.queue(|queue| !queue.is_empty()) || self.several && !self.seat().fresh.is_empty()
    }
}

// ---- Who runs next ---------------------------------------------------------------------------------

impl Home {
    /// Starts a new round of turns, until the next poll.
    pub(crate) fn renew_turns(&self) {
        self.turns_left.set(TURNS_PER_POLL);
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
    pub(crate) fn enqueue(&self, task: TaskPtr) {
        self.queue(|queue| queue.push(task));
    }

    /// Makes a coroutine of this worker the one that runs next.
    #[inline]
    fn hand_over(&self, task: TaskPtr) {
        if let Some(displaced) = self.next.replace(Some(task)) {
            self.enqueue(displaced);
        }
    }

    /// Takes the coroutine that runs next.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<TaskPtr> {
        if let Some(task) = self.next.take() {
            return Some(self.count_handover(task));
        }
        if self.several {
            return self.take_of_several();
        }
        self.take_queued()
    }

    #[inline(always)]
    fn take_queued(&self) -> Option<TaskPtr> {
        self.queue(|queue| {
            let task = queue.pop();
            fetch_ahead(queue);
            task
        })
    }

    #[inline(always)]
    fn count_handover(&self, task: TaskPtr) -> TaskPtr {
        let left = self.handovers_left.get();
        if left == 0 {
            return self.put_back_handover(task);
        }
        self.handovers_left.set(left - 1);
        task
    }

    #[cold]
    fn put_back_handover(&self, task: TaskPtr) -> TaskPtr {
        self.handovers_left.set(HANDOVERS_MAX);
        self.enqueue(task);
        self.take_queued().expect("one was just put in")
    }

    /// With several workers the fresh are apart from the started: each kind gets every other turn.
    fn take_of_several(&self) -> Option<TaskPtr> {
        let fresh_first = self.turns_left.get() % 2 == 0;
        if fresh_first { self.take_fresh().or_else(|| self.take_queued()) } else { self.take_queued().or_else(|| self.take_fresh()) }
    }

    fn take_fresh(&self) -> Option<TaskPtr> {
        self.seat().fresh.pop(|fresh| self.bind(fresh)).map(|fresh| fresh.0)
    }

    /// Makes a coroutine that could have started anywhere this worker's.
    fn bind(&self, fresh: Fresh) {
        fresh.0.set_home(self.mailbox);
        // Pairs with the fence of a canceller: it sees the home and sends a message, or `run`, later on this
        // thread, sees that cancellation was asked for.
        fence(Ordering::SeqCst);
    }

    /// Takes a coroutine that plain threads have spawned, or that another worker has not got round to.
    pub(crate) fn take_from_others(&self) -> Option<TaskPtr> {
        let shared = &*self.shared;
        let mut others = (1..shared.seats.len()).map(|n| &shared.seats[(self.index + n) % shared.seats.len()]);
        let task = shared.injector.pop(|fresh| self.bind(fresh)).or_else(|| {
            others.find_map(|seat| {
                let stolen = seat.fresh.pop(|fresh| self.bind(fresh))?;
                seat.stolen.fetch_add(1, Ordering::Relaxed);
                Some(stolen)
            })
        })?;
        // It counts against our stacks now. If there is none, it is told so when it starts.
        self.taken.set(self.taken.get() + 1);
        let _ = self.reserve_stack();
        Some(task.0)
    }

    /// Takes the coroutine that runs next if it can start on the default stack that has just become free.
    #[inline]
    pub(crate) fn take_startable(&self) -> Option<TaskPtr> {
        if self.next.get().is_some() || self.turns_left.get() == 0 {
            return None;
        }
        if self.several {
            return None;
        }
        let task = self.queue(|queue| {
            let task = queue.ahead(0)?;
            if task.is_started() || task.stack_bytes != 0 { None } else { queue.pop() }
        })?;
        self.turns_left.set(self.turns_left.get() - 1);
        Some(task)
    }

    /// Lets a child that has not started run next, out of its turn; false if it has started, or is not here.
    #[inline]
    pub(crate) fn run_next(&self, child: TaskPtr) -> bool {
        let claimed = if self.several && child.may_move {
            let fresh = &self.seat().fresh;
            let claimed = fresh.remove(child.position.get(), Fresh(child));
            if claimed {
                self.bind(Fresh(child));
            }
            claimed
        } else {
            child.is_home(self.mailbox) && !child.is_started() && self.queue(|queue| queue.remove(child.position.get(), child))
        };
        if claimed {
            self.hand_over(child);
        }
        claimed
    }
}

/// Brings into the cache what the coroutines a few turns ahead will need: first the record, then, when
/// that has arrived, the top of the stack that it names.
#[inline(always)]
fn fetch_ahead(queue: &RunQueue<TaskPtr>) {
    const RECORD: usize = 12;
    const STACK: usize = 6;
    if queue.span() <= RECORD {
        return;
    }
    if let Some(task) = queue.ahead(RECORD) {
        task.prefetch();
    }
    if let Some(task) = queue.ahead(STACK) {
        task.prefetch_stack();
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
                self.enqueue(task);
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
            self.hand_over(joiner);
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
            Message::Cancel(_) => task.interrupts.cancel(),
        }
        self.wake(task);
    }

    /// Does what a timer is for.
    pub(crate) fn fire(&self, target: Target) {
        match target {
            Target::Wake(task) => self.wake(task),
            Target::Expire(task, frame) => {
                if task.interrupts.expire(frame) {
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
    #[inline]
    pub(crate) fn reserve_stack(&self) -> io::Result<()> {
        match self.spare_stacks.get() {
            0 => self.reserve_more()?,
            spare => self.spare_stacks.set(spare - 1),
        }
        Ok(())
    }

    #[cold]
    fn reserve_more(&self) -> io::Result<()> {
        // Those who live or wait to start, as far as this worker knows, and this one.
        let gone = self.finished.get() + self.seat().stolen.load(Ordering::Relaxed);
        let promised = (self.spawned.get() + self.taken.get()).saturating_sub(gone) as usize + 1;
        let stacks_bytes = self.shared.config.stacks.stack_bytes;
        let have = self.stacks.borrow_mut().reserve(stacks_bytes, promised)?;
        self.spare_stacks.set(have.saturating_sub(promised));
        Ok(())
    }

    /// Takes a new coroutine in.
    #[inline]
    pub(crate) fn admit(&self, task: TaskPtr) {
        self.count(&self.spawned, 1, &self.seat().spawned);
        if self.several && task.may_move {
            self.seat().fresh.push(Fresh(task), |position| task.position.set(position));
            self.shared.wake_one();
        } else {
            task.set_home(self.mailbox);
            task.position.set(self.queue(|queue| queue.push(task)));
        }
    }

    #[inline(always)]
    fn count(&self, counter: &Cell<u64>, by: u64, shown: &AtomicU64) {
        counter.set(counter.get() + by);
        // Release: who adds up the counts to learn that all is finished sees what came before.
        shown.store(counter.get(), Ordering::Release);
    }

    /// Gives a coroutine its stack: it starts with the next resume of `context`, or is running on it.
    #[inline]
    pub(crate) fn begin(&self, task: TaskPtr, context: Context) {
        task.adopt(context);
        self.live.set(self.live.get() + 1);
        if self.phase.get() != Phase::Running {
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
        task.position.set(self.queue(|queue| queue.push(task)));
    }

    /// Some worker has coroutines that could start here.
    pub(crate) fn anything_to_take(&self) -> bool {
        let shared = &self.shared;
        !shared.injector.is_empty() || self.several && shared.seats.iter().any(|seat| !seat.fresh.is_empty())
    }

    /// Forgets who was runnable: they have been given up.
    pub(crate) fn clear_queue(&self) {
        self.next.set(None);
        self.queue(|queue| while queue.pop().is_some() {});
    }

    /// Announces the end of a coroutine, whose result is in place and whose context has been left.
    #[inline]
    pub(crate) fn finish(&self, task: TaskPtr) {
        let joiner = task.finish();
        self.bury(joiner);
    }

    /// Counts an end, and wakes the joiner.
    #[inline]
    pub(crate) fn bury(&self, joiner: Option<TaskPtr>) {
        self.live.set(self.live.get() - 1);
        self.spare_stacks.set(self.spare_stacks.get() + 1);
        self.count(&self.finished, 1, &self.seat().finished);
        if let Some(joiner) = joiner {
            self.wake_joiner(joiner);
        }
    }
}

impl Shared {
    /// Takes in a coroutine that a plain thread has spawned.
    pub(crate) fn inject(&self, task: TaskPtr) {
        self.injected.fetch_add(1, Ordering::Release);
        self.injector.push(Fresh(task), |position| task.position.set(position));
        fence(Ordering::SeqCst); // pairs with the fence of whoever falls asleep
        if self.seats.len() == 1 { self.seats[0].mailbox.wake() } else { self.wake_one() }
    }

    /// Wakes a worker that sleeps, if any, because there is something to take.
    #[inline]
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst); // pairs with the fence of whoever falls asleep
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            self.wake_a_sleeper();
        }
    }

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
        let finished = self.seats.iter().map(|seat| seat.finished.load(Ordering::Acquire)).sum();
        let spawned: u64 = self.seats.iter().map(|seat| seat.spawned.load(Ordering::Acquire)).sum();
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
        Shared {
            config,
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
            spawned: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            stacks: AtomicUsize::new(0),
            stolen: AtomicU64::new(0),
        }
    }
}
