//! The demo as its users run it: the built program, its output, its exit status and what it leaves behind.
#![forbid(unsafe_code)]

mod outputs;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::thread;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, test_kill_process,
    waitpgid,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn demo(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the demo starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("the output is text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("the messages are text")
}

/// A path in the test's own directory that no other test uses.
fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// The children of `pid`'s main thread, the first that it has: waits until it has one.
fn first_child(pid: u32) -> Pid {
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the demo runs until its helper is there");
        let first = children
            .split_whitespace()
            .next()
            .map(|pid| pid.parse().expect("a pid"));
        match first.and_then(Pid::from_raw) {
            Some(child) => return child,
            None => thread::yield_now(),
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn list_names_every_section_with_its_claim() {
    let output = demo(&["list"]);
    assert!(output.status.success());
    for name in [
        "memory-space",
        "isolation",
        "scheduling",
        "switch",
        "creation",
        "scalability",
        "communication",
        "preemption",
        "parallelism",
    ] {
        assert!(
            stdout(&output).lines().any(|line| line.starts_with(name)),
            "{name}"
        );
    }
}

#[test]
fn json_on_stdout_parses_holds_the_schema_and_is_alone_there() {
    let output = demo(&["run", "switch", "--quick", "--json", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).expect("only JSON");
    assert_eq!(json["mode"], "quick");
    let section = &json["sections"][0];
    assert_eq!(section["name"], "switch");
    assert!(section["claim"].is_string() && section["verdict"]["why"].is_string());
    assert_eq!(section["metrics"][0]["unit"], "ns");
    for field in [
        "cpu",
        "cores",
        "kernel",
        "virtualised",
        "pinned",
        "governor",
        "build",
    ] {
        assert!(section["environment"].get(field).is_some(), "{field}");
    }
    let rows = section["rows"].as_array().expect("rows");
    // Those with a size are of the sweep.
    let ladder = rows.iter().filter(|row| row["size"].is_null());
    assert_eq!(ladder.clone().count(), 14);
    for row in ladder.filter(|row| row["skipped"].is_null()) {
        let value = &row["values"]["hand_over"];
        let of = |name: &str| value[name].as_f64().expect("a number");
        assert!(
            of("p5") <= of("median") && of("median") <= of("p95"),
            "{row}"
        );
        assert!(of("median") > 0.0 && of("n") >= 10.0, "{row}");
    }
    // The text for people went elsewhere.
    assert!(stderr(&output).contains("Verdict"));
}

#[test]
fn text_for_people_fits_100_columns_and_has_no_colour_in_a_pipe() {
    let output = demo(&["run", "scalability", "--quick"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
    for head in ["Claim", "Run", "Verdict", "Why"] {
        assert!(text.lines().any(|line| line.starts_with(head)), "{head}");
    }
    assert_eq!(stderr(&output), "");
}

/// What no machine and no load changes: the rows are counted, not timed.
#[test]
fn what_the_kernel_does_with_the_three_is_found_as_it_is() {
    let sections = ["memory-space", "isolation", "scheduling"];
    let output = demo(&[&["run", "--quick", "--json", "-"], &sections[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers = json["sections"].as_array().unwrap().iter();
    let answers: Vec<&Value> = answers
        .flat_map(|section| section["answers"].as_array().unwrap())
        .collect();
    for (claim, outcome) in [
        ("memory-space/process", "confirmed"),
        ("memory-space/thread", "confirmed"),
        ("memory-space/coroutine", "confirmed"),
        ("prose/thread-owns", "confirmed"),
        ("isolation/process", "confirmed"),
        ("isolation/thread", "depends"),
        ("isolation/coroutine", "confirmed"),
        ("scheduling/process", "confirmed"),
        ("scheduling/thread", "confirmed"),
        ("scheduling/coroutine", "confirmed"),
        ("prose/pausable", "confirmed"),
        ("prose/user-space", "confirmed"),
    ] {
        let answer = answers.iter().find(|answer| answer["claim"] == claim);
        let answer = answer.unwrap_or_else(|| panic!("nothing answers {claim}"));
        assert_eq!(answer["outcome"], outcome, "{answer}");
    }
}

#[test]
fn a_json_file_is_replaced_as_a_whole() {
    let path = path("replaced.json");
    fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let output = demo(&[
        "--quick",
        "run",
        "creation",
        "--json",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).expect("only JSON");
    assert_eq!(json["sections"][0]["name"], "creation");
    assert!(stdout(&output).contains("Verdict"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_makes_no_sense_on_the_command_line_exits_with_2() {
    let senseless: [&[&str]; 10] = [
        &["run", "swich"],
        &["run"],
        &["runn"],
        &["--fast"],
        &["run", "switch", "--json"],
        &["list", "--json", "-"],
        &["list", "--report", "x.html"],
        &["compare", "a.json"],
        &["compare", "a.json", "b.json", "--csv", "x.csv"],
        &["--quick", "--full"],
    ];
    for arguments in senseless {
        let output = demo(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    // The nearest name is offered.
    assert!(stderr(&demo(&["run", "swich"])).contains("switch"));
}

#[test]
fn a_json_path_that_cannot_be_written_is_refused_before_anything_is_measured() {
    for path in ["/no/such/directory/x.json", env!("CARGO_TARGET_TMPDIR")] {
        let output = demo(&["run", "switch", "--quick", "--json", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(output.stdout.is_empty(), "{path}");
        assert!(
            stderr(&output).contains("cannot write"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_text_is_still_shown() {
    let output = demo(&["run", "switch", "--quick", "--json", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("Verdict"));
    assert!(stderr(&output).contains("/dev/full"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_ends_the_demo_quietly() {
    let mut child = command(&["run", "switch", "--quick"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
}

#[test]
fn on_one_cpu_the_rows_that_need_two_are_skipped_with_the_reason() {
    // This test's own thread: the demo inherits its CPUs.
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    let output = demo(&["run", "switch", "--quick", "--json", "-"]);
    sched_setaffinity(None, &all).unwrap();

    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let section = &json["sections"][0];
    let skipped = section["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["skipped"].to_string().contains("one core only"));
    assert_eq!(skipped.count(), 4);
    assert_eq!(section["environment"]["cores"], 1);
    assert!(section["cautions"].to_string().contains("one CPU"));
}

#[test]
fn a_helper_that_is_killed_fails_its_section_and_no_other() {
    let child = command(&["run", "scalability", "switch", "--quick", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kill_process(first_child(child.id()), Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failures = |section: usize| json["sections"][section]["failures"].to_string();
    assert!(failures(0).contains("signal 9"), "{}", failures(0));
    assert_eq!(failures(1), "[]");
    assert!(json["sections"][1]["verdict"].is_object());
}

#[test]
fn ctrl_c_ends_the_helper_and_removes_the_unfinished_file() {
    let path = path("interrupted.json");
    let child = command(&["run", "scalability", "--json", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let helper = first_child(child.id());
    kill_process(pid_of(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(stderr(&output).contains("interrupted"));
    assert_eq!(test_kill_process(helper), Err(Errno::SRCH));
    assert!(!path.exists());
}

#[test]
fn a_helper_that_dies_takes_its_forked_children_with_it() {
    // Orphans come to this process, so that their end can be waited for.
    set_child_subreaper(Some(getpid())).unwrap();
    let parent = process::id().to_string();
    let mut helper = command(&["__body", "scalability", "process", "--parent", &parent])
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first row says that ten children are parked; it goes on to make thousands.
    let events = BufReader::new(helper.stdout.take().unwrap()).lines();
    let rows = events
        .map(|line| line.unwrap())
        .filter(|line| line.contains("\"Row\""));
    assert_eq!(rows.take(1).count(), 1);
    let group = pid_of(&helper);
    kill_process(group, Signal::KILL).unwrap();
    assert_eq!(helper.wait().unwrap().signal(), Some(9));

    // Only the children's own death signal can end them. One that is just being made finds its parent gone
    // when it asks for that signal, and ends by itself.
    let mut killed = 0;
    loop {
        match waitpgid(group, WaitOptions::empty()) {
            Ok(Some((_, status))) if status.exit_status() == Some(1) => {}
            Ok(Some((_, status))) => {
                assert_eq!(status.terminating_signal(), Some(9));
                killed += 1;
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => {
                assert_eq!(error, Errno::CHILD);
                break;
            }
        }
    }
    assert!(killed >= 10, "{killed} were killed");
}

#[test]
fn a_body_without_its_parent_ends_at_once() {
    let output = demo(&["__body", "switch", "process", "--parent", "1"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn a_refusal_by_the_system_is_named_and_is_no_failure() {
    // 1 GiB of address space holds fewer than a thousand threads with stacks of 2 MiB.
    let script = "ulimit -v 1048576; exec \"$@\"";
    let parent = process::id().to_string();
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_demo")])
        .args([
            "__body",
            "scalability",
            "thread",
            "--quick",
            "--parent",
            &parent,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("the system refused unit") && text.contains("RLIMIT_AS"),
        "{text}"
    );
    assert!(!text.contains("Failure"), "{text}");
}

#[test]
fn colour_goes_to_a_terminal_only_and_never_against_no_color() {
    // `script` gives the program a terminal; where it is missing, the unit tests of `text` stand alone.
    let on_a_terminal = |no_color: &str| {
        let line = format!("{} run switch --quick", env!("CARGO_BIN_EXE_demo"));
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color);
        script
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = script.spawn().ok()?;
        let mut text = String::new();
        child.stdout.take()?.read_to_string(&mut text).ok()?;
        child.wait().ok()?;
        Some(text)
    };
    let Some(coloured) = on_a_terminal("") else {
        let _ = writeln!(
            std::io::stderr(),
            "script(1) is not installed: nothing to see"
        );
        return;
    };
    assert!(coloured.contains("\x1b[1m=="), "{coloured}");
    assert!(!on_a_terminal("1").unwrap().contains("\x1b[1m=="));
}
