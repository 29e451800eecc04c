//! `memory_space`: who sees what another has written, and which pages are whose.
//!
//! ```text
//!                 global    thread-local   stack     pages
//!   coroutine     shared    shared         own       its process's
//!   thread        shared    own            own       its process's
//!   process       a copy    a copy         a copy    its parent's until written, then copied one by one
//! ```
//!
//! The creator sets variables to [`BEFORE`], a unit sets them to [`AFTER`], and the creator reads them again.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::gettid;
use serde::{Deserialize, Serialize};

use super::{Experiment, panicked};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::excerpt::Excerpt;
use crate::lab::Lab;
use crate::memory::Pages;
use crate::os::{self, Usage, Whose};
use crate::quantity::with_unit;
use crate::report::{Body, Effort, Findings, Layout, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct MemorySpace;

const SEEN: &str = "seen";
const SHARED: &str = "shared";
const FAULTS: &str = "faults";

const GLOBAL_ROW: &str = "a global that it sets";
const LOCAL_ROW: &str = "a thread-local that it sets";
const STACK_ROW: &str = "its stack";
const THREAD_ROW: &str = "the kernel's thread id";
const AT_FIRST: &str = "shared with other processes, at first";
const AFTER_HALF: &str = "the same, half of the array written";
const EACH_PAGE: &str = "minor faults for each page written";

const CHANGED: &str = "changed for its creator";
const KEPT: &str = "unchanged for its creator";
const OWN_STACK: &str = "own";
const COPIED_STACK: &str = "own: a copy, at the same place";
const SAME_STACK: &str = "its creator's";
const SAME_THREAD: &str = "its creator's";
const OTHER_THREAD: &str = "another";

const PAGE_BYTES: usize = 4096;

// excerpt: variables
const BEFORE: u32 = 1;
const AFTER: u32 = 2;

static GLOBAL: AtomicU32 = AtomicU32::new(BEFORE);

thread_local! {
    static LOCAL: Cell<u32> = const { Cell::new(BEFORE) };
}

/// All that a unit does: it sets the variables, and writes to each page of the first half of `array`.
fn visit(array: &mut [u8]) -> io::Result<Visit> {
    GLOBAL.store(AFTER, Ordering::Relaxed);
    LOCAL.set(AFTER);

    let at_first = Pages::own()?;
    let before = Usage::of(Whose::Thread);
    let half = array.len() / 2;
    array[..half]
        .iter_mut()
        .step_by(PAGE_BYTES)
        .for_each(|byte| *byte += 1);
    let faults = Usage::of(Whose::Thread).since(before).minor_faults;
    // excerpt: end
    Ok(Visit {
        thread: gettid().as_raw_nonzero().get(),
        stack: stack_address(),
        shared_at_first: at_first.shared,
        shared_after: Pages::own()?.shared,
        faults,
    })
}

/// What a unit tells its creator.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Visit {
    /// The kernel's id of the thread that it ran on.
    thread: i32,
    /// Where one of its local variables was.
    stack: usize,
    shared_at_first: u64,
    shared_after: u64,
    /// Minor faults while it wrote.
    faults: u64,
}

#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    black_box(&raw const here).addr()
}

fn array_bytes(effort: Effort) -> usize {
    match effort {
        Effort::Quick => 8 << 20,
        Effort::Standard => 16 << 20,
        Effort::Full => 64 << 20,
    }
}

/// Lets `visited` make units that each visit an array of the creator's, and reports what has become of its variables.
fn compare(
    lab: &mut Lab,
    mut visited: impl FnMut(&mut [u8]) -> io::Result<Visit>,
) -> io::Result<()> {
    // A huge page would be copied as one.
    rustix::thread::disable_transparent_huge_pages(true)?;
    let mut array = vec![1u8; array_bytes(lab.effort)];
    let pages_written = (array.len() / 2).div_ceil(PAGE_BYTES) as f64;
    let samples = lab.plan().samples;
    let [mut shared, mut shared_after, mut faults] = [(); 3].map(|()| Vec::new());
    let mut words = None;
    for done in 0..samples {
        lab.progress("visits", done as u64, samples as u64);
        array.fill(1);
        GLOBAL.store(BEFORE, Ordering::Relaxed);
        LOCAL.set(BEFORE);
        let visit = visited(&mut array)?;
        shared.push(visit.shared_at_first as f64);
        shared_after.push(visit.shared_after as f64);
        faults.push(visit.faults as f64 / pages_written);
        let now = seen(&visit);
        if *words.get_or_insert(now) != now {
            return Err(io::Error::other("two visits had different consequences"));
        }
    }
    for (label, text) in [GLOBAL_ROW, LOCAL_ROW, STACK_ROW, THREAD_ROW]
        .into_iter()
        .zip(words.unwrap_or_default())
    {
        lab.words(label, SEEN, text);
    }
    lab.figures(AT_FIRST, SHARED, &shared);
    lab.figures(AFTER_HALF, SHARED, &shared_after);
    lab.figures(EACH_PAGE, FAULTS, &faults);
    Ok(())
}

