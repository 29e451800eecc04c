//! What the workers of one runtime share, and what each shows to the others.
//!
//! ```text
//!   Shared    phase, injector: spawned by plain threads
//!   Seat 0    mailbox, fresh: spawned there and free to be taken, counts
//!   Seat 1    ...
//! ```

use std::io;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::watched::{Kennel, Watched};
use super::{Fresh, observed::record_elsewhere};
use crate::injector::Injector;
use crate::mailbox::Mailbox;
use crate::recorder::{self, Kind, Ring};
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::seam::sync::real::OnceLock;
use crate::seam::sync::{Arc, thread};
use crate::stack::{Label, StackConfig};
use crate::sys::ticks::Moment;
use crate::task::{InScope, Message, TaskPtr};
use crate::threads::Threads;

/// How a runtime was built.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) stacks: StackConfig,
    /// How many coroutines may be alive at a time.
    pub(crate) coroutines_max: Option<usize>,
    /// Idle stacks kept warm by each worker.
    pub(crate) idle_stacks_max: usize,
    /// How long the end of `run` waits for coroutines that were cancelled.
    pub(crate) grace: Duration,
    /// How long an idle worker looks around before it sleeps, if that is not to be learnt.
    pub(crate) spin: Option<Duration>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) report_overflow: bool,
    /// A watchdog looks at the workers' turns.
    pub(crate) watched: bool,
    /// Switches and time are counted for each coroutine.
    pub(crate) account_time: bool,
    /// Events of each worker that a panic and the like show; 0: none are recorded for that.
    pub(crate) flight_events: usize,
    /// Of the pool for blocking calls.
    pub(crate) blocking_threads: usize,
    pub(crate) blocking_queue: usize,
    /// None: nobody looks for deadlocks.
    pub(crate) suspicion: Option<Suspicion>,
}

/// What a worker calls that suspects its coroutines to wait for each other.
#[derive(Clone)]
pub(crate) struct Suspicion(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Suspicion")
    }
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

/// What the workers of one runtime share.
pub(crate) struct Shared {
    // Never changes.
    pub(crate) config: Config,
    pub(crate) seats: Box<[Seat]>,
    /// The clocks of the workers begin here.
    origin: Instant,
    /// Where coroutines' time is counted: a moment before it was.
    pub(super) accounted_since: Option<Moment>,
    /// CPUs that the process may use.
    pub(crate) cores: usize,
    // Any thread.
    /// Where blocking calls run.
    pub(crate) threads: Arc<Threads>,
    /// Spawned by plain threads, not started.
    pub(crate) injector: Injector<Fresh>,
    injected: AtomicU64,
    pub(crate) sleepers: AtomicUsize,
    phase: AtomicU8,
    pub(crate) kennel: Kennel,
    /// Whoever is inside `run` has something to be told.
    alarm: AtomicBool,
}

/// What one worker shows to the others.
pub(crate) struct Seat {
    pub(crate) mailbox: &'static Mailbox<Message>,
    /// Spawned by this worker, not started, free to be taken by any.
    pub(crate) fresh: Injector<Fresh>,
    pub(crate) counts: Arc<Counts>,
    /// What it has recorded, from the first time that somebody wants events.
    pub(crate) ring: OnceLock<Arc<Ring>>,
    pub(crate) watched: Watched,
    /// The worker is on a thread.
    occupied: AtomicBool,
}

impl Shared {
    /// Sees to it that one more coroutine is not one too many. Workers that look at the same moment do not see each other's.
    ///
    /// # Errors
    /// `QuotaExceeded`: as many are alive as may be.
    pub(crate) fn check_room(&self) -> io::Result<()> {
        let Some(max) = self.config.coroutines_max else {
            return Ok(());
        };
        let (spawned, finished) = self.spawned_and_finished();
        if spawned - finished < max as u64 {
            Ok(())
        } else {
            Err(too_many(max))
        }
    }

