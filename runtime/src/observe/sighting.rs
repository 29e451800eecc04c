//! Sightings: what one worker tells of its coroutines, at one moment between two turns.
#![forbid(unsafe_code)]

use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::panic::Location;
use std::time::Duration;

use super::{backtrace, ends};
use crate::home::{self, Home, Shared};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::stack::{Label, Watermarks};
use crate::task::{InScope, TaskPtr, Token, WaitReason, WaitsFor};

/// How a coroutine was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs: the one that asked, or one that has called it by a `join`.
    Running,
    /// It could go on at once.
    Runnable,
    /// It waits.
    Parked,
    /// It has been spawned, and has not started: it has no stack yet.
    New,
}

/// How much is to be found out.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Detail {
    /// Who waits for whom.
    Waits,
    /// And how much stack each has touched: a system call for some sixty.
    Stacks,
    /// And who may have an end of these channels.
    Ends(Arc<[usize]>),
    /// Or what calls are on the stacks.
    Backtraces,
}

/// One coroutine.
#[derive(Clone)]
pub(super) struct Sighting {
    pub(super) id: u64,
    pub(super) name: Option<String>,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) born_at: u64,
    pub(super) in_scope: InScope,
    pub(super) state: State,
    pub(super) wait: Wait,
    pub(super) waits_for: Option<WaitsFor>,
    /// Other things than what it waits for can end its wait.
    pub(super) may_leave: bool,
    /// Touched, and usable.
    pub(super) stack: Option<(usize, usize)>,
    /// How often it was resumed, and for how long it ran, where that is counted.
    pub(super) ran: Option<(u64, Duration)>,
    pub(super) trace: Option<Arc<Backtrace>>,
    /// The channels that it may have an end of, of those that were asked for.
    pub(super) ends: Vec<usize>,
}

/// What it waits for, if it is parked.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    pub(super) reason: WaitReason,
    pub(super) on: usize,
    pub(super) site: &'static Location<'static>,
    pub(super) since: u64,
    pub(super) number: u32,
}

/// All of one worker.
pub(super) struct View {
    pub(super) worker: usize,
    /// When, by the clock of the workers.
    pub(super) at: u64,
    /// Nobody could run, and no timer is pending.
    pub(super) is_quiet: bool,
    pub(super) sightings: Vec<Sighting>,
}

/// Looks at the worker of this thread.
pub(super) fn look(home: &Home, detail: &Detail) -> View {
    let mut traces = match detail {
        Detail::Backtraces => backtrace::of_all(home),
        _ => HashMap::new(),
    };
    let mut found_ends = match detail {
        Detail::Ends(wanted) => ends::of_all(home, wanted),
        _ => HashMap::new(),
    };
    home.settle_account();
    let scale = home.account_scale();
    let mut live = home.live_tasks();
    live.sort_unstable_by_key(|task| task.context().stack().addresses().start);
    let mut marks = Watermarks::new();
    let mut sightings: Vec<Sighting> = live
        .iter()
        .map(|&task| {
            let mut seen = of(task);
            if *detail != Detail::Waits {
                let context = task.context();
                let stack = context.stack();
                let touched = stack.high_water_bytes_among(&mut marks);
                seen.stack = Some((touched, stack.usable_bytes()));
            }
            seen.trace = traces.remove(&seen.id);
            seen.ends = found_ends.remove(&seen.id).unwrap_or_default();
            seen.ran = scale.map(|scale| {
                let account = task.context().account().get();
                (account.switches, scale.duration(account.ticks))
            });
            seen
        })
        .collect();
    let suspended: Vec<u64> = home
        .suspended_tasks()
        .iter()
        .map(|task| task.id().get())
        .collect();
    let suspended: std::collections::HashSet<u64> = suspended.into_iter().collect();
    for seen in &mut sightings {
        if seen.state == State::Runnable && !suspended.contains(&seen.id) {
            seen.state = State::Running;
        }
    }
    let fresh = home
        .queued()
        .into_iter()
        .filter_map(|next| next.look().err());
    sightings.extend(fresh.map(|task| new(&task.label, task.born_at, task.in_scope, &home.shared)));
    View {
        worker: home.index,
        at: home.shared.ticks(clock::now()),
        is_quiet: home::current().is_none()
            && !home.is_runnable()
            && !home.anything_to_take()
            && home.timers.borrow().len() == 0,
        sightings,
    }
}

/// Those that have not started and may do so on any worker. Nobody need answer for that.
pub(super) fn look_at_fresh(shared: &Shared) -> Vec<Sighting> {
    let mut seen = Vec::new();
    shared.show_fresh(|label, born_at, in_scope| seen.push(new(label, born_at, in_scope, shared)));
    seen
}

/// One that has not started. It has waited for nothing yet.
fn new(label: &Label, born_at: u64, in_scope: InScope, shared: &Shared) -> Sighting {
    Sighting {
        id: label.id.get(),
        name: label.name().map(str::to_owned),
        spawned_at: label.spawned_at,
        born_at,
        in_scope,
        state: State::New,
        wait: Wait {
            reason: WaitReason::Unpark,
            on: 0,
            site: label.spawned_at,
            since: 0,
            number: 0,
        },
        waits_for: None,
        may_leave: false,
        stack: None,
        ran: shared.config.account_time.then_some((0, Duration::ZERO)),
        trace: None,
        ends: Vec::new(),
    }
}

fn of(task: TaskPtr) -> Sighting {
    let last = task.last_wait();
    Sighting {
        id: task.id().get(),
        name: task.label.name().map(str::to_owned),
        spawned_at: task.label.spawned_at,
        born_at: task.born_at,
        in_scope: task.in_scope,
        state: if task.token.get() == Token::Parked {
            State::Parked
        } else {
            State::Runnable
        },
        wait: Wait {
            reason: last.wait.reason,
            on: last.wait.on.addr(),
            site: last.wait.site,
            since: last.since,
            number: last.number,
        },
        waits_for: task.waits_for(),
        may_leave: last.is_timed || task.may_leave(),
        stack: None,
        ran: None,
        trace: None,
        ends: Vec::new(),
    }
}
