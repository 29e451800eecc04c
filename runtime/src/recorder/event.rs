//! Events: what is recorded, in four words.
#![forbid(unsafe_code)]

use crate::task::{Ending, WaitReason};

/// Why a turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Yielded,
    Parked(WaitReason),
    Ended(Ending),
}

/// Who has made a coroutine runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A coroutine of the same worker.
    Neighbour,
    Timer,
    Descriptor,
    /// A message of another thread.
    Message,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A coroutine has run.
    Turn(Stop),
    /// A coroutine was spawned.
    Spawn,
    /// A coroutine that was parked can run.
    Wake(Cause),
    /// A message was sent to another worker, to wake a coroutine there.
    Send,
    /// Somebody has asked for a coroutine's cancellation.
    Cancel,
    /// Descriptors were found ready; how many wake-ups that made.
    Descriptors,
    /// Timers have fired; how many.
    Timers,
    /// The worker has slept.
    Sleep,
    /// A blocking call has run.
    Call,
}

/// One event: from when to when, in ticks (of a spawn, in place of the latter, its [site](super::site)); what; whose, a coroutine's number or 0; and a number that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    /// How many, or who: the coroutine that has spawned, or woken.
    pub(crate) number: u64,
}

impl Event {
    pub(crate) fn new(from: u64, to: u64, kind: Kind, id: u64, number: u64) -> Self {
        Event {
            from,
            to,
            kind,
            id,
            number,
        }
    }

    /// As four words: the kind takes 16 bits of the last, the number the rest.
    #[inline]
    pub(super) fn to_words(self) -> [u64; 4] {
        [
            self.from,
            self.to,
            self.id,
            u64::from(self.kind.to_number()) | self.number << 16,
        ]
    }

    pub(super) fn from_words([from, to, id, rest]: [u64; 4]) -> Option<Self> {
        Some(Event {
            from,
            to,
            kind: Kind::of_number(rest as u16)?,
            id,
            number: rest >> 16,
        })
    }
}

impl Kind {
    /// The low byte says which, the high one what goes with it.
    #[inline]
    fn to_number(self) -> u16 {
        let (low, high) = match self {
            Kind::Turn(Stop::Yielded) => (0, 0),
            Kind::Turn(Stop::Parked(reason)) => (1, reason as u16),
            Kind::Turn(Stop::Ended(ending)) => (2, ending as u16),
            Kind::Spawn => (3, 0),
            Kind::Wake(cause) => (4, cause as u16),
            Kind::Send => (5, 0),
            Kind::Cancel => (6, 0),
            Kind::Descriptors => (7, 0),
            Kind::Timers => (8, 0),
            Kind::Sleep => (9, 0),
            Kind::Call => (10, 0),
        };
        low | high << 8
    }

    /// None for a number that no kind makes.
    fn of_number(number: u16) -> Option<Self> {
        let high = usize::from(number >> 8);
        Some(match number as u8 {
            0 => Kind::Turn(Stop::Yielded),
            1 => Kind::Turn(Stop::Parked(WaitReason::of_number(high)?)),
            2 => {
                let endings = [Ending::Returned, Ending::Panicked, Ending::Cancelled];
                Kind::Turn(Stop::Ended(*endings.get(high)?))
            }
            3 => Kind::Spawn,
            4 => {
                let causes = [
                    Cause::Neighbour,
                    Cause::Timer,
                    Cause::Descriptor,
                    Cause::Message,
                ];
                Kind::Wake(*causes.get(high)?)
            }
            5 => Kind::Send,
            6 => Kind::Cancel,
            7 => Kind::Descriptors,
            8 => Kind::Timers,
            9 => Kind::Sleep,
            10 => Kind::Call,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_number() {
        let known: Vec<Kind> = (0..=u16::MAX).filter_map(Kind::of_number).collect();
        // Those that say nothing with the high byte have it 256 times.
        assert!(known.len() > 7 * 256, "{}", known.len());
        for kind in known {
            assert_eq!(Kind::of_number(kind.to_number()), Some(kind));
        }
    }

    #[test]
    fn an_event_comes_back_from_its_words() {
        let event = Event::new(7, 9, Kind::Wake(Cause::Timer), u64::MAX, (1 << 48) - 1);
        assert_eq!(Event::from_words(event.to_words()), Some(event));
        assert_eq!(Event::from_words([0, 0, 0, 0xffff]), None);
    }
}
