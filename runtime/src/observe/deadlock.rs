//! Deadlocks: coroutines that can never go on, found while the program runs.
//!
//! | found                  | by                                                                        | though                |
//! |------------------------|---------------------------------------------------------------------------|-----------------------|
//! | a circle               | following who waits for whom: holders of locks, joins, children of scopes | sockets are open      |
//! | that all wait          | nobody can run, and nothing is left that could wake anybody               | -                     |
//!
//! **No false alarm.** A circle counts if nothing but its own members can end it: a wait with a deadline, inside a `timeout`
//! or of one that is being cancelled does not close one. Who waits to write a [`RwLock`](crate::sync::RwLock) waits for each
//! of its readers, so one of them is enough; who waits to read it, for the writer that waits in front. That all wait counts if no timer is pending, nobody waits for a
//! descriptor, a process, a signal or a blocking call, and *the process has no thread but the workers*: another could hold
//! the other end of a channel, and we could not know.
//!
//! **What is not found.** A circle through a channel: nobody owns its other end, which may lie in a box. If nothing else is
//! left to wait for, *all wait* tells of it, with a hint at whose stack the [ends](super::ends) may be on; a socket that
//! somebody waits for keeps that away. A circle through the fifth reader of a lock or a later one, whose name is not known.
//!
//! **What is told though it is none.** A circle that the program means to end by a `cancel` yet to come; and one through a
//! guard that was handed to another coroutine of the worker: the one that has locked it is taken for its holder.
//!
//! **When it is looked for.** Only a wait for a lock, an end or a scope can close a circle. So a worker on which such waits
//! have begun looks, twice in a second at the most, and for no more than a hundredth of its time; and one that sleeps looks
//! after 200 ms, 400 ms, and so on, which an idle program does not notice.
//!
//! ```text
//!   a worker is suspicious ──► all look at their own ──► a circle? ──► all look once more
//!                                                                      the same waits, each with its number: reported
//! ```
//!
//! Two looks, because each worker looks at another moment: what was so in both, with no wait begun in between, was so all
//! the time from the end of the first to the beginning of the second.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::ask::ask;
use super::describe::{Names, holder_id};
use super::dump::CoroutineDump;
use super::ends;
use super::sighting::{Detail, Sighting, State, View};
use super::trace::flight;
use crate::home::{self, Shared};
use crate::seam::sync::Arc;
use crate::seam::sync::atomic::{AtomicBool, Ordering};
use crate::seam::sync::real::{Mutex, lock};
use crate::sys::process::threads_of_process;
use crate::task::{WaitReason, WaitsFor};
use crate::threads::HELPERS;

/// Coroutines that can never go on; see [`Builder::on_deadlock`](crate::Builder::on_deadlock).
///
/// [`Display`](fmt::Display) writes the report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deadlock {
    /// In the order of the circle: each waits for the next, the last one for the first. If it is none, all there are.
    pub coroutines: Vec<CoroutineDump>,
    /// They wait for each other. Otherwise all coroutines of the runtime wait, and nothing could wake one.
    pub is_circle: bool,
    /// What the workers that they live on did last, as lines: with a [flight recorder](crate::Builder::flight_recorder), else
    /// empty.
    pub last_events: String,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.coroutines.len();
        match (self.is_circle, count) {
            (true, 1) => writeln!(f, "deadlock: a coroutine waits for itself")?,
            (true, _) => writeln!(
                f,
                "deadlock: {count} coroutines wait for each other in a circle"
            )?,
            (false, _) => writeln!(
                f,
                "deadlock: all coroutines wait, {count} of them, and nothing could wake one: no timer, no descriptor, no \
                 blocking call, no other thread"
            )?,
        }
        self.coroutines.iter().try_for_each(|it| it.write(f, 1))?;
        f.write_str(&self.last_events)
    }
}

/// Who waits, and in which of its waits.
type Member = (u64, u32);

#[derive(PartialEq, Eq)]
enum Suspect {
    Circle(Vec<Member>),
    /// All of them.
    All(Vec<Member>),
}

