//! Polling: what a worker does between two rounds of turns, and how it sleeps when there are none to make.
//!
//! Coroutines that sleep for single milliseconds by the thousand would wake the thread for each of them. So
//! wake-ups for timers keep a distance of [`TIMER_GRAIN`], and one wake-up serves all timers
//! that have become due: a lone sleeper is exact, a crowd shares.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Worker;
use crate::context::Context;
use crate::home::{DUE_MAX, Phase};
use crate::recorder::{Cause, Kind};
use crate::seam::clock;
use crate::seam::sync::atomic::Ordering;
use crate::sys::ticks;
use crate::task;

/// The least distance between two wake-ups for timers.
///
/// A wake-up costs 4 us of CPU. With 1,000 coroutines that sleep for 1 to 10 ms, 150 us took 1.10 of tokio's CPU time at
/// a p99 lateness of 157 us, 175 us take 0.96 at 182 us (medians of 9 runs in turn). tokio wakes every millisecond.
const TIMER_GRAIN: Duration = Duration::from_micros(175);

/// How long stacks lie idle before their memory goes back.
const TRIM_PERIOD: Duration = Duration::from_secs(1);

/// While it looks around it asks for descriptors once in so many looks, some 10 us; but see [`Idle::asks_for_descriptors`].
const LOOKS_PER_POLL: u32 = 512;

impl Worker {
    /// Looks at messages, timers and descriptors. Sleeps until one of them, `until` at the latest, if
    /// `may_sleep` and nobody can run.
    pub(crate) fn poll(&self, may_sleep: bool, until: Option<Instant>) {
        let home = &self.home;
        home.count_poll();
        self.free_retired();
        self.tick();
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

    /// Has the worker's clock go on, though nobody needs the time.
    fn tick(&self) {
        const POLLS_PER_READING: u32 = 16;
        let polls = self.polls.get().wrapping_add(1);
        self.polls.set(polls);
        if polls.is_multiple_of(POLLS_PER_READING) {
            let now = clock::now();
            self.home.read_clock(now);
            self.doubt(now);
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
        let home = &self.home;
        if home.mailbox.is_empty() {
            return;
        }
        home.count_remote_wakes(|| {
            home.wakes_by(Cause::Message);
            while let Some(message) = home.mailbox.take() {
                home.obey(message);
            }
        });
    }

    /// Fires timers that are due, a bounded number at a time; see [`Home::fire`].
    fn fire_timers(&self) {
        let home = &self.home;
        if home.timers.borrow().len() == 0 || !home.may_fire() {
            return;
        }
        let now = clock::now();
        home.read_clock(now);
        let mut due = self.due.take();
        loop {
            home.timers.borrow_mut().take_due(now, DUE_MAX, &mut due);
            if due.is_empty() {
                break;
            }
            self.last_timers.set(Some(now));
            home.wakes_by(Cause::Timer);
            home.fire(&due);
            if home.is_observed() {
                home.record_found(Kind::Timers, due.len());
            }
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
        let now = clock::now();
        let doubts = self.doubt(now);
        home.mailbox.fall_asleep();
        shared.sleepers.fetch_add(1, Ordering::Relaxed);
        // The last look: whoever has put something in place before this sees that we sleep, or we see it.
        let something = !home.mailbox.is_empty() || home.anything_to_take() || self.phase_calls();
        let timeout = if something {
            Some(Duration::ZERO)
        } else {
            let deadline = [self.next_deadline(), until, self.trim_deadline(now), doubts]
                .into_iter()
                .flatten()
                .min();
            deadline.map(|deadline| deadline.saturating_duration_since(now))
        };
        let from = home.is_observed().then(ticks::now);
        self.poll_reactor(timeout);
        if let Some(from) = from {
            home.record_sleep(from);
        }
        shared.sleepers.fetch_sub(1, Ordering::Relaxed);
        home.mailbox.wake_up();
        let woken = clock::now();
        home.read_clock(woken);
        if !home.mailbox.is_empty() || home.anything_to_take() {
            self.idle.slept(woken.saturating_duration_since(now));
        }
    }

    /// The runtime has come to another phase, or it ends and all have ended: whoever did that last may not have found
    /// us asleep.
    fn phase_calls(&self) -> bool {
        let (home, phase) = (&self.home, self.home.phase.get());
        if home.shared.phase() != phase || home.index == 0 && home.shared.is_alarmed() {
            return true;
        }
        let waits_for_all = home.index == 0 && phase != Phase::Running;
        waits_for_all && {
            let (spawned, finished) = home.shared.spawned_and_finished();
            spawned == finished
        }
    }

    fn poll_reactor(&self, timeout: Option<Duration>) {
        let home = &self.home;
        home.wakes_by(Cause::Descriptor);
        match self.reactor.poll(timeout) {
            Ok(woken) if home.is_observed() => home.record_found(Kind::Descriptors, woken),
            Ok(_) => {}
            Err(error) => {
                panic!("epoll_wait failed: {error}: was the descriptor closed by someone else?")
            }
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
