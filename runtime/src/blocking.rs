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
use std::mem;
use std::panic::{self, AssertUnwindSafe, resume_unwind};

use crate::home;
use crate::park::{self, Unparker, WaitReason};
use crate::seam::sync::{Arc, Mutex, lock, real, thread};

/// How many jobs run at a time; more wait in the queue, first come first served.
const THREADS_MAX: usize = 64;

/// Called once: with `Ok` to do its work, or with the error for which it never will.
type Job = Box<dyn FnOnce(Result<(), &io::Error>) + Send>;

/// The queue and the threads that serve it.
struct Pool {
    // Any thread; guarded by the lock.
    state: real::Mutex<State>,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
}

static POOL: Pool = Pool::new();

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
    if home::current().is_none() {
        return Ok(job());
    }
    let answer = Arc::new(Answer {
        result: Mutex::new(None),
        waiter: park::unparker(),
    });
    let theirs = Arc::clone(&answer);
    POOL.submit(Box::new(move |started| {
        theirs.give(match started {
            Ok(()) => Ok(panic::catch_unwind(AssertUnwindSafe(job))),
            Err(error) => Err(refusal(error)),
        });
    }));
    match answer.wait()? {
        Ok(result) => Ok(result),
        Err(panic) => resume_unwind(panic),
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

impl Pool {
    const fn new() -> Self {
        Self {
            state: real::Mutex::new(State {
                queue: VecDeque::new(),
                threads: 0,
            }),
        }
    }

    /// Queues `job` and sees to it that a thread will come to it.
    fn submit(&'static self, job: Job) {
        let mut state = real::lock(&self.state);
        state.queue.push_back(job);
        if state.threads == THREADS_MAX {
            return;
        }
        // Counted before it starts, so that a burst does not start more than the bound.
        state.threads += 1;
        drop(state);
        let thread = thread::Builder::new().name("runtime-blocking".into());
        if let Err(error) = thread.spawn(|| self.serve()) {
            self.degrade(&error);
        }
    }

    /// A thread could not be started: those that run will do the work. If there are none, nobody will
    /// come to whatever is queued, this job or another's.
    #[cold]
    fn degrade(&self, error: &io::Error) {
        let mut state = real::lock(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let refused = mem::take(&mut state.queue);
        drop(state);
        refused.into_iter().for_each(|job| job(Err(error)));
    }

    /// What each thread does: jobs until there are none.
    fn serve(&self) {
        while let Some(job) = self.next() {
            // A job catches its own panic; this one comes from a result that nobody waits for any more
            // and that panics while it is dropped. Its payload may do the same, so it is leaked.
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| job(Ok(())))) {
                mem::forget(panic);
            }
        }
    }

    /// The next job; with `None` the calling thread is not counted any more.
    fn next(&self) -> Option<Job> {
        let mut state = real::lock(&self.state);
        let job = state.queue.pop_front();
        if job.is_none() {
            // In the critical section that saw the queue empty: a job that comes now starts its own.
            state.threads -= 1;
        }
        job
    }
}

#[cold]
fn refusal(error: &io::Error) -> io::Error {
    let what = "no thread could be started for a blocking call";
    let limits = "RLIMIT_NPROC, kernel.threads-max or memory";
    io::Error::new(error.kind(), format!("{what} ({limits}): {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::seam::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_job_returns_its_value_and_meanwhile_others_run() {
        let (ran, value) = crate::run(|| {
            let (tell, told) = mpsc::channel();
            let other = crate::spawn(move || tell.send(()).unwrap());
            // The thread blocks until the coroutine beside us has run.
            let value = offload(move || told.recv().map(|()| 42)).unwrap();
            (other.join().is_ok(), value)
        });
        assert!(ran);
        assert_eq!(value, Ok(42));
    }

    #[test]
    fn a_jobs_panic_goes_on_in_its_caller() {
        let outcome = crate::run(|| crate::spawn(|| offload(|| panic!("from the job"))).join());
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"from the job"));
    }

    #[test]
    fn more_jobs_than_threads_all_run() {
        static RUN: AtomicUsize = AtomicUsize::new(0);
        crate::run(|| {
            let jobs: Vec<_> = (0..3 * THREADS_MAX)
                .map(|_| crate::spawn(|| offload(|| RUN.fetch_add(1, Ordering::Relaxed)).unwrap()))
                .collect();
            jobs.into_iter().for_each(|job| _ = job.join().unwrap());
        });
        assert_eq!(RUN.load(Ordering::Relaxed), 3 * THREADS_MAX);
    }

    #[test]
    fn a_caller_cancelled_in_mid_job_lets_the_job_end_and_drops_its_result() {
        struct Report(mpsc::Sender<()>);
        impl Drop for Report {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (dropped, is_dropped) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        crate::run(move || {
            let caller = crate::spawn(move || {
                offload(move || {
                    begun.recv().unwrap();
                    Report(dropped)
                })
                .map(|_| ())
            });
            crate::yield_now();
            caller.cancel();
            assert!(caller.join().is_err());
            begin.send(()).unwrap();
        });
        is_dropped.recv().unwrap();
    }

    #[test]
    fn ex2_without_a_thread_every_queued_job_is_refused_and_with_one_none() {
        let pool = Pool::new();
        let (tell, told) = mpsc::channel();
        for _ in 0..2 {
            let tell = tell.clone();
            let job = Box::new(move |started: Result<(), &io::Error>| {
                tell.send(started.is_ok()).unwrap();
            });
            real::lock(&pool.state).queue.push_back(job);
        }
        // Two were to be started; the first refusal still leaves hope in the second.
        real::lock(&pool.state).threads = 2;
        let again = io::Error::from(io::ErrorKind::WouldBlock);
        pool.degrade(&again);
        assert!(told.try_recv().is_err());
        pool.degrade(&again);
        assert_eq!((told.try_recv(), told.try_recv()), (Ok(false), Ok(false)));
        assert!(refusal(&again).to_string().contains("RLIMIT_NPROC"));
    }
}
