//! A source: what the reactor knows about one descriptor.
//!
//! | part               | guarded by | who touches it                                            |
//! |--------------------|------------|-----------------------------------------------------------|
//! | `read`, `write`    | atomics    | dispatch counts, whoever finds the descriptor dry spends  |
//! | `home`, the waiters| the lock   | dispatch, waiters, the owner's drop                       |
//!
//! No wake-up is lost, because both sides take the lock: a waiter looks at the count and joins the
//! list in one critical section, dispatch raises the count and takes the list in another.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::Reactor;
use super::side::{Edges, Side};
use super::table::Key;
use super::waiters::{Ticket, Waiters};
use crate::park::Unparker;
use crate::seam::sync::atomic::{AtomicBool, Ordering};
use crate::seam::sync::{Arc, Mutex, lock};
use crate::sys::epoll::Events;

/// What a coroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Bytes, a connection to accept, the peer's end, an error.
    Read,
    /// Room to write, the outcome of a connect, an error.
    Write,
}

/// Where and since when somebody is in a list of waiters.
#[derive(Clone, Copy)]
pub(crate) struct Enlisted {
    interest: Interest,
    ticket: Ticket,
    edges: Edges,
}

/// Why somebody was not put into the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An edge has come: try again instead.
    Ready,
    /// Registered with no reactor, so nothing would ever wake the waiter: register first.
    Homeless,
}

/// The owner's end of a descriptor's record. Dropping it ends the registration and wakes whoever
/// still waits with an error.
///
/// **It must be dropped before the descriptor is closed**: declare it before the descriptor in the
/// struct that owns both.
pub(crate) struct Source {
    record: Arc<Record>,
}

/// What source and reactor share.
pub(super) struct Record {
    // Any thread.
    read: Side,
    write: Side,
    /// The owner has left; its descriptor's number may belong to another already.
    gone: AtomicBool,
    // Any thread; guarded by the lock.
    lists: Mutex<Lists>,
}

struct Lists {
    home: Option<Home>,
    readers: Waiters,
    writers: Waiters,
}

/// Where a source is registered.
pub(super) struct Home {
    reactor: Arc<Reactor>,
    key: Key,
    /// The number under which the kernel knows it there.
    pub(super) fd: RawFd,
}

impl Source {
    /// A source that is registered nowhere yet.
    pub(crate) fn new() -> Self {
        Self {
            record: Arc::new(Record {
                read: Side::new(),
                write: Side::new(),
                gone: AtomicBool::new(false),
                lists: Mutex::new(Lists {
                    home: None,
                    readers: Waiters::new(),
                    writers: Waiters::new(),
                }),
            }),
        }
    }

    /// The readiness of one direction.
    pub(crate) fn side(&self, interest: Interest) -> &Side {
        self.record.side(interest)
    }

    /// Puts `unparker` into the list that the next edge of `interest` takes, unless one has come.
    pub(crate) fn enlist(
        &self,
        interest: Interest,
        unparker: impl FnOnce() -> Unparker,
    ) -> Result<Enlisted, Refusal> {
        let mut lists = lock(&self.record.lists);
        if !self.side(interest).is_dry() {
            return Err(Refusal::Ready);
        }
        if lists.home.is_none() {
            return Err(Refusal::Homeless);
        }
        Ok(Enlisted {
            interest,
            ticket: lists.waiters(interest).add(unparker()),
            edges: self.side(interest).edges(),
        })
    }

    /// Whether the edge has come that `enlisted` waits for. The waiter is in no list then.
    pub(crate) fn is_over(&self, enlisted: Enlisted) -> bool {
        self.side(enlisted.interest).edges() != enlisted.edges
    }

    /// Takes a waiter out of the list again that was cancelled or is late.
    pub(crate) fn withdraw(&self, enlisted: Enlisted) {
        // Who raised the count took the whole list with it: nothing of ours is left there.
        if !self.is_over(enlisted) {
            let mut lists = lock(&self.record.lists);
            lists.waiters(enlisted.interest).withdraw(enlisted.ticket);
        }
    }

    /// Whether the owner dropped it while somebody waited.
    pub(crate) fn is_gone(&self) -> bool {
        // Relaxed: set before the count that woke the asker, which it read with Acquire.
        self.record.gone.load(Ordering::Relaxed)
    }

    /// Registers `fd`, the source's descriptor, with `reactor`. No-op if it has a home already.
    ///
    /// # Errors
    /// Those of [`Epoll::add`](crate::sys::epoll::Epoll::add).
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, reactor: &Arc<Reactor>) -> io::Result<()> {
        let key = reactor.register(fd, Arc::clone(&self.record))?;
        let mut lists = lock(&self.record.lists);
        if lists.home.is_none() {
            lists.home = Some(Home {
                reactor: Arc::clone(reactor),
                key,
                fd: fd.as_raw_fd(),
            });
            return Ok(());
        }
        drop(lists);
        // A coroutine of another worker was faster; its reactor is the home.
        reactor.deregister(fd.as_raw_fd(), key);
        Ok(())
    }

    /// What the reactor has of it, for tests that play the kernel.
    #[cfg(test)]
    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// A second end, for tests that play owner and waiter.
    #[cfg(test)]
    pub(super) fn of(record: Arc<Record>) -> Self {
        Self { record }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.record.gone.store(true, Ordering::Relaxed);
        let mut wakes = Vec::new();
        if let Some(home) = self.record.evict(&mut wakes) {
            home.reactor.deregister(home.fd, home.key);
        }
        // A close makes no event (close(2)), so nobody but us would ever wake them.
        wakes.into_iter().for_each(|unparker| unparker.unpark());
    }
}

impl Record {
    fn side(&self, interest: Interest) -> &Side {
        match interest {
            Interest::Read => &self.read,
            Interest::Write => &self.write,
        }
    }

    /// Counts the edges that `events` are and moves whom they wake to `wakes`.
    pub(super) fn signal(&self, events: Events, wakes: &mut Vec<Unparker>) {
        let mut lists = lock(&self.lists);
        if events.readable() {
            self.read.count(events.read_stops_short());
            lists.readers.take_all(wakes);
        }
        if events.writable() {
            self.write.count(events.write_stops_short());
            lists.writers.take_all(wakes);
        }
    }

    /// Takes the home away and moves every waiter to `wakes`: each will look for itself.
    pub(super) fn evict(&self, wakes: &mut Vec<Unparker>) -> Option<Home> {
        let mut lists = lock(&self.lists);
        self.read.count(false);
        self.write.count(false);
        lists.readers.take_all(wakes);
        lists.writers.take_all(wakes);
        lists.home.take()
    }
}

impl Lists {
    fn waiters(&mut self, interest: Interest) -> &mut Waiters {
        match interest {
            Interest::Read => &mut self.readers,
            Interest::Write => &mut self.writers,
        }
    }
}
