//! Observed: what a worker sets down of each turn while somebody looks on.
//!
//! ```text
//!   nobody looks       a round is the loop without any of this
//!   events are wanted  ┌ began ──────── turn ────────┐ Turn(yielded, parked, ended) ──► ring
//!   a watchdog looks   turn: 41                      turn: 42
//!   turns are counted                  └► account of the context: one more switch, and so many ticks
//! ```
//!
//! Whether anybody does is asked at the start of a round, which is then of one kind or the other: see
//! [`Worker::round`](crate::worker::Worker::round). What happens beside the turns, spawns and wake-ups, looks at
//! one byte.

use std::cell::{Cell, OnceCell};

use super::{Config, Home, here};
use crate::context::{Account, Context, Suspension};
use crate::recorder::{self, Cause, Event, Kind, Ring, Sites, Stop, Told};
use crate::seam::sync::Arc;
use crate::sys::ticks::{self, Moment, Scale};
use crate::task::{Ending, TaskPtr};

/// Events are recorded.
const TRACED: u8 = 1;
/// A watchdog looks at the number of the turn.
const WATCHED: u8 = 2;
/// Switches and time are counted for each coroutine.
const ACCOUNTED: u8 = 4;
/// Turns want a time stamp where one ends and the next begins.
const TIMED: u8 = TRACED | ACCOUNTED;

/// What a worker keeps for those who look on. Its thread only.
pub(super) struct Observed {
    /// 0, or what is wanted.
    mode: Cell<u8>,
    /// What of it always is.
    always: u8,
    ring: OnceCell<Arc<Ring>>,
    /// Whom the ring knows coroutines' names for.
    labels_for: Cell<Told>,
    sites: OnceCell<Box<Sites>>,
    /// Who runs, by its number, since when; 0 for nobody.
    who: Cell<u64>,
    began: Cell<u64>,
    /// Up to when time has been charged to somebody.
    charged_until: Cell<u64>,
    /// Who wakes, where no coroutine runs.
    cause: Cell<Cause>,
    /// How many turns a watchdog could see.
    turns: Cell<u64>,
}

impl Observed {
    pub(super) fn new(config: &Config) -> Self {
        let watched = if config.watched { WATCHED } else { 0 };
        let accounted = if config.account_time { ACCOUNTED } else { 0 };
        Observed {
            mode: Cell::new(0),
            always: watched | accounted,
            ring: OnceCell::new(),
            labels_for: Cell::new(Told(0)),
            sites: OnceCell::new(),
            who: Cell::new(0),
            began: Cell::new(0),
            charged_until: Cell::new(0),
            cause: Cell::new(Cause::Message),
            turns: Cell::new(0),
        }
    }

    fn is_watched(&self) -> bool {
        self.mode.get() & WATCHED != 0
    }

    fn is_traced(&self) -> bool {
        self.mode.get() & TRACED != 0
    }

    fn is_accounted(&self) -> bool {
        self.mode.get() & ACCOUNTED != 0
    }

    fn is_timed(&self) -> bool {
        self.mode.get() & TIMED != 0
    }

    /// Charges the time since somebody was charged last.
    fn charge(&self, context: Context, now: u64) {
        let (account, from) = (context.account(), self.charged_until.replace(now));
        let Account { switches, ticks } = account.get();
        // A counter that differs a little from core to core must not cost centuries.
        let ticks = ticks + now.saturating_sub(from);
        account.set(Account { switches, ticks });
    }

    /// Writes an event of the present.
    fn record(&self, kind: Kind, id: u64, number: u64) {
        let now = ticks::now();
        self.write(Event::new(now, now, kind, id, number));
    }

    fn write(&self, event: Event) {
        if let Some(ring) = self.ring.get() {
            ring.record(event);
        }
    }
}

// ---- Turns -------------------------------------------------------------------------------------------

impl Home {
    /// Whether somebody looks on, as was found at the start of the round.
    #[inline(always)]
    pub(crate) fn is_observed(&self) -> bool {
        self.observed.mode.get() != 0
    }

