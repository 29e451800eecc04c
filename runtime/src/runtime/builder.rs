//! Settings for a runtime to be.

use std::fmt;
use std::io;
use std::time::Duration;

use super::once::wrap_panic_hook;
use super::{Deadlocks, Runtime, WORKERS_MAX};
use crate::blocking;
use crate::home::{Config, Suspicion};
use crate::observe::stall::{Hook, Stall};
use crate::observe::{self, Deadlock};
use crate::seam::sync::Arc;
use crate::stack::{StackConfig, overflow};
use crate::sys::process::refuse_in_forked_child;

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
    /// A host with a loop of its own is to drive it.
    embedded: bool,
    stall_after: Option<Duration>,
    on_stall: Option<Hook>,
    detect_deadlocks: bool,
    on_deadlock: Option<OnDeadlock>,
    dump_on_sigquit: bool,
}

/// Who is told of a deadlock.
#[derive(Clone)]
pub(super) struct OnDeadlock(pub(super) Arc<dyn Fn(&Deadlock) + Send + Sync>);

impl fmt::Debug for OnDeadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDeadlock")
    }
}

/// In debug builds; not under a model checker, whose threads are not the system's.
const STALL_AFTER: Option<Duration> = if cfg!(debug_assertions) && !cfg!(any(loom, shuttle)) {
    Some(Duration::from_millis(100))
} else {
    None
};

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
                coroutines_max: None,
                idle_stacks_max: 1024,
                grace: Duration::from_secs(5),
                spin: None,
                name: None,
                report_overflow: true,
                watched: false,
                account_time: false,
                flight_events: 0,
                blocking_threads: blocking::THREADS_MAX,
                blocking_queue: blocking::QUEUE_MAX,
                suspicion: None,
            },
            detect_deadlocks: true,
            on_deadlock: None,
            dump_on_sigquit: false,
            embedded: false,
            stall_after: STALL_AFTER,
            on_stall: None,
        }
    }

    /// Number of workers, 1 to [`WORKERS_MAX`].
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// Says that a loop of the program's own is to drive the runtime, by [`run_ready`](Runtime::run_ready): then several
    /// workers are an error of [`build`](Builder::build), and not a panic in that loop.
    ///
    /// It changes nothing else. A runtime with one worker can be driven without it.
    ///
    /// ```
    /// let refused = runtime::Builder::new().workers(2).embedded(true).build();
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    pub fn embedded(mut self, embedded: bool) -> Self {
        self.embedded = embedded;
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

    /// How many coroutines may be alive at a time, the first one and those that have not started included; no bound by
    /// default.
    ///
    /// One more is refused: an error of [`coroutine::Builder::spawn`](crate::coroutine::Builder::spawn), a panic of the
    /// plain spawns. A stack takes memory when it is touched, not when it is had, so a crowd that outgrows the memory of
    /// the machine, or of its cgroup, meets no error: the kernel ends a process. This is the bound to set before, at the
    /// memory there is by what each touches, 4.2 KiB at least.
    ///
    /// Workers that spawn at the same moment may exceed it by one each, and an end on another worker may be joined a moment
    /// before it is counted. Cost: where there is a bound, each spawn adds up
    /// the counts of all workers.
    ///
    /// ```
    /// use runtime::coroutine;
    ///
    /// let runtime = runtime::Builder::new().max_coroutines(2).build()?;
    /// runtime.run(|| {
    ///     let second = runtime::spawn(|| 2);
    ///     assert!(coroutine::Builder::new().spawn(|| 3).is_err());
    ///     second.join().unwrap();
    ///     assert!(coroutine::Builder::new().spawn(|| 3).is_ok());
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn max_coroutines(mut self, coroutines: usize) -> Self {
        self.config.coroutines_max = Some(coroutines);
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

    /// How long an idle worker spins before it sleeps, asking for messages and descriptors all the while.
    ///
    /// Without this, it learns from the messages of other threads whether that pays, spins 64 us at most, and not at
    /// all for sockets. A worker that spins need not be woken when something comes; what that takes on a machine is in
    /// the rows of `cargo run --release -- run switch` on two CPUs. Zero: it sleeps at once.
    ///
    /// Cost: a core, for this long after each time that there was something to do; as much as it gets if the
    /// duration is longer than the pauses. Where the process may use fewer CPUs than there are workers, or one alone,
    /// an idle worker does not spin, whatever the duration: it lets other threads run a few times, and sleeps.
    ///
    /// ```
    /// use std::time::Duration;
    /// let runtime = runtime::Builder::new().spin(Duration::from_micros(200)).build()?;
    /// # assert_eq!(runtime.run(|| 1), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spin(mut self, duration: Duration) -> Self {
        self.config.spin = Some(duration);
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

    /// Keeps a record of what happens, and shows the last `events` of the worker on stderr behind the text of a panic, and
    /// with a stall or a deadlock. 0, the default, keeps none.
    ///
    /// Cost: that of a [trace](crate::observe::trace), for as long as the runtime lives. It shows no panic of a hook that was
    /// set after the first runtime was built.
    ///
    /// ```
    /// let runtime = runtime::Builder::new().flight_recorder(8).build()?;
    /// let outcome = runtime.run(|| runtime::spawn(|| panic!("and what led to it")).join());
    /// assert!(outcome.is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn flight_recorder(mut self, events: usize) -> Self {
        self.config.flight_events = events;
        self
    }

    /// A coroutine that keeps its worker for so long, without a yield or a wait, is reported on stderr: what keeps it, and
    /// where it is; see [`Stall`]. `None`: nobody looks. By default 100 ms in debug builds, `None` in release.
    ///
    /// A thread of the runtime's own looks four times in that time, while workers work. If it cannot be started, nobody looks.
    ///
    /// ```
    /// use std::time::Duration;
    /// let runtime = runtime::Builder::new().stall_after(Duration::from_millis(20)).build()?;
    /// runtime.run(|| std::thread::sleep(Duration::from_millis(60))); // "blocked in clock_nanosleep(2)"
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stall_after(mut self, duration: impl Into<Option<Duration>>) -> Self {
        self.stall_after = duration.into();
        self
    }

    /// Calls `hook` for each [stall](Self::stall_after), instead of the report on stderr: on the watchdog's thread, while the
    /// stall goes on.
    pub fn on_stall(mut self, hook: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_stall = Some(Hook(Arc::new(hook)));
        self
    }

    /// How many threads run [blocking calls](crate::spawn_blocking), at least 1, 512 by default. They start when they are
    /// needed, and end after 10 seconds without work.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.config.blocking_threads = threads;
        self
    }

    /// How many blocking calls may wait for a thread, 16,384 by default; whoever brings one more waits until there
    /// is room.
    pub fn blocking_queue(mut self, jobs: usize) -> Self {
        self.config.blocking_queue = jobs;
        self
    }

    /// Has `hook` called instead of a panic when coroutines can never go on: because they wait for each other in a circle, or
    /// because all wait and nothing is left that could wake one.
    ///
    /// Without a hook, [`run`](Runtime::run) cancels all coroutines and panics with the report. With one, it waits on:
    /// the hook may write the report to a log, and cancel one of them. It is called on the thread that is inside `run`,
    /// between two turns, once for each deadlock.
    ///
    /// A circle is made of waits for mutexes, for [`RwLock`](crate::sync::RwLock)s (whose first four readers are known), for those
    /// who make a [`OnceCell`](crate::sync::OnceCell), of joins and of the ends of scopes. It is reported though others go on, within a second
    /// or two. A wait that a deadline, a `timeout` or a cancellation under way can end closes none. *All wait* is told only
    /// if the process has no threads beside those of this runtime: another might wake somebody.
    ///
    /// A circle that the program means to end by a later [`cancel`](crate::coroutine::JoinHandle::cancel) is reported too: nothing
    /// tells that it will come. For such a program there is [`detect_deadlocks(false)`](Self::detect_deadlocks).
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use runtime::{coroutine, sync};
    ///
    /// let reports = Arc::new(Mutex::new(Vec::new()));
    /// let told = reports.clone();
    /// let stop = Arc::new(sync::Event::new());
    /// let set = stop.clone();
    /// let hook = move |deadlock: &runtime::observe::Deadlock| {
    ///     told.lock().unwrap().push(deadlock.coroutines.len());
    ///     set.set();
    /// };
    /// runtime::Builder::new().on_deadlock(hook).build()?.run(|| {
    ///     let (a, b) = (Arc::new(sync::Mutex::new(())), Arc::new(sync::Mutex::new(())));
    ///     for (first, second) in [(a.clone(), b.clone()), (b, a)] {
    ///         runtime::spawn_local(move || {
    ///             let _first = first.lock();
    ///             runtime::yield_now();
    ///             drop(second.lock()); // the other one has it
    ///         });
    ///     }
    ///     stop.wait();
    /// });
    /// assert_eq!(*reports.lock().unwrap(), [2]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_deadlock(mut self, hook: impl Fn(&Deadlock) + Send + Sync + 'static) -> Self {
        self.on_deadlock = Some(OnDeadlock(Arc::new(hook)));
        self
    }

    /// Whether deadlocks are looked for, which is the default; see [`on_deadlock`](Self::on_deadlock).
    ///
    /// Cost: nothing for one that yields or parks. A worker on which waits that could close a circle have begun looks at all
    /// its coroutines, twice in a second at the most and for no more than a hundredth of its time.
    pub fn detect_deadlocks(mut self, detect: bool) -> Self {
        self.detect_deadlocks = detect;
        self
    }

    /// Has switches and time counted for each coroutine, which a [dump](observe::dump) tells then. Off by default.
    ///
    /// A switch is one resume, the start included. Time is what passes between resume and suspend, by the processor's
    /// time-stamp counter: what the kernel took away from the thread meanwhile is in it. A child that a join runs on the
    /// joiner's turn is charged alone for its part of that.
    ///
    /// Cost: a reading of the counter and a cache line more for each turn, some 9 ns of a yield; nothing where it is off.
    ///
    /// ```
    /// let runtime = runtime::Builder::new().account_time(true).build()?;
    /// let dump = runtime.run(|| {
    ///     (0..9).for_each(|_| runtime::yield_now());
    ///     runtime::observe::dump()
    /// });
    /// assert_eq!(dump.coroutines[0].switches, Some(10));
    /// assert!(dump.coroutines[0].cpu_time > Some(std::time::Duration::ZERO));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn account_time(mut self, account: bool) -> Self {
        self.config.account_time = account;
        self
    }

    /// Has SIGQUIT, which Ctrl-\\ on a terminal sends, write an [`observe::dump`] of all runtimes of the process to standard
    /// error, instead of ending the process: from the build on, for good.
    ///
    /// Cost: a thread that sleeps, and a descriptor.
    pub fn dump_on_sigquit(mut self, dump: bool) -> Self {
        self.dump_on_sigquit = dump;
        self
    }

    /// Builds the runtime and starts the threads of workers 1 and up.
    ///
    /// # Errors
    /// `InvalidInput` for no worker, too many, several if it is to be [embedded](Builder::embedded), no coroutine, or an
    /// absurd size; otherwise what the system refused: `EMFILE`
    /// (an epoll instance), `EAGAIN` (a thread), `ENOMEM`. Workers that had started have been joined then.
    pub fn build(self) -> io::Result<Runtime> {
        let mut config = self.config;
        config.watched = self.stall_after.is_some();
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            let workers = config.workers;
            return Err(invalid(format!(
                "{workers} workers: a runtime has 1 to {WORKERS_MAX}"
            )));
        }
        if self.embedded && config.workers > 1 {
            let workers = config.workers;
            return Err(invalid(format!(
                "{workers} workers: a host drives one, the others would run by themselves"
            )));
        }
        if config.coroutines_max == Some(0) {
            return Err(invalid(
                "no coroutine may be alive, and the first is one".into(),
            ));
        }
        config.stacks.check()?;
        refuse_in_forked_child();
        if config.report_overflow {
            overflow::install();
        }
        wrap_panic_hook();
        if self.dump_on_sigquit {
            observe::sigquit::install()?;
        }
        let deadlocks = self.detect_deadlocks.then(|| Deadlocks {
            search: observe::deadlock::Deadlocks::new(),
            hook: self.on_deadlock,
        });
        config.suspicion = deadlocks.as_ref().map(|deadlocks| {
            let search = deadlocks.search.clone();
            Suspicion(Arc::new(move || search.look()))
        });
        let mut runtime = Runtime::start(config, deadlocks)?;
        if let Some(after) = self.stall_after {
            runtime.watch(after, self.on_stall);
        }
        Ok(runtime)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
