//! What stops a population from growing: the system's limits, their use, and which one was hit.
//!
//! | limit                    | bounds                                | where                                  |
//! |--------------------------|---------------------------------------|----------------------------------------|
//! | `kernel.pid_max`         | ids of processes and threads together | `/proc/sys/kernel/pid_max`             |
//! | `kernel.threads-max`     | threads of the whole system           | `/proc/sys/kernel/threads-max`         |
//! | `RLIMIT_NPROC`           | threads of one user; not of root      | getrlimit(2)                           |
//! | cgroup `pids.max`        | threads of a control group            | `/sys/fs/cgroup`                       |
//! | `vm.max_map_count`       | mappings of one process               | `/proc/sys/vm/max_map_count`           |
//! | `RLIMIT_AS`              | address space of one process          | getrlimit(2)                           |
//! | memory                   | everything                            | `MemAvailable`, cgroup                 |
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::{Resource, geteuid, getrlimit};

use crate::memory;
use crate::quantity::{grouped, with_unit};
use crate::report::{Body, Unit};

/// One bound on how many units there can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// What it is called, so that a reader can look it up and raise it.
    pub name: &'static str,
    /// The largest value that the system accepts.
    pub value: u64,
    /// How much of it is in use now; `None` when nobody tells.
    pub used: Option<u64>,
    /// How much of it one unit takes; `None` if that differs, so that it bounds no estimate.
    pub per_unit: Option<u64>,
}

impl Limit {
    /// How many units it has room for, in a process that has none yet; `None` if nobody can tell.
    fn units(&self) -> Option<u64> {
        Some(self.value / self.per_unit?)
    }

    /// Whether so little is left that a refusal is explained by it: under 2 %, or not even 4 units.
    fn is_reached(&self) -> bool {
        self.used.is_some_and(|used| {
            let left = self.value.saturating_sub(used);
            left <= (self.value / 50).max(4 * self.per_unit.unwrap_or(0))
        })
    }
}

/// The limits that bound a population of `body`, memory left aside.
pub fn limits_on(body: Body) -> Vec<Limit> {
    let mut limits = Vec::new();
    if matches!(body, Body::Thread | Body::Process) {
        limits.extend(limits_on_tasks());
    }
    // A coroutine's stack takes none where guards go without mappings of their own, and two elsewhere.
    let per_unit = (body == Body::Thread).then_some(MAPPINGS_PER_THREAD);
    limits.extend(limits_on_mappings(per_unit));
    limits
}

/// A thread of std has a stack, a stack for signals, and a guard below each.
const MAPPINGS_PER_THREAD: u64 = 4;

/// How many more threads this process has mappings for, and the limit in words; `None` if nobody tells.
///
/// To be asked before: std panics in the new thread when it is refused a guard for its signal stack, which
/// nobody can catch.
pub fn room_for_threads() -> Option<(u64, String)> {
    // For whatever the process maps besides, its allocator above all.
    const SPARE: u64 = 256;
    let limits = limits_on_mappings(Some(MAPPINGS_PER_THREAD));
    let limit = limits
        .into_iter()
        .find(|limit| limit.name == "vm.max_map_count")?;
    let left = limit.value.saturating_sub(limit.used? + SPARE);
    let why = format!(
        "stopped before {} {}: a thread of std takes {MAPPINGS_PER_THREAD} mappings (its stack, one for \
         signals, two guards), and std aborts the process when it is refused one",
        limit.name,
        grouped(limit.value)
    );
    Some((left / MAPPINGS_PER_THREAD, why))
}

fn limits_on_tasks() -> Vec<Limit> {
    let alive = tasks_alive();
    let (pids_max, pids_now) = cgroup_pids();
    let of_user = (!geteuid().is_root()).then(|| getrlimit(Resource::Nproc).current);
    let limits = [
        ("kernel.pid_max", number("/proc/sys/kernel/pid_max"), alive),
        (
            "kernel.threads-max",
            number("/proc/sys/kernel/threads-max"),
            alive,
        ),
        ("cgroup pids.max", pids_max, pids_now),
        ("RLIMIT_NPROC", of_user.flatten(), alive),
    ];
    let limit = |(name, value, used)| {
        Some(Limit {
            name,
            value: value?,
            used,
            per_unit: Some(1),
        })
    };
    limits.into_iter().filter_map(limit).collect()
}

fn limits_on_mappings(per_unit: Option<u64>) -> Vec<Limit> {
    let maps = fs::read_to_string("/proc/self/maps").ok();
    let mappings = maps.map(|maps| maps.lines().count() as u64);
    let limits = [
        (
            "vm.max_map_count",
            number("/proc/sys/vm/max_map_count"),
            mappings,
            per_unit,
        ),
        (
            "RLIMIT_AS",
            getrlimit(Resource::As).current,
            memory::mapped_bytes().ok(),
            None,
        ),
    ];
    let limit = |(name, value, used, per_unit)| {
        Some(Limit {
            name,
            value: value?,
            used,
            per_unit,
        })
    };
    limits.into_iter().filter_map(limit).collect()
}