/// The search in one runtime.
pub(crate) struct Deadlocks {
    // Any thread.
    /// Somebody is inside `run`, who is told.
    armed: AtomicBool,
    busy: AtomicBool,
    // Any thread; guarded by their locks.
    found: Mutex<Option<Deadlock>>,
    /// What has been told already.
    told: Mutex<Option<Suspect>>,
}

/// While somebody is inside `run`.
pub(crate) struct Armed<'a>(&'a Deadlocks);

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.armed.store(false, Ordering::Relaxed);
    }
}

impl Deadlocks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Deadlocks {
            armed: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            found: Mutex::new(None),
            told: Mutex::new(None),
        })
    }

    /// Somebody enters `run`.
    pub(crate) fn arm(&self) -> Armed<'_> {
        self.armed.store(true, Ordering::Relaxed);
        *lock(&self.told) = None;
        *lock(&self.found) = None;
        Armed(self)
    }

    /// What has been found, told once.
    pub(crate) fn take(&self) -> Option<Deadlock> {
        lock(&self.found).take()
    }

    /// Looks whether there is a deadlock. By a worker, between two turns; the outcome comes later.
    pub(crate) fn look(self: &Arc<Self>) {
        let Some(home) = home::here() else { return };
        if !self.armed.load(Ordering::Relaxed) || self.busy.swap(true, Ordering::Relaxed) {
            return;
        }
        let (this, shared) = (self.clone(), home.shared.clone());
        let then = move |views: Vec<View>| match suspect(&views, &shared) {
            Some(first) => this.look_again(first, ends::wanted(&views), shared),
            None => this.busy.store(false, Ordering::Relaxed),
        };
        ask(
            &home.shared,
            Detail::Waits,
            Box::new(move |question| then(question.take())),
        );
    }

    fn look_again(self: Arc<Self>, first: Suspect, channels: Arc<[usize]>, shared: Arc<Shared>) {
        let asked = shared.clone();
        let then = move |views: Vec<View>| {
            if suspect(&views, &shared).as_ref() == Some(&first) {
                self.tell(first, &views, &shared);
            }
            self.busy.store(false, Ordering::Relaxed);
        };
        ask(
            &asked,
            Detail::Ends(channels),
            Box::new(move |question| then(question.take())),
        );
    }

    fn tell(&self, what: Suspect, views: &[View], shared: &Shared) {
        if lock(&self.told).as_ref() == Some(&what) {
            return;
        }
        let (members, is_circle) = match &what {
            Suspect::Circle(members) => (members, true),
            Suspect::All(members) => (members, false),
        };
        let names = Names::of(views.iter().flat_map(|view| &view.sightings));
        let dump = |&(id, _): &Member| {
            views.iter().find_map(|view| {
                let seen = view.sightings.iter().find(|seen| seen.id == id)?;
                Some(CoroutineDump::of(seen, Some(view.worker), view.at, &names))
            })
        };
        let mut coroutines: Vec<CoroutineDump> = members.iter().filter_map(dump).collect();
        if !is_circle {
            hint_at_ends(&mut coroutines, &ends::others(views), &names);
        }
        let workers: BTreeSet<usize> = coroutines.iter().filter_map(|it| it.worker).collect();
        let events = workers.into_iter().map(|it| flight::of_worker(shared, it));
        *lock(&self.found) = Some(Deadlock {
            last_events: events.collect(),
            coroutines,
            is_circle,
        });
        *lock(&self.told) = Some(what);
        shared.raise_alarm();
    }
}

/// Says who may have the other ends of channels. Those who wait for each other's come first, in their order.
fn hint_at_ends(coroutines: &mut [CoroutineDump], others: &HashMap<u64, Vec<u64>>, names: &Names) {
    for coroutine in coroutines.iter_mut() {
        let ends = others.get(&coroutine.id);
        if let (Some(wait), Some(ends)) = (&mut coroutine.wait, ends) {
            wait.other_ends = ends.iter().map(|&id| names.who(id)).collect();
        }
    }
    let next = |id: &u64| match others.get(id).map(Vec::as_slice) {
        Some(&[one]) => Some(one),
        _ => None,
    };
    let ids: Vec<u64> = coroutines.iter().map(|it| it.id).collect();
    let round = |start: &u64| -> Option<Vec<u64>> {
        let path = std::iter::successors(Some(*start), next).take(ids.len() + 1);
        let end = path.clone().skip(1).position(|id| id == *start)?;
        Some(path.take(end + 1).collect())
    };
    if let Some(circle) = ids.iter().find_map(round) {
        let place = |it: &CoroutineDump| circle.iter().position(|&id| id == it.id);
        coroutines.sort_by_key(|it| place(it).unwrap_or(usize::MAX));
    }
}

