//! Contenders in a process of their own: the bench starts itself again and tells the child what to do.
//!
//! Memory, page faults and CPU time belong to a process, and a cold start can be had only once in each.
//! A child prints its results as `key=value` lines; a panic in it ends the bench with what it said.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::contest::tables;
use super::report::Table;

/// Enough for quartiles, few enough to end: a round of a million takes seconds.
const ROUNDS: usize = 11;

const TASK: &str = "SUITE_BENCH_CHILD";

/// What this process was started to do, if it is such a child.
pub fn task() -> Option<Vec<String>> {
    env::var(TASK)
        .ok()
        .map(|task| task.split(' ').map(str::to_owned).collect())
}

/// A command that starts this program as the child for `task`, its output piped.
pub fn command(task: &str) -> Command {
    for_task(Command::new(myself()), task)
}

/// The same by way of `wrapper`, which takes a program to run as its last argument.
pub fn command_under(mut wrapper: Command, task: &str) -> Command {
    wrapper.arg(myself());
    for_task(wrapper, task)
}

fn for_task(mut command: Command, task: &str) -> Command {
    command.env(TASK, task).stdout(Stdio::piped());
    command
}

fn myself() -> PathBuf {
    env::current_exe().expect("a program knows where it is")
}

/// What a child found, by key.
pub struct Results(BTreeMap<String, f64>);

impl Results {
    pub fn get(&self, key: &str) -> f64 {
        *self
            .0
            .get(key)
            .unwrap_or_else(|| panic!("the child printed no {key}"))
    }
}

/// Runs a child for `task` and reads its results.
pub fn measure(task: &str) -> Results {
    let output = command(task)
        .stderr(Stdio::inherit())
        .output()
        .expect("the bench can start itself");
    assert!(
        output.status.success(),
        "child `{task}` failed: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("results are text");
    let results = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        Some((key.to_owned(), value.parse().ok()?))
    });
    Results(results.collect())
}

/// Measures every one of `names` in interleaved rounds, each time in a new child for `"name n"`; returns a
/// table per metric, a metric being a key that the children print and what it means.
pub fn interleave<const N: usize>(
    title: &str,
    names: &[&str],
    n: usize,
    metrics: [(&str, &str); N],
) -> [Table; N] {
    let units = metrics.map(|(_, unit)| unit);
    tables(title, names, ROUNDS, units, |name| {
        let results = measure(&format!("{name} {n}"));
        metrics.map(|(key, _)| results.get(key))
    })
}

/// In the child: hands one result to the parent.
pub fn print(key: &str, value: f64) {
    println!("{key}={value}");
}
