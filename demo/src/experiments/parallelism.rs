//! `parallelism`: one job that only computes, cut into parts; who gets it done faster than one after the other?
//!
//! ```text
//!   one after the other      |--A--|--B--|           one CPU
//!   coroutines, one worker   |--A--|--B--|           one CPU: they take turns on one thread
//!   threads, processes       |--A--|                 a CPU each
//!                            |--B--|
//!   coroutines, n workers    |--A--|                 n threads, each with its coroutines
//!                            |--B--|
//! ```
//!
//! A busy machine may have no second CPU to spare while it is timed. So two units also pass a turn to and fro by a
//! variable, without letting go of their CPU: only who runs at the same instant can do that often.
//!
//! Whoever is parallel pays for it in the next rows: two threads that add to one total lose additions.
#![forbid(unsafe_code)]

use std::hint::{black_box, spin_loop};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use runtime::Runtime;

use super::{Experiment, panicked};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::excerpt::Excerpt;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::os::{self, SharedWords};
use crate::quantity::{grouped, with_unit};
use crate::race;
use crate::report::{Body, Effort, Findings, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct Parallelism;

const TIME: &str = "time";
const SPEED_UP: &str = "speed_up";
const TOGETHER: &str = "at_once";
const LOST: &str = "lost";

const SEQUENTIAL: &str = "one after the other";
const ONE_WORKER: &str = "coroutines, one worker";
const WORKERS: &str = "coroutines, a worker for each CPU";
const THREADS: &str = "threads";
const PROCESSES: &str = "processes";
const UNLOCKED: &str = "two threads add to one total, no lock";
const LOCKED: &str = "two threads add to one total, a mutex";

/// More parts would not tell more.
const PARTS_MAX: usize = 8;

/// A job of several equal parts.
#[derive(Clone, Copy)]
struct Job {
    parts: usize,
    rounds: u64,
}

impl Job {
    /// A part for each CPU, two at least, so large that they take `whole` one after the other.
    fn taking(whole: Duration, cpus: usize) -> io::Result<Job> {
        const TRIAL: u64 = 100_000;
        let trial = Job {
            parts: 1,
            rounds: TRIAL,
        };
        let fastest = (0..5)
            .map(|_| timed(|| trial.one_after_the_other()))
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .min()
            .unwrap_or_default();
        let parts = cpus.clamp(2, PARTS_MAX);
        let each = whole.as_secs_f64() / parts as f64 / fastest.as_secs_f64().max(1e-9);
        Ok(Job {
            parts,
            rounds: (each * TRIAL as f64) as u64,
        })
    }

    /// One part: numbers that depend on each other, in registers, so that only a CPU can make it faster.
    fn part(self) {
        let step = |number: u64, _| {
            let number = number ^ (number << 13);
            let number = number ^ (number >> 7);
            number ^ (number << 17)
        };
        black_box((0..self.rounds).fold(black_box(88_172_645_463_325_252), step));
    }

    fn one_after_the_other(self) -> io::Result<()> {
        (0..self.parts).for_each(|_| self.part());
        Ok(())
    }

    // excerpt: bodies
    fn in_coroutines(self, runtime: &Runtime) -> io::Result<()> {
        runtime.run(|| {
            let parts: Vec<_> = (0..self.parts)
                .map(|_| runtime::spawn(move || self.part()))
                .collect();
            parts
                .into_iter()
                .try_for_each(|part| part.join().map_err(panicked))
        })
    }

    fn in_threads(self) -> io::Result<()> {
        let part = |_| thread::Builder::new().spawn(move || self.part());
        let parts = (0..self.parts).map(part).collect::<io::Result<Vec<_>>>()?;
        parts
            .into_iter()
            .try_for_each(|part| part.join().map_err(panicked))
    }
    // excerpt: end

    fn in_processes(self) -> io::Result<()> {
        let part = |_| {
            os::fork(move || {
                self.part();
                0
            })
        };
        let parts = (0..self.parts).map(part).collect::<io::Result<Vec<_>>>()?;
        parts.into_iter().try_for_each(os::Child::wait)
    }
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Two units that pass a turn to and fro for a while: a word says whose it is, another how often it was passed.
#[derive(Clone)]
struct Meeting {
    words: Arc<SharedWords>,
    end: Instant,
}

const TURN: usize = 0;
const PASSED: usize = 1;

impl Meeting {
    fn new(length: Duration) -> io::Result<Meeting> {
        Ok(Meeting {
            words: Arc::new(SharedWords::new()?),
            end: Instant::now() + length,
        })
    }

    // excerpt: meeting
    /// What unit `me` of 0 and 1 does: it waits for its turn with its CPU in hand, and passes it.
    fn attend(&self, me: u32) {
        while Instant::now() < self.end {
            // Relaxed, all: nothing but the turn is handed over.
            if self.words[TURN].load(Ordering::Relaxed) == me {
                self.words[PASSED].fetch_add(1, Ordering::Relaxed);
                self.words[TURN].store(1 - me, Ordering::Relaxed);
            }
            spin_loop();
        }
    }
    // excerpt: end

    fn passed(&self) -> f64 {
        f64::from(self.words[PASSED].load(Ordering::Relaxed))
    }
}

fn coroutines_meet(runtime: &Runtime, length: Duration) -> io::Result<f64> {
    runtime.run(|| {
        let meeting = Meeting::new(length)?;
        let unit = |me| {
            let meeting = meeting.clone();
            runtime::spawn(move || meeting.attend(me))
        };
        let both = [unit(0), unit(1)];
        both.into_iter()
            .try_for_each(|one| one.join().map_err(panicked))?;
        Ok(meeting.passed())
    })
}

fn threads_meet(length: Duration) -> io::Result<f64> {
    let meeting = Meeting::new(length)?;
    let other = meeting.clone();
    let second = thread::Builder::new().spawn(move || other.attend(1))?;
    meeting.attend(0);
    second.join().map_err(panicked)?;
    Ok(meeting.passed())
}

fn processes_meet(length: Duration) -> io::Result<f64> {
    let meeting = Meeting::new(length)?;
    let second = os::fork(|| {
        meeting.attend(1);
        0
    })?;
    meeting.attend(0);
    second.wait()?;
    Ok(meeting.passed())
}

/// How long the whole job takes one after the other.
fn whole(effort: Effort) -> Duration {
    match effort {
        Effort::Quick => Duration::from_millis(12),
        Effort::Standard => Duration::from_millis(50),
        Effort::Full => Duration::from_millis(400),
    }
}

/// Has the job done one after the other and by `run`, in turns, so that whatever else the machine does slows both;
/// then lets two units `meet`.
fn race_against_one(
    lab: &mut Lab,
    label: &str,
    body: Body,
    run: impl Fn(Job) -> io::Result<()>,
    meet: impl Fn(Duration) -> io::Result<f64>,
) -> io::Result<()> {
    const SAMPLES: usize = 11;
    const MEETING: Duration = Duration::from_millis(10);
    lab.unpin();
    let job = Job::taking(whole(lab.effort), lab.cpus().len())?;
    run(job)?;
    let [mut times, mut speed_ups, mut at_once] = [(); 3].map(|()| Vec::new());
    for done in 0..SAMPLES {
        lab.progress(label, done as u64, SAMPLES as u64);
        let alone = timed(|| job.one_after_the_other())?;
        let together = timed(|| run(job))?;
        times.push(lab.net_ns(together));
        speed_ups.push(alone.as_secs_f64() / together.as_secs_f64().max(1e-9));
        at_once.push(meet(MEETING)?);
    }
    let mut row = Row::new(label, body);
    for (metric, samples) in [(TIME, times), (SPEED_UP, speed_ups), (TOGETHER, at_once)] {
        row.values
            .extend(Summary::of(&samples).map(|summary| (metric.to_owned(), summary)));
    }
    lab.row(row);
    Ok(())
}

impl Experiment for Parallelism {
    fn name(&self) -> &'static str {
        "parallelism"
    }

    fn claim(&self) -> &'static str {
        "Threads run in parallel on several cores, and need synchronisation; coroutines of one thread do not."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        vec![
            format!(
                "A job that only computes ({} on one CPU) is cut into a part for each CPU, two at least and {PARTS_MAX} \
                 at most, and done one after the other and together in turns, on every CPU that the demo may use.",
                with_unit(Unit::Nanoseconds, whole(effort).as_nanos() as f64)
            ),
            "At once: how often two of a kind pass a turn to and fro by a variable in 10 ms, neither giving up its CPU. Who \
             shares a CPU is changed a few times in that time, if at all."
                .to_owned(),
            "Two threads then add to one total for 20 ms, each by a load and a store.".to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(TIME, Unit::Nanoseconds, "time for the whole job"),
            speed_up(),
            Metric::new(
                TOGETHER,
                Unit::Count,
                "turns passed to and fro by two that both ran",
            ),
            Metric::new(LOST, Unit::Count, "additions lost, of a million"),
        ]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        // One unit has nobody to meet.
        race_against_one(
            lab,
            SEQUENTIAL,
            Body::Baseline,
            Job::one_after_the_other,
            |_| Ok(0.0),
        )
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        let workers = lab.cpus().len().clamp(1, PARTS_MAX);
        for (label, workers) in [(ONE_WORKER, 1), (WORKERS, workers)] {
            // Before the runtime: its threads have the CPUs of the one that starts them.
            lab.unpin();
            let runtime = runtime::Builder::new().workers(workers).build()?;
            let job = |job: Job| job.in_coroutines(&runtime);
            race_against_one(lab, label, Body::Coroutine, job, |length| {
                coroutines_meet(&runtime, length)
            })?;
        }
        Ok(())
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        race_against_one(lab, THREADS, Body::Thread, Job::in_threads, threads_meet)?;
        let totals: [(&str, race::Lost); 2] = [
            (UNLOCKED, race::threads_without_a_lock),
            (LOCKED, race::threads_with_a_mutex),
        ];
        for (label, add) in totals {
            let samples = (0..11).map(|_| add()).collect::<io::Result<Vec<_>>>()?;
            lab.figures(label, LOST, &samples);
        }
        Ok(())
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        race_against_one(
            lab,
            PROCESSES,
            Body::Process,
            Job::in_processes,
            processes_meet,
        )
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        Some(verdict(&Gains::of(findings)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        Gains::of(findings).map_or_else(Vec::new, |gains| answers(&gains))
    }

    fn code(&self) -> Vec<Excerpt> {
        vec![
            Excerpt::of(file!(), include_str!("parallelism.rs"), "bodies"),
            Excerpt::of(file!(), include_str!("parallelism.rs"), "meeting"),
            Excerpt::of("demo/src/race.rs", include_str!("../race.rs"), "race"),
        ]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        vec![
            Figure::ladder(
                "How much faster than one after the other",
                &speed_up(),
                findings.0,
            )
            .linear(),
        ]
    }
}

fn speed_up() -> Metric {
    let meaning = "time one after the other, by the time together";
    Metric::new(SPEED_UP, Unit::Count, meaning)
}

/// What each gained.
struct Gains {
    one_worker: Gain,
    workers: Gain,
    threads: Gain,
    processes: Gain,
    /// Additions lost of a million, without a lock and with one.
    unlocked: f64,
    locked: f64,
    /// Whether there was more than one CPU to be had.
    has_several: bool,
}

#[derive(Clone, Copy)]
struct Gain {
    speed_up: f64,
    /// Turns passed at best: a machine that others use has its moments.
    at_once: f64,
}

impl Gain {
    /// On one CPU a turn takes until the kernel interrupts who waits for it, on two a fraction of a microsecond.
    fn is_parallel(self) -> bool {
        self.at_once >= 100.0
    }
}

impl Gains {
    fn of(findings: Findings<'_>) -> Option<Gains> {
        let gain = |label| {
            let row = findings.0.iter().find(|row| row.label == label)?;
            Some(Gain {
                speed_up: row.values.get(SPEED_UP)?.median,
                at_once: row.values.get(TOGETHER)?.p95,
            })
        };
        Some(Gains {
            one_worker: gain(ONE_WORKER)?,
            workers: gain(WORKERS)?,
            threads: gain(THREADS)?,
            processes: gain(PROCESSES)?,
            unlocked: findings.median(UNLOCKED, LOST)?,
            locked: findings.median(LOCKED, LOST)?,
            has_several: os::allowed_cpus().map_or(1, |cpus| cpus.len()) > 1,
        })
    }

    fn when(&self, is_so: bool) -> Outcome {
        match (self.has_several, is_so) {
            (false, _) => Outcome::Depends,
            (true, true) => Outcome::Confirmed,
            (true, false) => Outcome::Refuted,
        }
    }

    fn needs_locks(&self) -> bool {
        self.unlocked > 0.0 && self.locked == 0.0
    }
}

const ONE_CPU: &str = "this process may use one CPU only, where nobody runs in parallel";

fn gained(gain: Gain) -> String {
    format!("{:.2} times as fast", gain.speed_up)
}

fn verdict(gains: &Gains) -> Verdict {
    let parallel = gains.threads.is_parallel() && gains.processes.is_parallel();
    let outcome = gains.when(parallel && !gains.one_worker.is_parallel() && gains.needs_locks());
    let cpus = if gains.has_several {
        String::new()
    } else {
        format!("{ONE_CPU}. ")
    };
    Verdict {
        outcome,
        why: format!(
            "{cpus}Together, threads were {}, processes {}, coroutines on one worker {}, on a worker for each CPU {}: it is \
             the threads beneath that are parallel. Of turns that only those can pass who run at the same instant, \
             threads passed {} in 10 ms, processes {}, coroutines of one worker {}. And what runs in parallel must be \
             synchronised: without a lock {} of a million additions were lost, with a mutex {}.",
            gained(gains.threads),
            gained(gains.processes),
            gained(gains.one_worker),
            gained(gains.workers),
            grouped(gains.threads.at_once as u64),
            grouped(gains.processes.at_once as u64),
            grouped(gains.one_worker.at_once as u64),
            grouped(gains.unlocked.round() as u64),
            grouped(gains.locked.round() as u64),
        ),
    }
}

fn answers(gains: &Gains) -> Vec<Answer> {
    let why = |why: String| {
        if gains.has_several {
            why
        } else {
            ONE_CPU.to_owned()
        }
    };
    let threads = gains.threads.is_parallel();
    vec![
        Answer::new(
            Place::Cell(Feature::UseCase, Body::Thread),
            gains.when(threads),
            gained(gains.threads),
            why(format!(
                "processes will do as well ({}), and so will coroutines on several workers ({}), which are threads",
                gained(gains.processes),
                gained(gains.workers)
            )),
        ),
        Answer::new(
            Place::Prose(Prose::ThreadsParallel),
            gains.when(threads),
            format!(
                "{} turns passed in 10 ms",
                grouped(gains.threads.at_once as u64)
            ),
            why(format!(
                "two that never let go of their CPU passed a turn so often; coroutines of one worker: {}. The job was done {}",
                grouped(gains.one_worker.at_once as u64),
                gained(gains.threads)
            )),
        ),
        Answer::new(
            Place::Takeaway(Body::Thread),
            gains.when(threads && gains.needs_locks()),
            format!(
                "{:.2} times; {:.0} % lost unlocked",
                gains.threads.speed_up,
                gains.unlocked / 1e4
            ),
            why(format!(
                "{}; of a million additions {} were lost without a lock, {} with one",
                gained(gains.threads),
                grouped(gains.unlocked.round() as u64),
                grouped(gains.locked.round() as u64)
            )),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::specimen::{assert_answers_all, value};

    fn row(label: &str, body: Body, factor: f64) -> Row {
        let mut row = value(label, body, SPEED_UP, factor);
        // Who is twice as fast has met thousands of times.
        let met = if factor > 1.3 { 5_000.0 } else { 1.0 };
        row.values.extend(value(label, body, TOGETHER, met).values);
        row
    }

    fn rows(one_worker: f64, threads: f64) -> Vec<Row> {
        vec![
            row(ONE_WORKER, Body::Coroutine, one_worker),
            row(WORKERS, Body::Coroutine, 1.9),
            row(THREADS, Body::Thread, threads),
            row(PROCESSES, Body::Process, 1.9),
            value(UNLOCKED, Body::Thread, LOST, 400e3),
            value(LOCKED, Body::Thread, LOST, 0.0),
        ]
    }

    fn gains(one_worker: f64, threads: f64) -> Gains {
        let gains = Gains::of(Findings(&rows(one_worker, threads))).unwrap();
        Gains {
            has_several: true,
            ..gains
        }
    }

    #[test]
    fn only_what_uses_several_cpus_is_parallel() {
        assert_eq!(verdict(&gains(1.0, 1.9)).outcome, Outcome::Confirmed);
        assert_eq!(verdict(&gains(1.0, 1.0)).outcome, Outcome::Refuted);
        assert_eq!(verdict(&gains(1.9, 1.9)).outcome, Outcome::Refuted);
    }

    #[test]
    fn one_cpu_decides_nothing_and_says_so() {
        let gains = Gains {
            has_several: false,
            ..gains(1.0, 1.0)
        };
        let verdict = verdict(&gains);
        assert_eq!(verdict.outcome, Outcome::Depends);
        assert!(verdict.why.contains("one CPU only"), "{}", verdict.why);
        assert!(answers(&gains).iter().all(|answer| answer.why == ONE_CPU));
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        assert_answers_all(&Parallelism, &rows(1.0, 1.9));
        assert!(
            answers(&gains(1.0, 1.9))
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
    }

    #[test]
    fn coroutines_of_one_worker_never_meet_in_passing() {
        let runtime = runtime::Builder::new().workers(1).build().unwrap();
        // The first passes it once, and nobody passes it back.
        assert!(coroutines_meet(&runtime, Duration::from_millis(2)).unwrap() <= 1.0);
    }

    #[test]
    fn every_way_of_sharing_the_job_gets_it_done() {
        let job = Job {
            parts: 3,
            rounds: 1_000,
        };
        job.one_after_the_other().unwrap();
        job.in_threads().unwrap();
        let runtime = runtime::Builder::new().workers(2).build().unwrap();
        job.in_coroutines(&runtime).unwrap();
        coroutines_meet(&runtime, Duration::from_millis(1)).unwrap();
        threads_meet(Duration::from_millis(1)).unwrap();
        // Processes need a helper with one thread.
        let job = Job::taking(Duration::from_millis(1), 4).unwrap();
        assert!(job.parts == 4 && job.rounds > 0);
    }
}
