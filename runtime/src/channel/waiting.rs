//! How a select waits: in the queues of all its operations, until the first of them grants.
//!
//! ```text
//!   choose()            one by one, in random order: what can be had at once is chosen
//!      │ nothing
//!   enlist()            a node in each queue, all of one waiter ──► one looks ready now: leave, and choose() again
//!      │
//!   park                until somebody grants by one node, or time or the end of a coroutine makes one ready
//!      │
//!   leave()             withdraw; all nodes out of their queues; granted? it is chosen
//! ```
//!
//! Two selects that meet, each in the other's queue, grant each other nothing while they enlist: who sees the other first
//! leaves all queues, and takes from the other like anybody else.

use std::time::Instant;

use super::operation::{Chosen, Operation};
use super::slot::{RESERVE, WATCH};
use crate::coroutine;
use crate::park::{WaitReason, Wake};
use crate::seam::{clock, schedule};
use crate::wait::{Node, Place, Waiter};

/// One operation of a select.
pub struct Entry<'a> {
    pub(super) operation: &'a (dyn Operation + 'a),
    /// Its number in the select.
    pub(super) index: usize,
    /// The place in the array of the one to be tried when it is this one's turn.
    turn: u16,
    /// It is in the queue of the operation.
    linked: bool,
    /// Only in a wait.
    node: Option<Node<Place>>,
}

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// To have one operation chosen.
    Choose,
    /// To learn that one is ready.
    Watch,
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Forever => None,
        }
    }

    fn is_over(self) -> bool {
        match self {
            Patience::None => true,
            Patience::Until(deadline) => deadline <= clock::now(),
            Patience::Forever => false,
        }
    }
}

/// More would not have numbers.
pub(super) const ENTRIES_MAX: usize = u16::MAX as usize;

impl<'a> Entry<'a> {
    /// The one at this place of the array.
    #[inline(always)]
    pub(super) fn new(operation: &'a (dyn Operation + 'a), index: usize, place: usize) -> Self {
        Entry {
            operation,
            index,
            turn: place as u16,
            linked: false,
            node: None,
        }
    }

    /// Moved to another place, all of whose entries are to be given their turns anew.
    pub(super) fn set_place(&mut self, place: usize) {
        self.turn = place as u16;
    }
}

/// Waits until one of the operations is chosen, or ready, and returns its place in the array.
#[track_caller]
pub(super) fn first_of(
    entries: &mut [Entry<'_>],
    aim: Aim,
    is_biased: bool,
    patience: Patience,
) -> Option<(usize, Chosen)> {
    let mut failures = 0;
    loop {
        if let Some(found) = try_all(entries, aim, is_biased) {
            return Some(found);
        }
        let is_over = patience.is_over();
        if is_over && entries.len() <= 1 {
            return None;
        }
        if failures > 3 {
            // Others are on the same way into the same queues.
            coroutine::yield_now();
        }
        // Also when the time is over: of several, each may have been ready but when it was looked at. In all queues at
        // a time nothing is missed.
        let until = (!is_over).then(|| patience.deadline());
        match wait(entries, aim, is_biased, until) {
            End::Found(place, chosen) => return Some((place, chosen)),
            End::Nothing if is_over => return None,
            End::Nothing => {}
            End::LooksReady => failures += 1,
        }
    }
}

/// One after the other, each being the next with the same probability.
#[inline]
fn try_all(entries: &mut [Entry<'_>], aim: Aim, is_biased: bool) -> Option<(usize, Chosen)> {
    for step in 0..entries.len() {
        let place = if is_biased {
            step
        } else {
            let other = step + schedule::draw(entries.len() - step);
            let place = entries[other].turn;
            entries[other].turn = entries[step].turn;
            entries[step].turn = place;
            usize::from(place)
        };
        let operation = entries[place].operation;
        let found = match aim {
            Aim::Choose => operation.choose(),
            Aim::Watch => operation.is_ready().then_some(Chosen::Kept),
        };
        if let Some(chosen) = found {
            return Some((place, chosen));
        }
    }
    None
}

/// How a wait ended.
enum End {
    Found(usize, Chosen),
    /// There is something, or has been.
    LooksReady,
    /// Time is over, or nobody knows why.
    Nothing,
}

/// Waits in all queues, once; with `until` being none, only looks whether anything is granted at once.
#[track_caller]
fn wait(
    entries: &mut [Entry<'_>],
    aim: Aim,
    is_biased: bool,
    until: Option<Option<Instant>>,
) -> End {
    let waiter = Waiter::in_several();
    let payload = match aim {
        Aim::Choose => RESERVE,
        Aim::Watch => WATCH,
    };
    let list = List {
        entries,
        waiter: &waiter,
        aim,
        over: false,
    };
    for turn in 0..list.entries.len() {
        // In the random order of the turns: where several are of one channel, the first of them is granted.
        let place = if is_biased {
            turn
        } else {
            usize::from(list.entries[turn].turn)
        };
        let entry = &mut list.entries[place];
        let node = entry.node.insert(Node::new(&waiter, place as u16, payload));
        // SAFETY: the list takes it out again before the waiter goes, or the entries may be moved. The payload leads
        // nowhere. Should the waiter have been granted something already, it leaves at once.
        entry.linked = unsafe { entry.operation.enlist(node) };
        if !entry.linked || waiter.grant().is_some() {
            return list.leave().unwrap_or(End::LooksReady);
        }
    }
    let Some(deadline) = until else {
        return list.leave().unwrap_or(End::Nothing);
    };
    let deadlines = list
        .entries
        .iter()
        .filter_map(|entry| entry.operation.deadline());
    let until = deadlines.chain(deadline).min();
    while waiter.grant().is_none() {
        let wake = waiter.park(WaitReason::Select.alone(), until);
        if wake == Wake::TimedOut || list.entries.iter().any(|entry| entry.operation.is_due()) {
            break;
        }
    }
    list.leave().unwrap_or(End::Nothing)
}

/// The entries of one that waits, taken out of the queues when dropped.
struct List<'l, 'a, 'w> {
    entries: &'l mut [Entry<'a>],
    waiter: &'w Waiter,
    aim: Aim,
    /// It has been left.
    over: bool,
}

impl List<'_, '_, '_> {
    /// Ends the wait; returns what was granted.
    fn leave(mut self) -> Option<End> {
        self.over = true;
        self.unlink()
            .map(|(place, chosen)| End::Found(place, chosen))
    }

    fn unlink(&mut self) -> Option<(usize, Chosen)> {
        let in_vain = self.waiter.withdraw();
        for entry in self.entries.iter_mut() {
            if let Some(node) = &entry.node
                && entry.linked
            {
                // SAFETY: it was enlisted there.
                unsafe { entry.operation.delist(node) };
            }
            entry.linked = false;
            entry.node = None;
        }
        if in_vain {
            return None;
        }
        // Whoever has claimed the waiter did so, and finished, under the lock of one of those queues.
        let grant = self.waiter.grant()?;
        let place = usize::from(grant.case);
        Some((place, self.entries[place].operation.told(grant.code)))
    }

    #[cold]
    fn unwind(&mut self) {
        if let Some((place, Chosen::Kept)) = self.unlink()
            && self.aim == Aim::Choose
        {
            self.entries[place].operation.give_back();
        }
    }
}

impl Drop for List<'_, '_, '_> {
    fn drop(&mut self) {
        if !self.over {
            self.unwind();
        }
    }
}
