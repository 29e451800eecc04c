//! Runtimes: workers put together, from the first coroutine to the end of the last.
//!
//! ```text
//!   run(f)   ── this thread becomes worker 0 ──► f is the first coroutine ──► f returns
//!            ◄── all have ended, or are given up ◄── all others are cancelled ◄──┘
//! ```
//!
//! A [`Runtime`] is a value; a process may have several, and one thread several after one another. Worker 0
//! runs on the thread that calls [`run`](Runtime::run), while it is in there; the others have threads of their own.

mod builder;
mod embed;
mod once;

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::coroutine::{self, JoinHandle};
use crate::debugger;
use crate::home::{self, Config, Phase, Shared};
use crate::observe::stall::{Hook, Watchdog};
use crate::observe::{self, Metrics};
use crate::recorder;
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicBool, Ordering};
use crate::seam::sync::{Arc, Mutex, lock, thread};
use crate::sys::memory::refused;
use crate::sys::process::{NoUnwind, is_forked_child, refuse_in_forked_child, report};
use crate::worker::Worker;

pub use builder::Builder;
use builder::OnDeadlock;
use once::Mailboxes;

/// Most workers of one runtime; each has two descriptors and, but for the first, a thread.
pub const WORKERS_MAX: usize = 1024;

/// Runs `f` as the first coroutine of a runtime with one worker, on the calling thread.
///
/// When `f` returns, coroutines that are still alive are cancelled, unwound and waited for.
///
/// # Panics
/// With what `f` panics with; when the system refuses an epoll instance or a stack.
///
/// ```
/// assert_eq!(runtime::run(|| runtime::spawn(|| 42).join().unwrap()), 42);
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    let runtime = Builder::new()
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"));
    runtime.run(f)
}

/// Workers and their coroutines.
///
/// Any thread may [spawn](Runtime::spawn) into it. With one worker it runs coroutines only inside
/// [`run`](Runtime::run) or [`run_ready`](Runtime::run_ready).
pub struct Runtime {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    watchdog: Option<Watchdog>,
    /// Somebody is inside, as worker 0.
    entered: AtomicBool,
    /// The thread that worker 0 was last on.
    last_thread: Mutex<Option<thread::ThreadId>>,
    /// Whoever has set `entered` may use it. Boxed: its coroutines know its address.
    worker: ManuallyDrop<Box<UnsafeCell<Worker>>>,
    mailboxes: Mailboxes,
    /// None: nobody looks for them.
    deadlocks: Option<Deadlocks>,
    _flight: FlightRecorder,
}

/// How deadlocks are looked for, and who is told instead of a panic.
struct Deadlocks {
    search: Arc<observe::deadlock::Deadlocks>,
    hook: Option<OnDeadlock>,
}

/// Has events recorded as long as it is there, if the runtime wants that.
struct FlightRecorder(bool);

impl FlightRecorder {
    fn of(config: &Config) -> Self {
        let is_wanted = config.flight_events > 0;
        if is_wanted {
            recorder::turn_on();
        }
        FlightRecorder(is_wanted)
    }
}

impl Drop for FlightRecorder {
    fn drop(&mut self) {
        if self.0 {
            recorder::turn_off();
        }
    }
}

