//! Crash tests: a test starts its own program again, and looks at how the child ends.
//!
//! ```text
//!   parent   child().given("x").run(body) ── starts this program, asked for the same test ──┐
//!            End { status, stdout, stderr } ◄── dies, or leaves with status 42 ── body("x") ◄┘
//! ```
//!
//! The same line of code stands for both sides: in the child, `run` runs the body and does not return. So
//! a test has one `run` (it may be called in a loop); what comes before it happens on both sides.
#![allow(dead_code)] // each test target uses its part

pub mod aborting;
pub mod foreign;
pub mod os;

use std::env;
use std::ffi::OsString;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus};
use std::str::FromStr;

/// Says that this process is the child, and what its body is given.
const GIVEN: &str = "SUITE_CHILD_IS_GIVEN";
/// How a child exits whose body has returned; libtest itself exits with 0 or 101.
const RETURNED: i32 = 42;
/// After so many seconds a child hangs for sure, and SIGALRM ends it.
const HANGS_AFTER_S: u32 = 120;

/// Both ways to guard a stack, as the value of `RUNTIME_FAIL`: by page-table entries, by mappings.
pub const GUARDS: [&str; 2] = ["", "madv_guard"];

/// A child to be; see [`run`](Child::run).
pub struct Child {
    given: String,
    environment: Vec<(&'static str, OsString)>,
}

/// How a child has ended, and what it said.
pub struct End {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A child that is given nothing.
pub fn child() -> Child {
    Child {
        given: String::new(),
        environment: Vec::new(),
    }
}

impl Child {
    /// What the body gets for an argument.
    pub fn given(mut self, given: impl ToString) -> Self {
        self.given = given.to_string();
        self
    }

    /// One of [`GUARDS`].
    pub fn guarded(self, by: &str) -> Self {
        self.with_env("RUNTIME_FAIL", by)
    }

    pub fn with_env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs `body` in a child process. It must be a closure or function written inside the test.
    pub fn run<F: FnOnce(&str)>(self, body: F) -> End {
        if let Ok(given) = env::var(GIVEN) {
            os::limit(libc::RLIMIT_CORE, 0);
            // SAFETY: takes a number; nobody here uses SIGALRM for anything else.
            unsafe { libc::alarm(HANGS_AFTER_S) };
            body(&given);
            process::exit(RETURNED);
        }
        let output = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                test_around::<F>(),
                "--test-threads",
                "1",
                "--nocapture",
            ])
            .env(GIVEN, self.given)
            .env_remove("RUST_BACKTRACE")
            .envs(self.environment)
            .output()
            .unwrap();
        End {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The name of the test that a body is written in: `stack_faults::st1_..::{{closure}}` without its ends.
/// Were the compiler to name it otherwise, the child would find no test, and not exit with [`RETURNED`].
fn test_around<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let inside = path
        .split_once("::")
        .map_or(path, |(_target, inside)| inside);
    inside
        .rsplit_once("::")
        .map_or(inside, |(test, _body)| test)
}

impl End {
    /// The body has returned.
    #[track_caller]
    pub fn returned(&self) -> &Self {
        assert_eq!(self.status.code(), Some(RETURNED), "{self}");
        self
    }

    /// This signal has ended the child.
    #[track_caller]
    pub fn died_of(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{self}");
        self
    }

    /// The child ended by the report of the overflow of the stack of `who`, of so many KiB.
    #[track_caller]
    pub fn overflowed(&self, who: &str, stack_kib: usize) -> &Self {
        self.died_of(libc::SIGABRT);
        let start = format!("\ncoroutine '{who}' (id ");
        let Some((_, report)) = self.stderr.split_once(&start) else {
            panic!("nothing like {start:?}: {self}");
        };
        let (id, report) = report.split_once(')').unwrap();
        assert!(id.parse::<u64>().is_ok(), "{self}");
        let end = format!(" overflowed its {stack_kib} KiB stack\n");
        assert!(report.starts_with(&end), "{self}");
        self
    }

    /// The child ended by a bare SIGSEGV, and nobody called that an overflow.
    #[track_caller]
    pub fn faulted_silently(&self) -> &Self {
        self.died_of(libc::SIGSEGV).never_says("overflowed")
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "not said: {text:?}: {self}");
        self
    }

    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Self {
        assert!(!self.stderr.contains(text), "said: {text:?}: {self}");
        self
    }

    /// The number behind `name=` on standard output.
    #[track_caller]
    pub fn figure<T: FromStr>(&self, name: &str) -> T {
        let mut words = self.stdout.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let number = value.and_then(|value| value.parse().ok());
        number.unwrap_or_else(|| panic!("no figure {name}: {self}"))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [stdout, stderr] =
            [&self.stdout, &self.stderr].map(|text| &text[..text.floor_char_boundary(4_000)]);
        write!(
            f,
            "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            self.status
        )
    }
}

/// The text that `f` panics with.
#[track_caller]
pub fn panic_text<T>(f: impl FnOnce() -> T) -> String {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    text_of(&*outcome.err().expect("it should have panicked"))
}

/// The text of a panic's payload.
pub fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    })
    .unwrap_or_default()
}

/// Fills whatever stack it is called on.
#[inline(never)]
pub fn recurse(depth: u64) -> u64 {
    let mut frame = [depth; 16];
    black_box(&mut frame);
    if depth == u64::MAX {
        0
    } else {
        recurse(depth + 1) + frame[3]
    }
}

/// Touches about `bytes` of stack, in a few frames; returns the lowest address of its own.
#[inline(never)]
pub fn touch_stack(bytes: usize) -> usize {
    let mut frame = [0xa5_u8; 4096];
    black_box(&mut frame);
    if bytes <= frame.len() {
        frame.as_ptr().expose_provenance()
    } else {
        touch_stack(bytes - frame.len()) + usize::from(black_box(frame[7]) == 0)
    }
}
