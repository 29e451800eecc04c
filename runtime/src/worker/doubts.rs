//! Doubts: when a worker suspects that its coroutines wait for each other for ever, and has somebody look.
//!
//! The looking is `observe`'s, which the worker does not know; see there for what is found.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Worker;
use crate::home::Phase;
use crate::seam::clock;

/// How long nobody has run before that is looked into; each time in vain doubles it.
const QUIET: Duration = Duration::from_millis(200);
/// The least distance between two looks for a circle, while others run.
const PERIOD: Duration = Duration::from_millis(500);
/// A look takes this part of the time, at most.
const SHARE: u32 = 100;

/// What the worker has seen of itself.
#[derive(Clone, Copy)]
pub(super) struct Doubts {
    /// So many rounds had a turn; since then, nobody has run.
    rounds: u64,
    quiet_since: Option<Instant>,
    quiet: Duration,
    /// So many waits for others had begun when it was last looked for a circle.
    waits: u64,
    next_look: Option<Instant>,
    /// But not before this: a look at very many coroutines takes its time.
    earliest: Option<Instant>,
}

impl Doubts {
    pub(super) const fn none() -> Self {
        Doubts {
            rounds: 0,
            quiet_since: None,
            quiet: QUIET,
            waits: 0,
            next_look: None,
            earliest: None,
        }
    }
}

impl Worker {
    /// Has somebody look for a deadlock if it is time; when it will be time again, if ever.
    pub(super) fn doubt(&self, now: Instant) -> Option<Instant> {
        let suspicion = self.home.shared.config.suspicion.as_ref()?;
        if self.home.phase.get() != Phase::Running {
            return None;
        }
        let mut doubts = self.doubts.get();
        let waits = self.home.waits_for_others();
        if doubts.rounds != self.rounds.get() || doubts.quiet_since.is_none() {
            (doubts.rounds, doubts.quiet_since) = (self.rounds.get(), Some(now));
            doubts.quiet = QUIET;
        }
        let due = doubts
            .quiet_since
            .and_then(|since| since.checked_add(doubts.quiet));
        if waits != doubts.waits && doubts.next_look.is_none() {
            doubts.next_look = now.checked_add(PERIOD).max(doubts.earliest);
        }
        let is_quiet = due.is_some_and(|due| due <= now);
        if is_quiet || doubts.next_look.is_some_and(|due| due <= now) {
            (suspicion.0)();
            let took = clock::now().saturating_duration_since(now);
            if is_quiet {
                doubts.quiet_since = Some(now);
                doubts.quiet = doubts.quiet.saturating_mul(2);
            }
            doubts.waits = waits;
            doubts.next_look = None;
            doubts.earliest = now.checked_add(took.saturating_mul(SHARE));
        }
        self.doubts.set(doubts);
        let again = doubts
            .quiet_since
            .and_then(|since| since.checked_add(doubts.quiet));
        [again, doubts.next_look].into_iter().flatten().min()
    }
}
