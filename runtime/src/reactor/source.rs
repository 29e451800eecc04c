//! A source: what the reactor knows about one descriptor.
//!
//! | part             | guarded by      | who touches it                                          |
//! |------------------|-----------------|---------------------------------------------------------|
//! | `read`, `write`  | atomics         | dispatch counts, whoever finds the descriptor dry spends|
//! | the seats        | the home thread | its coroutines sit down, its dispatch takes them        |
//! | `home`, the lists| the lock        | waiters from elsewhere, dispatch, the owner's drop      |
//!
//! **No wake-up is lost.** Between a coroutine of the home worker and dispatch, because they share a
//! thread: dispatch comes after the park. For all others both sides write first and read second, with a
//! `SeqCst` fence between, so at least one sees what the other wrote:
//!
//! ```text
//!   waiter                              dispatch
//!   1 join the list, listed = true      1 raise the counts, of a whole batch
//!   2 dry still?  -- no --> try         2 listed?  -- yes --> lock, take the list
//!   3 park
//! ```

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::Reactor;
use super::seat::Seats;
use super::side::{Edges, Side};
use super::table::Key;
use super::waiters::{Ticket, Waiters};
use crate::home;
use crate::park::{self, Unparker};
use crate::seam::sync::atomic::{AtomicBool, Ordering, fence};
use crate::seam::sync::{Arc, Mutex, lock};
use crate::sys::epoll::Events;

/// What a coroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, a connection to accept, the peer's end, an error.
    Read,
    /// Room to write, the outcome of a connect, an error.
    Write,
}

/// Where and since when somebody waits.
#[derive(Clone, Copy)]
pub(crate) struct Enlisted {
    interest: Interest,
    /// Of the list; none on the seat.
    ticket: Option<Ticket>,
    edges: Edges,
}

/// Why somebody need not or cannot wait.
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

/// What source and reactor share. A request that waits once touches its first cache line only, at
/// dispatch and in the coroutine.
#[repr(C, align(64))]
pub(super) struct Record {
    // Any thread.
    read: Side,
    write: Side,
    // Home worker only.
    seats: Seats,
    // Any thread.
    /// The owner has left; its descriptor's number may belong to another already.
    gone: AtomicBool,
    /// Somebody may be in the lists. Written under the lock.
    listed: AtomicBool,
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
    /// That number's owner, if it is not the source's own descriptor. Open until the registration has ended.
    _duplicate: Option<OwnedFd>,
}

