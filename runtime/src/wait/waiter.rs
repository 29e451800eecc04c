//! Waiters: who waits, what it has got, and how it is told.

use std::cell::Cell;
use std::ptr;
use std::time::Instant;

use crate::home::{self, Home};
use crate::mailbox::Mailbox;
use crate::park::{self, ThreadSeat, Unparker, Wait, Wake};
use crate::seam::sync::atomic::{AtomicU32, Ordering};
use crate::task::{Message, TaskPtr, TaskRef, Token};

/// One that waits. On its own stack, for one wait.
pub(crate) struct Waiter {
    // Never changes.
    who: Who,
    several: bool,
    // The waiter's own.
    seat: Option<ThreadSeat>,
    // Any thread.
    /// [`WAITING`], [`CLAIMED`], [`WITHDRAWN`], or [`GRANTED`] with case and code.
    outcome: AtomicU32,
}

/// Whom to wake.
enum Who {
    /// No reference is counted: it is in its wait.
    Coroutine {
        task: TaskPtr,
        mailbox: &'static Mailbox<Message>,
    },
    /// To be taken by the granter who has claimed the waiter.
    Thread(Cell<Option<Unparker>>),
}

const WAITING: u32 = 0;
/// Somebody is about to grant.
const CLAIMED: u32 = 1;
/// It waits no more.
const WITHDRAWN: u32 = 2;
/// Bits 0-7 are the code, 8-23 the case.
const GRANTED: u32 = 1 << 31;

/// What a waiter has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Of which of its nodes.
    pub(crate) case: u16,
    /// In the granter's terms: a value, the end of the channel, ...
    pub(crate) code: u8,
}

impl Waiter {
    /// Whoever calls, to wait in one queue.
    #[inline]
    pub(super) fn in_one() -> Self {
        Waiter::new(false)
    }

    #[inline(always)]
    fn new(several: bool) -> Self {
        let (who, seat) = match home::current() {
            Some((home, task)) => (
                Who::Coroutine {
                    task,
                    mailbox: home.mailbox,
                },
                None,
            ),
            None => {
                let seat = park::thread_seat();
                (Who::Thread(Cell::new(Some(seat.unparker()))), Some(seat))
            }
        };
        Waiter {
            who,
            several,
            seat,
            outcome: AtomicU32::new(WAITING),
        }
    }

    /// What it has been granted, if anything yet.
    #[inline]
    pub(crate) fn grant(&self) -> Option<Grant> {
        // Acquire: pairs with the Release in `publish`, for what was handed over.
        let outcome = self.outcome.load(Ordering::Acquire);
        (outcome & GRANTED != 0).then_some(Grant {
            case: (outcome >> 8) as u16,
            code: outcome as u8,
        })
    }

    /// Waits for a grant, or for no reason.
    ///
    /// # Panics
    /// As [`park::park`].
    #[inline(always)]
    pub(crate) fn park(&self, wait: Wait, deadline: Option<Instant>) -> Wake {
        match &self.seat {
            None => {
                let wake = park::park_until(wait, deadline);
                debug_assert!(self.is_current(), "a wait goes on in another coroutine");
                wake
            }
            Some(seat) => seat.park(deadline),
        }
    }

    fn is_current(&self) -> bool {
        match self.who {
            Who::Coroutine { task, .. } => {
                home::current().is_some_and(|(_, current)| current == task)
            }
            Who::Thread(_) => true,
        }
    }

    /// It will never run again: it was given up at the end of its runtime, in its wait. Such a one is granted nothing.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        match self.who {
            Who::Coroutine { task, mailbox } => match home_here(mailbox) {
                Some(_) => task.token.get() == Token::Finished,
                None => task.is_finished(),
            },
            Who::Thread(_) => false,
        }
    }

    /// Makes the caller the one that grants. It holds the lock of an object that had a node of this waiter linked.
    #[inline]
    pub(super) fn claim(&self) -> bool {
        if !self.several {
            debug_assert_eq!(self.outcome.load(Ordering::Relaxed), WAITING);
            return true;
        }
        // Relaxed: what the claim is to, waiter and payload, was written before the node was linked, and is
        // seen by the object's lock.
        self.outcome
            .compare_exchange(WAITING, CLAIMED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Tells the waiter what it has got, after which it may be gone.
    #[inline]
    pub(super) fn publish(&self, case: u16, code: u8) {
        let outcome = GRANTED | u32::from(case) << 8 | u32::from(code);
        // Release: pairs with the Acquire in `grant`.
        self.outcome.store(outcome, Ordering::Release);
    }
}

/// For those who wait in several queues at a time.
impl Waiter {
    /// Whoever calls, to wait in several queues.
    ///
    /// For each of them it links a [`Node`] under the object's lock. Before it leaves, however it does, it
    /// [unlinks](WaitQueue::unlink) them under their locks, all but the one by which it was granted.
    pub(crate) fn in_several() -> Self {
        Waiter::new(true)
    }

    /// Waits no more: from now on it is granted nothing. False if it has been, or just is being, granted
    /// something; [`grant`](Self::grant) tells what when all other nodes are unlinked.
    pub(crate) fn withdraw(&self) -> bool {
        // Relaxed: nothing is handed over.
        self.outcome
            .compare_exchange(WAITING, WITHDRAWN, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// Somebody who has been granted something and is to be told, after the lock is released.
///
/// Nothing of it is the waiter's any more. A coroutine of the granter's own worker is runnable already: that takes
/// plain stores.
#[must_use = "a waiter is to be woken"]
pub(crate) enum Wakeup {
    Done,
    Coroutine(TaskRef, &'static Mailbox<Message>),
    Thread(Unparker),
}

impl Wakeup {
    /// The one for a waiter that the caller has claimed, and that so cannot leave.
    #[inline(always)]
    pub(super) fn of(waiter: &Waiter) -> Self {
        match &waiter.who {
            &Who::Coroutine { task, mailbox } => match home_here(mailbox) {
                Some(home) => {
                    home.wake(task);
                    Wakeup::Done
                }
                None => Wakeup::Coroutine(TaskRef::new(task), mailbox),
            },
            Who::Thread(unparker) => unparker.take().map_or(Wakeup::Done, Wakeup::Thread),
        }
    }

    /// Wakes it. Holding no lock: it may have to ring a bell.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            Wakeup::Done => {}
            Wakeup::Coroutine(task, mailbox) => {
                if !task.get().is_finished() {
                    park::send(mailbox, task, Message::Wake);
                }
            }
            Wakeup::Thread(unparker) => unparker.unpark(),
        }
    }
}

/// The worker of this thread, if it is the one with that mailbox.
#[inline(always)]
fn home_here<'a>(mailbox: &'static Mailbox<Message>) -> Option<&'a Home> {
    home::here().filter(|home| ptr::eq(home.mailbox, mailbox))
}
