//! The dump: every coroutine, what it waits for, who holds that, and the calls that it is in.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::ask::ask;
use super::backtrace::Traces;
use super::describe::{self, HolderDump, Names};
use super::json::{Json, List};
use super::registry;
use super::sighting::{Detail, Sighting, State, View, look_at_fresh};
use crate::coroutine::shield;
use crate::home::{self, Shared};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::sync::Event;

/// How long a dump waits for workers that are busy.
const PATIENCE: Duration = Duration::from_millis(500);

/// All coroutines of a runtime, or of all runtimes of the process, at one moment for each worker; see [`dump`].
///
/// [`Display`](fmt::Display) writes text for people, [`to_json`](Dump::to_json) the same for programs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dump {
    /// In the order of their numbers.
    pub coroutines: Vec<CoroutineDump>,
    /// The workers that did not answer in time, as `runtime/worker`: they compute, or their thread is blocked.
    pub busy_workers: Vec<String>,
}

/// One coroutine of a [`Dump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoroutineDump {
    /// Its number.
    pub id: u64,
    /// The name that it was given.
    pub name: Option<String>,
    /// Whether it could run.
    pub state: State,
    /// What it waits for, if it does.
    pub wait: Option<WaitDump>,
    /// How often it has waited.
    pub waits: u32,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// How long ago; by the worker's clock, which is read every 1,024 turns at least.
    pub age: Duration,
    /// The coroutine that is inside of the scope that it was spawned in, if it was in one.
    pub parent: Option<u64>,
    /// The worker that it is on; none for one that has not started and may do so on any.
    pub worker: Option<usize>,
    /// Bytes of its stack that have been touched, and that there are; none before it has started.
    pub stack: Option<(usize, usize)>,
    /// How often it was resumed, its start included; none without
    /// [`Builder::account_time`](crate::Builder::account_time).
    pub switches: Option<u64>,
    /// For how long it ran, where that is counted: from resume to suspend, its present turn included. What the kernel took
    /// away from its thread meanwhile is in it.
    pub cpu_time: Option<Duration>,
    /// The calls that it is in, innermost first; shared by those who are in the same.
    pub backtrace: std::sync::Arc<[String]>,
}

/// What a coroutine waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitDump {
    /// In a word or two: `mutex`, `receive`, `readable`, ...
    pub reason: &'static str,
    /// The thing itself: an address, a descriptor, or another coroutine.
    pub resource: Option<String>,
    /// The first of its [holders](Self::holders).
    pub holder: Option<String>,
    /// Where that one has locked it.
    pub held_since: Option<&'static Location<'static>>,
    /// Who holds it, as far as that is known; several may read a lock that another one waits to write. Of one that waits to
    /// read a lock that others read: who is to write before.
    pub holders: Vec<HolderDump>,
    /// Of a channel, in the report of a deadlock: who may have its other end, to go by the words on their stacks. A hint: it
    /// may be elsewhere, and a word may be left over from before.
    pub other_ends: Vec<String>,
    /// The call that waits.
    pub at: &'static Location<'static>,
    /// How long it has waited.
    pub duration: Duration,
    phrase: &'static str,
}

/// Where all coroutines are, and what they wait for: of this coroutine's runtime, or, on a plain thread, of all runtimes
/// of the process.
///
/// Each worker looks at its own between two turns, so the dump is true of one moment for each worker, not of one for
/// all. A worker that does not come round to it for half a second is named among the [busy](Dump::busy_workers), and the
/// coroutines that have started there are missing. Those that have not, and may start on any worker, are there nevertheless:
/// the caller looks at them itself.
///
/// Backtraces have the names that the program has symbols for, and lines if it has debug information.
///
/// Cost: a look at the stack of each coroutine, during which its worker does nothing else: 2 us of one in a crowd, whose calls
/// are those of another, and 150 ns for each call of others. Names are looked up once for all that are in the same calls,
/// which takes milliseconds, and a tenth of a second the first time.
///
/// ```
/// use runtime::{coroutine, observe, sync::Mutex};
///
/// runtime::run(|| {
///     let mutex = Mutex::new(());
///     let guard = mutex.lock();
///     runtime::scope(|s| {
///         s.spawn(|| drop(mutex.lock()));
///         runtime::yield_now();
///         let dump = observe::dump();
///         let waiting = dump.coroutines.iter().find_map(|it| it.wait.as_ref()).unwrap();
///         assert_eq!(waiting.reason, "mutex");
///         assert_eq!(waiting.holder.as_deref(), Some("coroutine 1 'main'"));
///         println!("{dump}");
///         drop(guard);
///     });
/// });
/// ```
///
/// prints
///
/// ```text
/// coroutine 1 'main': running, on worker 0, for 2ms
///   spawned at src/main.rs:4:5, 12 of 64 KiB of stack
///     0: {closure#0} at ./src/main.rs:10:28
///     1: runtime::scope::scope::{{closure}} at ./runtime/src/scope.rs:104:52
///     ...
///     8: {closure#0} at ./src/main.rs:7:9
///   coroutine 2: waits for the mutex 0x7f46cafbd518 at src/main.rs:8:35, on worker 0, for 2ms
///     held by coroutine 1 'main', which locked it at src/main.rs:6:27
///     spawned at src/main.rs:8:15 2ms ago, 8 of 64 KiB of stack
///       0: wait_in at ./runtime/src/sync/mutex/raw.rs:118:9
///       1: lock at ./runtime/src/sync/mutex/raw.rs:57:31
///       2: lock<()> at ./runtime/src/sync/mutex/mod.rs:87:18
///       3: {closure#0} at ./src/main.rs:8:35
/// ```
pub fn dump() -> Dump {
    of(&asked_for())
}

