//! Offload: blocking calls run on plain threads, while the coroutine that needs them parks.
//!
//! ```text
//!   coroutine                       pool of threads
//!   spawn_blocking(f) ── job ────►  queue ──► a thread runs it
//!   join: park  ◄──── unpark ─────────────── outcome into the packet
//! ```
//!
//! For what epoll cannot wait for: files, name look-ups, other people's code that blocks, long computations.
//!
//! Each runtime has a pool of its own, as large as its [`Builder`](crate::Builder) says; it ends with the
//! runtime. Plain threads share one that belongs to the process.
//!
//! | the job ...                    | [`spawn_blocking`]               | `fs`, look-ups (`offload`)                  |
//! |--------------------------------|----------------------------------|---------------------------------------------|
//! | is beyond the queue's bound    | the call waits                   | it waits anyway                             |
//! | panics                         | `join` returns the payload       | the panic goes on in the caller             |
//! | is waited for by one cancelled | goes on, detached                | is withdrawn, or goes on, or is waited for  |
//! | has not begun at the end       | never will: `Cancelled`          | as left                                     |
//! | does not end at the end        | is reported, its thread is left  | likewise                                    |
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::coroutine::{self, Cancelled};
use crate::home;
use crate::park::{self, WaitReason};
use crate::recorder;
use crate::seam::sync::{Arc, Mutex, lock, real};
use crate::sys::process::refuse_in_forked_child;
use crate::task::{Payload, drop_quietly};
use crate::threads::{Fate, Job, Threads, Ticket};

/// As many threads as other runtimes have for this: they may all be asleep in some call.
pub(crate) const THREADS_MAX: usize = 512;
/// Jobs that may wait for a thread before whoever brings another one has to.
pub(crate) const QUEUE_MAX: usize = 16_384;

/// Runs `f` on a thread where it may block, and returns a handle to wait for it.
///
/// Coroutines and plain threads may call it and [join](JoinHandle::join). The pool is that of the runtime, bounded by
/// [`Builder::blocking_threads`](crate::Builder::blocking_threads); outside of a coroutine it is one that the
/// process has for that. If all threads are busy and the
/// [queue](crate::Builder::blocking_queue) is full, the call waits until there is room.
///
/// At the end of a runtime, jobs that have not begun never do. Those that run are waited for, for the
/// [grace period](crate::Builder::grace); what is left then is reported by the place of this call, and its thread left
/// alone.
///
/// Cost: two allocations, a lock and, to wake an idle thread, a system call; a thread is started, 30 us, when none is
/// idle.
///
/// # Panics
/// Unwinds, and `f` does not run, if cancelled while it waits for room.
///
/// ```
/// runtime::run(|| {
///     let slow = runtime::spawn_blocking(|| {
///         std::thread::sleep(std::time::Duration::from_millis(1)); // would stop the whole worker elsewhere
///         42
///     });
///     assert_eq!(slow.join().unwrap(), 42);
/// });
/// ```
#[track_caller]
pub fn spawn_blocking<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let handle = submit(f);
    let JoinHandle {
        threads, ticket, ..
    } = &handle;
    let wait = WaitReason::Blocking.alone();
    while !threads.is_admitted(*ticket) {
        if park::is_due() && threads.withdraw(*ticket) {
            park::check();
        }
        coroutine::shield(|| park::park(wait));
    }
    handle
}

/// Owner of the result of a job on the pool. Dropping it detaches the job, which goes on.
///
/// As [`coroutine::JoinHandle`]: coroutines and plain threads may join, and it is a future.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    threads: Arc<Threads>,
    ticket: Ticket,
}

impl<T> JoinHandle<T> {
    /// Waits until the job has ended, and returns its result.
    ///
    /// # Errors
    /// What it panicked with; [`Cancelled`] if it never ran; a text if no thread could be started.
    ///
    /// # Panics
    /// Unwinds if the caller is cancelled, or timed out, while it waits. The job goes on.
    #[track_caller]
    pub fn join(self) -> coroutine::Result<T> {
        loop {
            if let Poll::Ready(outcome) = self.packet.poll(own_waker) {
                return outcome.map_err(Failure::into_payload);
            }
            park::park(WaitReason::Blocking.alone());
        }
    }

