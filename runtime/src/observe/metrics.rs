//! Metrics: what a runtime has done, and what it has at the moment, in numbers.
//!
//! ```text
//!   worker 0   counts ─┐  plain stores, each by its worker alone
//!   worker 1   counts ─┼─► Metrics: a sum, to be subtracted from a later one
//!   pool       queue  ─┘
//! ```
//!
//! A yield is not counted when it happens: the worker adds up its turns at the end of a round, of 64 turns at most.
//! So `switches`, `wakes_local`, `stacks_in_use`, `stacks_pooled` and `timers` are as of each worker's last round; the
//! others are of the moment.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Sub;

use crate::home::{self, Counts, Shared};
use crate::seam::sync::atomic::Ordering;

/// What a runtime has done since it was built, and what it has at the moment: by
/// [`Runtime::metrics`](crate::Runtime::metrics), or [`metrics`] from within.
///
/// *Counts* only grow; *levels* go up and down. The difference of two snapshots has the counts of the time between
/// them, and the levels of the later one:
///
/// ```
/// let runtime = runtime::Builder::new().build()?;
/// runtime.run(|| ());
/// let before = runtime.metrics();
/// runtime.run(|| {
///     let child = runtime::spawn(|| runtime::yield_now());
///     child.join().unwrap();
/// });
/// let since = runtime.metrics() - before;
/// assert_eq!((since.spawned, since.finished, since.live), (2, 2, 0)); // the first coroutine and its child
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Cost: a few loads a worker, and the lock of the pool for blocking calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Count: coroutines spawned.
    pub spawned: u64,
    /// Count: coroutines that have ended, in whatever way.
    pub finished: u64,
    /// Count: those of `finished` that were cancelled, or given up at the end of a run.
    pub cancelled: u64,
    /// Count: those of `finished` that panicked, or for which no stack was to be had.
    pub panicked: u64,
    /// Count: coroutines that began on another worker than the one that had spawned them.
    pub stolen: u64,
    /// Count: how often a coroutine went on, or began.
    pub switches: u64,
    /// Count: how often a worker looked at its messages, timers and descriptors.
    pub polls: u64,
    /// Count: coroutines that were parked and became runnable by their own worker: a neighbour, a timer, a descriptor.
    pub wakes_local: u64,
    /// Count: the same, by another thread.
    pub wakes_remote: u64,
    /// Level: coroutines that have been spawned and have not ended.
    pub live: u64,
    /// Level: stacks in use or idle, on all workers.
    pub stacks: usize,
    /// Level: stacks that coroutines run on.
    pub stacks_in_use: usize,
    /// Level: stacks that lie ready for the next coroutines.
    pub stacks_pooled: usize,
    /// Level: the most stacks, in use or idle, that each worker ever had; their sum.
    pub stacks_max: usize,
    /// Level: timers that have not fired: sleeps, timeouts, waits with a deadline.
    pub timers: usize,
    /// Level: threads for [blocking calls](crate::spawn_blocking).
    pub blocking_threads: usize,
    /// Level: blocking calls that run.
    pub blocking_running: usize,
    /// Level: blocking calls that wait for a thread.
    pub blocking_queue: usize,
}

/// The metrics of the runtime that the calling coroutine belongs to.
///
/// # Panics
/// Outside a coroutine.
///
/// ```
/// runtime::run(|| {
///     let before = runtime::observe::metrics();
///     runtime::spawn(|| ()).join().unwrap();
///     assert_eq!((runtime::observe::metrics() - before).finished, 1);
/// });
/// ```
#[track_caller]
pub fn metrics() -> Metrics {
    let Some((home, _)) = home::strand() else {
        panic!(
            "observe::metrics needs a coroutine to be called from; elsewhere, ask Runtime::metrics"
        )
    };
    home.publish();
    Metrics::of(&home.shared)
}

impl Metrics {
    pub(crate) fn of(shared: &Shared) -> Self {
        let (spawned, finished) = shared.spawned_and_finished();
        let sum = |count: fn(&Counts) -> u64| -> u64 {
            let seats = shared.seats.iter();
            seats.map(|seat| count(&seat.counts)).sum()
        };
        let level = |level: fn(&Counts) -> usize| -> usize {
            let seats = shared.seats.iter();
            seats.map(|seat| level(&seat.counts)).sum()
        };
        let wakes_remote = sum(|counts| counts.wakes_remote.load(Ordering::Relaxed));
        let wakes = sum(|counts| counts.wakes.load(Ordering::Relaxed));
        let stacks = level(|counts| counts.stacks.load(Ordering::Relaxed));
        let stacks_pooled = level(|counts| counts.stacks_idle.load(Ordering::Relaxed)).min(stacks);
        let (blocking_threads, blocking_running, blocking_queue) = shared.threads.load();
        Metrics {
            spawned,
            finished,
            cancelled: sum(|counts| counts.cancelled.load(Ordering::Relaxed)),
            panicked: sum(|counts| counts.panicked.load(Ordering::Relaxed)),
            stolen: sum(|counts| counts.stolen.load(Ordering::Relaxed)),
            switches: sum(|counts| counts.switches.load(Ordering::Relaxed)),
            polls: sum(|counts| counts.polls.load(Ordering::Relaxed)),
            wakes_local: wakes.saturating_sub(wakes_remote),
            wakes_remote,
            live: spawned.saturating_sub(finished),
            stacks,
            stacks_in_use: stacks - stacks_pooled,
            stacks_pooled,
            stacks_max: level(|counts| counts.stacks_max.load(Ordering::Relaxed)),
            timers: level(|counts| counts.timers.load(Ordering::Relaxed)),
            blocking_threads,
            blocking_running,
            blocking_queue,
        }
    }