/// What the creator finds of a visit: global, thread-local, stack, thread.
fn seen(visit: &Visit) -> [&'static str; 4] {
    let after = |is_changed| if is_changed { CHANGED } else { KEPT };
    let global = GLOBAL.load(Ordering::Relaxed) == AFTER;
    // Less than any stack has, and more than the frames between the two calls take.
    const NEAR: usize = 16 << 10;
    let is_near = visit.stack.abs_diff(stack_address()) < NEAR;
    let stack = match (is_near, global) {
        (false, _) => OWN_STACK,
        (true, false) => COPIED_STACK,
        (true, true) => SAME_STACK,
    };
    let is_same = visit.thread == gettid().as_raw_nonzero().get();
    let thread = if is_same { SAME_THREAD } else { OTHER_THREAD };
    [after(global), after(LOCAL.get() == AFTER), stack, thread]
}

fn in_a_process(array: &mut [u8]) -> io::Result<Visit> {
    let (answer, told) = io::pipe()?;
    let child = os::fork(move || match visit(array) {
        Ok(visit) => serde_json::to_writer(told, &visit).is_err().into(),
        Err(_) => 1,
    })?;
    let visit = serde_json::from_reader(answer);
    child.wait()?;
    Ok(visit?)
}

impl Experiment for MemorySpace {
    fn name(&self) -> &'static str {
        "memory-space"
    }

    fn claim(&self) -> &'static str {
        "A process has a memory space of its own; a thread shares its process's; a coroutine shares it too, in the \
         same thread."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        vec![
            "A unit sets a global and a thread-local that its creator has set before, ends, and the creator reads \
             them again. The stack is told by the address of a local variable."
                .to_owned(),
            format!(
                "The creator has written to an array of {}; the unit writes one byte to each page of half of it. \
                 Meanwhile getrusage counts minor faults; /proc/self/smaps_rollup tells what other processes map \
                 too, pages of program files included.",
                with_unit(Unit::Bytes, array_bytes(effort) as f64).replace(".00", "")
            ),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(
                SEEN,
                Unit::Words,
                "what its creator finds when it has ended",
            ),
            Metric::new(
                SHARED,
                Unit::Bytes,
                "its pages that another process maps too",
            ),
            Metric::new(
                FAULTS,
                Unit::Count,
                "page faults while it writes, for each page",
            ),
        ]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        runtime::run(|| {
            compare(lab, |array| {
                let visit = || visit(array);
                runtime::scope(|scope| scope.spawn(visit).join()).map_err(panicked)?
            })
        })
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        compare(lab, |array| {
            let visit = || visit(array);
            thread::scope(|scope| scope.spawn(visit).join()).map_err(panicked)?
        })
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        compare(lab, in_a_process)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Spaces::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Spaces::of(findings).map_or_else(Vec::new, |spaces| answers(&spaces))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![Excerpt::of(
            file!(),
            include_str!("memory_space.rs"),
            "variables",
        )]
    }

    fn layout(&self) -> Layout {
        Layout::Matrix
    }
}

/// What was found of the three.
struct Spaces {
    coroutine: Space,
    thread: Space,
    process: Space,
}

/// What was found of one kind of unit.
struct Space {
    shares_globals: bool,
    shares_locals: bool,
    has_a_stack: bool,
    shares_its_thread: bool,
    shared_at_first: f64,
    shared_after: f64,
    faults: f64,
}

impl Spaces {
    fn of(findings: Findings<'_>) -> Option<Spaces> {
        let space = |body| {
            let is = |row, words| Some(findings.words(row, body, SEEN)? == words);
            Some(Space {
                shares_globals: is(GLOBAL_ROW, CHANGED)?,
                shares_locals: is(LOCAL_ROW, CHANGED)?,
                has_a_stack: !is(STACK_ROW, SAME_STACK)?,
                shares_its_thread: is(THREAD_ROW, SAME_THREAD)?,
                shared_at_first: findings.of(AT_FIRST, body, SHARED)?,
                shared_after: findings.of(AFTER_HALF, body, SHARED)?,
                faults: findings.of(EACH_PAGE, body, FAULTS)?,
            })
        };
        Some(Spaces {
            coroutine: space(Body::Coroutine)?,
            thread: space(Body::Thread)?,
            process: space(Body::Process)?,
        })
    }
}

impl Space {
    /// Each page that is written is copied first; a stray fault here and there is none of that.
    fn is_copied_on_write(&self) -> bool {
        self.faults >= 0.5
    }
}

fn when(is_so: bool) -> Outcome {
    if is_so {
        Outcome::Confirmed
    } else {
        Outcome::Refuted
    }
}

