//! Waits whose end no event tells: one tries again after pauses that grow.
//!
//! | who                        | what the kernel does not tell                              |
//! |----------------------------|------------------------------------------------------------|
//! | `accept`                   | that a descriptor, or memory, has become free              |
//! | `UnixStream::connect`      | that the listener's queue has room again                   |
//! | `UnixDatagram::send_to`    | that the queue of a peer has, to which we are not connected|
//!
//! In each case what ends the wait is somebody else's slow work, so a few milliseconds more do no harm, and a
//! spin would.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::socket::Socket;
use crate::park::{self, Wait, WaitReason};
use crate::pollable::Bound;
use crate::reactor::Interest;
use crate::seam::clock;
use crate::sys::socket::{self, Refused};

const PAUSE_MAX: Duration = Duration::from_millis(100);
/// What the peer's next turn makes room for is tried again soon.
const FOR_ROOM: Duration = Duration::from_millis(1);
/// Nothing is gained by asking soon whether the limit of descriptors is still reached.
const FOR_DESCRIPTORS: Duration = Duration::from_millis(10);

/// Pauses, each twice as long as the one before it, up to 100 ms.
struct Pauses {
    next: Duration,
    wait: Wait,
}

impl Pauses {
    /// Parks for one, but not beyond `deadline`, whoever unparks us meanwhile. False: `deadline` has passed.
    #[cold]
    fn rest(&mut self, deadline: Option<Instant>) -> bool {
        let end = clock::now() + self.next;
        self.next = PAUSE_MAX.min(self.next * 2);
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        while clock::now() < end {
            park::park_until(self.wait, Some(end));
        }
        deadline.is_none_or(|deadline| clock::now() < deadline)
    }
}

/// Takes one connection by `take`; see [`TcpListener::accept`](super::TcpListener::accept) for what it passes over,
/// and for what it pauses.
#[track_caller]
pub(super) fn accept<T: AsFd, R>(
    listener: &Socket<T>,
    mut take: impl FnMut(&T) -> io::Result<R>,
) -> io::Result<R> {
    let mut pauses = Pauses {
        next: FOR_DESCRIPTORS,
        wait: WaitReason::Accept.on_fd(listener.io()),
    };
    loop {
        // One connection taken says nothing of the queue behind it: never short.
        let taken = listener.perform(Interest::Read, WaitReason::Accept, &mut take, |_| false);
        let Err(error) = taken else { return taken };
        match socket::refused(&error) {
            Refused::Connection => {}
            Refused::Resources if listener.bound(Interest::Read) != Bound::NoWait => {
                pauses.rest(None);
            }
            _ => return Err(error),
        }
    }
}

impl<T: AsFd> Socket<T> {
    /// As [`perform`](Socket::perform), for an attempt of which no event tells when it is worth another.
    #[track_caller]
    pub(super) fn persist<R>(
        &self,
        interest: Interest,
        reason: WaitReason,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let bound = self.bound(interest);
        if bound == Bound::NoWait {
            return attempt(self.io());
        }
        self.give_way();
        persist(
            reason.on_fd(self.io()),
            || bound.deadline(),
            || attempt(self.io()),
        )
    }
}

/// Runs `attempt` until it says something else than `WouldBlock`; `deadline` is asked at the first wait.
///
/// # Errors
/// Those of `attempt`; `WouldBlock` when `deadline` has passed.
pub(super) fn persist<R>(
    wait: Wait,
    deadline: impl Fn() -> Option<Instant>,
    mut attempt: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    let mut pauses = None;
    loop {
        let outcome = attempt();
        let Err(error) = &outcome else { return outcome };
        if error.kind() != io::ErrorKind::WouldBlock {
            return outcome;
        }
        let (pauses, deadline) = pauses.get_or_insert_with(|| {
            let next = FOR_ROOM;
            (Pauses { next, wait }, deadline())
        });
        if !pauses.rest(*deadline) {
            return outcome;
        }
    }
}
