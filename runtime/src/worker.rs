//! The worker: THE loop. It resumes coroutines, one turn each, and between rounds of turns it polls.
//!
//! ```text
//!   round  ┌► take ──► resume ─┐   up to 64 turns, or until nobody can run
//!          └───────────────────┘
//!   poll   messages ► timers ► descriptors        without waiting if somebody can run,
//!                                                 else asleep until the first of them, or the bell
//! ```
//!
//! A turn is: take a coroutine from the queue, give it a stack if it has none, switch to it, and
//! when it has switched back take the next. Whoever yields or is woken has put itself into the queue before.
//!
//! Coroutines that sleep for single milliseconds by the thousand would wake the thread for each of them. So
//! wake-ups for timers keep a distance of [`TIMER_GRAIN`], and one wake-up serves all timers
//! that have become due: a lone sleeper is exact, a crowd shares.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use crate::context::{Context, Suspension};
use crate::home::{self, DUE_MAX, Home, Phase, Runnable, Shared, TURNS_PER_POLL, Target};
use crate::idle::Idle;
use crate::interrupts::Cancelled;
use crate::park;
use crate::reactor::Reactor;
use crate::seam::sync::atomic::Ordering;
use crate::seam::sync::{Arc, thread_local};
use crate::seam::{barrier, clock};
use crate::stack::overflow::AltStack;
use crate::sys::process::{NoUnwind, report, set_timer_slack, watch_forks};
use crate::sys::thread_end;
use crate::task::{self, Payload, TaskPtr, TaskRef};

/// The least distance between two wake-ups for timers.
///
/// A wake-up costs 4 us of CPU. With 1,000 coroutines that sleep for 1 to 10 ms, 150 us took 1.10 of tokio's CPU time at
/// a p99 lateness of 157 us, 175 us take 0.96 at 182 us (medians of 9 runs in turn). tokio wakes every millisecond.
const TIMER_GRAIN: Duration = Duration::from_micros(175);

/// How long stacks lie idle before their memory goes back.
const TRIM_PERIOD: Duration = Duration::from_secs(1);

/// While it looks around it asks for descriptors once in so many looks, some 10 us; but see [`Idle::asks_for_descriptors`].
const LOOKS_PER_POLL: u32 = 512;

/// One worker. It stays on the thread that it [enters](Worker::enter) while coroutines of its are alive.
pub(crate) struct Worker {
    pub(crate) home: Home,
    pub(crate) reactor: Arc<Reactor>,
    idle: Idle,
    last_timers: Cell<Option<Instant>>,
    /// Room for the timers that are fired at a time.
    due: Cell<Vec<Target>>,
    next_trim: Cell<Option<Instant>>,
}

thread_local! {
    /// The worker that runs on this thread; null on a plain thread.
    static WORKER: Cell<*const Worker> = const { Cell::new(std::ptr::null()) };
}

/// A worker on its thread, until dropped.
pub(crate) struct Seated {
    /// The thread's timer slack of before: the kernel's 50 us on top of the grain would be a lot.
    slack_ns: u64,
    previous: *const Worker,
    _home: home::Entered,
    _alternate: AltStack,
}

impl Drop for Seated {
    fn drop(&mut self) {
        WORKER.set(self.previous);
        set_timer_slack(self.slack_ns);
    }
}

/// The reactor of this thread's worker; none on a plain thread.
pub(crate) fn reactor() -> Option<Arc<Reactor>> {
    current().map(|worker| worker.reactor.clone())
}

fn current<'a>() -> Option<&'a Worker> {
    home::current()?;
    // SAFETY: as for `home::here`: put there by `enter`, taken away before the worker goes.
    unsafe { WORKER.get().as_ref() }
}

