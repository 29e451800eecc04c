//! The machine that measured: what a reader needs to compare two reports.
#![forbid(unsafe_code)]

use std::fs;

use serde::{Deserialize, Serialize};

use crate::os;

/// Processor, kernel and build; each field empty or `null` when the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The processor's name, from `/proc/cpuinfo`.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cores: usize,
    /// Kernel name and release.
    pub kernel: String,
    /// The instruction set that the demo was compiled for.
    pub arch: String,
    /// Whether a hypervisor is below the kernel; `null` where the processor does not say.
    pub virtualised: Option<bool>,
    /// The frequency governor; `null` where there is none, as in most virtual machines.
    pub governor: Option<String>,
    /// Total memory in bytes.
    pub memory_bytes: u64,
    /// Whether the measuring threads were tied to their CPUs.
    pub pinned: bool,
    /// `"release"` or `"debug"`.
    pub build: String,
}

impl Environment {
    /// Looks at this machine. `pinned` is what the measuring processes said of themselves.
    pub fn look(pinned: bool) -> Environment {
        let cpuinfo = read("/proc/cpuinfo");
        Environment {
            cpu: field(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cores: os::allowed_cpus().map_or(0, |cpus| cpus.len()),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            arch: std::env::consts::ARCH.to_owned(),
            virtualised: virtualised(&cpuinfo),
            governor: governor(),
            memory_bytes: memory_total(&read("/proc/meminfo")),
            pinned,
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
        }
    }

    /// Why figures from this machine are to be read with care, a sentence each.
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        let mut say = |when: bool, text: &str| {
            if when {
                cautions.push(text.to_owned());
            }
        };
        say(
            self.virtualised == Some(true),
            "virtual machine: the host moves absolute times from one run to the next; ratios within \
             this run are what counts",
        );
        say(
            self.cores == 1,
            "one CPU only: nothing here ran in parallel, and whatever needs two CPUs was left out",
        );
        say(
            !self.pinned,
            "not pinned: the kernel may have moved the measuring threads between CPUs meanwhile",
        );
        say(
            self.governor
                .as_deref()
                .is_some_and(|governor| governor != "performance"),
            "the CPU's frequency governor is not `performance`: its clock may change while measuring",
        );
        say(
            self.build == "debug",
            "debug build: the coroutine figures are those of unoptimised code; use --release",
        );
        cautions
    }

    /// The machine in one line.
    pub fn line(&self) -> String {
        let kind = match self.virtualised {
            Some(true) => ", virtual",
            Some(false) => ", bare metal",
            None => "",
        };
        format!(
            "{}{kind}, {} CPUs, {}, {} build",
            self.cpu, self.cores, self.kernel, self.build
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// x86 shows a hypervisor as a CPU flag; other processors do not say.
fn virtualised(cpuinfo: &str) -> Option<bool> {
    let flags = field(cpuinfo, "flags")?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

fn governor() -> Option<String> {
    let cpu = *os::allowed_cpus().ok()?.last()?;
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn memory_total(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_whatever_the_padding() {
        let text = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "model"), None);
        assert_eq!(virtualised(text), Some(true));
        assert_eq!(virtualised("flags : fpu"), Some(false));
        assert_eq!(virtualised("Features : fp"), None);
        assert_eq!(
            memory_total("MemTotal:       24684000 kB\n"),
            24_684_000 * 1024
        );
    }

    #[test]
    fn every_reason_for_doubt_is_said() {
        let doubtful = Environment {
            virtualised: Some(true),
            cores: 1,
            governor: Some("powersave".into()),
            build: "debug".into(),
            ..Environment::default()
        };
        assert_eq!(doubtful.cautions().len(), 5);
        let sound = Environment {
            virtualised: Some(false),
            cores: 8,
            governor: Some("performance".into()),
            pinned: true,
            build: "release".into(),
            ..Environment::default()
        };
        assert!(sound.cautions().is_empty());
    }

    #[test]
    fn this_machine_has_a_cpu_and_a_kernel() {
        let here = Environment::look(true);
        assert!(here.cores >= 1 && here.memory_bytes > 0);
        assert!(here.kernel.len() > "Linux ".len());
    }
}
