//! Why a coroutine is parked, as a report would tell it: for what, and where in the program.
//!
//! Whoever parks makes a [`Wait`], at the place that its caller called a public function at; the task keeps it until the
//! next one. That is four stores for a park, and nothing for a yield.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::panic::Location;
use std::ptr;

/// What a parked coroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitReason {
    /// Somebody's `unpark`.
    Unpark,
    /// The end of another coroutine.
    Join,
    /// The end of all children of a scope.
    Scope,
    /// A point in time.
    Sleep,
    /// Data, or the end of it, on a descriptor.
    Readable,
    /// Room for data on a descriptor.
    Writable,
    /// A connection to accept.
    Accept,
    /// A connection under way to be made.
    Connect,
    /// A closure on the pool of plain threads.
    Blocking,
    /// An event to be set.
    Event,
    /// Permits of a semaphore.
    Semaphore,
    /// The end of a child process.
    Process,
    /// A signal.
    Signal,
    /// A future to become ready.
    Future,
    /// A mutex.
    Mutex,
    /// A reader-writer lock, to read.
    RwLockRead,
    /// The same, to write.
    RwLockWrite,
    /// A condition variable to be notified.
    Condvar,
    /// A value that somebody else makes.
    Once,
    /// The others at a barrier.
    Barrier,
    /// The other members of a group.
    WaitGroup,
    /// A value to be sent, once.
    Oneshot,
    /// A value in a channel.
    Receive,
    /// Room, or a receiver, for a value.
    Send,
    /// The first of several things.
    Select,
}

/// What a coroutine waits for, and where in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) reason: WaitReason,
    /// The address of the object that it waits for, the number of a descriptor, or null. Compared and shown; of a reason
    /// that [names a holder](WaitReason::has_holder) it is the [`Holder`](super::Holder), of a reader-writer lock the
    /// [`Holders`](super::Holders), of a join the other's record.
    pub(crate) on: *const (),
    pub(crate) site: &'static Location<'static>,
}

impl WaitReason {
    /// All, each at its number, `reason as usize`.
    const ALL: [WaitReason; 25] = {
        use WaitReason::*;
        [
            Unpark,
            Join,
            Scope,
            Sleep,
            Readable,
            Writable,
            Accept,
            Connect,
            Blocking,
            Event,
            Semaphore,
            Process,
            Signal,
            Future,
            Mutex,
            RwLockRead,
            RwLockWrite,
            Condvar,
            Once,
            Barrier,
            WaitGroup,
            Oneshot,
            Receive,
            Send,
            Select,
        ]
    };

    /// What they are called in a report, by their numbers.
    pub(crate) const WORDS: [&str; Self::ALL.len()] = {
        let mut words = [""; Self::ALL.len()];
        let mut number = 0;
        while number < words.len() {
            assert!(
                Self::ALL[number] as usize == number,
                "in the order of the type"
            );
            words[number] = Self::ALL[number].word();
            number += 1;
        }
        words
    };

    /// The one of this number.
    pub(crate) fn of_number(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }

    /// What it is called in a report.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            WaitReason::Unpark => "unpark",
            WaitReason::Join => "join",
            WaitReason::Scope => "scope",
            WaitReason::Sleep => "sleep",
            WaitReason::Readable => "readable",
            WaitReason::Writable => "writable",
            WaitReason::Accept => "accept",
            WaitReason::Connect => "connect",
            WaitReason::Blocking => "blocking",
            WaitReason::Event => "event",
            WaitReason::Semaphore => "semaphore",
            WaitReason::Process => "process",
            WaitReason::Signal => "signal",
            WaitReason::Future => "future",
            WaitReason::Mutex => "mutex",
            WaitReason::RwLockRead => "rwlock read",
            WaitReason::RwLockWrite => "rwlock write",
            WaitReason::Condvar => "condvar",
            WaitReason::Once => "once",
            WaitReason::Barrier => "barrier",
            WaitReason::WaitGroup => "wait group",
            WaitReason::Oneshot => "oneshot",
            WaitReason::Receive => "receive",
            WaitReason::Send => "send",
            WaitReason::Select => "select",
        }
    }

    /// A wait for this object, by the caller.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn on<T: ?Sized>(self, object: *const T) -> Wait {
        Wait {
            reason: self,
            on: object.cast(),
            site: Location::caller(),
        }
    }

    /// A wait for nothing that has an address, by the caller.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn alone(self) -> Wait {
        self.on(ptr::null::<()>())
    }

    /// A wait for this descriptor, by the caller.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn on_fd(self, fd: &impl AsFd) -> Wait {
        let number = fd.as_fd().as_raw_fd();
        self.on(ptr::without_provenance::<()>(number as usize))
    }

    /// Whether it waits for something that others have, which tells who they are.
    #[inline(always)]
    pub(crate) const fn has_holder(self) -> bool {
        use WaitReason::{Mutex, Once, RwLockRead, RwLockWrite};
        matches!(self, Mutex | Once | RwLockRead | RwLockWrite)
    }

    /// Whether it ends by what other coroutines do that can be named: only these waits can close a circle.
    #[inline(always)]
    pub(crate) const fn is_for_others(self) -> bool {
        self.has_holder() || matches!(self, WaitReason::Join | WaitReason::Scope)
    }
}
