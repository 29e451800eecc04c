//! How much memory is taken and how much is left, as the kernel accounts for it.
//!
//! | figure              | source                                    | counts                            |
//! |---------------------|-------------------------------------------|-----------------------------------|
//! | [`own_bytes`]       | `VmRSS` and `VmPTE` in `status`           | own pages and their page tables   |
//! | [`private_bytes`]   | `Private_*` in `smaps_rollup`, `VmPTE`    | less what a child shares          |
//! | [`Pages`]           | `Private_*`, `Shared_*` in `smaps_rollup` | pages by who else maps them       |
//! | [`mapped_bytes`]    | `VmSize` in `status`                      | address space, touched or not     |
//! | [`available_bytes`] | `MemAvailable`, a cgroup's limit if lower | all that the system can still give |
//!
//! What the last one falls by includes the kernel's own: stacks and records of threads and processes.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

use rustix::process::Pid;

use crate::limits::cgroup_memory_left;

/// Resident pages and page tables of this process.
///
/// # Errors
/// If `/proc` is not there to be read.
pub fn own_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(kib(&status, "VmRSS:") * 1024 + kib(&status, "VmPTE:") * 1024)
}

/// Pages that only process `pid` has, and its page tables.
///
/// # Errors
/// If the process has ended, or `/proc` is not there to be read.
pub fn private_bytes(pid: Pid) -> io::Result<u64> {
    let pid = pid.as_raw_nonzero();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Pages::of(&rollup).private + kib(&status, "VmPTE:") * 1024)
}

/// The resident pages of a process, in bytes, by whether another process maps them too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Mapped by this process alone.
    pub private: u64,
    /// Mapped by others too: since a fork, or because they are of the same file.
    pub shared: u64,
}

impl Pages {
    /// Those of this process.
    ///
    /// # Errors
    /// If `/proc` is not there to be read.
    pub fn own() -> io::Result<Pages> {
        Ok(Pages::of(&fs::read_to_string("/proc/self/smaps_rollup")?))
    }

    fn of(rollup: &str) -> Pages {
        let both = |clean, dirty| (kib(rollup, clean) + kib(rollup, dirty)) * 1024;
        Pages {
            private: both("Private_Clean:", "Private_Dirty:"),
            shared: both("Shared_Clean:", "Shared_Dirty:"),
        }
    }
}

/// Address space that this process has mapped, touched or not.
///
/// # Errors
/// If `/proc` is not there to be read.
pub fn mapped_bytes() -> io::Result<u64> {
    Ok(kib(&fs::read_to_string("/proc/self/status")?, "VmSize:") * 1024)
}

/// What may still be taken without swapping, and without passing the memory limit of a control group.
///
/// # Errors
/// If `/proc` is not there to be read.
pub fn available_bytes() -> io::Result<u64> {
    // Each CPU keeps its latest changes to itself for up to a second. Root can have them counted now;
    // for others the figure is a little older, which a large population outweighs.
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
    let available = kib(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:") * 1024;
    Ok(cgroup_memory_left().map_or(available, |left| left.min(available)))
}

/// The figure of the line that starts with `name`, in KiB; 0 if there is none.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|rest| rest.split_whitespace().next());
    figure.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t    1234 kB\nVmPTE:\t      52 kB\n";
        assert_eq!(kib(status, "VmRSS:"), 1234);
        assert_eq!(kib(status, "VmPTE:"), 52);
        assert_eq!(kib(status, "VmSwap:"), 0);
    }

    #[test]
    fn touched_memory_is_counted() {
        // An absolute bound: the tests beside this one take and give back memory of the same process.
        const BYTES: usize = 256 << 20;
        let ballast = vec![1u8; BYTES];
        assert!(own_bytes().unwrap() >= BYTES as u64);
        assert!(mapped_bytes().unwrap() >= BYTES as u64);
        drop(std::hint::black_box(ballast));
    }

    #[test]
    fn pages_are_private_or_shared_whether_clean_or_dirty() {
        let rollup =
            "Shared_Clean: 4 kB\nShared_Dirty: 8 kB\nPrivate_Clean: 16 kB\nPrivate_Dirty: 32 kB\n";
        let pages = Pages::of(rollup);
        assert_eq!((pages.shared, pages.private), (12 << 10, 48 << 10));
        assert!(Pages::own().unwrap().private > 0);
    }

    #[test]
    fn some_memory_is_available() {
        assert!(available_bytes().unwrap() > 0);
    }
}
