//! `scalability`: how many parked units there can be, what each takes, and what stops them.
//!
//! ```text
//!              own pages            kernel                      cap here    a system limit
//!   coroutine  stack page, tables   nothing                    1,000,000    memory
//!   thread     stack pages, tables  16 KiB stack, task            30,000    max_map_count, pid_max, ...
//!   process    copied pages, tables stack, task, memory map       10,000    pid_max, RLIMIT_NPROC, ...
//! ```
//!
//! [`climb`] grows the population; [`crate::crowd`] makes, parks and releases its units.
#![forbid(unsafe_code)]

use std::io;

use super::Experiment;
use crate::climb::{ALL, Goal, OWN, TIME, climb};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::crowd::{Coroutines, Processes, Threads};
use crate::excerpt::Excerpt;
use crate::figure::{Axis, Figure, Over, Side};
use crate::lab::Lab;
use crate::limits;
use crate::quantity::{grouped, times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Scalability;

/// The numbers of units at which a row is made. The last one is the cap: processes are held to 10,000 and
/// threads to 30,000, so that the machine has some left for others.
fn goal(body: Body, effort: Effort) -> Goal {
    const KIB: u64 = 1024;
    let rungs: &[u64] = match (body, effort) {
        (Body::Baseline, _) => &[],
        (Body::Coroutine, Effort::Quick) => &[10, 100, 1_000, 10_000, 100_000],
        (Body::Coroutine, _) => &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        (_, Effort::Quick) => &[10, 100, 1_000],
        (Body::Thread, _) => &[10, 100, 1_000, 10_000, 30_000],
        (Body::Process, _) => &[10, 100, 1_000, 10_000],
    };
    let unit_bytes = match body {
        Body::Baseline | Body::Coroutine => 8 * KIB,
        Body::Thread => 64 * KIB,
        Body::Process => 256 * KIB,
    };
    Goal {
        body,
        rungs,
        unit_bytes,
    }
}

impl Experiment for Scalability {
    fn name(&self) -> &'static str {
        "scalability"
    }

    fn claim(&self) -> &'static str {
        "Processes scale worst, threads better, coroutines to thousands and more, since each takes very little \
         memory."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let largest = |body| {
            goal(body, effort)
                .rungs
                .last()
                .copied()
                .map_or_else(String::new, grouped)
        };
        vec![
            format!(
                "A population of parked units grows to {} coroutines (one worker), {} threads, {} processes, or \
                 until the system refuses or an eighth of the memory is left.",
                largest(Body::Coroutine),
                largest(Body::Thread),
                largest(Body::Process),
            ),
            "A row shows what each unit took since the row above; ten steps between two rows are the \
             samples. Nothing is released in between, so every unit is new."
                .to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![time(), own_memory(), with_kernel()]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        runtime::run(|| {
            let mut coroutines = Coroutines::default();
            climb(lab, &goal(Body::Coroutine, lab.effort), &mut coroutines)?;
            coroutines.release()
        })
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        let mut threads = Threads::default();
        let climbed = climb(lab, &goal(Body::Thread, lab.effort), &mut threads);
        threads.release()?;
        climbed
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        let mut processes = Processes::new()?;
        climb(lab, &goal(Body::Process, lab.effort), &mut processes)?;
        processes.release()
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let (coroutine, thread, process) = scales(findings)?;
        Some(verdict(&coroutine, &thread, &process))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        scales(findings).map_or_else(Vec::new, |(coroutine, thread, process)| {
            answers(&coroutine, &thread, &process)
        })
    }

    fn code(&self) -> Vec<Excerpt> {
        let source = include_str!("../crowd.rs");
        vec![
            Excerpt::of("demo/src/crowd.rs", source, "coroutines"),
            Excerpt::of("demo/src/crowd.rs", source, "processes"),
        ]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let figure = |title: &str, metric: Metric| {
            let axis = Axis::log("units alive", Unit::Count);
            Figure::lines(title, axis, Over::Units, &metric, findings.0)
        };
        let figures = [
            figure("Time to create one and park it", time()),
            figure("Memory of one, the kernel's share included", with_kernel()),
        ];
        let ceilings: Vec<(Body, Scale)> = [Body::Coroutine, Body::Thread, Body::Process]
            .into_iter()
            .filter_map(|body| Some((body, scale(findings, body)?)))
            .collect();
        let marked = |figure: Figure| {
            let mark = |figure: Figure, (body, scale): &(Body, Scale)| {
                figure.mark(Side::X, scale.ceiling as f64, scale.limit, Some(*body))
            };
            ceilings.iter().fold(figure, mark)
        };
        figures.into_iter().map(marked).collect()
    }
}

