//! Runtimes: workers put together, from the first coroutine to the end of the last.
//!
//! ```text
//!   run(f)   ── this thread becomes worker 0 ──► f is the first coroutine ──► f returns
//!            ◄── all have ended, or are given up ◄── all others are cancelled ◄──┘
//! ```
//!
//! A [`Runtime`] is a value; a process may have several, and one thread several after one another. Worker 0
//! runs on the thread that calls [`run`](Runtime::run), while it is in there; the others have threads of their own.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::coroutine::{self, JoinHandle};
use crate::home::{self, Config, Phase, Shared};
use crate::mailbox::Mailbox;
use crate::park;
use crate::seam::clock;
use crate::seam::sync::atomic::{AtomicBool, Ordering};
use crate::seam::sync::{Arc, Mutex, Once, lock, real, thread};
use crate::stack::{StackConfig, overflow};
use crate::sys::memory::refused;
use crate::sys::process::{is_forked_child, is_thread_ending, refuse_in_forked_child};
use crate::task::Message;
use crate::worker::Worker;

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
    let runtime = Builder::new().build().unwrap_or_else(|error| panic!("cannot build a runtime: {error}"));
    runtime.run(f)
}

/// Settings for a runtime to be.
///
/// ```
/// let runtime = runtime::Builder::new().workers(2).stack_size(128 << 10).build()?;
/// assert_eq!(runtime.run(|| runtime::spawn(|| 1).join().unwrap()), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

impl Builder {
    /// One worker, stacks of 64 KiB with a guard of one page, and 5 seconds of grace.
    pub fn new() -> Self {
        Builder {
            config: Config {
                workers: 1,
                stacks: StackConfig::default(),
                idle_stacks_max: 1024,
                grace: Duration::from_secs(5),
                name: None,
                report_overflow: true,
            },
        }
    }

    /// Number of workers, 1 to [`WORKERS_MAX`].
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// Usable bytes of a coroutine's stack, rounded up to pages and to the least size, 32 KiB.
    ///
    /// Pages that are never touched cost nothing.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stacks.stack_bytes = bytes;
        self
    }

    /// Bytes of the guard below each stack, rounded up to pages; one page by default.
    ///
    /// Rust code probes every page of a frame, so a page stops it. Foreign code that was compiled without
    /// `-fstack-clash-protection` can step over a guard with a frame larger than that, and
    /// overwrite the neighbour: make the guard larger than the largest such frame.
    pub fn guard_size(mut self, bytes: usize) -> Self {
        self.config.stacks.guard_bytes = bytes;
        self
    }

    /// Stacks are zeroed when their coroutine has ended: nothing that it left there is found by the next.
    pub fn zero_stacks(mut self, zero: bool) -> Self {
        self.config.stacks.zero_on_release = zero;
        self
    }

    /// Stacks that nobody uses fault when touched. For finding errors: it costs two system calls a coroutine.
    pub fn protect_idle_stacks(mut self, protect: bool) -> Self {
        self.config.stacks.protect_idle = protect;
        self
    }

    /// How many idle stacks a worker keeps warm through its pauses, 1,024 by default. Beyond that, and after a
    /// second in which nobody has needed them, their memory goes back to the system.
    pub fn idle_stacks(mut self, count: usize) -> Self {
        self.config.idle_stacks_max = count;
        self
    }

    /// How long the end of [`run`](Runtime::run) waits for coroutines that it has cancelled, 5 s by default. Those
    /// that are left are reported by name, and their stacks leaked.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// A name for the worker threads, which get numbers, and for the first coroutine.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into().into_boxed_str());
        self
    }

    /// Whether a stack overflow is reported (the default), by a process-wide handler of SIGSEGV and SIGBUS that
    /// passes all other faults on. Without, it is a bare SIGSEGV, unless another runtime of the process reports.
    pub fn report_overflow(mut self, report: bool) -> Self {
        self.config.report_overflow = report;
        self
    }

    /// Builds the runtime and starts the threads of workers 1 and up.
    ///
    /// # Errors
    /// `InvalidInput` for no worker, too many, or an absurd size; otherwise what the system refused: `EMFILE`
    /// (an epoll instance), `EAGAIN` (a thread), `ENOMEM`. Workers that had started have been joined then.
    pub fn build(self) -> io::Result<Runtime> {
        let config = self.config;
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            let text = format!("{} workers: a runtime has 1 to {WORKERS_MAX}", config.workers);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        config.stacks.check()?;
        refuse_in_forked_child();
        if config.report_overflow {
            overflow::install();
        }
        wrap_panic_hook();
        Runtime::start(config)
    }
}

/// Workers and their coroutines.
///
/// Any thread may [spawn](Runtime::spawn) into it. With one worker it runs coroutines only inside
/// [`run`](Runtime::run) or [`run_ready`](Runtime::run_ready).
pub struct Runtime {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Somebody is inside, as worker 0.
    entered: AtomicBool,
    /// The thread that worker 0 was last on.
    last_thread: Mutex<Option<thread::ThreadId>>,
    /// Whoever has set `entered` may use it. Boxed: its coroutines know its address.
    worker: ManuallyDrop<Box<UnsafeCell<Worker>>>,
    mailboxes: Mailboxes,
}