// SAFETY: worker 0, the one part that is not `Send` or `Sync` by itself, is used only by the thread that has set
// `entered`, and that only if no coroutine of it was started on another thread: see `enter`.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Runtime {
    fn start(config: Config, deadlocks: Option<Deadlocks>) -> io::Result<Self> {
        debugger::keep();
        let flight = FlightRecorder::of(&config);
        let mailboxes = Mailboxes::take(config.workers);
        let shared = Arc::new(Shared::new(config, mailboxes.0.clone()));
        let worker = Worker::new(0, shared.clone()).map_err(no_descriptor)?;
        let mut runtime = Runtime {
            shared,
            threads: Vec::new(),
            watchdog: None,
            entered: AtomicBool::new(false),
            last_thread: Mutex::new(None),
            worker: ManuallyDrop::new(Box::new(UnsafeCell::new(worker))),
            mailboxes,
            deadlocks,
            _flight: flight,
        };
        observe::registry::enter(&runtime.shared);
        // On an error the runtime is dropped, which stops and joins those that have started.
        for index in 1..runtime.shared.seats.len() {
            let thread = runtime.start_thread(index)?;
            runtime.threads.push(thread);
        }
        Ok(runtime)
    }

    /// Has the workers watched, if there is a thread to be had for that.
    fn watch(&mut self, after: Duration, hook: Option<Hook>) {
        self.watchdog = Watchdog::start(self.shared.clone(), after, hook).ok();
    }

    fn start_thread(&self, index: usize) -> io::Result<thread::JoinHandle<()>> {
        let shared = self.shared.clone();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let name = shared.config.name.as_deref().unwrap_or("worker");
        let thread = thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(move || {
                let worker = match Worker::new(index, shared) {
                    Ok(worker) => worker,
                    Err(error) => return drop(tell.send(Err(no_descriptor(error)))),
                };
                // SAFETY: the worker is this thread's, declared before the guard, and stays where it is.
                match unsafe { worker.enter() } {
                    Ok(_seated) => {
                        let _ = tell.send(Ok(()));
                        let guard = NoUnwind;
                        worker.work();
                        guard.passed();
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        let thread = thread.map_err(no_thread)?;
        let started = told
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker thread died at its start")));
        match started {
            Ok(()) => Ok(thread),
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Runs `f` as the first coroutine, on the calling thread, which is worker 0 meanwhile.
    ///
    /// When `f` returns, coroutines that are still alive, on all workers, are cancelled, unwound and waited for.
    ///
    /// # Panics
    /// With what `f` panics with; with a [report](observe::Deadlock) if its coroutines wait for each other for ever, see
    /// [`Builder::on_deadlock`]; if somebody is inside already, or coroutines are alive that
    /// [`run_ready`](Self::run_ready) has started on another thread.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T,
    {
        let entered = self.enter();
        let worker = entered.worker;
        let name = self.shared.config.name.as_deref().unwrap_or("main");
        let builder = coroutine::Builder::new().name(name);
        // SAFETY: we return only when `f` has finished, and take its result with us; it stays on this worker.
        let first = unsafe { builder.spawn_on(&worker.home, f, false) };
        let first =
            first.unwrap_or_else(|error| panic!("cannot start the first coroutine: {error}"));
        let _armed = self.deadlocks.as_ref().map(|it| it.search.arm());
        let mut deadlock = None;
        // While `f` is alive its frames may borrow from our caller's.
        let guard = NoUnwind;
        loop {
            worker.round();
            if first.is_finished() || is_forked_child() {
                break;
            }
            if self.shared.is_alarmed() {
                deadlock = self.hear_of_deadlock();
                if deadlock.is_some() {
                    break;
                }
            }
            worker.poll(true, None);
        }
        if !is_forked_child() {
            end(worker);
        }
        guard.passed();
        drop(entered);
        if !first.is_finished() {
            refuse_in_forked_child();
        }
        if let Some(deadlock) = deadlock {
            panic!("{deadlock}");
        }
        first
            .join()
            .unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Starts a coroutine from any thread; it may begin on any worker.
    ///
    /// # Panics
    /// When no memory is left for its record, or [`max_coroutines`](Builder::max_coroutines) are alive.
    ///
    /// ```
    /// let runtime = runtime::Builder::new().workers(2).build()?;
    /// assert_eq!(runtime.spawn(|| 6 * 7).join().unwrap(), 42); // joined from a plain thread
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        refuse_in_forked_child();
        // SAFETY: closure and result are `'static` and `Send`.
        let spawned = unsafe { coroutine::Builder::new().inject(&self.shared, f) };
        spawned.unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
    }

    /// What this runtime has done since it was built, and what it has at the moment.
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.shared)
    }

    /// The deadlock that was found, unless somebody else has asked to be told.
    #[cold]
    fn hear_of_deadlock(&self) -> Option<observe::Deadlock> {
        let Deadlocks { search, hook } = self.deadlocks.as_ref()?;
        self.shared.take_alarm();
        let deadlock = search.take()?;
        match hook {
            Some(OnDeadlock(hook)) => {
                hook(&deadlock);
                None
            }
            None => Some(deadlock),
        }
    }

    /// As [`observe::dump`], of this runtime, from any thread.
    pub fn dump(&self) -> observe::Dump {
        observe::dump_of(&self.shared)
    }

    /// Becomes worker 0, on this thread.
    #[track_caller]
    fn enter(&self) -> Inside<'_> {
        let (worker, leave) = self.occupy();
        let this = thread::current().id();
        let moved = lock(&self.last_thread).is_some_and(|last| last != this);
        if worker.home.has_live() {
            assert!(
                !moved,
                "coroutines of this runtime were started on another thread: it can run them only there"
            );
            assert!(
                worker.home.last_turn.holds(),
                "a runtime with live coroutines is run by a destructor of a thread-local, after others have run: what they \
                 were suspended with may be gone"
            );
        } else if moved {
            // Idle contexts too may have what belongs to the old thread in their registers.
            worker.destroy_idle();
        }
        *lock(&self.last_thread) = Some(this);
        // SAFETY: the worker is in a box that lives as long as `self`; the rest was just checked.
        let seated = unsafe { worker.enter() };
        let seated = seated.unwrap_or_else(|error| panic!("cannot run on this thread: {error}"));
        Inside {
            worker,
            _seated: seated,
            _leave: leave,
        }
    }

    /// Gets worker 0 for itself, on whatever thread: to look at it, not yet to run it.
    #[track_caller]
    fn occupy(&self) -> (&Worker, Leave<'_>) {
        refuse_in_forked_child();
        assert!(
            !self.is_below(),
            "Runtime::run while it is running, by a coroutine of its own: spawn another coroutine instead"
        );
        // Acquire: pairs with the Release of whoever was inside before.
        let alone = !self.entered.swap(true, Ordering::Acquire);
        assert!(
            alone,
            "Runtime::run while it is running: a runtime runs one first coroutine at a time"
        );
        // SAFETY: we have set `entered`.
        (unsafe { &*self.worker.get() }, Leave(&self.entered))
    }
}

/// Worker 0 on this thread; the fields leave in this order.
struct Inside<'a> {
    worker: &'a Worker,
    _seated: crate::worker::Seated,
    _leave: Leave<'a>,
}

struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Cancels all coroutines of the runtime and waits for their ends, or gives them up after the grace period.
fn end(worker: &Worker) {
    let shared = &worker.home.shared;
    if cfg!(panic = "abort") {
        return worker.leak_all();
    }
    let deadline = clock::after(shared.config.grace);
    shared.set_phase(Phase::Ending);
    loop {
        worker.follow_phase();
        worker.round();
        let (spawned, finished) = shared.spawned_and_finished();
        if spawned == finished {
            break;
        }
        let over = deadline.is_some_and(|deadline| deadline <= clock::now());
        if over && shared.phase() == Phase::Ending {
            shared.set_phase(Phase::Abandoning);
        }
        worker.poll(true, deadline.filter(|_| !over));
    }
    shared.set_phase(Phase::Running);
    worker.follow_phase();
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if is_forked_child() {
            return; // all of it is the parent's
        }
        if !self.wind_up() {
            return;
        }
        observe::registry::leave(&self.shared);
        self.shared.set_phase(Phase::Stopping);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.end_blocking_calls();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.stop();
        }
        // SAFETY: nobody is inside, and nothing uses the worker after this; no coroutine of its is alive.
        unsafe { ManuallyDrop::drop(&mut self.worker) };
        self.mailboxes.give_back();
    }
}