/// How many units of `body` this machine could hold if each took `unit_bytes`, and what bounds them.
pub fn ceiling(body: Body, unit_bytes: f64) -> (u64, &'static str) {
    let memory = memory::available_bytes().unwrap_or(0) as f64 / unit_bytes.max(1.0);
    let by_memory = (memory as u64, "memory");
    let others = limits_on(body);
    others
        .iter()
        .filter_map(|limit| Some((limit.units()?, limit.name)))
        .chain([by_memory])
        .min_by_key(|&(units, _)| units)
        .unwrap_or(by_memory)
}

/// Why the system refused one more unit of `body` with `error`, in words that name the limit.
pub fn name_refusal(body: Body, error: &io::Error) -> String {
    let reached: Vec<String> = limits_on(body)
        .iter()
        .filter(|limit| limit.is_reached())
        .map(|limit| {
            let used = limit
                .used
                .map_or_else(String::new, |used| format!("{} of ", grouped(used)));
            format!("{} ({used}{})", limit.name, grouped(limit.value))
        })
        .collect();
    if reached.is_empty() {
        let left = memory::available_bytes().unwrap_or(0) as f64;
        let left = with_unit(Unit::Bytes, left);
        format!("{error}; no known limit is near, {left} of memory are left")
    } else {
        format!("{error}; limit reached: {}", reached.join(", "))
    }
}

/// What the memory limit of this process's control group leaves; `None` without such a limit.
pub fn cgroup_memory_left() -> Option<u64> {
    let two = || {
        Some((
            cgroup_file("", "memory.max")?,
            cgroup_file("", "memory.current")?,
        ))
    };
    let one = || {
        Some((
            cgroup_file("memory", "memory.limit_in_bytes")?,
            cgroup_file("memory", "memory.usage_in_bytes")?,
        ))
    };
    let (limit, used) = two().or_else(one)?;
    // Version 1 writes "no limit" as a number near 2^63.
    (limit < 1 << 60).then(|| limit.saturating_sub(used))
}

fn cgroup_pids() -> (Option<u64>, Option<u64>) {
    for controller in ["", "pids"] {
        if let Some(max) = cgroup_file(controller, "pids.max") {
            return (Some(max), cgroup_file(controller, "pids.current"));
        }
    }
    (None, None)
}

/// A number of this process's control group: version 2 if `controller` is empty, else version 1.
fn cgroup_file(controller: &str, file: &str) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroup_path(&membership, controller)?;
    let mut folder = PathBuf::from("/sys/fs/cgroup");
    folder.push(controller);
    number(
        folder
            .join(path.trim_start_matches('/'))
            .join(file)
            .to_str()?,
    )
    // In a container the group's own folder is often mounted as the root.
    .or_else(|| number(folder.join(file).to_str()?))
}

/// The path of the group in `/proc/self/cgroup`, whose lines read `id:controllers:path`.
fn cgroup_path<'a>(membership: &'a str, controller: &str) -> Option<&'a str> {
    membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })
}

/// Threads of the whole system, from the fourth field of `/proc/loadavg`: `runnable/all`.
fn tasks_alive() -> Option<u64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_when_next_to_nothing_is_left() {
        let at = |used| Limit {
            name: "x",
            value: 32_768,
            used,
            per_unit: Some(1),
        };
        assert!(at(Some(32_768)).is_reached());
        assert!(at(Some(32_700)).is_reached());
        assert!(at(Some(40_000)).is_reached());
        assert!(!at(Some(20_000)).is_reached());
        assert!(!at(None).is_reached());
    }

    #[test]
    fn a_unit_that_takes_two_halves_the_room() {
        let limit = Limit {
            name: "x",
            value: 65_530,
            used: None,
            per_unit: Some(2),
        };
        assert_eq!(limit.units(), Some(32_765));
    }

    #[test]
    fn threads_are_bound_by_pids_and_coroutines_by_memory_only() {
        let names: Vec<_> = limits_on(Body::Thread)
            .iter()
            .map(|limit| limit.name)
            .collect();
        assert!(names.contains(&"kernel.pid_max") && names.contains(&"vm.max_map_count"));
        assert!(
            limits_on(Body::Coroutine)
                .iter()
                .all(|limit| limit.units().is_none())
        );
        assert_eq!(ceiling(Body::Coroutine, 4_224.0).1, "memory");
    }

    #[test]
    fn both_versions_of_control_groups_are_found() {
        let membership = "9:name=systemd:/\n4:cpu,memory:/a:b\n0::/two\n";
        assert_eq!(cgroup_path(membership, "memory"), Some("/a:b"));
        assert_eq!(cgroup_path(membership, ""), Some("/two"));
        assert_eq!(cgroup_path(membership, "pids"), None);
    }

    #[test]
    fn a_refusal_keeps_the_error_and_adds_what_is_known() {
        let text = name_refusal(Body::Coroutine, &io::Error::from_raw_os_error(12));
        assert!(
            text.contains("os error 12") && text.contains("memory"),
            "{text}"
        );
    }
}