fn suspect(views: &[View], shared: &Shared) -> Option<Suspect> {
    let seen: HashMap<u64, &Sighting> = views
        .iter()
        .flat_map(|view| &view.sightings)
        .map(|seen| (seen.id, seen))
        .collect();
    if let Some(circle) = circle(&seen) {
        return Some(Suspect::Circle(circle));
    }
    let all_wait = views.len() == shared.seats.len()
        && views.iter().all(|view| view.is_quiet)
        && seen.values().all(|seen| waits_for_coroutines(seen))
        && is_alone(shared);
    all_wait.then(|| {
        let mut all: Vec<Member> = seen
            .values()
            .map(|seen| (seen.id, seen.wait.number))
            .collect();
        all.sort_unstable();
        Suspect::All(all)
    })
}

/// Nothing from outside ends its wait.
fn waits_for_coroutines(seen: &Sighting) -> bool {
    use WaitReason::{Accept, Blocking, Connect, Process, Readable, Signal, Sleep, Writable};
    let outside = matches!(
        seen.wait.reason,
        Sleep | Readable | Writable | Accept | Connect | Blocking | Process | Signal
    );
    seen.state == State::Parked && !outside
}

/// The process has no thread but this runtime's, of which none is busy with a blocking call.
fn is_alone(shared: &Shared) -> bool {
    let Some(pool) = shared.threads.if_idle() else {
        return false;
    };
    let ours = shared.seats.len() + pool + HELPERS.load(std::sync::atomic::Ordering::Relaxed);
    threads_of_process().is_some_and(|threads| threads <= ours)
}

// ---- Circles -----------------------------------------------------------------------------------------------

/// Those who wait for each other, beginning with the lowest number; the first circle there is.
fn circle(seen: &HashMap<u64, &Sighting>) -> Option<Vec<Member>> {
    let mut children: HashMap<usize, Vec<u64>> = HashMap::new();
    for child in seen.values().filter(|child| child.in_scope.address != 0) {
        let siblings = children.entry(child.in_scope.address).or_default();
        siblings.push(child.id);
    }
    let mut ids: Vec<u64> = seen.keys().copied().collect();
    ids.sort_unstable();
    children
        .values_mut()
        .for_each(|siblings| siblings.sort_unstable());
    let next = |id: u64| -> Vec<u64> {
        let Some(&one) = seen.get(&id) else {
            return Vec::new();
        };
        if one.state != State::Parked || may_leave(one, seen) {
            return Vec::new();
        }
        match &one.waits_for {
            Some(WaitsFor::Holders(holders)) => {
                let ids = holders.iter().filter_map(|held| holder_id(held.by));
                ids.collect()
            }
            Some(WaitsFor::End(other)) => vec![other.get()],
            Some(WaitsFor::Scope(address)) => children.get(address).cloned().unwrap_or_default(),
            None => Vec::new(),
        }
    };
    let mut done: HashMap<u64, bool> = HashMap::new();
    for start in ids {
        if done.contains_key(&start) {
            continue;
        }
        // Depth first: the path so far, with those of each who have not been tried.
        let mut path = vec![(start, next(start))];
        done.insert(start, false);
        while let Some((id, left)) = path.last_mut() {
            let Some(to) = left.pop() else {
                done.insert(*id, true);
                path.pop();
                continue;
            };
            match done.get(&to) {
                Some(true) => {}
                Some(false) => {
                    let from = path.iter().position(|(id, _)| *id == to)?;
                    let mut circle: Vec<u64> = path[from..].iter().map(|(id, _)| *id).collect();
                    let lowest = (0..circle.len()).min_by_key(|&place| circle[place])?;
                    circle.rotate_left(lowest);
                    let member = |id: u64| Some((id, seen.get(&id)?.wait.number));
                    return circle.into_iter().map(member).collect();
                }
                None => {
                    done.insert(to, false);
                    path.push((to, next(to)));
                }
            }
        }
    }
    None
}