    /// As text that [Prometheus](https://prometheus.io/docs/instrumenting/exposition_formats/) reads: `# HELP`, `# TYPE`
    /// and a sample for each field. Every name begins with `runtime_`, a count's ends with `_total`.
    ///
    /// ```
    /// let runtime = runtime::Builder::new().build()?;
    /// runtime.run(|| ());
    /// let text = runtime.metrics().prometheus().to_string();
    /// assert!(text.contains("# TYPE runtime_spawned_total counter\nruntime_spawned_total 1\n"));
    /// assert!(text.contains("# TYPE runtime_live gauge\nruntime_live 0\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn prometheus(&self) -> impl fmt::Display {
        Prometheus(*self)
    }

    /// Each field: its name, whether it is a count, what it means, and its value.
    fn fields(&self) -> [(&'static str, bool, &'static str, u64); 18] {
        let level = |level: usize| level as u64;
        [
            ("spawned", true, "Coroutines spawned.", self.spawned),
            ("finished", true, "Coroutines ended.", self.finished),
            (
                "cancelled",
                true,
                "Coroutines ended by a cancellation.",
                self.cancelled,
            ),
            (
                "panicked",
                true,
                "Coroutines ended by a panic.",
                self.panicked,
            ),
            (
                "stolen",
                true,
                "Coroutines begun on another worker than spawned on.",
                self.stolen,
            ),
            (
                "switches",
                true,
                "Times a coroutine went on, or began.",
                self.switches,
            ),
            (
                "polls",
                true,
                "Looks at messages, timers and descriptors.",
                self.polls,
            ),
            (
                "wakes_local",
                true,
                "Wake-ups by the coroutine's own worker.",
                self.wakes_local,
            ),
            (
                "wakes_remote",
                true,
                "Wake-ups by another thread.",
                self.wakes_remote,
            ),
            (
                "live",
                false,
                "Coroutines spawned and not ended.",
                self.live,
            ),
            (
                "stacks",
                false,
                "Stacks in use or idle.",
                level(self.stacks),
            ),
            (
                "stacks_in_use",
                false,
                "Stacks that coroutines run on.",
                level(self.stacks_in_use),
            ),
            (
                "stacks_pooled",
                false,
                "Stacks ready for the next.",
                level(self.stacks_pooled),
            ),
            (
                "stacks_max",
                false,
                "Most stacks there ever were.",
                level(self.stacks_max),
            ),
            (
                "timers",
                false,
                "Timers that have not fired.",
                level(self.timers),
            ),
            (
                "blocking_threads",
                false,
                "Threads for blocking calls.",
                level(self.blocking_threads),
            ),
            (
                "blocking_running",
                false,
                "Blocking calls that run.",
                level(self.blocking_running),
            ),
            (
                "blocking_queue",
                false,
                "Blocking calls that wait.",
                level(self.blocking_queue),
            ),
        ]
    }
}

impl Sub for Metrics {
    type Output = Metrics;

    /// The counts of the time since `earlier`, and the levels of `self`.
    ///
    /// A count is 0 where `earlier` is later after all.
    fn sub(self, earlier: Metrics) -> Metrics {
        Metrics {
            spawned: self.spawned.saturating_sub(earlier.spawned),
            finished: self.finished.saturating_sub(earlier.finished),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            panicked: self.panicked.saturating_sub(earlier.panicked),
            stolen: self.stolen.saturating_sub(earlier.stolen),
            switches: self.switches.saturating_sub(earlier.switches),
            polls: self.polls.saturating_sub(earlier.polls),
            wakes_local: self.wakes_local.saturating_sub(earlier.wakes_local),
            wakes_remote: self.wakes_remote.saturating_sub(earlier.wakes_remote),
            ..self
        }
    }
}

struct Prometheus(Metrics);

impl fmt::Display for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, is_count, help, value) in self.0.fields() {
            let (suffix, kind) = if is_count {
                ("_total", "counter")
            } else {
                ("", "gauge")
            };
            let name = format_args!("runtime_{name}{suffix}");
            writeln!(
                f,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            )?;
        }
        Ok(())
    }
}