    /// Takes in a coroutine that a plain thread has spawned.
    pub(crate) fn inject(&self, task: TaskPtr) {
        self.injected.fetch_add(1, Ordering::Release);
        if recorder::is_on() {
            record_elsewhere(Kind::Spawn, task);
        }
        let somebody_sleeps = self.injector.push(Fresh(task), &self.sleepers, |position| {
            task.set_position(position)
        });
        if self.seats.len() == 1 {
            self.seats[0].mailbox.wake();
        } else if somebody_sleeps {
            self.wake_a_sleeper();
        }
    }

    /// Wakes a worker that sleeps, if any, because there is something to take.
    #[cold]
    pub(super) fn wake_a_sleeper(&self) {
        if let Some(seat) = self.seats.iter().find(|seat| seat.mailbox.is_asleep()) {
            seat.mailbox.wake();
        }
    }

    /// Shows those that have not started and may do so on any worker: who they are, and nothing else. Their cells are those
    /// of whoever takes them, later.
    pub(crate) fn show_fresh(&self, mut show: impl FnMut(&Label, u64, InScope)) {
        let injectors = self.seats.iter().map(|seat| &seat.fresh);
        for injector in injectors.chain([&self.injector]) {
            // The record is there as long as it cannot be taken.
            injector.show(|Fresh(task)| show(&task.label, task.born_at, task.in_scope));
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
        // Acquire: pairs with the Release of `counts`.
        let finished = self
            .seats
            .iter()
            .map(|seat| seat.counts.finished.load(Ordering::Acquire))
            .sum();
        let spawned: u64 = self
            .seats
            .iter()
            .map(|seat| seat.counts.spawned.load(Ordering::Acquire))
            .sum();
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

    /// The time as the clocks of the workers count it, in nanoseconds: an even number.
    pub(crate) fn ticks(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX) & !1
    }

    /// Calls the one that is inside `run`.
    pub(crate) fn raise_alarm(&self) {
        // Release: pairs with the Acquire in `take_alarm`.
        self.alarm.store(true, Ordering::Release);
        self.seats[0].mailbox.wake();
    }

    /// Somebody has called.
    #[inline]
    pub(crate) fn is_alarmed(&self) -> bool {
        self.alarm.load(Ordering::Relaxed)
    }

    /// Whether somebody has called; asked once.
    pub(crate) fn take_alarm(&self) -> bool {
        self.alarm.swap(false, Ordering::Acquire)
    }

    /// Enters a phase and makes all workers look.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.wake_all();
    }

    pub(crate) fn new(config: Config, mailboxes: Vec<&'static Mailbox<Message>>) -> Self {
        Shared {
            accounted_since: config.account_time.then(Moment::now),
            threads: Threads::new(config.blocking_threads, config.blocking_queue),
            config,
            origin: clock::now(),
            cores: thread::available_parallelism().map_or(1, |cores| cores.get()),
            seats: mailboxes.into_iter().map(Seat::new).collect(),
            injector: Injector::new(),
            injected: AtomicU64::new(0),
            sleepers: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            kennel: Kennel::default(),
            alarm: AtomicBool::new(false),
        }
    }
}

impl Seat {
    fn new(mailbox: &'static Mailbox<Message>) -> Self {
        Seat {
            mailbox,
            fresh: Injector::new(),
            counts: Arc::default(),
            watched: Watched::default(),
            ring: OnceLock::new(),
            occupied: AtomicBool::new(false),
        }
    }

    /// A thread is there that obeys messages, sooner or later.
    pub(crate) fn is_occupied(&self) -> bool {
        self.occupied.load(Ordering::Relaxed)
    }

    pub(super) fn set_occupied(&self, occupied: bool) {
        self.occupied.store(occupied, Ordering::Relaxed);
    }
}

#[cold]
fn too_many(max: usize) -> io::Error {
    let text = format!("{max} coroutines are alive, as many as Builder::max_coroutines allows");
    io::Error::new(io::ErrorKind::QuotaExceeded, text)
}
