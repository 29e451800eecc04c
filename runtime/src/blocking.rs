//! Offload: blocking calls run on plain threads, while the coroutine that needs them parks.
//!
//! ```text
//!   coroutine ── offload(job) ──► queue ──► thread 1..=64: runs the job, then the next
//!      park                                    │            └─ none left: ends
//!      ◄──────────── result, unpark ───────────┘
//! ```
//!
//! For what epoll cannot wait for: name look-ups, files. The threads are few and shared by all
//! runtimes of the process; one is started when a job comes and fewer than the bound are running,
//! and it ends as soon as the queue is empty. So nothing idles, nothing has to be shut down, and a
//! start of about 30 us is paid per burst of calls that take longer than that anyway.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};

use crate::park::{self, Unparker, WaitReason};
use crate::seam::sync::{Arc, Mutex, lock, thread};
use crate::worker;

/// How many jobs run at a time; more wait in the queue, first come first served.
const THREADS_MAX: usize = 64;

/// Called once: with `Ok` to do its work, or with the error for which it never will.
type Job = Box<dyn FnOnce(Result<(), &io::Error>) + Send>;

/// What waits and how many threads serve it.
struct Pool {
    queue: VecDeque<Job>,
    threads: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    queue: VecDeque::new(),
    threads: 0,
});

/// Runs `job` on a plain thread and returns what it returns; the coroutine is parked meanwhile. A
/// plain thread, which may block, runs it itself.
///
/// A panic of the job goes on in the caller. If the caller is cancelled meanwhile, the job still
/// runs to its end, and its result is dropped.
///
/// # Errors
/// `EAGAIN` when not even one thread can be started (`RLIMIT_NPROC`, `threads-max`, memory); the job
/// has not run then.
pub(crate) fn offload<T, F>(job: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if worker::reactor().is_none() {
        return Ok(job());
    }
    let answer = Arc::new(Answer {
        result: Mutex::new(None),
        waiter: park::unparker(),
    });
    let theirs = Arc::clone(&answer);
    submit(Box::new(move |started| {
        theirs.give(match started {
            Ok(()) => Ok(panic::catch_unwind(AssertUnwindSafe(job))),
            Err(error) => Err(refusal(error)),
        });
    }));
    match answer.wait()? {
        Ok(result) => Ok(result),
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// What became of a job: refused, or else what its thread would have been joined with.
type Outcome<T> = io::Result<thread::Result<T>>;

/// Where a job leaves its outcome.
struct Answer<T> {
    result: Mutex<Option<Outcome<T>>>,
    waiter: Unparker,
}

impl<T> Answer<T> {
    /// On the pool's thread.
    fn give(&self, outcome: Outcome<T>) {
        *lock(&self.result) = Some(outcome);
        self.waiter.unpark();
    }

    /// In the coroutine. What is given before the park makes the park return at once.
    fn wait(&self) -> Outcome<T> {
        loop {
            if let Some(outcome) = lock(&self.result).take() {
                return outcome;
            }
            park::park(WaitReason::Blocking);
        }
    }
}

/// Queues `job` and sees to it that a thread will come to it.
fn submit(job: Job) {
    let mut pool = lock(&POOL);
    pool.queue.push_back(job);
    if pool.threads == THREADS_MAX {
        return;
    }
    // Counted before it starts, so that a burst does not start more than the bound.
    pool.threads += 1;
    drop(pool);
    let thread = thread::Builder::new().name("runtime-blocking".into());
    if let Err(error) = thread.spawn(serve) {
        degrade(&error);
    }
}

/// A thread could not be started: those that run will do the work. If there are none, nobody will
/// come to whatever is queued, ours or another's.
#[cold]
fn degrade(error: &io::Error) {
    let mut pool = lock(&POOL);
    pool.threads -= 1;
    if pool.threads > 0 {
        return;
    }
    let refused = std::mem::take(&mut pool.queue);
    drop(pool);
    refused.into_iter().for_each(|job| job(Err(error)));
}

#[cold]
fn refusal(error: &io::Error) -> io::Error {
    let what = "no thread could be started for a blocking call";
    let limits = "RLIMIT_NPROC, kernel.threads-max or memory";
    io::Error::new(error.kind(), format!("{what} ({limits}): {error}"))
}

/// What each thread does: jobs until there are none.
fn serve() {
    while let Some(job) = next() {
        // A job catches its own panic; this one comes from a result that nobody waits for any more
        // and that panics while it is dropped. Its payload may do the same, so it is leaked.
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| job(Ok(())))) {
            std::mem::forget(panic);
        }
    }
}

/// The next job; with `None` this thread is not counted any more.
fn next() -> Option<Job> {
    let mut pool = lock(&POOL);
    let job = pool.queue.pop_front();
    if job.is_none() {
        // In the critical section that saw the queue empty: a job that comes now starts its own.
        pool.threads -= 1;
    }
    job
}