    /// Finds out whether somebody looks on from now.
    #[inline(always)]
    pub(super) fn look_who_observes(&self) {
        let traced = if recorder::is_on() { TRACED } else { 0 };
        let mode = traced | self.observed.always;
        if mode != self.observed.mode.get() {
            self.change_mode(mode);
        }
    }

    #[cold]
    fn change_mode(&self, mode: u8) {
        self.observed.mode.set(mode);
        if mode & TRACED != 0 {
            let ring = self.observed.ring.get_or_init(|| {
                let name = self.shared.config.name.as_deref().unwrap_or("worker");
                recorder::new_ring(format!("{name}-{}", self.index))
            });
            self.seat().ring.get_or_init(|| Arc::clone(ring));
        }
    }

    /// The first turn of a round is about to begin.
    pub(crate) fn turns_begin(&self) {
        if self.observed.is_timed() {
            let now = ticks::now();
            self.observed.began.set(now);
            self.observed.charged_until.set(now);
        }
        if self.observed.is_watched() {
            self.number_turn();
            self.shared.kennel.rouse();
        }
    }

    /// The last turn of a round is over.
    pub(crate) fn turns_end(&self) {
        if self.observed.is_watched() {
            self.seat().watched.note_turn(0);
        }
    }

    /// Shows a watchdog that something goes on.
    fn number_turn(&self) {
        let turn = self.observed.turns.get() + 1;
        self.observed.turns.set(turn);
        self.seat().watched.note_turn(turn);
    }

    /// A coroutine goes on, or begins, right after what has ended last.
    pub(crate) fn turn_begins(&self, task: TaskPtr, context: Context) {
        let observed = &self.observed;
        if observed.is_accounted() {
            let Account { switches, ticks } = context.account().get();
            let switches = switches + 1;
            context.account().set(Account { switches, ticks });
        }
        if observed.is_watched() {
            self.number_turn();
        }
        if observed.is_traced() {
            observed.who.set(task.id().get());
            if Told(task.told.get()) != Told::all() {
                self.tell(task);
            }
        }
    }

    /// As [`turn_begins`](Self::turn_begins), for whoever runs on `context`.
    pub(crate) fn turn_begins_on(&self, context: Context) {
        // SAFETY: a context of this worker.
        if let Some(task) = unsafe { TaskPtr::tenant_of(context) } {
            self.turn_begins(task, context);
        }
    }

    /// Whoever runs on `context` has suspended there, unless it has ended.
    #[inline(always)]
    pub(crate) fn turn_suspends(&self, context: Context, suspension: Suspension) {
        // SAFETY: a context of this worker.
        let task = unsafe { TaskPtr::tenant_of(context) };
        match (suspension, task) {
            (Suspension::Yielded, _) => self.turn_stops(context, Stop::Yielded),
            (Suspension::Waits, Some(task)) => {
                self.turn_stops(context, Stop::Parked(task.wait_reason.get()));
            }
            (Suspension::Waits, None) => {} // `turn_ends` was told
        }
    }

    /// The coroutine that runs on `context` has ended.
    pub(crate) fn turn_ends(&self, context: Context, ending: Ending) {
        self.turn_stops(context, Stop::Ended(ending));
        if self.observed.is_accounted() {
            context.account().set(Account::default()); // the next one's
        }
    }

    /// A turn is over.
    #[inline(always)]
    fn turn_stops(&self, context: Context, stop: Stop) {
        let observed = &self.observed;
        if !observed.is_timed() {
            return;
        }
        let now = ticks::now();
        if observed.is_accounted() {
            observed.charge(context, now);
        }
        let from = observed.began.replace(now);
        let who = observed.who.replace(0);
        if who != 0 {
            observed.write(Event::new(from, now, Kind::Turn(stop), who, 0));
        }
    }

    /// Charges the coroutine that runs with what it has had of its turn: whoever asks now is told all.
    pub(crate) fn settle_account(&self) {
        if let Some(context) = self.current.get()
            && self.observed.is_accounted()
        {
            self.observed.charge(context, ticks::now());
        }
    }

