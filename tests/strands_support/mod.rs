//! What the tests of coroutines share: runs on one worker and on two, values that count their own
//! drops, and processes of their own for what would end this one.
#![forbid(unsafe_code)]
#![allow(dead_code)] // each test target uses its part

pub mod model;

use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runtime::Runtime;

/// Longer than any test waits for an end that does not come.
pub const SHORT_GRACE: Duration = Duration::from_millis(50);

/// After that a process that should have ended by itself is taken to hang.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Runs `claim` as the first coroutine of a runtime with one worker, then of one with two.
///
/// The grace period is short, so that what does not end makes an assertion fail, not the run wait.
pub fn on_one_worker_and_on_two(claim: fn()) {
    for workers in [1, 2] {
        let builder = runtime::Builder::new().workers(workers);
        builder
            .grace(Duration::from_secs(10))
            .build()
            .unwrap()
            .run(claim);
    }
}

/// Runs `claim` on one worker, on two, and on a plain thread.
pub fn everywhere(claim: fn()) {
    on_one_worker_and_on_two(claim);
    claim();
}

/// Starts somebody on a plain thread, or on whatever worker takes it.
pub fn start<T: Send + 'static>(
    on_thread: bool,
    f: impl FnOnce() -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T> {
    if on_thread {
        let thread = thread::spawn(f);
        Box::new(move || {
            pass_until(|| thread.is_finished());
            thread.join().unwrap()
        })
    } else {
        let coroutine = runtime::spawn(f);
        Box::new(move || coroutine.join().unwrap())
    }
}

/// A runtime with that many workers.
pub fn runtime_of(workers: usize) -> Runtime {
    runtime::Builder::new().workers(workers).build().unwrap()
}

/// Lets every other runnable coroutine of this worker run up to its next wait.
pub fn let_the_others_run() {
    for _ in 0..10 {
        runtime::yield_now();
    }
}

/// Passes the turn on until `condition` holds.
pub fn pass_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        runtime::yield_now();
    }
}

/// Passes the turn on until `condition` holds; false if it does not for so long that it never will.
///
/// Turns do not count here: another worker may make none while this one makes thousands.
pub fn passes_in_time(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        runtime::yield_now();
        if condition() {
            return true;
        }
        if begun.elapsed() > HANGS_AFTER {
            return false;
        }
    }
}

/// Passes the turn on until `condition` holds or `turns` were passed on; tells which. For one worker.
pub fn passes_within(turns: usize, mut condition: impl FnMut() -> bool) -> bool {
    (0..turns).any(|_| {
        runtime::yield_now();
        condition()
    })
}

/// Counts events; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// A value whose drop adds one.
    pub fn on_drop(&self) -> OnDrop<impl FnOnce() + Send + use<>> {
        let tally = self.clone();
        OnDrop::new(move || tally.add())
    }
}

/// Calls a function when dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub fn new(f: F) -> Self {
        OnDrop(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// The text that a panic carries.
pub fn text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// How a process has ended, and what it said.
pub struct Ended {
    pub signal: Option<i32>,
    pub success: bool,
    pub stderr: String,
}

/// Runs `claim` in a process of its own: it ends the process, changes what belongs to it, or is about
/// what it prints.
///
/// `test` is the calling test's own name; the child is this test program asked for that test only.
pub fn in_own_process(test: &str, claim: fn()) -> Ended {
    const CHILD: &str = "STRANDS_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        // A hang shall be a failure of this test, not of the whole run.
        thread::spawn(|| {
            thread::sleep(HANGS_AFTER);
            eprintln!("the child process hangs");
            process::abort();
        });
        claim();
        process::exit(0);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("running 1 test"),
        "the child ran nothing:\n{stdout}"
    );
    Ended {
        signal: output.status.signal(),
        success: output.status.success(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    /// It ended well.
    #[track_caller]
    pub fn well(self) -> String {
        assert!(self.success, "signal {:?}\n{}", self.signal, self.stderr);
        self.stderr
    }
}
