//! Mailboxes: how any thread reaches a worker.
//!
//! ```text
//!   sender                                worker
//!   1 push the message                    1 asleep = true
//!   2 is it asleep?  -- yes --> ring      2 any message?  -- yes --> no sleep
//!                                         3 sleep until the bell rings
//! ```
//!
//! Both sides write first and read second, with a `SeqCst` fence between, so at least one sees what the
//! other wrote: the message is taken without sleep, or the bell rings. A ring costs a system call,
//! so only the first sender after the worker fell asleep pays it.
//!
//! **A mailbox is never freed**, only [returned](Mailbox::retire) and used again by a later worker. So a
//! sender needs no counted reference to a worker that may have ended: a plain `&'static` stays good, and a
//! message that comes too late is dropped by whoever owns the mailbox then, because the coroutine
//! it names has finished. A process keeps as many mailboxes as it ever had workers at a time.
#![forbid(unsafe_code)]

use crossbeam_queue::SegQueue;

use crate::seam::sync::atomic::{AtomicBool, Ordering, fence};
use crate::seam::sync::{Mutex, lock};

/// What ends the sleep of a worker.
pub(crate) type Bell = Box<dyn Fn() + Send + Sync>;

/// Messages to one worker.
pub(crate) struct Mailbox<M> {
    // Any thread.
    messages: SegQueue<M>,
    asleep: AtomicBool,
    // Any thread; guarded by its lock.
    bell: Mutex<Option<Bell>>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> Self {
        Mailbox {
            messages: SegQueue::new(),
            asleep: AtomicBool::new(false),
            bell: Mutex::new(None),
        }
    }

    /// Gives the mailbox to a worker, which `bell` wakes.
    pub(crate) fn hire(&self, bell: Bell) {
        *lock(&self.bell) = Some(bell);
    }

    /// Takes it back: nobody rings any more, and the bell is dropped.
    pub(crate) fn retire(&self) {
        *lock(&self.bell) = None;
        self.asleep.store(false, Ordering::Relaxed);
        while self.take().is_some() {}
    }

    /// Leaves a message, and rings if the worker sleeps.
    pub(crate) fn send(&self, message: M) {
        self.messages.push(message);
        self.wake();
    }

    /// Ends the worker's sleep: something it will look for has been put in place.
    pub(crate) fn wake(&self) {
        // Pairs with the fence in `fall_asleep`: either it sees what we have put in place before, or we see
        // it asleep.
        fence(Ordering::SeqCst);
        let sleeps =
            self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
        if sleeps && let Some(bell) = &*lock(&self.bell) {
            bell();
        }
    }

    /// Says that the worker sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// The next message. Its worker only.
    #[inline]
    pub(crate) fn take(&self) -> Option<M> {
        // `SegQueue::pop` begins with a fence, so look first.
        if self.messages.is_empty() {
            None
        } else {
            self.messages.pop()
        }
    }

    /// Announces that the worker is about to sleep; after this it looks for work once more, and sleeps
    /// only if there is none.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the fence in `wake`
    }

    /// Nothing has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Announces that the worker is awake again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    #[test]
    fn the_bell_rings_once_for_a_sleeper_and_not_for_one_awake() {
        let (rings, rung) = mpsc::channel();
        let mailbox = Mailbox::new();
        mailbox.hire(Box::new(move || rings.send(()).unwrap()));
        mailbox.send(1);
        assert!(rung.try_recv().is_err());
        mailbox.fall_asleep();
        assert_eq!(mailbox.take(), Some(1));
        mailbox.send(2);
        mailbox.send(3);
        assert_eq!(
            (rung.try_recv().is_ok(), rung.try_recv().is_ok()),
            (true, false)
        );
    }

    #[test]
    fn a_message_sent_while_falling_asleep_is_never_slept_over() {
        let (rings, rung) = mpsc::channel();
        let mailbox = Arc::new(Mailbox::new());
        mailbox.hire(Box::new(move || rings.send(()).unwrap()));
        let sender = {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || (0..100_000).for_each(|n| mailbox.send(n)))
        };
        let mut expected = 0;
        while expected < 100_000 {
            mailbox.fall_asleep();
            if mailbox.is_empty() {
                rung.recv().expect("the sender rings"); // hangs if a message is slept over
            }
            mailbox.wake_up();
            while let Some(n) = mailbox.take() {
                assert_eq!(n, expected);
                expected += 1;
            }
        }
        sender.join().unwrap();
    }
}

/// A sender and the worker under loom, to which the queue of messages is unknown: so the work is a flag of loom's.
/// `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p runtime --lib --profile ci --target-dir target/loom mailbox::model`
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// The worker sleeps until it has the work; `announces` says whether it first says so.
    fn one_sends_to_one_that_falls_asleep(announces: bool) {
        loom::model(move || {
            let mailbox = Arc::new(Mailbox::<()>::new());
            let work = Arc::new(AtomicBool::new(false));
            let rung = Arc::new((Mutex::new(false), Condvar::new()));
            let bell = rung.clone();
            mailbox.hire(Box::new(move || {
                *bell.0.lock().unwrap() = true;
                bell.1.notify_one();
            }));
            let sender = {
                let (mailbox, work) = (mailbox.clone(), work.clone());
                thread::spawn(move || {
                    work.store(true, Ordering::Relaxed);
                    mailbox.wake();
                })
            };
            if announces {
                mailbox.fall_asleep();
            }
            if !work.load(Ordering::Relaxed) {
                let mut rings = rung.0.lock().unwrap();
                while !*rings {
                    rings = rung.1.wait(rings).unwrap();
                }
            }
            mailbox.wake_up();
            sender.join().unwrap();
            assert!(work.load(Ordering::Relaxed));
            mailbox.retire();
        });
    }

    #[test]
    fn sc3_no_wake_up_is_lost_between_the_last_look_and_the_sleep() {
        one_sends_to_one_that_falls_asleep(true);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn sc3_one_that_does_not_announce_its_sleep_is_not_woken() {
        one_sends_to_one_that_falls_asleep(false);
    }
}
