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
//! The turns are here; what happens between rounds in [`polling`], the end of a runtime in [`phases`].

mod doubts;
mod phases;
mod polling;

use std::cell::Cell;
use std::io;
use std::time::Instant;

use crate::context::{Context, Suspension};
use crate::home::{self, DUE_MAX, Home, Runnable, Shared, TURNS_PER_POLL, Target};
use crate::idle::Idle;
use crate::park;
use crate::reactor::Reactor;
use crate::seam::barrier;
use crate::seam::sync::{Arc, thread_local};
use crate::stack::overflow::AltStack;
use crate::sys::process::{NoUnwind, set_timer_slack, watch_forks};
use crate::sys::thread_end;
use crate::task::{self, Ending, Payload, TaskPtr};
use doubts::Doubts;

/// One worker. It stays on the thread that it [enters](Worker::enter) while coroutines of its are alive.
pub(crate) struct Worker {
    pub(crate) home: Home,
    pub(crate) reactor: Arc<Reactor>,
    idle: Idle,
    last_timers: Cell<Option<Instant>>,
    /// Room for the timers that are fired at a time.
    due: Cell<Vec<Target>>,
    next_trim: Cell<Option<Instant>>,
    polls: Cell<u32>,
    /// How many rounds had a turn.
    rounds: Cell<u64>,
    doubts: Cell<Doubts>,
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
            polls: Cell::new(0),
            rounds: Cell::new(0),
            doubts: Cell::new(Doubts::none()),
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
        let alternate = AltStack::ensure(self.home.handler_bytes())?;
        watch_forks(park::attract_attention);
        thread_end::tell(home::end_with_the_thread);
        self.home.seat().watched.note_thread();
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
        self.home.begin_round();
        if self.home.is_observed() {
            self.observed_round()
        } else {
            self.turns::<false>()
        }
    }

    #[cold]
    fn observed_round(&self) -> usize {
        self.home.turns_begin();
        self.turns::<true>()
    }

    /// The turns of a round; with a note of each if somebody looks on.
    #[inline(always)]
    fn turns<const OBSERVED: bool>(&self) -> usize {
        let mut home = &self.home;
        let mut turns = 0;
        let mut next = home.take();
        while let Some(runnable) = next {
            turns += 1;
            let outcome = self.turn::<OBSERVED>(home, runnable);
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
        home.count_round(turns);
        if OBSERVED {
            home.turns_end();
        }
        self.rounds.set(self.rounds.get() + u64::from(turns > 0));
        turns as usize
    }

    /// Resumes one coroutine until it suspends. Returns its context if it has yielded.
    #[inline(always)]
    fn turn<const OBSERVED: bool>(&self, home: &Home, next: Runnable) -> Option<Context> {
        let context = match next.look() {
            Ok(context) => context,
            Err(fresh) if self.start(fresh) => fresh.context(),
            Err(_) => return None,
        };
        home.set_current(Some(context));
        if OBSERVED {
            home.turn_begins_on(context);
        }
        // SAFETY: this worker is the only one that resumes its coroutines, one at a time, on one thread.
        let suspension = unsafe { context.resume() };
        if OBSERVED {
            let home = home::here().expect("the worker is on this thread");
            home.turn_suspends(context, suspension);
        }
        match suspension {
            Suspension::Yielded => Some(context),
            Suspension::Waits => None,
        }
    }

    /// Gives a coroutine its stack; false if there is none to be had, which its joiner is told.
    #[inline]
    fn start(&self, task: TaskPtr) -> bool {
        let home = &self.home;
        if task.wants_default_stack()
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
        let stack_bytes = if task.wants_default_stack() {
            home.shared.config.stacks.stack_bytes
        } else {
            task.stack_bytes()
        };
        let stack = if task.wants_default_stack() {
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
                home.seat().counts.note_stacks(contexts.len());
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
                home.note_ending(Ending::Panicked);
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
        self.home.seat().counts.note_stacks(contexts.len());
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
        let ending = task.run();
        // Asked for again: the compiler must not keep across `run` where this thread keeps its worker.
        let home = home::here().expect("a coroutine stays on its worker's thread");
        // From here to the suspension is the scheduler's own.
        let guard = NoUnwind;
        if task.interrupts.depth() > 0 {
            home.drop_frames(task);
        }
        home.note_ending(ending);
        if home.is_observed() {
            home.turn_ends(context, ending);
        }
        let is_usual = task.wants_default_stack() && home.keeps_stacks();
        let resumer_waits = home.finish(task);
        if !is_usual {
            home.retired.borrow_mut().push(context);
            home.end_round();
        } else if !resumer_waits && let Some(next) = home.take_startable() {
            home.begin(next, context);
            if home.is_observed() {
                home.turn_begins(next, context);
            }
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

impl Drop for Worker {
    fn drop(&mut self) {
        task::memory::trim();
        self.destroy_idle();
        self.reactor.close();
        self.home.mailbox.retire();
    }
}