    /// What ticks are, where coroutines' time is counted.
    pub(crate) fn account_scale(&self) -> Option<Scale> {
        let since = self.shared.accounted_since?;
        Some(Scale::between(since, Moment::now()))
    }

    /// Resumes a child on top of the coroutine that runs on `caller`, whose turn goes on behind it. The time is the child's
    /// alone.
    ///
    /// # Safety
    /// As [`Context::resume`].
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn resume_observed(
        &self,
        caller: Context,
        child: TaskPtr,
        context: Context,
    ) -> Suspension {
        let observed = &self.observed;
        let (who, began) = (observed.who.get(), observed.began.get());
        if observed.is_timed() {
            let now = ticks::now();
            observed.began.set(now);
            if observed.is_accounted() {
                observed.charge(caller, now);
            }
        }
        self.turn_begins(child, context);
        // SAFETY: the caller's promise.
        let suspension = unsafe { context.resume() };
        let home = here().expect("a coroutine stays on its worker's thread");
        home.turn_suspends(context, suspension);
        home.observed.who.set(who);
        home.observed.began.set(began);
        if home.observed.is_watched() {
            home.number_turn();
        }
        suspension
    }

    /// Tells those who want events who a coroutine is.
    #[cold]
    fn tell(&self, task: TaskPtr) {
        let (observed, told) = (&self.observed, Told::all());
        if Told(task.told.get()) == Told::by_its_spawn() {
            task.told.set(Told::by_its_spawn_a_turn_ago().0);
            return;
        }
        task.told.set(told.0);
        if let Some(ring) = observed.ring.get() {
            if observed.labels_for.replace(told) != told {
                ring.forget_labels();
            }
            let label = &task.label;
            ring.tell(label.id, label.name(), label.spawned_at);
        }
    }
}

// ---- What happens beside the turns ------------------------------------------------------------------------

impl Home {
    /// Sets down that a coroutine has been spawned here.
    #[cold]
    pub(super) fn record_spawn(&self, child: TaskPtr) {
        let observed = &self.observed;
        if !observed.is_traced() {
            return;
        }
        let (now, label) = (ticks::now(), &child.label);
        let site = observed
            .sites
            .get_or_init(|| Box::new(Sites::new()))
            .number(label.spawned_at);
        observed.write(Event::new(
            now,
            site.into(),
            Kind::Spawn,
            label.id.get(),
            observed.who.get(),
        ));
        if label.name().is_none() {
            child.told.set(Told::by_its_spawn().0);
        }
    }

    /// Sets down that a coroutine of this worker can run again.
    #[cold]
    pub(super) fn record_wake(&self, task: TaskPtr) {
        let cause = match self.current.get() {
            Some(_) => Cause::Neighbour,
            None => self.observed.cause.get(),
        };
        self.record(Kind::Wake(cause), task.id().get());
    }

    /// What is woken from now on, outside of turns, is woken by this.
    pub(crate) fn wakes_by(&self, cause: Cause) {
        self.observed.cause.set(cause);
    }

    /// Sets down how many timers have fired, or descriptors have woken somebody.
    #[cold]
    pub(crate) fn record_found(&self, kind: Kind, count: usize) {
        if count > 0 && self.observed.is_traced() {
            self.observed.record(kind, 0, count as u64);
        }
    }

    /// Sets down that the worker has slept since `from`.
    #[cold]
    pub(crate) fn record_sleep(&self, from: u64) {
        if self.observed.is_traced() {
            let now = ticks::now();
            self.observed
                .write(Event::new(from, now, Kind::Sleep, 0, 0));
        }
    }

    fn record(&self, kind: Kind, id: u64) {
        if self.observed.is_traced() {
            self.observed.record(kind, id, self.observed.who.get());
        }
    }
}

/// Sets down what the calling thread, a worker or not, does to the coroutine of this number.
#[cold]
pub(crate) fn record_elsewhere(kind: Kind, task: TaskPtr) {
    match here() {
        Some(home) => home.record(kind, task.id().get()),
        None => recorder::record_outside(kind, Some(task.id())),
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(ring) = self.ring.get() {
            ring.leave();
        }
    }
}