/// The runtime of the coroutine that calls; on a plain thread, all.
fn asked_for() -> Vec<Arc<Shared>> {
    match home::strand() {
        Some((home, _)) => vec![home.shared.clone()],
        None => registry::all(),
    }
}

/// What the workers see, of those that answer in time.
fn views_of(shared: &Arc<Shared>, detail: Detail) -> Vec<View> {
    let done = Arc::new(Event::new());
    let told = done.clone();
    let question = ask(shared, detail, Box::new(move |_| told.set()));
    shield(|| done.wait_timeout(PATIENCE));
    question.take()
}

/// The same, of all that the caller would be told of.
pub(super) fn views(detail: Detail) -> Vec<View> {
    let asked = asked_for();
    let views = asked
        .iter()
        .flat_map(|shared| views_of(shared, detail.clone()));
    views.collect()
}

/// Of these runtimes.
pub(super) fn of(runtimes: &[Arc<Shared>]) -> Dump {
    let mut dump = Dump::default();
    for (number, shared) in runtimes.iter().enumerate() {
        // First: who starts meanwhile is seen once more, by a worker, and not missed.
        let fresh = look_at_fresh(shared);
        let at = shared.ticks(clock::now());
        let views = views_of(shared, Detail::Backtraces);
        let answered = |worker: usize| views.iter().any(|view| view.worker == worker);
        let busy = (0..shared.seats.len())
            .filter(|&worker| shared.seats[worker].is_occupied() && !answered(worker));
        let runtime = shared.config.name.as_deref().map(str::to_owned);
        let runtime = runtime.unwrap_or_else(|| number.to_string());
        dump.busy_workers
            .extend(busy.map(|worker| format!("{runtime}/{worker}")));
        dump.add(&views, &fresh, at);
    }
    dump.coroutines.sort_by_key(|it| it.id);
    dump
}

impl Dump {
    fn add(&mut self, views: &[View], fresh: &[Sighting], fresh_at: u64) {
        let names = Names::of(views.iter().flat_map(|view| &view.sightings));
        let mut traces = Traces::new();
        let mut met = HashSet::new();
        for view in views {
            met.extend(view.sightings.iter().map(|it| it.id));
            let seen = view.sightings.iter();
            self.coroutines.extend(seen.map(|it| CoroutineDump {
                backtrace: traces.lines(it.trace.as_ref()),
                ..CoroutineDump::of(it, Some(view.worker), view.at, &names)
            }));
        }
        let fresh = fresh.iter().filter(|it| !met.contains(&it.id));
        self.coroutines
            .extend(fresh.map(|it| CoroutineDump::of(it, None, fresh_at, &names)));
    }

    /// An object with a list `coroutines` and a list `busy_workers`.
    ///
    /// ```
    /// let json = runtime::run(|| runtime::observe::dump().to_json());
    /// assert!(json.starts_with(r#"{"coroutines":[{"id":"#));
    /// ```
    pub fn to_json(&self) -> String {
        let mut json = Json::new();
        json.list("coroutines", &self.coroutines, CoroutineDump::write_json);
        json.list(
            "busy_workers",
            &self.busy_workers,
            |worker, list: &mut List| {
                list.text(worker);
            },
        );
        json.end()
    }

    /// All, parents before their children, each with its depth in the tree.
    fn tree(&self) -> Vec<(usize, &CoroutineDump)> {
        let known: HashSet<u64> = self.coroutines.iter().map(|it| it.id).collect();
        let mut children: HashMap<u64, Vec<&CoroutineDump>> = HashMap::new();
        let mut tree = Vec::with_capacity(self.coroutines.len());
        // Those to come, the next one last.
        let mut pending = Vec::new();
        for coroutine in self.coroutines.iter().rev() {
            match coroutine.parent {
                // A child has the higher number, so nobody is below itself.
                Some(parent) if parent < coroutine.id && known.contains(&parent) => {
                    children.entry(parent).or_default().push(coroutine);
                }
                _ => pending.push((0, coroutine)),
            }
        }
        while let Some((depth, coroutine)) = pending.pop() {
            tree.push((depth, coroutine));
            let below = children.remove(&coroutine.id).unwrap_or_default();
            pending.extend(below.into_iter().map(|child| (depth + 1, child)));
        }
        tree
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, coroutine) in self.tree() {
            coroutine.write(f, depth)?;
        }
        for worker in &self.busy_workers {
            writeln!(f, "worker {worker} is busy, and has not answered")?;
        }
        Ok(())
    }
}

