//! The reactor: turns what the kernel says about descriptors into wake-ups.
//!
//! One per worker. Only that worker polls it; a source may be waited for, signalled and dropped
//! from anywhere.
//!
//! ```text
//!  coroutine                     Source                        Reactor              kernel
//!  read(2): EAGAIN ──spend──►  read side: dry
//!  wait ───────────enlist──►   waiters: [unparker] ─register─► table: key ──ADD──► interest list
//!  park                                                                                │ edge
//!                              read side: edges + 1  ◄─signal─ table.get(key) ◄─poll───┘
//!  read(2) again  ◄──unpark──  waiters: []
//! ```
//!
//! - **One registration for a descriptor's life**, made at the first wait, with the reactor of the
//!   worker that waits: edge-triggered, both directions, ended by the [`Source`]'s drop *before* the
//!   descriptor closes. After the first wait a blocking read costs one read(2) and its share of an
//!   epoll_wait(2); no epoll_ctl(2).
//! - **An event finds its source by a key** with a generation, so a late one never reaches the next
//!   owner of a number (`table`).
//! - **Readiness is counted, not flagged**, so that none is lost between a call and the note that it
//!   found nothing (`side`).
//! - **A waiter of the home worker costs no atomic read-modify-write** to wait and to wake (`seat`);
//!   those of other workers and a second one of a direction are in a list (`waiters`).
//! - **Locks**: table, then source; both short, neither held while an [`Unparker`] is used.
//!
//! Neighbours: `sys::epoll` and `sys::eventfd` below; `worker` polls; `pollable` waits.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // a coroutine's pointer in a record that all threads see
mod seat;
mod side;
mod source;
mod table;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod waiters;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use crate::home;
use crate::park::Unparker;
use crate::seam::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::seam::sync::{Arc, Mutex, lock};
use crate::sys::epoll::{Batch, Epoll};
use crate::sys::eventfd::EventFd;

pub use source::Interest;
use source::Record;
pub(crate) use source::{Enlisted, Refusal, Source};
use table::{Key, Table};

/// Events taken from the kernel at a time; more wait for the next poll. With 1,000 busy connections, 64
/// and 192 were slower: what the run queue fetches ahead is less then.
const BATCH: usize = 512;

/// The bell's token: the one that no key makes.
const BELL: u64 = u64::MAX;

/// One epoll instance, who is registered with it, and the bell that ends its sleep.
pub(crate) struct Reactor {
    epoll: Epoll,
    // Any thread.
    bell: EventFd,
    table: Mutex<Table<Arc<Record>>>,
    /// How many the table has; written with its lock held, read without.
    registered: AtomicUsize,
    // Home worker only; locked for the length of a poll, for which nobody else asks.
    turn: Mutex<Turn>,
}

/// What one poll works with, kept for the next.
struct Turn {
    batch: Batch,
    wakes: Vec<Unparker>,
}

impl Reactor {
    /// Makes a reactor with nothing registered.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`: it takes two descriptors; `ENOMEM`. Nothing is left behind then.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (epoll, bell) = (Epoll::new()?, EventFd::new()?);
        epoll.add(bell.as_fd(), BELL)?;
        Ok(Arc::new(Self {
            epoll,
            bell,
            table: Mutex::new(Table::new()),
            registered: AtomicUsize::new(0),
            turn: Mutex::new(Turn {
                batch: Batch::new(BATCH),
                wakes: Vec::new(),
            }),
        }))
    }

    /// Waits for events, at most `timeout` (`None`: until one comes or the bell rings), and unparks
    /// whoever waits for them. Returns how many it unparked.
    ///
    /// Called by the home worker. After a signal it returns `Ok(0)` early, so the caller reads the
    /// clock and computes the timeout anew. Cost: one system call.
    ///
    /// # Errors
    /// Those of epoll_wait(2) but `EINTR`: none is expected of a valid epoll descriptor.
    pub(crate) fn poll(&self, timeout: Option<Duration>) -> io::Result<usize> {
        let mut turn = lock(&self.turn);
        let Turn { batch, wakes } = &mut *turn;
        match self.epoll.wait(batch, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            told => told?,
        }
        let made = self.dispatch(batch, wakes) + wakes.len();
        wakes.drain(..).for_each(|unparker| unparker.unpark());
        Ok(made)
    }

    /// Counts the edges of `batch`, makes this worker's waiters runnable, whose number it returns, and
    /// collects the others.
    ///
    /// The whole batch is dispatched before anyone it wakes can run. A source that another thread
    /// deregistered since the kernel filled the batch is not found any more.
    fn dispatch(&self, batch: &Batch, wakes: &mut Vec<Unparker>) -> usize {
        let (home, table) = (home::here(), lock(&self.table));
        let records = || {
            let told = batch.iter();
            told.filter_map(|(token, events)| Some((table.get(Key::from_token(token))?, events)))
        };
        let woken = records()
            .map(|(record, events)| record.signal(events, home))
            .sum();
        // One for the whole batch. Pairs with the fence of whoever joins a list.
        fence(Ordering::SeqCst);
        records().for_each(|(record, events)| record.wake_listed(events, wakes));
        woken
    }

    /// Ends the poll under way, or else the next one, at once. From any thread.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// How many descriptors are registered, the bell not counted.
    pub(crate) fn registrations(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    /// Ends the reactor's work: whatever is still registered becomes homeless, and whoever waits for
    /// it registers anew with the reactor of the worker it runs on.
    ///
    /// The worker calls it when it ends, so that a socket carried out of one runtime works in the
    /// next, and no cycle keeps the reactor alive.
    pub(crate) fn close(&self) {
        let left = self.with_table(Table::drain);
        let mut wakes = Vec::new();
        for record in left {
            if let Some(home) = record.evict(&mut wakes) {
                // A duplicate of the descriptor would keep the registration otherwise. An error
                // says that the kernel has forgotten it already.
                let _ = self.epoll.remove(home.fd);
            }
        }
        wakes.into_iter().for_each(|unparker| unparker.unpark());
    }

    /// Puts `record` into the table and `fd` into the kernel's interest list.
    fn register(&self, fd: BorrowedFd<'_>, record: Arc<Record>) -> io::Result<Key> {
        let key = self.with_table(|table| table.insert(record));
        if let Err(error) = self.epoll.add(fd, key.to_token()) {
            self.with_table(|table| table.remove(key));
            return Err(error);
        }
        Ok(key)
    }

    /// Undoes [`register`](Reactor::register); the descriptor must still be open.
    fn deregister(&self, fd: RawFd, key: Key) {
        // The kernel first, so that no event is made for a key that is gone. An error says that it
        // has forgotten the descriptor already (closed behind our back), which is what we want.
        let _ = self.epoll.remove(fd);
        self.with_table(|table| table.remove(key));
    }

    /// Changes the table.
    fn with_table<T>(&self, change: impl FnOnce(&mut Table<Arc<Record>>) -> T) -> T {
        let mut table = lock(&self.table);
        let outcome = change(&mut table);
        self.registered.store(table.len(), Ordering::Relaxed);
        outcome
    }
}

impl AsFd for Reactor {
    /// The epoll descriptor: readable when a poll would find something, for a host's own loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
