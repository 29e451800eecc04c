//! Words for reports: who, what for, and who holds it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::panic::Location;

use super::json::{Json, List};
use super::sighting::Sighting;
use crate::task::{Held, WaitReason, WaitsFor};

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

/// Who holds what a coroutine waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HolderDump {
    /// A coroutine, with its number and name, or a thread.
    pub who: String,
    /// Where it has locked that, or waits to.
    pub at: Option<&'static Location<'static>>,
    /// It does not hold it yet: its turn comes before.
    pub is_next: bool,
}

impl fmt::Display for HolderDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, what) = match self.is_next {
            false => ("held by", "locked it"),
            true => ("behind", "waits to write it"),
        };
        write!(f, "{how} {}", self.who)?;
        match self.at {
            Some(site) => write!(f, ", which {what} at {site}"),
            None => Ok(()),
        }
    }
}

impl HolderDump {
    pub(super) fn write_json(&self, list: &mut List) {
        let mut json = Json::new();
        json.text("who", &self.who);
        json.option("at", self.at.map(|site| site.to_string()).as_deref());
        json.text("state", if self.is_next { "next" } else { "holds" });
        list.object(json);
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

    /// Who holds what it waits for, or comes before it.
    pub(super) fn holders(&self, seen: &Sighting) -> Vec<HolderDump> {
        let Some(WaitsFor::Holders(holders)) = &seen.waits_for else {
            return Vec::new();
        };
        let dump = |held: &Held| HolderDump {
            who: holder_id(held.by).map_or("a thread".into(), |id| self.who(id)),
            at: held.at,
            is_next: held.is_next,
        };
        holders.iter().map(dump).collect()
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