impl Worker {
    /// Makes the worker with this number.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`: no epoll instance.
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        // Asked for while the process has one thread, if it ever has: see there.
        barrier::is_available();
        let reactor = Reactor::new()?;
        let bell = reactor.clone();
        shared.seats[index]
            .mailbox
            .hire(Box::new(move || bell.ring()));
        Ok(Worker {
            idle: Idle::new(shared.config.workers, shared.cores, shared.config.spin),
            home: Home::new(index, shared),
            reactor,
            last_timers: Cell::new(None),
            due: Cell::new(Vec::with_capacity(DUE_MAX)),
            next_trim: Cell::new(None),
        })
    }

    /// Puts this worker on the calling thread.
    ///
    /// # Errors
    /// No memory for the thread's alternate signal stack.
    ///
    /// # Safety
    /// The worker outlives the guard, and stays where it is; it is on no other thread, and has no
    /// coroutine that was started on another.
    pub(crate) unsafe fn enter(&self) -> io::Result<Seated> {
        let alternate = AltStack::ensure()?;
        watch_forks(park::attract_attention);
        thread_end::tell(home::end_with_the_thread);
        // SAFETY: the caller's promise.
        let home = unsafe { self.home.enter() };
        Ok(Seated {
            slack_ns: set_timer_slack(1),
            previous: WORKER.replace(self),
            _home: home,
            _alternate: alternate,
        })
    }

    /// One round of turns. Returns how many were made.
    ///
    /// After each turn the worker's home is asked for again, at its fixed place among the thread-locals. A pointer kept on
    /// this stack would be known only when the stack pointer has come back, by way of memory, from the coroutine: then
    /// the next turn cannot begin to look up whom it resumes before that. A yield took 33 cycles so, 23 without.
    #[inline]
    pub(crate) fn round(&self) -> usize {
        let mut home = &self.home;
        home.begin_round();
        let mut turns = 0;
        let mut next = home.take();
        while let Some(runnable) = next {
            turns += 1;
            let outcome = self.turn(home, runnable);
            home = home::here().expect("the worker is on this thread");
            home.note_suspension();
            next = match outcome {
                Some(yielded) if turns < TURNS_PER_POLL => Some(home.rotate(yielded)),
                Some(yielded) => {
                    home.enqueue(yielded);
                    break;
                }
                None if turns < TURNS_PER_POLL && !home.take_round_ended() => home.take(),
                None => break,
            };
        }
        home.set_current(None);
        turns as usize
    }

    /// Resumes one coroutine until it suspends. Returns its context if it has yielded.
    #[inline(always)]
    fn turn(&self, home: &Home, next: Runnable) -> Option<Context> {
        let context = match next.look() {
            Ok(context) => context,
            Err(fresh) if self.start(fresh) => fresh.context(),
            Err(_) => return None,
        };
        home.set_current(Some(context));
        // SAFETY: this worker is the only one that resumes its coroutines, one at a time, on one thread.
        match unsafe { context.resume() } {
            Suspension::Yielded => Some(context),
            Suspension::Waits => None,
        }
    }

    /// Gives a coroutine its stack; false if there is none to be had, which its joiner is told.
    #[inline]
    fn start(&self, task: TaskPtr) -> bool {
        let home = &self.home;
        if task.stack_bytes == 0
            && let Some(context) = home.idle.borrow_mut().pop()
        {
            home.begin(task, context);
            return true;
        }
        self.start_on_new_stack(task)
    }

    #[cold]
    fn start_on_new_stack(&self, task: TaskPtr) -> bool {
        let home = &self.home;
        let stack_bytes = if task.stack_bytes == 0 {
            home.shared.config.stacks.stack_bytes
        } else {
            task.stack_bytes
        };
        let stack = if task.stack_bytes == 0 {
            home.stacks.borrow_mut().acquire(stack_bytes)
        } else {
            home.stacks.borrow_mut().acquire_promised(stack_bytes)
        };
        match stack {
            Ok(stack) => {
                let context = Context::new(stack, coroutine_main);
                let mut contexts = home.contexts.borrow_mut();
                context.index().set(contexts.len());
                contexts.push(context);
                home.seat()
                    .counts
                    .stacks
                    .store(contexts.len(), Ordering::Relaxed);
                drop(contexts);
                home.begin(task, context);
                true
            }
            Err(error) => {
                // What it drops is dropped as on a plain thread.
                home.set_current(None);
                // SAFETY: it has not started, and was taken out of the queue.
                let joiner = unsafe {
                    task.fail(Box::new(format!("a coroutine could not start: {error}")) as Payload)
                };
                home.bury(joiner);
                false
            }
        }
    }

    /// Frees a context that nobody runs on.
    fn destroy(&self, context: Context) {
        self.forget(context);
        // SAFETY: idle, so suspended in `coroutine_main` between two coroutines, where nothing is held; and
        // just taken out of the list.
        let stack = unsafe { context.into_stack() };
        self.home.stacks.borrow_mut().release(stack);
    }

    /// Takes a context out of the list of all.
    fn forget(&self, context: Context) {
        let mut contexts = self.home.contexts.borrow_mut();
        let index = context.index().get();
        contexts.swap_remove(index);
        if let Some(moved) = contexts.get(index) {
            moved.index().set(index);
        }
        self.home
            .seat()
            .counts
            .stacks
            .store(contexts.len(), Ordering::Relaxed);
    }

    /// Frees all idle contexts, and their memory.
    pub(crate) fn destroy_idle(&self) {
        let idle: Vec<Context> = self
            .home
            .idle
            .borrow_mut()
            .take_coldest(usize::MAX)
            .collect();
        idle.into_iter().for_each(|context| self.destroy(context));
        self.free_retired();
        self.home.stacks.borrow_mut().trim();
    }

    #[inline]
    fn free_retired(&self) {
        while let Some(context) = { self.home.retired.borrow_mut().pop() } {
            self.destroy(context);
        }
    }
}