fn time() -> Metric {
    let meaning = "from the call that creates a unit until it is parked";
    Metric::new(TIME, Unit::Nanoseconds, meaning)
}

fn own_memory() -> Metric {
    let meaning = "its own pages and page tables (of a process, those it does not share)";
    Metric::new(OWN, Unit::Bytes, meaning)
}

fn with_kernel() -> Metric {
    let meaning =
        "by how much the system's available memory fell for each, the kernel's share included";
    Metric::new(ALL, Unit::Bytes, meaning)
}

/// Coroutine, thread, process.
fn scales(findings: Findings<'_>) -> Option<(Scale, Scale, Scale)> {
    let of = |body| scale(findings, body);
    Some((of(Body::Coroutine)?, of(Body::Thread)?, of(Body::Process)?))
}

fn scale(findings: Findings<'_>, body: Body) -> Option<Scale> {
    let (units, own) = findings.largest(body, OWN)?;
    // The system's figure is rough: others may have given memory back meanwhile.
    let bytes = findings
        .largest(body, ALL)
        .map_or(own, |(_, all)| all.max(own));
    let (ceiling, limit) = limits::ceiling(body, bytes);
    Some(Scale {
        units,
        bytes,
        ceiling,
        limit,
    })
}

/// How far one kind of unit scales.
struct Scale {
    /// Units that were alive at once.
    units: u64,
    /// What each took of the system's memory.
    bytes: f64,
    /// How many this machine could hold.
    ceiling: u64,
    /// What that bound is called.
    limit: &'static str,
}

// "Thousands and more" where the others stop: an order of magnitude more of them fit. A process takes more memory
// than a thread if it does so by more than two runs differ.
const THOUSANDS: u64 = 10_000;
const CLASS: u64 = 10;
const MORE: f64 = 1.5;

/// The three cells of the table, and the two sentences on memory and number.
fn answers(coroutine: &Scale, thread: &Scale, process: &Scale) -> Vec<Answer> {
    let bytes = |scale: &Scale| with_unit(Unit::Bytes, scale.bytes);
    let value =
        |scale: &Scale| format!("{} each; room for {}", bytes(scale), rounded(scale.ceiling));
    let bound = |scale: &Scale| format!("{} bounds them here", scale.limit);
    let when = |is_so, otherwise| if is_so { Outcome::Confirmed } else { otherwise };
    let cell = |body, outcome, scale: &Scale, why: String| {
        let place = Place::Cell(Feature::Scalability, body);
        Answer::new(place, outcome, value(scale), why)
    };
    let fewest = process.ceiling <= thread.ceiling;
    let most = coroutine.ceiling >= CLASS * thread.ceiling.max(process.ceiling);
    vec![
        cell(
            Body::Process,
            when(fewest, Outcome::Depends),
            process,
            format!(
                "{}, and each takes {} times a thread's memory; by number they {}",
                bound(process),
                times(process.bytes, thread.bytes),
                if fewest {
                    "come last"
                } else {
                    "do not come last: a limit on each process stops its threads sooner"
                }
            ),
        ),
        cell(
            Body::Thread,
            when(thread.ceiling < coroutine.ceiling, Outcome::Refuted),
            thread,
            format!("{}, long before memory does", bound(thread)),
        ),
        cell(
            Body::Coroutine,
            when(coroutine.units >= THOUSANDS && most, Outcome::Depends),
            coroutine,
            format!(
                "{} were alive at once; {}",
                grouped(coroutine.units),
                bound(coroutine)
            ),
        ),
        Answer::new(
            Place::Prose(Prose::LittleMemory),
            // A closure and a counter would fit into 100 bytes: "very little" is what a page is beside a thread.
            Outcome::Depends,
            format!(
                "{}; a thread {} times",
                bytes(coroutine),
                times(thread.bytes, coroutine.bytes)
            ),
            "little beside a thread or a process; but a stackful coroutine keeps at least a page of stack and its \
             page tables, where a stackless one keeps its variables only",
        ),
        Answer::new(
            Place::Prose(Prose::Thousands),
            when(coroutine.units >= THOUSANDS, Outcome::Refuted),
            format!("{} alive at once", grouped(coroutine.units)),
            format!(
                "{}: room for about {}",
                bound(coroutine),
                rounded(coroutine.ceiling)
            ),
        ),
    ]
}