fn verdict(spaces: &Spaces) -> Verdict {
    let Spaces {
        coroutine,
        thread,
        process,
    } = spaces;
    let bytes = |value| with_unit(Unit::Bytes, value);
    let tell = |space: &Space| {
        if space.shares_globals {
            "the new value"
        } else {
            "the old value"
        }
    };
    let outcome = when(
        !process.shares_globals
            && thread.shares_globals
            && coroutine.shares_globals
            && coroutine.shares_its_thread
            && !thread.shares_its_thread,
    );
    Verdict {
        outcome,
        why: format!(
            "after a coroutine has set a global its creator reads {}, after a thread {}, after a forked process {}. \
             A process's own memory begins as its parent's: the kernel copies page tables only, {} stay shared at \
             first, and each page is copied when it is first written: {:.2} minor faults a page (a thread: {:.2}), \
             after which {} are still shared.",
            tell(coroutine),
            tell(thread),
            tell(process),
            bytes(process.shared_at_first),
            process.faults,
            thread.faults,
            bytes(process.shared_after),
        ),
    }
}

fn answers(spaces: &Spaces) -> Vec<Answer> {
    let Spaces {
        coroutine,
        thread,
        process,
    } = spaces;
    let cell = |body, outcome, value, why| {
        Answer::new(Place::Cell(Feature::MemorySpace, body), outcome, value, why)
    };
    let reads = |space: &Space| {
        if space.shares_globals {
            "its creator reads"
        } else {
            "its creator does not read"
        }
    };
    vec![
        cell(
            Body::Process,
            when(!process.shares_globals && process.is_copied_on_write()),
            format!("a copy; {:.2} faults a page written", process.faults),
            format!(
                "{} what it writes; but until then the pages are its parent's too, copied one by one by a fault",
                reads(process)
            ),
        ),
        cell(
            Body::Thread,
            when(thread.shares_globals && !thread.is_copied_on_write()),
            "one global for all; no page copied".to_owned(),
            format!(
                "{} what it writes, and no page is copied for it",
                reads(thread)
            ),
        ),
        cell(
            Body::Coroutine,
            when(coroutine.shares_globals && coroutine.shares_its_thread),
            "one global, one kernel thread for all".to_owned(),
            format!(
                "{} what it writes, thread-locals too: it runs on the same kernel thread",
                reads(coroutine)
            ),
        ),
        Answer::new(
            Place::Prose(Prose::ThreadOwns),
            when(thread.has_a_stack && !thread.shares_locals),
            "own stack, own thread-locals",
            format!(
                "a thread-local that a thread sets is unchanged in its creator. A coroutine has a stack of its own \
                 as well{}",
                if coroutine.shares_locals {
                    ", but shares the thread-locals of its thread"
                } else {
                    ""
                }
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value, words};
    use crate::lab::Event;
    use crate::lab::tests::Tape;
    use crate::report::Row;

    /// Rows of a machine where everything is as the text says, but for what a process's global shows.
    fn rows(of_process: &'static str) -> Vec<Row> {
        let of = |body, [global, local, stack, thread]: [&str; 4], faults| {
            [
                words(GLOBAL_ROW, body, SEEN, global),
                words(LOCAL_ROW, body, SEEN, local),
                words(STACK_ROW, body, SEEN, stack),
                words(THREAD_ROW, body, SEEN, thread),
                value(AT_FIRST, body, SHARED, 66e6),
                value(AFTER_HALF, body, SHARED, 33e6),
                value(EACH_PAGE, body, FAULTS, faults),
            ]
        };
        [
            of(
                Body::Coroutine,
                [CHANGED, CHANGED, OWN_STACK, SAME_THREAD],
                0.0,
            ),
            of(Body::Thread, [CHANGED, KEPT, OWN_STACK, OTHER_THREAD], 0.0),
            of(
                Body::Process,
                [of_process, KEPT, COPIED_STACK, OTHER_THREAD],
                1.0,
            ),
        ]
        .concat()
    }

    #[test]
    fn a_process_whose_writes_are_seen_refutes() {
        let outcome = |rows: &[Row]| {
            MemorySpace
                .judge(Findings(rows))
                .map(|verdict| verdict.outcome)
        };
        assert_eq!(outcome(&rows(KEPT)), Some(Outcome::Confirmed));
        assert_eq!(outcome(&rows(CHANGED)), Some(Outcome::Refuted));
        assert_eq!(outcome(&rows(KEPT)[..20]), None);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let answers = assert_answers_all(&MemorySpace, &rows(KEPT));
        assert!(
            answers
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
        let answers = MemorySpace.answers(Findings(&rows(CHANGED)));
        assert_eq!(answers[0].outcome, Outcome::Refuted);
    }

    #[test]
    fn coroutines_and_threads_share_what_is_global() {
        // One after the other: both set the same global.
        for (body, seen) in [
            (Body::Coroutine, [CHANGED, CHANGED, OWN_STACK, SAME_THREAD]),
            (Body::Thread, [CHANGED, KEPT, OWN_STACK, OTHER_THREAD]),
        ] {
            let tape = Tape::default();
            tape.lab(body).run(&MemorySpace);
            let events = tape.events();
            let found: Vec<&str> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Row(row) => row.words.get(SEEN).map(String::as_str),
                    _ => None,
                })
                .collect();
            assert_eq!(found, seen, "{events:?}");
        }
        // A process needs a helper with one thread: tests/cli.rs runs it.
    }
}
