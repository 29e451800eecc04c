//! Threads for jobs that block: a bounded pool behind a queue. It knows nothing of coroutines.
//!
//! ```text
//!                     queue_max
//!   submit ──► [ 9  8 │ 7  6  5  4 ]──► thread: runs a job, then the next
//!                 │                      └─ none left: idle, and after 10 s without one it ends
//!                 └─ not admitted yet: who submitted it waits until it moves up
//! ```
//!
//! - A thread is started when a job comes, none is idle and fewer than the bound are running.
//! - **Back-pressure**: a job beyond the bound of the queue is in it all the same, so the order is that of submission
//!   and nothing more is to be allocated; but its submitter [waits](Threads::is_admitted) until it is within.
//! - A job that has not begun may be [withdrawn](Threads::withdraw), by its ticket. Tickets grow, so the queue is
//!   sorted by them.
//! - A thread that cannot be started is no harm while others run; if there are none, the queue is
//!   [refused](Fate::Refused).
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::seam::clock;
use crate::seam::sync::{Arc, Condvar, Mutex, lock, real, thread, thread_local};

/// How long a thread stays without a job. Starting one costs some 30 us, waking one 5.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What becomes of a job. Called once, on a thread of the pool if it is to run.
pub(crate) type Job = Box<dyn FnOnce(Fate<'_>) + Send>;

pub(crate) enum Fate<'a> {
    /// Do your work.
    Run,
    /// You never will: somebody has withdrawn you, or the pool has closed.
    Withdrawn,
    /// You never will: not one thread could be started.
    Refused(&'a io::Error),
}

/// Names a submitted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// The pool.
pub(crate) struct Threads {
    // Never changes.
    threads_max: usize,
    queue_max: usize,
    // Any thread; guarded by the lock.
    state: Mutex<State>,
    /// Signalled for each idle thread that is called.
    called: Condvar,
    /// Signalled when a thread ends after the close.
    ended: Condvar,
}

struct State {
    queue: VecDeque<Entry>,
    next_ticket: u64,
    /// All, also those that are about to start.
    threads: usize,
    /// Those that wait, and have not been called.
    idle: usize,
    /// Calls that no idle thread has answered yet.
    calls: usize,
    running: Vec<(Ticket, Site)>,
    closed: bool,
}

struct Entry {
    ticket: Ticket,
    job: Job,
    site: Site,
    /// Waits until the job is within the bound of the queue.
    submitter: Option<Waker>,
}

/// Where a job was submitted.
pub(crate) type Site = &'static Location<'static>;

/// Threads of the crate's own that wake no coroutine, for whoever counts the others. std's own atomic: a `static` must be
/// const.
pub(crate) static HELPERS: real::atomic::AtomicUsize = real::atomic::AtomicUsize::new(0);

thread_local! {
    /// The pool that this thread serves, by its address.
    static SERVES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Threads {
    /// A pool without a thread; at least one may run, and at most `queue_max` jobs wait.
    pub(crate) fn new(threads_max: usize, queue_max: usize) -> Arc<Self> {
        Arc::new(Threads {
            threads_max: threads_max.max(1),
            queue_max,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                next_ticket: 0,
                threads: 0,
                idle: 0,
                calls: 0,
                running: Vec::new(),
                closed: false,
            }),
            called: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    /// Queues `job` and sees to it that a thread will come to it. If it is beyond the bound of the queue,
    /// `submitter` is woken when it [is within](Self::is_admitted).
    pub(crate) fn submit(
        self: &Arc<Self>,
        job: Job,
        site: Site,
        submitter: impl FnOnce() -> Waker,
    ) -> Ticket {
        let mut state = lock(&self.state);
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        if state.closed {
            drop(state);
            job(Fate::Withdrawn);
            return ticket;
        }
        let starts = state.idle == 0 && state.threads < self.threads_max;
        let waits = state.idle == 0 && !starts && state.queue.len() >= self.queue_max;
        state.queue.push_back(Entry {
            ticket,
            job,
            site,
            submitter: waits.then(submitter),
        });
        if starts {
            // Counted before it starts, so that a burst does not start more than the bound.
            state.threads += 1;
            drop(state);
            self.start();
        } else if state.idle > 0 {
            state.idle -= 1;
            state.calls += 1;
            // Without the lock: whom it wakes would only have to wait for it.
            drop(state);
            self.called.notify_one();
        }
        ticket
    }

    /// How many threads there are, how many of them run a job, and how many jobs wait for one.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let state = lock(&self.state);
        (state.threads, state.running.len(), state.queue.len())
    }

    /// Whether the job has begun, has been refused or is within the bound of the queue.
    pub(crate) fn is_admitted(&self, ticket: Ticket) -> bool {
        let state = lock(&self.state);
        let Some(place) = state.place(ticket) else {
            return true;
        };
        state.queue[place].submitter.is_none()
    }

    /// Takes a job back that has not begun: it [will not](Fate::Withdrawn) then. False if it has begun.
    pub(crate) fn withdraw(&self, ticket: Ticket) -> bool {
        let mut state = lock(&self.state);
        let entry = state
            .place(ticket)
            .and_then(|place| state.queue.remove(place));
        let moved_up = state.admit(self.queue_max);
        drop(state);
        moved_up.into_iter().for_each(Waker::wake);
        let Some(entry) = entry else { return false };
        (entry.job)(Fate::Withdrawn);
        true
    }

    /// How many threads it has, if all of them are idle.
    pub(crate) fn if_idle(&self) -> Option<usize> {
        let state = lock(&self.state);
        let is_idle = state.running.is_empty() && state.queue.is_empty() && state.calls == 0;
        is_idle.then_some(state.threads)
    }

    fn start(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name("runtime-blocking".into());
        if let Err(error) = thread.spawn(move || this.serve()) {
            self.degrade(&error);
        }
    }

    /// A thread could not be started: those that run will do the work. If there are none, nobody will
    /// come to whatever is queued, this job or another's.
    #[cold]
    fn degrade(&self, error: &io::Error) {
        let mut state = lock(&self.state);
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let refused = mem::take(&mut state.queue);
        drop(state);
        for entry in refused {
            (entry.job)(Fate::Refused(error));
            entry.submitter.into_iter().for_each(Waker::wake);
        }
    }

    /// What each thread does: jobs, until there has been none for a while.
    fn serve(&self) {
        SERVES.set(std::ptr::from_ref(self).addr());
        let mut done = None;
        while let Some(entry) = self.next(done) {
            entry.submitter.into_iter().for_each(Waker::wake);
            // A job catches its own panic; this one comes from a result that nobody waits for any more
            // and that panics while it is dropped. Its payload may do the same, so it is leaked.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (entry.job)(Fate::Run))) {
                mem::forget(panic);
            }
            done = Some(entry.ticket);
        }
    }

    /// The next job, after the one that is done; with `None` the calling thread is not counted any more.
    fn next(&self, done: Option<Ticket>) -> Option<Entry> {
        let mut state = lock(&self.state);
        state.running.retain(|(ticket, _)| Some(*ticket) != done);
        loop {
            if let Some(entry) = state.queue.pop_front() {
                state.running.push((entry.ticket, entry.site));
                let moved_up = state.admit(self.queue_max);
                drop(state);
                moved_up.into_iter().for_each(Waker::wake);
                return Some(entry);
            }
            let until = clock::after(KEEP_ALIVE);
            state.idle += 1;
            while state.calls == 0 && !state.closed {
                let left = until.map_or(KEEP_ALIVE, |until| {
                    until.saturating_duration_since(clock::now())
                });
                if left.is_zero() {
                    break;
                }
                let waited = self.called.wait_timeout(state, left);
                state = waited.unwrap_or_else(|e| e.into_inner()).0;
            }
            if state.calls > 0 {
                state.calls -= 1; // whoever called has counted us out of the idle
                continue;
            }
            // In the critical section that saw no call: a job that comes now starts its own thread.
            state.idle -= 1;
            if state.closed && !state.queue.is_empty() {
                continue;
            }
            state.threads -= 1;
            if state.closed {
                self.ended.notify_all();
            }
            return None;
        }
    }

    /// Ends the pool: jobs that have not begun never will, and those that run are waited for until `deadline`.
    /// Returns where those that are left were submitted; their threads go on.
    ///
    /// Called by a job of this pool, it does not wait for that one.
    pub(crate) fn close(&self, deadline: Option<Instant>) -> Vec<Site> {
        let mut state = lock(&self.state);
        state.closed = true;
        let withdrawn = mem::take(&mut state.queue);
        self.called.notify_all();
        drop(state);
        for entry in withdrawn {
            (entry.job)(Fate::Withdrawn);
            entry.submitter.into_iter().for_each(Waker::wake);
        }
        let own = usize::from(SERVES.get() == std::ptr::from_ref(self).addr());
        let mut state = lock(&self.state);
        while state.threads > own {
            let left = deadline.map_or(KEEP_ALIVE, |deadline| {
                deadline.saturating_duration_since(clock::now())
            });
            if left.is_zero() {
                return state.running.iter().map(|(_, site)| *site).collect();
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        Vec::new()
    }
}

impl State {
    /// Where in the queue a job stands, if it has not begun.
    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.queue
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()
    }

    /// The queue has become shorter: the job that is the last within the bound now may let its submitter go.
    fn admit(&mut self, queue_max: usize) -> Option<Waker> {
        let last = queue_max.checked_sub(1)?;
        self.queue.get_mut(last)?.submitter.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[track_caller]
    fn submit(threads: &Arc<Threads>, work: impl FnOnce() + Send + 'static) -> Ticket {
        let job = Box::new(move |fate: Fate<'_>| {
            if let Fate::Run = fate {
                work();
            }
        });
        threads.submit(job, Location::caller(), || Waker::noop().clone())
    }

    /// A pool of one thread, which is busy until the sender goes.
    fn busy(queue_max: usize) -> (Arc<Threads>, mpsc::Sender<()>) {
        let threads = Threads::new(1, queue_max);
        let (release, released) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        submit(&threads, move || {
            begin.send(()).unwrap();
            let _ = released.recv();
        });
        begun.recv().unwrap();
        (threads, release)
    }

    fn has_idle(threads: &Threads) -> bool {
        let state = lock(&threads.state);
        state.idle == state.threads
    }

    #[test]
    fn an_idle_thread_is_used_again_and_a_busy_one_gets_company() {
        let threads = Threads::new(2, 9);
        let (tell, told) = mpsc::channel();
        for _ in 0..100 {
            let tell = tell.clone();
            submit(&threads, move || tell.send(thread::current().id()).unwrap());
            told.recv().unwrap();
            // Until it has noticed that there is no more.
            while !has_idle(&threads) {
                thread::yield_now();
            }
        }
        assert_eq!(lock(&threads.state).threads, 1);
        let (release, released) = mpsc::channel::<()>();
        submit(&threads, move || {
            let _ = released.recv();
        });
        submit(&threads, move || tell.send(thread::current().id()).unwrap());
        told.recv().unwrap();
        assert_eq!(lock(&threads.state).threads, 2);
        drop(release);
        assert!(threads.close(None).is_empty());
        assert_eq!(lock(&threads.state).threads, 0);
    }

    #[test]
    fn ex5_jobs_beyond_the_bound_are_admitted_one_by_one_in_order() {
        for queue_max in [0, 1, 2] {
            let (threads, release) = busy(queue_max);
            let (tell, told) = mpsc::channel();
            let tickets: Vec<_> = (0..4)
                .map(|n| {
                    let tell = tell.clone();
                    submit(&threads, move || tell.send(n).unwrap())
                })
                .collect();
            let admitted = |tickets: &[Ticket]| {
                tickets
                    .iter()
                    .filter(|ticket| threads.is_admitted(**ticket))
                    .count()
            };
            assert_eq!(admitted(&tickets), queue_max);
            assert!(threads.withdraw(tickets[1]));
            assert!(!threads.withdraw(tickets[1]));
            assert_eq!(admitted(&[tickets[0], tickets[2], tickets[3]]), queue_max);
            drop(release);
            assert_eq!(
                [told.recv(), told.recv(), told.recv()],
                [Ok(0), Ok(2), Ok(3)]
            );
            assert_eq!(admitted(&tickets), 4);
            assert!(threads.close(None).is_empty());
        }
    }

    #[test]
    fn ex5_a_close_withdraws_what_has_not_begun_and_tells_of_what_does_not_end() {
        let (threads, release) = busy(9);
        let (tell, told) = mpsc::channel();
        let job = Box::new(move |fate: Fate<'_>| {
            tell.send(matches!(fate, Fate::Withdrawn)).unwrap();
        });
        threads.submit(job.clone(), Location::caller(), || Waker::noop().clone());
        let stuck = threads.close(Some(clock::now()));
        assert_eq!(stuck.len(), 1);
        assert!(stuck[0].file().ends_with("threads.rs"));
        threads.submit(job, Location::caller(), || Waker::noop().clone());
        assert_eq!([told.recv(), told.recv()], [Ok(true), Ok(true)]);
        drop(release);
        assert!(threads.close(None).is_empty());
    }

    #[test]
    fn a_pool_that_is_closed_by_its_own_job_does_not_wait_for_that_one() {
        let threads = Threads::new(1, 9);
        let (tell, told) = mpsc::channel();
        let also = threads.clone();
        submit(&threads, move || tell.send(also.close(None).len()).unwrap());
        assert_eq!(told.recv(), Ok(0));
    }

    #[test]
    fn ex2_without_a_thread_every_queued_job_is_refused_and_with_one_none() {
        let threads = Threads::new(2, 9);
        let (tell, told) = mpsc::channel();
        for n in 0..2 {
            let tell = tell.clone();
            lock(&threads.state).queue.push_back(Entry {
                ticket: Ticket(n),
                job: Box::new(move |fate| {
                    tell.send(matches!(fate, Fate::Refused(_))).unwrap();
                }),
                site: Location::caller(),
                submitter: None,
            });
        }
        // Two were to be started; the first refusal still leaves hope in the second.
        lock(&threads.state).threads = 2;
        let again = io::Error::from(io::ErrorKind::WouldBlock);
        threads.degrade(&again);
        assert!(told.try_recv().is_err());
        threads.degrade(&again);
        assert_eq!([told.try_recv(), told.try_recv()], [Ok(true), Ok(true)]);
    }
}