impl Source {
    /// A source that is registered nowhere yet.
    pub(crate) fn new() -> Self {
        Self {
            record: Arc::new(Record {
                read: Side::new(),
                write: Side::new(),
                seats: Seats::new(),
                gone: AtomicBool::new(false),
                listed: AtomicBool::new(false),
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

    /// Makes the caller one whom the next edge of `interest` wakes, unless one has come.
    #[inline]
    pub(crate) fn enlist(&self, interest: Interest) -> Result<Enlisted, Refusal> {
        let edges = self.side(interest).dry_since().ok_or(Refusal::Ready)?;
        match home::current() {
            Some((home, task)) if self.record.seats.sit(interest, home, task) => Ok(Enlisted {
                interest,
                ticket: None,
                edges,
            }),
            _ => self.join_list(interest),
        }
    }

    /// The same for who is not of the home worker, or not the first.
    #[cold]
    fn join_list(&self, interest: Interest) -> Result<Enlisted, Refusal> {
        let (record, side) = (&*self.record, self.side(interest));
        let mut lists = lock(&record.lists);
        if lists.home.is_none() {
            let dry = side.is_dry();
            return Err(if dry {
                Refusal::Homeless
            } else {
                Refusal::Ready
            });
        }
        let ticket = lists.waiters(interest).add(park::unparker());
        record.listed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `dispatch`: either it finds us listed, or we see its edge.
        fence(Ordering::SeqCst);
        let Some(edges) = side.dry_since() else {
            lists.waiters(interest).withdraw(ticket);
            return Err(Refusal::Ready);
        };
        Ok(Enlisted {
            interest,
            ticket: Some(ticket),
            edges,
        })
    }

    /// Whether the edge has come that `enlisted` waits for. Dispatch has then taken the waiter out of its
    /// place, or is about to.
    #[inline]
    pub(crate) fn is_over(&self, enlisted: Enlisted) -> bool {
        self.side(enlisted.interest).edges() != enlisted.edges
    }

    /// Takes a waiter out again that was cancelled or is late.
    pub(crate) fn withdraw(&self, enlisted: Enlisted) {
        // Who raised the count takes all waiters: nothing of ours will be left there.
        if self.is_over(enlisted) {
            return;
        }
        match enlisted.ticket {
            None => self.record.seats.rise(enlisted.interest),
            Some(ticket) => {
                let mut lists = lock(&self.record.lists);
                lists.waiters(enlisted.interest).withdraw(ticket);
            }
        }
    }

    /// Whether the owner dropped it while somebody waited.
    pub(crate) fn is_gone(&self) -> bool {
        // Relaxed: set before the count that woke the asker, which it read with Acquire.
        self.record.gone.load(Ordering::Relaxed)
    }

    /// Registers `fd`, the source's descriptor, with `reactor`. No-op if it has a home already.
    ///
    /// Where another source has registered the same descriptor there, a duplicate is registered for this one.
    ///
    /// # Errors
    /// Those of [`Epoll::add`](crate::sys::epoll::Epoll::add); `EMFILE` for the duplicate.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, reactor: &Arc<Reactor>) -> io::Result<()> {
        let add = |fd| reactor.register(fd, Arc::clone(&self.record));
        let (key, duplicate) = match add(fd) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let duplicate = fd.try_clone_to_owned()?;
                (add(duplicate.as_fd())?, Some(duplicate))
            }
            added => (added?, None),
        };
        let fd = duplicate.as_ref().map_or(fd, |duplicate| duplicate.as_fd());
        let fd = fd.as_raw_fd();
        let mut lists = lock(&self.record.lists);
        if lists.home.is_none() {
            lists.home = Some(Home {
                reactor: Arc::clone(reactor),
                key,
                fd,
                _duplicate: duplicate,
            });
            self.record.seats.give_to(home::here());
            return Ok(());
        }
        drop(lists);
        // A coroutine of another worker was faster; its reactor is the home.
        reactor.deregister(fd, key);
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
    #[inline]
    fn side(&self, interest: Interest) -> &Side {
        match interest {
            Interest::Read => &self.read,
            Interest::Write => &self.write,
        }
    }

    /// Counts the edges that `events` are and makes those who sit runnable; returns their number.
    ///
    /// Called by the home worker, which `home` is. Those in the lists are left to
    /// [`wake_listed`](Record::wake_listed), behind a fence.
    #[inline]
    pub(super) fn signal(&self, events: Events, home: Option<&home::Home>) -> usize {
        let mut woken = 0;
        if events.readable() {
            self.read.count(events.read_stops_short());
            woken += self.wake_seat(Interest::Read, home);
        }
        if events.writable() {
            self.write.count(events.write_stops_short());
            woken += self.wake_seat(Interest::Write, home);
        }
        woken
    }

    /// Moves those in the lists whom `events` wakes to `wakes`.
    #[inline]
    pub(super) fn wake_listed(&self, events: Events, wakes: &mut Vec<Unparker>) {
        if self.listed.load(Ordering::Relaxed) {
            self.wake_list(events, wakes);
        }
    }

    #[cold]
    fn wake_list(&self, events: Events, wakes: &mut Vec<Unparker>) {
        let mut lists = lock(&self.lists);
        if events.readable() {
            lists.readers.take_all(wakes);
        }
        if events.writable() {
            lists.writers.take_all(wakes);
        }
        let listed = !(lists.readers.is_empty() && lists.writers.is_empty());
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// Two plain stores if somebody sits there.
    #[inline]
    fn wake_seat(&self, interest: Interest, home: Option<&home::Home>) -> usize {
        let Some(home) = home else { return 0 };
        let Some(task) = self.seats.take(interest, home) else {
            return 0;
        };
        home.wake(task);
        1
    }

    /// Takes the home away and wakes every waiter, those in the lists by way of `wakes`: each will look
    /// for itself.
    pub(super) fn evict(&self, wakes: &mut Vec<Unparker>) -> Option<Home> {
        let mut lists = lock(&self.lists);
        for interest in [Interest::Read, Interest::Write] {
            self.side(interest).count(false);
            lists.waiters(interest).take_all(wakes);
            // On another thread this wakes nobody. But then the owner drops it, so nobody can be waiting;
            // or the worker has ended, and has given up whoever was.
            self.wake_seat(interest, home::here());
        }
        self.seats.give_up();
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