fn verdict(coroutine: &Scale, thread: &Scale, process: &Scale) -> Verdict {
    let fits_more = coroutine.ceiling >= CLASS * thread.ceiling.max(process.ceiling);
    let is_worst_by_memory = process.bytes >= MORE * thread.bytes;
    let is_worst_by_number = process.ceiling <= thread.ceiling;
    let is_worst = is_worst_by_memory && is_worst_by_number;
    let outcome = match (coroutine.units >= THOUSANDS, fits_more && is_worst) {
        (true, true) => Outcome::Confirmed,
        (true, false) => Outcome::Depends,
        (false, _) => Outcome::Refuted,
    };
    let order = if is_worst_by_number {
        "Processes come last by number too."
    } else {
        "By number processes do not come last here: a limit on each process stops its threads sooner."
    };
    let tell = |name: &str, scale: &Scale| {
        format!(
            "{} {name} were alive at once and took {} each; this machine holds about {} (bound by {})",
            grouped(scale.units),
            with_unit(Unit::Bytes, scale.bytes),
            rounded(scale.ceiling),
            scale.limit
        )
    };
    Verdict {
        outcome,
        why: format!(
            "{}. {}. {}. Very little memory is relative: a parked stackful coroutine keeps a page of stack; a \
             thread takes {} times as much, a process {} times. {order}",
            tell("coroutines", coroutine),
            tell("threads", thread),
            tell("processes", process),
            times(thread.bytes, coroutine.bytes),
            times(process.bytes, coroutine.bytes),
        ),
    }
}

/// Two significant figures: a ceiling is an estimate.
fn rounded(value: u64) -> String {
    let step = 10u64.pow(value.max(1).ilog10().saturating_sub(1));
    grouped(value / step * step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::report::Row;

    fn scale(units: u64, bytes: f64, ceiling: u64) -> Scale {
        Scale {
            units,
            bytes,
            ceiling,
            limit: "x",
        }
    }

    fn judged(coroutines: u64, ceiling: u64, processes: u64) -> Verdict {
        let thread = scale(16_000, 30_000.0, 32_000);
        let process = scale(10_000, 90_000.0, processes);
        verdict(&scale(coroutines, 4_300.0, ceiling), &thread, &process)
    }

    #[test]
    fn thousands_and_ten_times_as_many_as_the_kernel_allows_confirm() {
        assert_eq!(
            judged(1_000_000, 5_000_000, 32_000).outcome,
            Outcome::Confirmed
        );
        assert_eq!(judged(100_000, 100_000, 32_000).outcome, Outcome::Depends);
        assert_eq!(judged(500, 500, 32_000).outcome, Outcome::Refuted);
    }

    #[test]
    fn more_processes_than_threads_make_it_depend_and_are_told() {
        let verdict = judged(1_000_000, 5_000_000, 64_000);
        assert_eq!(verdict.outcome, Outcome::Depends);
        assert!(verdict.why.contains("do not come last"), "{}", verdict.why);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let row = |body, units, bytes| Row {
            units: Some(units),
            ..value("", body, OWN, bytes)
        };
        let rows = [
            row(Body::Coroutine, 100_000, 4_300.0),
            row(Body::Thread, 1_000, 30_000.0),
            row(Body::Process, 1_000, 90_000.0),
        ];
        assert_answers_all(&Scalability, &rows);
    }

    #[test]
    fn what_bounds_them_decides_each_cell() {
        let thread = scale(16_000, 30_000.0, 32_000);
        let process = scale(10_000, 90_000.0, 64_000);
        let coroutine = scale(1_000_000, 4_300.0, 5_000_000);
        let answers = answers(&coroutine, &thread, &process);
        assert_eq!(answers.len(), 5);
        assert_eq!(answers[0].outcome, Outcome::Depends);
        assert_eq!(answers[1].value, "29.3 KiB each; room for 32,000");
    }

    #[test]
    fn an_estimate_has_two_figures() {
        assert_eq!(rounded(5_678_901), "5,600,000");
        assert_eq!(rounded(32_765), "32,000");
        assert_eq!(rounded(7), "7");
        assert_eq!(rounded(0), "0");
    }

    #[test]
    fn no_population_is_larger_than_its_cap() {
        for effort in [Effort::Quick, Effort::Standard, Effort::Full] {
            let largest = |body| *goal(body, effort).rungs.last().unwrap();
            assert!(largest(Body::Process) <= 10_000 && largest(Body::Thread) <= 30_000);
            assert!(largest(Body::Coroutine) <= 1_000_000);
        }
    }
}
