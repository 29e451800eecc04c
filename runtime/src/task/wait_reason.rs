//! Why a coroutine is parked, as a report would tell it.
#![forbid(unsafe_code)]

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
    /// A reader-writer lock.
    RwLock,
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

impl WaitReason {
    /// All, each at its number, `reason as usize`.
    const ALL: [WaitReason; 24] = {
        use WaitReason::*;
        [
            Unpark, Join, Scope, Sleep, Readable, Writable, Accept, Connect, Blocking, Event,
            Semaphore, Process, Signal, Future, Mutex, RwLock, Condvar, Once, Barrier, WaitGroup,
            Oneshot, Receive, Send, Select,
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
            WaitReason::RwLock => "rwlock",
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
}