/// It, or somebody in whose scope it is, may be made to leave from outside.
fn may_leave(one: &Sighting, seen: &HashMap<u64, &Sighting>) -> bool {
    let parents = std::iter::successors(Some(one), |one| seen.get(&one.in_scope.parent).copied());
    // As many as there are: a scope that was handed around is no reason to go round for ever.
    parents.take(seen.len()).any(|one| one.may_leave)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Held, InScope};
    use std::panic::Location;

    fn one(id: u64, waits_for: Option<WaitsFor>) -> Sighting {
        Sighting {
            id,
            name: None,
            spawned_at: Location::caller(),
            born_at: 0,
            in_scope: InScope::default(),
            state: State::Parked,
            wait: super::super::sighting::Wait {
                reason: WaitReason::Mutex,
                on: 8,
                site: Location::caller(),
                since: 0,
                number: 7,
            },
            waits_for,
            may_leave: false,
            stack: None,
            ran: None,
            trace: None,
            ends: Vec::new(),
        }
    }

    fn held(by: u64) -> Held {
        Held {
            by,
            at: None,
            is_next: false,
        }
    }

    fn held_by_all(ids: &[u64]) -> Option<WaitsFor> {
        let holders = ids.iter().map(|id| held(id << 1 | 1));
        Some(WaitsFor::Holders(holders.collect()))
    }

    fn held_by(id: u64) -> Option<WaitsFor> {
        held_by_all(&[id])
    }

    fn found(all: &[Sighting]) -> Option<Vec<u64>> {
        let seen = all.iter().map(|seen| (seen.id, seen)).collect();
        Some(circle(&seen)?.into_iter().map(|(id, _)| id).collect())
    }

    #[test]
    fn sc5_a_circle_is_found_behind_those_who_only_wait_for_its_members() {
        let mut all = vec![
            one(1, held_by(5)),
            one(5, held_by(3)),
            one(3, held_by(4)),
            one(4, held_by(5)),
            one(6, None),
        ];
        assert_eq!(found(&all), Some(vec![3, 4, 5]));
        all[2].may_leave = true;
        assert_eq!(found(&all), None, "its wait may end");
    }

    #[test]
    fn sc5_a_scope_waits_for_each_of_its_children() {
        let mut child = one(2, held_by(1));
        child.in_scope = InScope {
            address: 64,
            parent: 1,
        };
        let other = Sighting {
            id: 3,
            state: State::Runnable,
            ..child.clone()
        };
        let parent = one(1, Some(WaitsFor::Scope(64)));
        let all = [parent.clone(), child.clone(), other.clone()];
        assert_eq!(found(&all), Some(vec![1, 2]));
        let bounded = Sighting {
            may_leave: true,
            ..parent
        };
        assert_eq!(found(&[bounded, child, other]), None);
    }

    #[test]
    fn sc5_one_of_several_holders_closes_a_circle_and_the_others_are_not_of_it() {
        let reader = |id| Sighting {
            state: State::Runnable,
            ..one(id, None)
        };
        let mut all = vec![
            one(1, held_by_all(&[2, 3, 4])),
            reader(2),
            one(3, held_by(5)),
            reader(4),
            one(5, held_by_all(&[6, 1])),
            reader(6),
        ];
        assert_eq!(found(&all), Some(vec![1, 3, 5]));
        all[4].waits_for = held_by_all(&[6, 2]);
        assert_eq!(found(&all), None, "all wait for those who go on");
        all[0].waits_for = held_by_all(&[2, 1]);
        assert_eq!(found(&all), Some(vec![1]), "one reads itself");
        all[0].may_leave = true;
        assert_eq!(found(&all), None);
    }

    #[test]
    fn sc5_what_a_thread_holds_or_nobody_closes_no_circle() {
        let thread = Some(WaitsFor::Holders(vec![held(4096)]));
        assert_eq!(found(&[one(1, held_by(2)), one(2, thread)]), None);
        assert_eq!(found(&[one(1, held_by(9))]), None);
        assert_eq!(found(&[one(1, held_by(1))]), Some(vec![1]));
    }
}
