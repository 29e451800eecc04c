//! Ends: who may have the other end of a channel that somebody waits for.
//!
//! Nobody owns an end, but whoever is to use it has it somewhere. So the stacks of those who are suspended are searched for
//! the addresses of the channels: conservatively, as a collector of garbage does that knows no types. A word that is left
//! over from before looks like an end, and an end in a box is not found, so it is a hint for people.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;

use super::sighting::{Sighting, View};
use crate::home::{self, Home};
use crate::seam::sync::{Arc, thread_local};
use crate::task::WaitReason;

/// What is searched for, and what was found on one stack.
struct Search {
    wanted: Arc<[usize]>,
    found: Vec<usize>,
}

thread_local! {
    static SEARCH: RefCell<Option<Search>> = const { RefCell::new(None) };
}

/// An end is an [`Arc`], so it points to the counts in front of the channel: two words, or as many as the channel is aligned
/// to. A reference to the channel points to itself.
const BEFORE: [usize; 5] = [0, 16, 32, 64, 128];

/// The addresses of the channels that are waited for.
pub(super) fn wanted(views: &[View]) -> Arc<[usize]> {
    let seen = views.iter().flat_map(|view| &view.sightings);
    let channels = seen.filter(|seen| waits_in_channel(seen));
    channels.map(|seen| seen.wait.on).collect()
}

fn waits_in_channel(seen: &Sighting) -> bool {
    matches!(seen.wait.reason, WaitReason::Send | WaitReason::Receive)
}

/// Which of `wanted` each suspended coroutine of this worker may have an end of, by its number.
pub(super) fn of_all(home: &Home, wanted: &Arc<[usize]>) -> HashMap<u64, Vec<usize>> {
    let mut all = HashMap::new();
    SEARCH.replace(Some(Search {
        wanted: wanted.clone(),
        found: Vec::new(),
    }));
    home.visit_all(search, |task| {
        let found =
            SEARCH.with_borrow_mut(|search| Some(std::mem::take(&mut search.as_mut()?.found)));
        all.extend(found.map(|found| (task.id().get(), found)));
    });
    SEARCH.take();
    all
}

/// Searches the stack that it is called on, but for its own frame. Suspends nowhere.
fn search() {
    let Some((_, context)) = home::running() else {
        return;
    };
    let stack = context.stack();
    let (word, base) = (stack.words(), stack.addresses().end);
    let local = 0_usize;
    let here = (&raw const local).addr();
    SEARCH.with_borrow_mut(|search| {
        let Some(Search { wanted, found }) = search else {
            return;
        };
        for at in (here..base).step_by(size_of::<usize>()) {
            let Some(word) = word(at) else { continue };
            let of = |&&channel: &&usize| {
                BEFORE
                    .iter()
                    .any(|before| word == channel.wrapping_sub(*before))
            };
            found.extend(wanted.iter().find(of));
        }
        found.sort_unstable();
        found.dedup();
    });
}

/// For each that waits in a channel, by its number: who else may have an end of it. Those who wait for others to end only
/// if nobody else may: what they have handed on is still on their stacks.
pub(super) fn others(views: &[View]) -> HashMap<u64, Vec<u64>> {
    let seen = || views.iter().flat_map(|view| &view.sightings);
    let may_have = |channel: usize, but: u64, joins: bool| -> Vec<u64> {
        let some = seen().filter(|it| it.id != but && it.ends.contains(&channel));
        let is_joining =
            |it: &&Sighting| matches!(it.wait.reason, WaitReason::Join | WaitReason::Scope);
        let mut ids: Vec<u64> = some
            .filter(|it| is_joining(it) == joins)
            .map(|it| it.id)
            .collect();
        ids.sort_unstable();
        ids
    };
    let waiting = seen().filter(|it| waits_in_channel(it));
    waiting
        .map(|it| {
            let first = may_have(it.wait.on, it.id, false);
            match first.is_empty() {
                true => (it.id, may_have(it.wait.on, it.id, true)),
                false => (it.id, first),
            }
        })
        .collect()
}