/// What every context runs: one coroutine after the other, for as long as there are some that can start
/// where the last one has ended; then it waits among the idle ones for the next.
///
/// Between coroutines it holds nothing that needs a drop, so its stack can be taken away there.
fn coroutine_main() {
    loop {
        let (_, task) = home::current().expect("the worker resumes a context for a coroutine");
        let context = task.context();
        task.run();
        // Asked for again: the compiler must not keep across `run` where this thread keeps its worker.
        let home = home::here().expect("a coroutine stays on its worker's thread");
        // From here to the suspension is the scheduler's own.
        let guard = NoUnwind;
        if task.interrupts.depth() > 0 {
            home.drop_frames(task);
        }
        let is_usual = task.stack_bytes == 0 && home.keeps_stacks();
        let resumer_waits = home.finish(task);
        if !is_usual {
            home.retired.borrow_mut().push(context);
            home.end_round();
        } else if !resumer_waits && let Some(next) = home.take_startable() {
            home.begin(next, context);
            guard.passed();
            continue;
        } else {
            home.retire(context);
        }
        guard.passed();
        // SAFETY: this is the stack of that context, which is being resumed.
        unsafe { context.suspend(Suspension::Waits) };
    }
}

// ---- Polling -------------------------------------------------------------------------------------------

impl Worker {
    /// Looks at messages, timers and descriptors. Sleeps until one of them, `until` at the latest, if
    /// `may_sleep` and nobody can run.
    pub(crate) fn poll(&self, may_sleep: bool, until: Option<Instant>) {
        let home = &self.home;
        self.free_retired();
        self.obey_messages();
        if home.shared.seats.len() == 1 {
            self.take_injected();
        }
        self.fire_timers();
        if !may_sleep || home.is_runnable() {
            if self.reactor.registrations() > 0 {
                self.poll_reactor(Some(Duration::ZERO));
            }
            return;
        }
        if !self.find_work(until) {
            self.sleep(until);
        }
    }

    /// All that plain threads have spawned.
    fn take_injected(&self) {
        while let Some(task) = self.home.take_from_others() {
            self.home.enqueue_fresh(task);
        }
    }

