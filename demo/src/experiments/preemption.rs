//! `preemption`: one unit computes without a break beside another that wants to run every 10 ms.
//!
//! ```text
//!   ticker     |    |    |    |    |    |        thread, process: the kernel takes the CPU away from the spinner
//!   spinner    ####.####.####.####.####.
//!
//!   ticker     |                        |        coroutine: the gap is as long as the spin
//!   spinner    ########################
//!
//!   ticker     |    |    |    |    |    |        coroutine that yields now and then
//!   spinner    #-#-#-#-#-#-#-#-#-#-#-#-#
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Experiment, panicked};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::excerpt::Excerpt;
use crate::figure::{Figure, Lane, Side, Timeline};
use crate::lab::Lab;
use crate::os::{self, SharedWords};
use crate::quantity::{times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Preemption;

const GAP: &str = "largest_gap";

const ALONE: &str = "ticker alone";
const PROCESS: &str = "process spins";
const THREAD: &str = "thread spins";
const COROUTINE: &str = "coroutine spins";
const YIELDING: &str = "coroutine spins, yields every 100 us";

/// How often the ticker wants to run.
const PERIOD: Duration = Duration::from_millis(10);
/// How long the yielding spinner computes between two yields.
const STRETCH: Duration = Duration::from_micros(100);

/// How long a spin lasts, and how often it is done.
fn size(effort: Effort) -> (Duration, usize) {
    match effort {
        Effort::Quick => (Duration::from_millis(60), 11),
        Effort::Standard => (Duration::from_millis(100), 11),
        Effort::Full => (Duration::from_millis(500), 31),
    }
}

/// From and to, since the beginning.
type Span = (Duration, Duration);

/// When the two ran, since the beginning.
struct Watch {
    ticks: Vec<Duration>,
    spans: Vec<Span>,
}

impl Watch {
    /// The longest time in which the ticker did not run, from the beginning to the first tick after the spin.
    fn largest_gap(&self) -> Duration {
        let before = [Duration::ZERO]
            .into_iter()
            .chain(self.ticks.iter().copied());
        let gaps = before
            .zip(&self.ticks)
            .map(|(one, &next)| next.saturating_sub(one));
        gaps.max().unwrap_or_default()
    }
}

/// Sleeps and notes the time, until a tick after the spin's end.
fn tick(begin: Instant, sleep: fn(Duration), is_over: impl Fn() -> bool) -> Vec<Duration> {
    let mut ticks = Vec::new();
    loop {
        let last = is_over();
        sleep(PERIOD);
        ticks.push(begin.elapsed());
        if last {
            return ticks;
        }
    }
}

// excerpt: spin
/// Computes for as long as it is told, letting others run after each `stretch` if there is one. Returns when it ran.
fn spin(begin: Instant, length: Duration, stretch: Option<Duration>) -> Vec<Span> {
    let mut turns = Turns::new(begin.elapsed());
    let end = turns.last + length;
    let mut next = stretch.map(|stretch| turns.last + stretch);
    while turns.last < end {
        if next.is_some_and(|next| turns.last >= next) {
            runtime::yield_now();
            next = stretch.map(|stretch| begin.elapsed() + stretch);
        }
        turns.note(begin.elapsed());
    }
    turns.all()
}
// excerpt: end

/// When a unit ran, as it sees from its own clock readings: one that comes late was read after others had run.
struct Turns {
    before: Vec<Span>,
    from: Duration,
    last: Duration,
}

impl Turns {
    /// Between two readings of somebody who runs there is less.
    const BREAK: Duration = Duration::from_micros(20);

    fn new(from: Duration) -> Turns {
        Turns {
            before: Vec::new(),
            from,
            last: from,
        }
    }

    fn note(&mut self, now: Duration) {
        if now - self.last > Self::BREAK {
            self.before.push((self.from, self.last));
            self.from = now;
        }
        self.last = now;
    }

    fn all(mut self) -> Vec<Span> {
        self.before.push((self.from, self.last));
        self.before
    }
}

fn alone(spin: Duration) -> io::Result<Watch> {
    let begin = Instant::now();
    let ticks = tick(begin, thread::sleep, || begin.elapsed() >= spin);
    Ok(Watch {
        ticks,
        spans: Vec::new(),
    })
}

/// The words of a spinning process: whether it is over, how many spans follow, and these in microseconds.
const OVER: usize = 0;
const COUNT: usize = 1;
const SPANS: usize = 2;

fn beside_a_process(length: Duration) -> io::Result<Watch> {
    let words = SharedWords::new()?;
    let begin = Instant::now();
    let spinner = os::fork(|| {
        let spans = spin(begin, length, None);
        let ends = spans.iter().flat_map(|&(from, to)| [from, to]);
        // Those that do not fit are left out: it is a picture.
        for (word, end) in words[SPANS..].iter().zip(ends) {
            word.store(end.as_micros() as u32, Ordering::Relaxed);
            words[COUNT].fetch_add(1, Ordering::Relaxed);
        }
        // Relaxed, all: what the words say is read when the process has ended.
        words[OVER].store(1, Ordering::Relaxed);
        0
    })?;
    let ticks = tick(begin, thread::sleep, || {
        words[OVER].load(Ordering::Relaxed) == 1
    });
    spinner.wait()?;
    let count = words[COUNT].load(Ordering::Relaxed) as usize;
    let ends: Vec<Duration> = words[SPANS..SPANS + count]
        .iter()
        .map(|word| Duration::from_micros(word.load(Ordering::Relaxed).into()))
        .collect();
    let spans = ends
        .chunks_exact(2)
        .map(|ends| (ends[0], ends[1]))
        .collect();
    Ok(Watch { ticks, spans })
}

fn beside_a_thread(length: Duration) -> io::Result<Watch> {
    let begin = Instant::now();
    let spinner = thread::Builder::new().spawn(move || spin(begin, length, None))?;
    let ticks = tick(begin, thread::sleep, || spinner.is_finished());
    let spans = spinner.join().map_err(panicked)?;
    Ok(Watch { ticks, spans })
}

fn beside_a_coroutine(length: Duration, stretch: Option<Duration>) -> io::Result<Watch> {
    runtime::run(|| {
        let begin = Instant::now();
        let spinner = runtime::spawn_local(move || spin(begin, length, stretch));
        let ticks = tick(begin, runtime::time::sleep, || spinner.is_finished());
        let spans = spinner.join().map_err(panicked)?;
        Ok(Watch { ticks, spans })
    })
}

/// Runs `watched` as often as the effort says; reports the largest gap of each run, and the last run as a timeline.
fn watch(
    lab: &mut Lab,
    label: &str,
    body: Body,
    watched: impl Fn(Duration) -> io::Result<Watch>,
) -> io::Result<()> {
    let (spin, count) = size(lab.effort);
    let mut samples = Vec::with_capacity(count);
    let mut last = None;
    for done in 0..count {
        lab.progress(label, done as u64, count as u64);
        let watch = watched(spin)?;
        samples.push(lab.net_ns(watch.largest_gap()));
        last = Some(watch);
    }
    lab.figures(label, GAP, &samples);
    if let Some(watch) = last {
        lab.timeline(timeline(label, body, &watch));
    }
    Ok(())
}

fn timeline(label: &str, body: Body, watch: &Watch) -> Timeline {
    let ns = |time: Duration| time.as_nanos() as u64;
    let lane = |name: &str, spans: Vec<(u64, u64)>| Lane {
        name: name.to_owned(),
        spans,
    };
    let ticks = watch.ticks.iter().map(|&tick| (ns(tick), ns(tick)));
    let spans = watch.spans.iter().map(|&(from, to)| (ns(from), ns(to)));
    Timeline {
        title: format!("{label}, a ticker every 10 ms"),
        body,
        lanes: vec![
            lane("ticker", ticks.collect()),
            lane("spinner", spans.collect()),
        ],
    }
}

impl Experiment for Preemption {
    fn name(&self) -> &'static str {
        "preemption"
    }

    fn claim(&self) -> &'static str {
        "Processes and threads are preempted; a coroutine is not: it gives up control itself."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let (spin, _) = size(effort);
        vec![format!(
            "On one CPU a ticker sleeps 10 ms at a time while another unit computes for {} without a break: the \
             longest time between two ticks. A coroutine then does the same with a yield_now every 100 us.",
            with_unit(Unit::Nanoseconds, spin.as_nanos() as f64)
        )]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![gap()]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        watch(lab, ALONE, Body::Baseline, alone)
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        let spins = |stretch| move |spin| beside_a_coroutine(spin, stretch);
        watch(lab, COROUTINE, Body::Coroutine, spins(None))?;
        watch(lab, YIELDING, Body::Coroutine, spins(Some(STRETCH)))
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        watch(lab, THREAD, Body::Thread, beside_a_thread)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        watch(lab, PROCESS, Body::Process, beside_a_process)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Gaps::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Gaps::of(findings).map_or_else(Vec::new, |gaps| answers(&gaps))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![Excerpt::of(file!(), include_str!("preemption.rs"), "spin")]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let asked = PERIOD.as_nanos() as f64;
        let ladder = Figure::ladder("Largest gap between two ticks", &gap(), findings.0);
        vec![ladder.mark(Side::X, asked, "10 ms asked for", None)]
    }
}