impl Runtime {
    /// Whether the caller is, directly or through other runtimes, run by a worker of this one.
    fn is_below(&self) -> bool {
        home::entered().any(|home| Arc::ptr_eq(&home.shared, &self.shared))
    }

    /// Waits for the jobs of the pool that have begun, as long as for a coroutine, and reports those that are left.
    fn end_blocking_calls(&self) {
        for site in self
            .shared
            .threads
            .close(clock::after(self.shared.config.grace))
        {
            report(&format!(
                "a blocking call, submitted at {site}, did not end within the grace period: its thread is left alone"
            ));
        }
    }

    /// Ends all coroutines. False if they could not be, so that everything must stay as it is.
    fn wind_up(&self) -> bool {
        let (spawned, finished) = self.shared.spawned_and_finished();
        if spawned == finished {
            return true;
        }
        if self.is_below() {
            report(
                "a runtime was dropped by a coroutine of its own: it cannot wait for that one's end, and is leaked",
            );
            return false;
        }
        // SAFETY: whoever drops the runtime is alone with it.
        let home = &unsafe { &*self.worker.get() }.home;
        let live = home.live();
        let moved = lock(&self.last_thread).is_some_and(|last| last != thread::current().id());
        if live > 0 && (moved || !home.last_turn.holds()) {
            let why = if moved {
                "was dropped on another thread"
            } else {
                "was dropped while its thread was ending"
            };
            report(&format!(
                "a runtime {why}: its {live} live coroutines could not be unwound and are leaked"
            ));
            return false;
        }
        let entered = self.enter();
        let guard = NoUnwind;
        end(entered.worker);
        guard.passed();
        true
    }
}

fn no_descriptor(cause: io::Error) -> io::Error {
    let remedy = "descriptors are limited by RLIMIT_NOFILE (ulimit -n) and fs.file-max";
    refused(
        cause,
        "give a worker its epoll instance and eventfd".into(),
        remedy,
    )
}

fn no_thread(cause: io::Error) -> io::Error {
    let remedy = "threads are limited by RLIMIT_NPROC (ulimit -u), kernel.threads-max, the cgroup's pids.max and memory";
    refused(cause, "give a worker its thread".into(), remedy)
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.shared.seats.len())
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}