    /// Withdraws the job if it has not begun: [`join`](Self::join) returns [`Cancelled`] then. One that has begun
    /// is not disturbed.
    ///
    /// ```
    /// let runtime = runtime::Builder::new().blocking_threads(1).build()?;
    /// runtime.run(|| {
    ///     let (release, released) = std::sync::mpsc::channel::<()>();
    ///     let first = runtime::spawn_blocking(move || released.recv());
    ///     let second = runtime::spawn_blocking(|| unreachable!("it waits for the only thread"));
    ///     second.cancel();
    ///     assert!(second.join().unwrap_err().is::<runtime::coroutine::Cancelled>());
    ///     drop(release);
    ///     first.join().unwrap().unwrap_err();
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&self) {
        self.threads.withdraw(self.ticket);
    }

    /// It has ended: [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        !matches!(*lock(&self.packet.slot), Slot::Open(_))
    }
}

impl<T> Future for JoinHandle<T> {
    /// As [`join`](JoinHandle::join) returns it.
    type Output = coroutine::Result<T>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<coroutine::Result<T>> {
        let polled = self.packet.poll(|| context.waker().clone());
        polled.map_err(Failure::into_payload)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.packet.leave();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

// ---- Calls of the crate's own ----------------------------------------------------------------------------

/// What becomes of an [`offload`]ed call whose caller is cancelled after it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfBegun {
    /// It goes on alone, and its result is dropped. For what may take for ever.
    Leave,
    /// The caller waits for it, and returns its result: it was complete. For what takes no longer than a disk does.
    Finish,
}

/// Runs `job` where it may block, and returns what it returns; the coroutine is parked meanwhile. A
/// plain thread, which may block, runs it itself.
///
/// A panic of the job goes on in the caller. A caller that is cancelled before it has begun withdraws it.
///
/// # Errors
/// `EAGAIN` when not even one thread can be started (`RLIMIT_NPROC`, `threads-max`, memory); the job
/// has not run then.
#[track_caller]
pub(crate) fn offload<T, F>(if_begun: IfBegun, job: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if home::current().is_none() {
        return Ok(job());
    }
    let handle = submit(job);
    let wait = WaitReason::Blocking.alone();
    loop {
        match handle.packet.poll(own_waker) {
            Poll::Ready(Ok(value)) => return Ok(value),
            Poll::Ready(Err(Failure::Panicked(payload))) => resume_unwind(payload),
            Poll::Ready(Err(Failure::Refused(error))) => return Err(error),
            Poll::Ready(Err(Failure::Withdrawn)) => return Err(runtime_ended()),
            Poll::Pending => {}
        }
        if park::is_due() && (handle.threads.withdraw(handle.ticket) || if_begun == IfBegun::Leave)
        {
            park::check();
        }
        // Held off, because the look at what is due and the attempt to withdraw belong together.
        coroutine::shield(|| park::park(wait));
    }
}

#[cold]
fn runtime_ended() -> io::Error {
    io::Error::other("the runtime has ended, and with it the threads for blocking calls")
}

// ---- Packets -----------------------------------------------------------------------------------------------

/// Puts a job into the right pool, without waiting for room.
#[track_caller]
fn submit<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    refuse_in_forked_child();
    let threads = match home::current() {
        Some((home, _)) => home.shared.threads.clone(),
        None => of_process(),
    };
    let packet = Arc::new(Packet {
        slot: Mutex::new(Slot::Open(None)),
    });
    let (theirs, site) = (Arc::clone(&packet), Location::caller());
    let job: Job = Box::new(move |fate| {
        let outcome = match fate {
            Fate::Run => {
                let call = recorder::CallInProgress::begin(site);
                let outcome = catch_unwind(AssertUnwindSafe(f));
                drop(call);
                outcome.map_err(Failure::Panicked)
            }
            Fate::Withdrawn => {
                drop_quietly(f);
                Err(Failure::Withdrawn)
            }
            Fate::Refused(error) => {
                drop_quietly(f);
                Err(Failure::Refused(refusal(error)))
            }
        };
        theirs.give(outcome);
    });
    let ticket = threads.submit(job, site, own_waker);
    JoinHandle {
        packet,
        threads,
        ticket,
    }
}

/// The pool of all plain threads.
fn of_process() -> Arc<Threads> {
    static THREADS: real::OnceLock<Arc<Threads>> = real::OnceLock::new();
    let threads = THREADS.get_or_init(|| Threads::new(THREADS_MAX, QUEUE_MAX));
    Arc::clone(threads)
}

fn own_waker() -> Waker {
    park::unparker().into_waker()
}