fn gap() -> Metric {
    let meaning = "longest time in which the ticker, which asks for a turn every 10 ms, got none";
    Metric::new(GAP, Unit::Nanoseconds, meaning)
}

/// A gap that is not as long as the whole spin is shorter by this factor at least.
const SHORTER: f64 = 1.5;

/// Medians in nanoseconds.
struct Gaps {
    process: f64,
    thread: f64,
    coroutine: f64,
    yielding: f64,
}

impl Gaps {
    fn of(findings: Findings<'_>) -> Option<Gaps> {
        let of = |label| findings.median(label, GAP);
        Some(Gaps {
            process: of(PROCESS)?,
            thread: of(THREAD)?,
            coroutine: of(COROUTINE)?,
            yielding: of(YIELDING)?,
        })
    }

    /// Whether the spinner was interrupted: without that the gap is as long as the coroutine's, which is the spin.
    /// Two thirds of it leave a busy machine room to be late.
    fn is_preempted(&self, gap: f64) -> bool {
        gap < self.coroutine / SHORTER
    }
}

fn ns(value: f64) -> String {
    with_unit(Unit::Nanoseconds, value)
}

fn verdict(gaps: &Gaps) -> Verdict {
    let preempted = [gaps.process, gaps.thread].map(|gap| gaps.is_preempted(gap));
    let outcome = match preempted {
        [true, true] => Outcome::Confirmed,
        [false, false] => Outcome::Refuted,
        _ => Outcome::Depends,
    };
    Verdict {
        outcome,
        why: format!(
            "beside a spinning process the ticker waits {} at most, beside a thread {}: the timer interrupt gives the \
             kernel the CPU back, and who has slept goes first. Beside a coroutine it waits {}, the whole spin: \
             nobody takes the thread away from it. With a yield every 100 us it waits {}.",
            ns(gaps.process),
            ns(gaps.thread),
            ns(gaps.coroutine),
            ns(gaps.yielding),
        ),
    }
}