impl CoroutineDump {
    pub(super) fn of(seen: &Sighting, worker: Option<usize>, at: u64, names: &Names) -> Self {
        let since = |then: u64| Duration::from_nanos(at.saturating_sub(then));
        let wait = (seen.state == State::Parked).then(|| {
            let holders = names.holders(seen);
            WaitDump {
                reason: seen.wait.reason.word(),
                phrase: describe::phrase(seen.wait.reason),
                resource: names.resource(seen),
                holder: holders.first().map(|first| first.who.clone()),
                held_since: holders.first().and_then(|first| first.at),
                holders,
                other_ends: Vec::new(),
                at: seen.wait.site,
                duration: since(seen.wait.since),
            }
        });
        CoroutineDump {
            id: seen.id,
            name: seen.name.clone(),
            state: seen.state,
            wait,
            waits: seen.wait.number,
            spawned_at: seen.spawned_at,
            age: since(seen.born_at),
            parent: (seen.in_scope.parent != 0).then_some(seen.in_scope.parent),
            worker,
            stack: seen.stack,
            switches: seen.ran.map(|(switches, _)| switches),
            cpu_time: seen.ran.map(|(_, time)| time),
            backtrace: std::sync::Arc::default(),
        }
    }

    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = 2 * depth;
        write!(
            f,
            "{:indent$}{}: ",
            "",
            describe::who(self.id, self.name.as_deref())
        )?;
        let duration = match &self.wait {
            Some(wait) => {
                write!(f, "waits for {}", wait.phrase)?;
                if let Some(resource) = &wait.resource {
                    write!(f, " {resource}")?;
                }
                write!(f, " at {}", wait.at)?;
                wait.duration
            }
            None => {
                let state = match self.state {
                    State::Running => "running",
                    State::Runnable => "runnable",
                    State::Parked => "parked",
                    State::New => "not started",
                };
                write!(f, "{state}")?;
                self.age
            }
        };
        if let Some(worker) = self.worker {
            write!(f, ", on worker {worker}")?;
        }
        writeln!(f, ", for {duration:.0?}")?;
        if let Some(wait) = &self.wait {
            for (number, holder) in wait.holders.iter().enumerate() {
                match number {
                    0 => write!(f, "{:indent$}  {holder}", "")?,
                    _ => write!(f, ", and {holder}")?,
                }
            }
            if !wait.holders.is_empty() {
                writeln!(f)?;
            }
            if !wait.other_ends.is_empty() {
                let whom = wait.other_ends.join(" or ");
                writeln!(f, "{:indent$}  its other end may be with {whom}", "")?;
            }
        }
        write!(f, "{:indent$}  spawned at {}", "", self.spawned_at)?;
        if self.wait.is_some() {
            write!(f, " {:.0?} ago", self.age)?;
        }
        if let Some((touched, usable)) = self.stack {
            write!(f, ", {} of {} KiB of stack", touched >> 10, usable >> 10)?;
        }
        if let (Some(switches @ 1..), Some(time)) = (self.switches, self.cpu_time) {
            let plural = if switches == 1 { "" } else { "es" };
            let switches = describe::grouped(switches);
            write!(f, ", {switches} switch{plural}, ran for {time:.0?}")?;
        }
        writeln!(f)?;
        for (number, line) in self.backtrace.iter().enumerate() {
            writeln!(f, "{:indent$}    {number}: {line}", "")?;
        }
        Ok(())
    }

    fn write_json(&self, list: &mut List) {
        let mut json = Json::new();
        json.number("id", self.id);
        json.option("name", self.name.as_deref());
        json.text("state", &format!("{:?}", self.state).to_lowercase());
        json.number("waits", self.waits.into());
        json.text("spawned_at", &self.spawned_at.to_string());
        json.number("age_ns", nanoseconds(self.age));
        json.number_or_null("parent", self.parent);
        json.number_or_null("worker", self.worker.map(|worker| worker as u64));
        if let Some((touched, usable)) = self.stack {
            json.number("stack_touched_bytes", touched as u64);
            json.number("stack_usable_bytes", usable as u64);
        }
        if let (Some(switches), Some(time)) = (self.switches, self.cpu_time) {
            json.number("switches", switches);
            json.number("cpu_time_ns", nanoseconds(time));
        }
        if let Some(wait) = &self.wait {
            let mut inner = Json::new();
            inner.text("reason", wait.reason);
            inner.option("resource", wait.resource.as_deref());
            inner.option("holder", wait.holder.as_deref());
            let held_since = wait.held_since.map(|site| site.to_string());
            inner.option("held_since", held_since.as_deref());
            inner.list("holders", &wait.holders, HolderDump::write_json);
            inner.text("at", &wait.at.to_string());
            inner.number("duration_ns", nanoseconds(wait.duration));
            json.object("wait", inner);
        }
        json.list("backtrace", &self.backtrace, |line, list: &mut List| {
            list.text(line);
        });
        list.object(json);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
