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
    /// The one of this number, `reason as usize`.
    pub(crate) fn of_number(number: usize) -> Option<Self> {
        use WaitReason::*;
        const ALL: [WaitReason; 24] = [
            Unpark, Join, Scope, Sleep, Readable, Writable, Accept, Connect, Blocking, Event,
            Semaphore, Process, Signal, Future, Mutex, RwLock, Condvar, Once, Barrier, WaitGroup,
            Oneshot, Receive, Send, Select,
        ];
        const {
            let mut number = 0;
            while number < ALL.len() {
                assert!(ALL[number] as usize == number, "in the order of the type");
                number += 1;
            }
        }
        ALL.get(number).copied()
    }
}