// SAFETY: worker 0, the one part that is not `Send` or `Sync` by itself, is used only by the thread that has set
// `entered`, and that only if no coroutine of it was started on another thread: see `enter`.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Runtime {
    fn start(config: Config) -> io::Result<Self> {
        let mailboxes = Mailboxes::take(config.workers);
        let shared = Arc::new(Shared::new(config, mailboxes.0.clone()));
        let worker = Worker::new(0, shared.clone()).map_err(no_descriptor)?;
        let mut runtime = Runtime {
            shared,
            threads: Vec::new(),
            entered: AtomicBool::new(false),
            last_thread: Mutex::new(None),
            worker: ManuallyDrop::new(Box::new(UnsafeCell::new(worker))),
            mailboxes,
        };
        // On an error the runtime is dropped, which stops and joins those that have started.
        for index in 1..runtime.shared.seats.len() {
            let thread = runtime.start_thread(index)?;
            runtime.threads.push(thread);
        }
        Ok(runtime)
    }

    fn start_thread(&self, index: usize) -> io::Result<thread::JoinHandle<()>> {
        let shared = self.shared.clone();
        let (report, reported) = std::sync::mpsc::sync_channel(1);
        let name = shared.config.name.as_deref().unwrap_or("worker");
        let thread = thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
            let worker = match Worker::new(index, shared) {
                Ok(worker) => worker,
                Err(error) => return drop(report.send(Err(no_descriptor(error)))),
            };
            // SAFETY: the worker is this thread's, declared before the guard, and stays where it is.
            match unsafe { worker.enter() } {
                Ok(_seated) => {
                    let _ = report.send(Ok(()));
                    worker.work();
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
        let thread = thread.map_err(no_thread)?;
        let started = reported.recv().unwrap_or_else(|_| Err(io::Error::other("a worker thread died at its start")));
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
    /// With what `f` panics with; if somebody is inside already, or coroutines are alive that
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
        let first = first.unwrap_or_else(|error| panic!("cannot start the first coroutine: {error}"));
        loop {
            worker.round();
            if first.is_finished() {
                break;
            }
            if is_forked_child() {
                refuse_in_forked_child();
            }
            worker.poll(true, None);
        }
        if !is_forked_child() {
            end(worker);
        }
        drop(entered);
        first.join().unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Starts a coroutine from any thread; it may begin on any worker.
    ///
    /// # Panics
    /// When no memory is left for its record.
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

    /// Counts of this runtime, from its start.
    pub fn metrics(&self) -> Metrics {
        let (spawned, finished) = self.shared.spawned_and_finished();
        let stacks = self.shared.seats.iter().map(|seat| seat.counts.stacks.load(Ordering::Relaxed)).sum();
        Metrics { spawned, finished, stacks }
    }

    /// Becomes worker 0, on this thread.
    #[track_caller]
    fn enter(&self) -> Inside<'_> {
        refuse_in_forked_child();
        let own = home::here().is_some_and(|home| Arc::ptr_eq(&home.shared, &self.shared));
        assert!(!own, "Runtime::run while it is running, by a coroutine of its own: spawn another coroutine instead");
        park::with_interrupts(|interrupts| {
            if interrupts.is_unwinding() {
                // It is who calls that unwinds, not the coroutines that will run.
                interrupts.mark_unwinding();
            }
        });
        // Acquire: pairs with the Release of whoever was inside before.
        let alone = !self.entered.swap(true, Ordering::Acquire);
        assert!(alone, "Runtime::run while it is running: a runtime runs one first coroutine at a time");
        // SAFETY: we have set `entered`.
        let worker = unsafe { &*self.worker.get() };
        let this = thread::current().id();
        let moved = lock(&self.last_thread).replace(this).is_some_and(|last| last != this);
        let leave = Leave(&self.entered);
        if worker.home.live() > 0 {
            assert!(!moved, "coroutines of this runtime were started on another thread: it can run them only there");
            assert!(!is_thread_ending(), "a runtime with live coroutines is run by a destructor of a thread-local");
        } else if moved {
            // Idle contexts too may have what belongs to the old thread in their registers.
            worker.destroy_idle();
        }
        // SAFETY: the worker is in a box that lives as long as `self`; the rest was just checked.
        let seated = unsafe { worker.enter() };
        let seated = seated.unwrap_or_else(|error| panic!("cannot run on this thread: {error}"));
        Inside { worker, _seated: seated, _leave: leave }
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
        self.shared.set_phase(Phase::Stopping);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // SAFETY: nobody is inside, and nothing uses the worker after this; no coroutine of its is alive.
        unsafe { ManuallyDrop::drop(&mut self.worker) };
        self.mailboxes.give_back();
    }
}

impl Runtime {
    /// Ends all coroutines. False if they could not be, so that everything must stay as it is.
    fn wind_up(&self) -> bool {
        let (spawned, finished) = self.shared.spawned_and_finished();
        if spawned == finished {
            return true;
        }
        if home::here().is_some_and(|home| Arc::ptr_eq(&home.shared, &self.shared)) {
            eprintln!("a runtime was dropped by a coroutine of its own: it cannot wait for that one's end, and is leaked");
            return false;
        }
        // SAFETY: whoever drops the runtime is alone with it.
        let live = unsafe { &*self.worker.get() }.home.live();
        let moved = lock(&self.last_thread).is_some_and(|last| last != thread::current().id());
        if live > 0 && (moved || is_thread_ending()) {
            let why = if moved { "was dropped on another thread" } else { "was dropped while its thread was ending" };
            eprintln!("a runtime {why}: its {live} live coroutines could not be unwound and are leaked");
            return false;
        }
        end(self.enter().worker);
        true
    }
}

fn no_descriptor(cause: io::Error) -> io::Error {
    let remedy = "descriptors are limited by RLIMIT_NOFILE (ulimit -n) and fs.file-max";
    refused(cause, "a worker cannot have its epoll instance and eventfd".into(), remedy)
}

fn no_thread(cause: io::Error) -> io::Error {
    let remedy = "threads are limited by RLIMIT_NPROC (ulimit -u), kernel.threads-max, the cgroup's pids.max and memory";
    refused(cause, "a worker cannot have its thread".into(), remedy)
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.shared.seats.len()).field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// What a runtime has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Coroutines spawned.
    pub spawned: u64,
    /// Coroutines that have ended, in whatever way.
    pub finished: u64,
    /// Stacks in use or idle, on all workers.
    pub stacks: usize,
}