    /// Something to run from elsewhere, after some looking around.
    fn find_work(&self, until: Option<Instant>) -> bool {
        let home = &self.home;
        let deadline = [self.next_deadline(), until].into_iter().flatten().min();
        let watched = self.reactor.registrations() > 0;
        let looks_per_poll = if self.idle.asks_for_descriptors() {
            1
        } else {
            LOOKS_PER_POLL
        };
        let mut looks = 0_u32;
        let found = self.idle.look_around(deadline, || {
            looks = looks.wrapping_add(1);
            if watched && looks.is_multiple_of(looks_per_poll) {
                self.poll_reactor(Some(Duration::ZERO));
            }
            if home.several
                && let Some(task) = home.take_from_others()
            {
                home.enqueue_fresh(task);
            }
            home.is_runnable()
                || !home.mailbox.is_empty()
                || !home.shared.injector.is_empty()
                || self.phase_calls()
        });
        if found {
            self.obey_messages();
            if !home.several {
                self.take_injected();
            }
        }
        found
    }

    fn obey_messages(&self) {
        while let Some(message) = self.home.mailbox.take() {
            self.home.obey(message);
        }
    }

    /// Fires timers that are due, a bounded number at a time; see [`Home::fire`].
    fn fire_timers(&self) {
        let home = &self.home;
        if home.timers.borrow().len() == 0 || !home.may_fire() {
            return;
        }
        let now = clock::now();
        let mut due = self.due.take();
        loop {
            home.timers.borrow_mut().take_due(now, DUE_MAX, &mut due);
            if due.is_empty() {
                break;
            }
            self.last_timers.set(Some(now));
            home.fire(&due);
            due.clear();
            if home.is_runnable() {
                break;
            }
        }
        self.due.set(due);
    }

    /// When the worker must be awake again, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timer = self.home.timers.borrow_mut().next_deadline()?;
        let spaced = self
            .last_timers
            .get()
            .and_then(|last| last.checked_add(TIMER_GRAIN));
        Some(spaced.map_or(timer, |spaced| spaced.max(timer)))
    }

    /// Sleeps until a message, a descriptor, the next deadline or `until`.
    fn sleep(&self, until: Option<Instant>) {
        let home = &self.home;
        let shared = &home.shared;
        home.mailbox.fall_asleep();
        shared.sleepers.fetch_add(1, Ordering::Relaxed);
        // The last look: whoever has put something in place before this sees that we sleep, or we see it.
        let something = !home.mailbox.is_empty() || home.anything_to_take() || self.phase_calls();
        let now = clock::now();
        let timeout = if something {
            Some(Duration::ZERO)
        } else {
            let deadline = [self.next_deadline(), until, self.trim_deadline(now)]
                .into_iter()
                .flatten()
                .min();
            deadline.map(|deadline| deadline.saturating_duration_since(now))
        };
        self.poll_reactor(timeout);
        shared.sleepers.fetch_sub(1, Ordering::Relaxed);
        home.mailbox.wake_up();
        if !home.mailbox.is_empty() || home.anything_to_take() {
            self.idle.slept(clock::now().saturating_duration_since(now));
        }
    }

    /// The runtime has come to another phase, or it ends and all have ended: whoever did that last may not have found
    /// us asleep.
    fn phase_calls(&self) -> bool {
        let (home, phase) = (&self.home, self.home.phase.get());
        if home.shared.phase() != phase {
            return true;
        }
        let waits_for_all = home.index == 0 && phase != Phase::Running;
        waits_for_all && {
            let (spawned, finished) = home.shared.spawned_and_finished();
            spawned == finished
        }
    }

    fn poll_reactor(&self, timeout: Option<Duration>) {
        if let Err(error) = self.reactor.poll(timeout) {
            panic!("epoll_wait failed: {error}: was the descriptor closed by someone else?");
        }
    }

    /// Gives back the memory of stacks that nobody has needed for a while; when to look again, if ever.
    pub(crate) fn trim_deadline(&self, now: Instant) -> Option<Instant> {
        let home = &self.home;
        let max = home.shared.config.idle_stacks_max;
        let idle = home.idle.borrow().len();
        match self.next_trim.get() {
            _ if idle == 0 => self.next_trim.set(None),
            Some(due) if now < due => {}
            due => {
                let surplus = home.idle.borrow_mut().surplus();
                let unneeded = if due.is_some() {
                    surplus
                } else {
                    idle.saturating_sub(max)
                };
                let cold: Vec<Context> = home.idle.borrow_mut().take_coldest(unneeded).collect();
                cold.into_iter().for_each(|context| self.destroy(context));
                home.stacks.borrow_mut().trim();
                task::memory::trim();
                self.next_trim.set(now.checked_add(TRIM_PERIOD));
            }
        }
        self.next_trim.get()
    }
}

