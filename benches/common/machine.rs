//! What `/proc` tells about this machine and this process.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};

use super::sys;

/// One line that names the machine a report comes from.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model =
        field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let kernel = read("/proc/sys/kernel/osrelease");
    let virtual_machine = if field(&read("/proc/cpuinfo"), "flags")
        .is_some_and(|flags| flags.contains("hypervisor"))
    {
        ", virtual machine"
    } else {
        ""
    };
    format!(
        "machine: {model}, {} CPUs, Linux {}{virtual_machine}",
        cpus_online(),
        kernel.trim()
    )
}

fn cpus_online() -> usize {
    fs::read_to_string("/proc/cpuinfo").map_or(1, |text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
    })
}

/// What this process takes of the machine's memory.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident pages and the page tables above them.
    pub bytes: u64,
    /// Lines of `/proc/self/maps`; the kernel stops at `vm.max_map_count`.
    pub mappings: u64,
}

/// Reads it now.
pub fn memory() -> Memory {
    memory_of("self")
}

/// The same of another process, by its number.
pub fn memory_of(process: &str) -> Memory {
    let read = |name| format!("/proc/{process}/{name}");
    let status = fs::read_to_string(read("status")).expect("/proc is mounted, the process alive");
    let kib = |name| kib(&status, name).unwrap_or_else(|| panic!("a process's status has {name}"));
    let maps = fs::File::open(read("maps")).expect("/proc is mounted, the process alive");
    Memory {
        bytes: (kib("VmRSS") + kib("VmPTE")) * 1024,
        mappings: BufReader::new(maps).lines().count() as u64,
    }
}

/// Bytes that can be had without swapping.
pub fn memory_available() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc is mounted");
    kib(&meminfo, "MemAvailable").unwrap_or(0) * 1024
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse().ok()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Keeps the calling thread, and every thread and process it makes from here on, on one CPU until dropped.
///
/// The highest allowed one, since CPU 0 serves most interrupts. Under `taskset -c N` that is N.
pub struct OneCpu {
    before: Vec<usize>,
}

impl OneCpu {
    pub fn pin() -> Self {
        let last = *sys::allowed_cpus().last().expect("a thread runs somewhere");
        Self::pin_to(last)
    }

    /// The same for an allowed CPU of the caller's choice.
    pub fn pin_to(cpu: usize) -> Self {
        let before = sys::allowed_cpus();
        sys::set_allowed_cpus(&[cpu]);
        OneCpu { before }
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        sys::set_allowed_cpus(&self.before);
    }
}
