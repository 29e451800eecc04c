//! Idling: how long a worker with nothing to do looks around before it sleeps.
//!
//! To wake a core that sleeps costs its waker a system call, and takes some 27 us; a message that is looked for
//! arrives within 100 ns. So it pays to look around for a moment if messages come at short distances, and only then:
//!
//! ```text
//!   a message came while we looked around ──────────► look as long the next time
//!   none came ──────────────────────────────────────► half as long, down to nothing at all
//!   slept, and yet a message came soon, again and again ► try it once more, ever more seldom if that is in vain
//! ```
//!
//! So an idle runtime uses no CPU, and one with messages every 80 us a few per cent. Where there are fewer cores than
//! workers, whoever would send the message may be waiting for this one: then the worker does not spin, but lets other
//! threads run a few times (sched_yield(2)), by the same rule.
//!
//! [`Builder::spin`](crate::Builder::spin) replaces the rule by a fixed time. Then a worker asks for descriptors too at
//! every look, by a system call: whoever wants to have a request served without being woken for it pays for that with
//! a core, and wants no guesses.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::spin_loop;
use std::time::{Duration, Instant};

use crate::seam::clock;
use crate::seam::sync::thread;

/// Longest moment of looking around: twice what it takes to wake a core, so that two workers that wake each other from
/// sleep in turn find out that they need not.
const SPIN_MAX: Duration = Duration::from_micros(64);
/// Less is not worth the while.
const SPIN_MIN: Duration = Duration::from_micros(8);
/// A sleep that a message ends within this time was hardly worth it.
const SOON: Duration = Duration::from_micros(100);
/// Looks between two glances at the clock.
const LOOKS: u32 = 32;
/// Times that other threads are let run.
const YIELDS: u32 = 8;
/// After as many trials in vain, this is how seldom they get: one in 2^6 sleeps.
const DISCOURAGED_MAX: u32 = 6;

/// What one worker has learnt of its messages. Its thread only.
pub(crate) struct Idle {
    /// A core for us and one for who sends us something.
    may_spin: bool,
    /// So long and no other time. Then a look around costs a system call, and is worth a glance at the clock each.
    fixed: Option<Duration>,
    spin: Cell<Duration>,
    /// Trials in a row that were in vain.
    discouraged: Cell<u32>,
    /// Short sleeps until the next trial.
    until_trial: Cell<u32>,
}

impl Idle {
    /// Of one worker of `workers`, on `cores`; `fixed` if it is to learn nothing.
    pub(crate) fn new(workers: usize, cores: usize, fixed: Option<Duration>) -> Self {
        Idle {
            may_spin: cores > 1 && cores >= workers,
            fixed,
            spin: Cell::new(fixed.unwrap_or_default()),
            discouraged: Cell::new(0),
            until_trial: Cell::new(0),
        }
    }

    /// A look costs a system call: it asks for descriptors.
    pub(crate) fn asks_for_descriptors(&self) -> bool {
        self.fixed.is_some_and(|spin| !spin.is_zero())
    }

    /// Looks around, for as long as that has paid lately, but not beyond `until`: true as soon as `look` has found
    /// something.
    pub(crate) fn look_around(
        &self,
        until: Option<Instant>,
        mut look: impl FnMut() -> bool,
    ) -> bool {
        if look() {
            return true;
        }
        let spin = self.spin.get();
        if spin.is_zero() {
            return false;
        }
        let found = if self.may_spin {
            let looks = if self.fixed.is_some() { 1 } else { LOOKS };
            spin_for(spin, until, looks, &mut look)
        } else {
            (0..YIELDS).any(|_| {
                thread::yield_now();
                look()
            })
        };
        if self.fixed.is_some() {
            return found;
        }
        if found {
            self.spin.set(SPIN_MAX);
            self.discouraged.set(0);
        } else {
            self.shorten();
        }
        found
    }

    fn shorten(&self) {
        let half = self.spin.get() / 2;
        if half >= SPIN_MIN {
            return self.spin.set(half);
        }
        self.spin.set(Duration::ZERO);
        let discouraged = self.discouraged.get();
        self.until_trial.set(1 << discouraged);
        self.discouraged.set((discouraged + 1).min(DISCOURAGED_MAX));
    }

    /// Notes that a message has ended a sleep, which had lasted so long.
    pub(crate) fn slept(&self, duration: Duration) {
        if duration > SOON || !self.spin.get().is_zero() || self.fixed.is_some() {
            return;
        }
        match self.until_trial.get() {
            0 => self.spin.set(SPIN_MAX),
            left => self.until_trial.set(left - 1),
        }
    }
}

/// Until `spin` has passed, with so many looks between two glances at the clock.
fn spin_for(
    spin: Duration,
    until: Option<Instant>,
    looks: u32,
    look: &mut impl FnMut() -> bool,
) -> bool {
    // A time beyond all that the clock can show is for ever.
    let ends = [clock::after(spin), until];
    let end = ends.into_iter().flatten().min();
    while end.is_none_or(|end| clock::now() < end) {
        for _ in 0..looks {
            if look() {
                return true;
            }
            spin_loop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(idle: &Idle, found: impl Fn(u32) -> bool) -> u32 {
        let mut looks = 0;
        idle.look_around(None, || {
            looks += 1;
            found(looks)
        });
        looks
    }

    #[test]
    fn without_messages_it_looks_once_and_sleeps() {
        let idle = Idle::new(2, 2, None);
        idle.slept(Duration::from_secs(1));
        assert_eq!(looks(&idle, |_| false), 1);
    }

    #[test]
    fn a_message_soon_after_falling_asleep_makes_it_look_longer_until_that_is_in_vain() {
        for cores in [1, 2] {
            let idle = Idle::new(2, cores, None);
            idle.slept(Duration::from_micros(30));
            assert_eq!(looks(&idle, |n| n == 5), 5);
            let in_vain = (0..).take_while(|_| looks(&idle, |_| false) > 1).count();
            assert_eq!(in_vain, 4, "64, 32, 16 and 8 us");
        }
    }

    #[test]
    fn trials_in_vain_become_seldom_and_one_that_pays_makes_up_for_all() {
        let idle = Idle::new(1, 1, None);
        let mut sleeps = Vec::new();
        for _ in 0..9 {
            let mut slept = 0;
            while looks(&idle, |_| false) == 1 {
                idle.slept(Duration::ZERO);
                slept += 1;
            }
            sleeps.push(slept);
            while looks(&idle, |_| false) > 1 {}
        }
        assert_eq!(sleeps, [1, 2, 3, 5, 9, 17, 33, 65, 65]);
    }

    #[test]
    fn a_fixed_time_is_neither_learnt_nor_forgotten_and_no_time_is_one_look() {
        let spins = Idle::new(1, 2, Some(Duration::from_micros(200)));
        let sleeps = Idle::new(1, 2, Some(Duration::ZERO));
        for _ in 0..9 {
            assert!(looks(&spins, |_| false) > 1, "though it was in vain");
            assert_eq!(looks(&spins, |n| n == 2), 2);
            sleeps.slept(Duration::ZERO);
            assert_eq!(looks(&sleeps, |_| false), 1, "though it would have paid");
        }
        let for_ever = Idle::new(1, 2, Some(Duration::MAX));
        assert_eq!(looks(&for_ever, |n| n == 999), 999);
    }
}
