//! Words for reports: who, what for, and who holds it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::panic::Location;

use super::sighting::Sighting;
use crate::task::{WaitReason, WaitsFor};

/// What a reason is called in a report that goes on with the resource.
pub(super) fn phrase(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Unpark => "an unpark",
        WaitReason::Join => "the end of",
        WaitReason::Scope => "the children of its scope",
        WaitReason::Sleep => "a point in time",
        WaitReason::Readable => "something to read on",
        WaitReason::Writable => "room to write on",
        WaitReason::Accept => "a connection on",
        WaitReason::Connect => "to be connected on",
        WaitReason::Blocking => "a blocking call",
        WaitReason::Event => "the event",
        WaitReason::Semaphore => "permits of the semaphore",
        WaitReason::Process => "the end of a process on",
        WaitReason::Signal => "a signal on",
        WaitReason::Future => "a future",
        WaitReason::Mutex => "the mutex",
        WaitReason::RwLockRead => "reading the lock",
        WaitReason::RwLockWrite => "writing the lock",
        WaitReason::Condvar => "the condition variable",
        WaitReason::Once => "the value made once",
        WaitReason::Barrier => "the others at the barrier",
        WaitReason::WaitGroup => "the wait group",
        WaitReason::Oneshot => "the value of the oneshot",
        WaitReason::Receive => "a value from the channel",
        WaitReason::Send => "room in the channel",
        WaitReason::Select => "the first of several",
    }
}

/// A coroutine, as reports call it.
pub(super) fn who(id: u64, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("coroutine {id} '{name}'"),
        None => format!("coroutine {id}"),
    }
}

/// The names of those who were seen.
pub(super) struct Names(HashMap<u64, String>);

impl Names {
    pub(super) fn of<'a>(seen: impl Iterator<Item = &'a Sighting>) -> Self {
        let named = seen.filter_map(|seen| Some((seen.id, seen.name.clone()?)));
        Names(named.collect())
    }

    pub(super) fn who(&self, id: u64) -> String {
        who(id, self.0.get(&id).map(String::as_str))
    }

    /// What it waits for: a coroutine, a descriptor, or an address.
    pub(super) fn resource(&self, seen: &Sighting) -> Option<String> {
        if let Some(WaitsFor::End(id)) = seen.waits_for {
            return Some(self.who(id.get()));
        }
        match seen.wait.reason {
            WaitReason::Readable
            | WaitReason::Writable
            | WaitReason::Accept
            | WaitReason::Connect
            | WaitReason::Signal
            | WaitReason::Process => Some(format!("descriptor {}", seen.wait.on)),
            WaitReason::Scope => None,
            _ if seen.wait.on == 0 => None,
            _ => Some(format!("{:#x}", seen.wait.on)),
        }
    }

    /// Who holds what it waits for, and where that one has locked it.
    pub(super) fn holder(
        &self,
        seen: &Sighting,
    ) -> (Option<String>, Option<&'static Location<'static>>) {
        match seen.waits_for {
            Some(WaitsFor::Holder(number, site)) => match holder_id(number) {
                Some(id) => (Some(self.who(id)), site),
                None if number != 0 => (Some("a thread".into()), site),
                None => (None, None),
            },
            _ => (None, None),
        }
    }
}

/// The coroutine behind a holder's number, if it is one.
pub(super) fn holder_id(number: u64) -> Option<u64> {
    (number & 1 == 1).then_some(number >> 1)
}

/// A number as people read it: 1,204.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