// ---- Embedding ---------------------------------------------------------------------------------------------

impl Runtime {
    /// Runs what can run now, and returns how many turns that made: for a program that has a loop of its own.
    ///
    /// That loop watches the [descriptor](std::os::fd::AsFd), for reading, until
    /// [`next_deadline`](Self::next_deadline).
    ///
    /// # Panics
    /// With several workers; otherwise as [`run`](Self::run).
    pub fn run_ready(&self) -> usize {
        assert!(self.shared.seats.len() == 1, "run_ready drives one worker: this runtime has threads that run by themselves");
        let inside = self.enter();
        inside.worker.poll(false, None);
        let mut turns = 0;
        loop {
            let made = inside.worker.round();
            if made == 0 {
                return turns;
            }
            turns += made;
            inside.worker.poll(false, None);
        }
    }

    /// When [`run_ready`](Self::run_ready) should be called again, though the descriptor be silent. Now, if
    /// somebody can run.
    pub fn next_deadline(&self) -> Option<std::time::Instant> {
        let inside = self.enter();
        let home = &inside.worker.home;
        let now = home.is_runnable() || home.anything_to_take() || !home.mailbox.is_empty();
        // From here on whoever sends a message rings the bell, which makes the descriptor readable.
        home.mailbox.fall_asleep();
        if now { Some(clock::now()) } else { inside.worker.next_deadline() }
    }
}

impl std::os::fd::AsFd for Runtime {
    /// The epoll instance of worker 0: readable when [`run_ready`](Self::run_ready) has something to do.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the reactor never changes, and is `Sync`.
        let reactor: &crate::reactor::Reactor = unsafe { &(*self.worker.get()).reactor };
        reactor.as_fd()
    }
}

// ---- What a process has once ---------------------------------------------------------------------------------

/// The mailboxes of a runtime, from the stock of the process; see `mailbox` for why they are never freed.
struct Mailboxes(Vec<&'static Mailbox<Message>>);

/// Those that no runtime uses.
static STOCK: real::Mutex<Vec<&'static Mailbox<Message>>> = real::Mutex::new(Vec::new());

impl Mailboxes {
    fn take(count: usize) -> Self {
        let mut stock = STOCK.lock().unwrap_or_else(|e| e.into_inner());
        let kept = stock.len().saturating_sub(count);
        let mut mailboxes = stock.split_off(kept);
        mailboxes.resize_with(count, || Box::leak(Box::new(Mailbox::new())));
        Mailboxes(mailboxes)
    }

    fn give_back(&mut self) {
        STOCK.lock().unwrap_or_else(|e| e.into_inner()).append(&mut self.0);
    }
}

/// Has the panic hook note who unwinds: see `interrupts`. Once; a hook that is set later goes around it, and
/// panics are then told from a neighbour's as well as can be done without.
fn wrap_panic_hook() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // the hook cannot be changed now; the next runtime will
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match home::current() {
            Some((_, task)) => {
                task.interrupts.mark_unwinding();
                // Until it is seen that it does not unwind any more.
                task.attract_attention();
                home::in_hook(|| previous(panic));
            }
            None => previous(panic),
        }));
    });
}