/// Why there is no result.
enum Failure {
    Panicked(Payload),
    Withdrawn,
    Refused(io::Error),
}

impl Failure {
    fn into_payload(self) -> Payload {
        match self {
            Failure::Panicked(payload) => payload,
            Failure::Withdrawn => Box::new(Cancelled),
            Failure::Refused(error) => Box::new(error.to_string()),
        }
    }
}

/// Where a job leaves its outcome.
struct Packet<T> {
    // Any thread; guarded by the lock.
    slot: Mutex<Slot<T>>,
}

enum Slot<T> {
    /// Not ended; whom to wake.
    Open(Option<Waker>),
    Ended(Result<T, Failure>),
    Taken,
}

impl<T> Packet<T> {
    /// On the thread of the pool. A handle that has been dropped leaves the outcome to the last one here.
    fn give(&self, outcome: Result<T, Failure>) {
        let slot = mem::replace(&mut *lock(&self.slot), Slot::Ended(outcome));
        if let Slot::Open(Some(waiter)) = slot {
            waiter.wake();
        }
    }

    /// Takes the outcome, or leaves a waker to be told of it.
    ///
    /// # Panics
    /// If it was taken before.
    fn poll(&self, waker: impl FnOnce() -> Waker) -> Poll<Result<T, Failure>> {
        let waker = waker();
        let mut slot = lock(&self.slot);
        let before = mem::replace(&mut *slot, Slot::Taken);
        if let Slot::Open(_) = before {
            *slot = Slot::Open(Some(waker));
        }
        drop(slot);
        // Wakers, which may be anyone's, are dropped without the lock.
        match before {
            Slot::Open(_) => Poll::Pending,
            Slot::Ended(outcome) => Poll::Ready(outcome),
            Slot::Taken => panic!("the result of a job is taken once"),
        }
    }

    /// Nobody waits any more.
    fn leave(&self) {
        let waker = match &mut *lock(&self.slot) {
            Slot::Open(waker) => waker.take(),
            _ => None,
        };
        drop(waker);
    }
}

#[cold]
fn refusal(error: &io::Error) -> io::Error {
    let what = "no thread could be started for a blocking call";
    let limits = "RLIMIT_NPROC, kernel.threads-max or memory";
    io::Error::new(error.kind(), format!("{what} ({limits}): {error}"))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::seam::sync::thread;

    #[test]
    fn a_call_returns_its_value_and_meanwhile_others_run() {
        let value = crate::run(|| {
            let (tell, told) = mpsc::channel();
            let other = crate::spawn(move || tell.send(()).unwrap());
            // The thread blocks until the coroutine beside us has run.
            let value = offload(IfBegun::Leave, move || told.recv().map(|()| 42));
            other.join().unwrap();
            value.unwrap()
        });
        assert_eq!(value, Ok(42));
    }

    #[test]
    fn a_calls_panic_goes_on_in_its_caller() {
        let panics = || offload(IfBegun::Leave, || panic!("from the job"));
        let outcome = crate::run(|| crate::spawn(panics).join());
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"from the job"));
    }

    /// A caller that is cancelled while its job, which has begun, waits for the sender to go.
    fn cancelled_in_mid_job(if_begun: IfBegun) -> coroutine::Result<&'static str> {
        crate::run(move || {
            let (release, released) = mpsc::channel::<()>();
            let (begin, begun) = mpsc::channel();
            let caller = crate::spawn_local(move || {
                offload(if_begun, move || {
                    begin.send(()).unwrap();
                    let _ = released.recv();
                })
                .unwrap();
                "complete"
            });
            crate::yield_now();
            begun.recv().unwrap();
            caller.cancel();
            (0..3).for_each(|_| crate::yield_now());
            assert_eq!(caller.is_finished(), if_begun == IfBegun::Leave);
            drop(release);
            caller.join()
        })
    }

    #[test]
    fn a_caller_cancelled_in_mid_job_leaves_or_returns_what_is_complete() {
        let left = cancelled_in_mid_job(IfBegun::Leave);
        assert!(left.unwrap_err().is::<Cancelled>());
        assert_eq!(
            cancelled_in_mid_job(IfBegun::Finish).unwrap(),
            "complete",
            "and the cancellation waits for the next suspension"
        );
    }

    #[test]
    fn a_plain_thread_makes_the_call_itself() {
        let here = thread::current().id();
        let there = offload(IfBegun::Leave, || thread::current().id()).unwrap();
        assert_eq!(here, there);
    }
}
