//! The life of a bench target: what it was asked for, the CPU it runs on, the report at its end.
#![forbid(unsafe_code)]

use std::env;
use std::time::Duration;

use criterion::Criterion;

use super::machine::{self, OneCpu};
use super::report::Report;
use super::sys;

/// One bench target while it runs.
pub struct Bench {
    pub criterion: Criterion,
    pub report: Report,
    filter: Option<String>,
    quick: bool,
    // Pinned until the end, or until a contest wants more than one CPU.
    cpu: Option<OneCpu>,
}

impl Bench {
    /// Reads the command line and pins the process to one CPU.
    pub fn new() -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        Bench {
            criterion: Criterion::default()
                .without_plots()
                .sample_size(10)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_millis(800))
                .configure_from_args(),
            report: Report::default(),
            filter: filter(&arguments),
            quick: is_quick(&arguments),
            cpu: Some(OneCpu::pin()),
        }
    }

    /// Whether each contender is only tried (`cargo test`, `--test`, `--list`), so that small sizes do.
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// Whether the command line's filter lets this contest run. Setting a contest up may be dear.
    ///
    /// A filter names a part of the title (`yield/10`: three rings), the whole (`yield/100/`), or one contender
    /// too (`yield/100/ours`).
    pub fn selects(&self, title: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            title.contains(filter.as_str()) || filter.starts_with(&format!("{title}/"))
        })
    }

    /// Whether memory will do for so many coroutines of ours and as many tasks beside them; if not, says so.
    pub fn has_room(&self, title: &str, coroutines: usize) -> bool {
        // A coroutine that has run owns a page and its share of page tables; the rest is for its peers.
        let needed = coroutines as u64 * 8192;
        let enough = needed <= machine::memory_available();
        if !enough {
            println!("{title}: skipped, it needs {} MiB of memory", needed >> 20);
        }
        enough
    }

    /// Whether a process may have so many connections open; if not, says so.
    pub fn has_files(&self, title: &str, connections: usize) -> bool {
        // Some more are open anyway.
        let needed = connections as u64 + 100;
        let enough = needed <= sys::raise_open_files_limit();
        if !enough {
            println!("{title}: skipped, it needs {needed} open files (ulimit -Hn)");
        }
        enough
    }

    /// From here on, threads may run on every CPU the process was given.
    pub fn use_all_cpus(&mut self) {
        self.cpu = None;
    }

    /// Gives the calling thread, which makes the load, a CPU of its own; returns another one, for the server. None,
    /// and says so, where there is only one.
    pub fn load_apart(&mut self, title: &str) -> Option<usize> {
        self.use_all_cpus();
        let cpus = sys::allowed_cpus();
        let [.., load, server] = cpus[..] else {
            println!("{title}: skipped, it needs two CPUs; run without taskset");
            return None;
        };
        self.cpu = Some(OneCpu::pin_to(load));
        Some(server)
    }

    /// Prints the report.
    pub fn finish(self) {
        self.criterion.final_summary();
        self.report.print();
    }
}

/// Cargo passes `--bench` for `cargo bench` only; criterion itself goes by that.
fn is_quick(arguments: &[String]) -> bool {
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    !given("--bench") || given("--test") || given("--list")
}

/// The first argument that is neither a flag nor the value of one.
fn filter(arguments: &[String]) -> Option<String> {
    let mut after_option = false;
    for argument in arguments {
        if argument.starts_with("--") {
            let bare = [
                "--bench",
                "--test",
                "--list",
                "--exact",
                "--verbose",
                "--quiet",
                "--noplot",
                "--quick",
            ];
            after_option = !argument.contains('=') && !bare.contains(&argument.as_str());
        } else if after_option {
            after_option = false;
        } else {
            return Some(argument.clone());
        }
    }
    None
}