fn answers(gaps: &Gaps) -> Vec<Answer> {
    let cell = |body, gap| {
        let is_preempted = gaps.is_preempted(gap);
        Answer::new(
            Place::Cell(Feature::Preemption, body),
            if is_preempted {
                Outcome::Confirmed
            } else {
                Outcome::Refuted
            },
            format!("gap {} of 10 ms asked", ns(gap)),
            format!(
                "the kernel {} from one that spins",
                if is_preempted {
                    "takes the CPU away"
                } else {
                    "did not take the CPU away"
                }
            ),
        )
    };
    let kernels = gaps.process.max(gaps.thread);
    let is_cooperative = gaps.coroutine >= SHORTER * gaps.yielding;
    let when = |is_so| {
        if is_so {
            Outcome::Confirmed
        } else {
            Outcome::Refuted
        }
    };
    vec![
        cell(Body::Process, gaps.process),
        cell(Body::Thread, gaps.thread),
        Answer::new(
            Place::Cell(Feature::Preemption, Body::Coroutine),
            when(gaps.coroutine >= SHORTER * kernels),
            format!("gap {}: the whole spin", ns(gaps.coroutine)),
            format!(
                "{} times a thread's gap: only a yield or a wait ends its turn",
                times(gaps.coroutine, gaps.thread)
            ),
        ),
        Answer::new(
            Place::Prose(Prose::ExplicitYield),
            when(is_cooperative),
            format!(
                "{} without, {} with yields",
                ns(gaps.coroutine),
                ns(gaps.yielding)
            ),
            "the same computation lets its neighbours run as soon as it yields every 100 us",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::report::Row;

    fn rows(thread: f64, yielding: f64) -> Vec<Row> {
        vec![
            value(PROCESS, Body::Process, GAP, 14e6),
            value(THREAD, Body::Thread, GAP, thread),
            value(COROUTINE, Body::Coroutine, GAP, 150e6),
            value(YIELDING, Body::Coroutine, GAP, yielding),
        ]
    }

    #[test]
    fn a_gap_as_long_as_the_spin_is_no_preemption() {
        let outcome = |thread| {
            Preemption
                .judge(Findings(&rows(thread, 11e6)))
                .unwrap()
                .outcome
        };
        assert_eq!(outcome(14e6), Outcome::Confirmed);
        assert_eq!(outcome(149e6), Outcome::Depends);
        assert_eq!(Preemption.judge(Findings(&rows(14e6, 11e6)[1..])), None);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let answers = assert_answers_all(&Preemption, &rows(14e6, 11e6));
        assert!(
            answers
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
        let answers = Preemption.answers(Findings(&rows(14e6, 149e6)));
        assert_eq!(answers[3].outcome, Outcome::Refuted);
    }

    #[test]
    fn the_largest_gap_is_counted_from_the_begin_of_the_spin() {
        let ms = Duration::from_millis;
        let watch = |ticks: &[u64]| Watch {
            ticks: ticks.iter().map(|&tick| ms(tick)).collect(),
            spans: Vec::new(),
        };
        assert_eq!(watch(&[50, 60, 70]).largest_gap(), ms(50));
        assert_eq!(watch(&[10, 60, 70]).largest_gap(), ms(50));
        assert_eq!(watch(&[]).largest_gap(), ms(0));
    }

    #[test]
    fn a_late_reading_of_the_clock_ends_a_turn() {
        let us = Duration::from_micros;
        let mut turns = Turns::new(us(5));
        for now in [6, 7, 90, 91] {
            turns.note(us(now));
        }
        assert_eq!(turns.all(), [(us(5), us(7)), (us(90), us(91))]);
    }

    #[test]
    fn a_coroutine_that_spins_keeps_the_ticker_waiting_for_all_of_it() {
        let spin = Duration::from_millis(30);
        let watch = beside_a_coroutine(spin, None).unwrap();
        assert!(watch.largest_gap() >= spin);
        // One when the spin is over, and one more.
        assert_eq!(watch.ticks.len(), 2);
        assert!(beside_a_coroutine(spin, Some(STRETCH)).unwrap().ticks.len() >= 2);
        assert!(!beside_a_thread(spin).unwrap().ticks.is_empty());
    }
}
