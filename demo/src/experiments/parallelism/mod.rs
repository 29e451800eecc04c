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

mod verdict;

use std::hint::{black_box, spin_loop};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use runtime::Runtime;

use super::{Experiment, panicked};
use crate::comparison::Answer;
use crate::excerpt::Excerpt;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::os::{self, Pin, SharedWords};
use crate::quantity::with_unit;
use crate::race;
use crate::report::{Body, Effort, Findings, Metric, Row, Unit, Verdict};
use crate::stats::Summary;
use verdict::{Gains, answers, verdict};

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

/// On one CPU a turn is passed when the kernel interrupts who waits for it, a few times in a meeting; on two within a
/// fraction of a microsecond.
const OFTEN: f64 = 100.0;
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
    /// The CPU of each, two if there are two.
    cpus: [usize; 2],
    end: Instant,
}

const TURN: usize = 0;
const PASSED: usize = 1;

impl Meeting {
    fn new(length: Duration) -> io::Result<Meeting> {
        let cpus = os::allowed_cpus()?;
        let [first, last] = [cpus.first(), cpus.last()].map(|cpu| cpu.copied().unwrap_or(0));
        Ok(Meeting {
            words: Arc::new(SharedWords::new()?),
            cpus: [first, last],
            end: Instant::now() + length,
        })
    }

    // excerpt: meeting
    /// What unit `me` of 0 and 1 does: it waits for its turn with its CPU in hand, and passes it.
    fn attend(&self, me: u32) {
        // Else a busy kernel may leave both on one for a while. If it refuses, they come to meet all the same.
        let _pin = Pin::to(self.cpus[me as usize]);
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
        Effort::Quick => Duration::from_millis(6),
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
    const MEETINGS_MAX: usize = 60;
    lab.unpin();
    let job = Job::taking(whole(lab.effort), lab.cpus().len())?;
    run(job)?;
    let [mut times, mut speed_ups] = [(); 2].map(|()| Vec::new());
    for done in 0..SAMPLES {
        lab.progress(label, done as u64, SAMPLES as u64);
        let alone = timed(|| job.one_after_the_other())?;
        let together = timed(|| run(job))?;
        times.push(lab.net_ns(together));
        speed_ups.push(alone.as_secs_f64() / together.as_secs_f64().max(1e-9));
    }
    // A machine that others use has its moments: who can run at the same instant does so in one of them.
    let mut at_once = 0.0f64;
    for _ in 0..MEETINGS_MAX {
        at_once = at_once.max(meet(MEETING)?);
        if at_once >= OFTEN {
            break;
        }
    }
    let mut row = Row::new(label, body);
    for (metric, samples) in [
        (TIME, times),
        (SPEED_UP, speed_ups),
        (TOGETHER, vec![at_once]),
    ] {
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
            "At once: how often two of a kind pass a turn to and fro by a variable in 10 ms, each on a CPU of its own and \
             neither giving it up; the best of up to 60 meetings."
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
                "turns passed to and fro by two that both ran, at best",
            ),
            Metric::new(LOST, Unit::Count, "additions lost, of a million"),
        ]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        // One unit has nobody to meet.
        let nobody = |_| Ok(0.0);
        race_against_one(
            lab,
            SEQUENTIAL,
            Body::Baseline,
            Job::one_after_the_other,
            nobody,
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
            Excerpt::of(file!(), include_str!("mod.rs"), "bodies"),
            Excerpt::of(file!(), include_str!("mod.rs"), "meeting"),
            Excerpt::of("demo/src/race.rs", include_str!("../../race.rs"), "race"),
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

#[cfg(test)]
mod tests {
    use super::*;

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