// ---- Following the phases -------------------------------------------------------------------------------------------

impl Worker {
    /// The life of a worker thread.
    pub(crate) fn work(&self) {
        loop {
            self.round();
            match self.follow_phase() {
                Phase::Stopping => return,
                // Who ends the runtime sleeps until all is quiet.
                Phase::Ending | Phase::Abandoning => self.home.shared.seats[0].mailbox.wake(),
                Phase::Running => {}
            }
            self.poll(true, None);
        }
    }

    /// Does what the runtime's phase demands, once.
    pub(crate) fn follow_phase(&self) -> Phase {
        let phase = self.home.shared.phase();
        if phase != self.home.phase.replace(phase) {
            match phase {
                Phase::Ending => self.cancel_all(),
                Phase::Abandoning => self.abandon_all(),
                Phase::Running | Phase::Stopping => {}
            }
        }
        phase
    }

    /// Cancels everyone who is alive here, now and whoever starts later.
    fn cancel_all(&self) {
        let home = &self.home;
        for task in self.live_tasks() {
            task.request_cancel();
            task.interrupts.cancel();
            task.attract_attention();
            home.wake(task);
        }
    }

    /// The coroutines that have started and not finished.
    fn live_tasks(&self) -> Vec<TaskPtr> {
        let contexts = self.home.contexts.borrow();
        // SAFETY: the list holds this worker's contexts.
        contexts
            .iter()
            .filter_map(|context| unsafe { TaskPtr::tenant_of(*context) })
            .collect()
    }

    /// Gives up all coroutines that are left, saying so: their stacks stay where they are, for ever,
    /// because something may still point there.
    fn abandon_all(&self) {
        for task in self.live_tasks() {
            let name = task.label.name.as_deref().unwrap_or("<unnamed>");
            report(&format!(
                "coroutine '{name}' (id {}), spawned at {}, did not end within the grace period after it was \
                 cancelled: its stack is leaked",
                task.label.id, task.label.spawned_at
            ));
            self.abandon(task);
        }
        self.home.clear_queue();
    }

    fn abandon(&self, task: TaskPtr) {
        std::mem::forget(TaskRef::new(task));
        self.forget(task.context());
        // SAFETY: it is suspended, out of the list, and nobody resumes it any more.
        let joiner = unsafe { task.fail(Box::new(Cancelled)) };
        self.home.bury(joiner);
    }

    /// Gives up all coroutines of a program that cannot unwind, and says how many.
    #[cold]
    pub(crate) fn leak_all(&self) {
        let left = self.live_tasks();
        if !left.is_empty() {
            report(&format!(
                "{} live coroutines are leaked at the end of the runtime: without panic = \"unwind\" they cannot be ended",
                left.len()
            ));
        }
        left.into_iter().for_each(|task| self.abandon(task));
        self.home.clear_queue();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        task::memory::trim();
        self.destroy_idle();
        self.reactor.close();
        self.home.mailbox.retire();
    }
}
