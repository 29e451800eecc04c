//! `hello`: two who each say hello after a while, together, take no longer than one.
//!
//! ```text
//!   one after the other   |---- A sleeps ----|A |---- B sleeps ----|B     two naps
//!   together              |---- A sleeps ----|A
//!                         |---- B sleeps ----|B                           one nap
//! ```
//!
//! A nap keeps nobody busy, so any of the three models will do: what differs is what it costs to wait. The
//! functions between the marks are the code that the demo shows.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use runtime::time;

use crate::comparison::{Answer, Place};
use crate::excerpt::Excerpt;
use crate::experiments::{Experiment, panicked};
use crate::lab::Lab;
use crate::os;
use crate::quantity::{times, with_unit};
use crate::report::{Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Hello;

const BOTH: &str = "both_said";

const SEQUENTIAL: &str = "one after the other";
const COROUTINES: &str = "two coroutines";
const THREADS: &str = "two threads";
const PROCESSES: &str = "two processes";

/// What was said, in the order of A and B.
type Greetings = [String; 2];

/// How long each sleeps, and how often the pair is run.
fn size(effort: Effort) -> (Duration, usize) {
    match effort {
        Effort::Quick => (Duration::from_millis(20), 11),
        // Ten would take longer than all else together, and a second slept is a second.
        Effort::Standard => (Duration::from_secs(1), 1),
        Effort::Full => (Duration::from_secs(1), 10),
    }
}

fn greeting(name: &str) -> String {
    format!("hello from {name}")
}

fn one_after_the_other(nap: Duration) -> io::Result<Greetings> {
    let say = |name| {
        thread::sleep(nap);
        greeting(name)
    };
    Ok([say("A"), say("B")])
}

// excerpt: coroutines
fn coroutines(nap: Duration) -> io::Result<Greetings> {
    runtime::run(|| {
        let say = |name| {
            runtime::spawn(move || {
                time::sleep(nap);
                greeting(name)
            })
        };
        let (a, b) = (say("A"), say("B"));
        Ok([a.join().map_err(panicked)?, b.join().map_err(panicked)?])
    })
}
// excerpt: end

// excerpt: threads
fn threads(nap: Duration) -> io::Result<Greetings> {
    let say = |name| {
        thread::spawn(move || {
            thread::sleep(nap);
            greeting(name)
        })
    };
    let (a, b) = (say("A"), say("B"));
    Ok([a.join().map_err(panicked)?, b.join().map_err(panicked)?])
}
// excerpt: end

// excerpt: processes
fn processes(nap: Duration) -> io::Result<Greetings> {
    let say = |name| {
        let (mut answer, mut said) = io::pipe()?;
        let child = os::fork(move || {
            thread::sleep(nap);
            // An error has no other way to the parent than the exit status.
            said.write_all(greeting(name).as_bytes()).is_err().into()
        })?;
        io::Result::Ok(move || {
            let mut greeting = String::new();
            answer.read_to_string(&mut greeting)?;
            child.wait()?;
            io::Result::Ok(greeting)
        })
    };
    let (a, b) = (say("A")?, say("B")?);
    Ok([a()?, b()?])
}
// excerpt: end

/// Runs the pair as often as the effort says, and checks that both have spoken.
fn say_and_time(
    lab: &mut Lab,
    label: &str,
    pair: fn(Duration) -> io::Result<Greetings>,
) -> io::Result<()> {
    let (nap, count) = size(lab.effort);
    let mut samples = Vec::with_capacity(count);
    for done in 0..count {
        lab.progress(label, done as u64, count as u64);
        let start = Instant::now();
        let said = pair(nap)?;
        samples.push(lab.net_ns(start.elapsed()));
        if said != [greeting("A"), greeting("B")] {
            return Err(io::Error::other(format!("heard {said:?}")));
        }
    }
    lab.figures(label, BOTH, &samples);
    Ok(())
}

impl Experiment for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn claim(&self) -> &'static str {
        "Two tasks that each say hello after one second, run together, take one second: with coroutines as with \
         threads."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let (nap, _) = size(effort);
        let nap = with_unit(Unit::Nanoseconds, nap.as_nanos() as f64);
        vec![
            format!(
                "Two units each sleep {nap} and say hello; timed from before the first is made until both have been heard."
            ),
            "A process has no way to return a text: its hello comes through a pipe.".to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric::new(
            BOTH,
            Unit::Nanoseconds,
            "time until both have said hello",
        )]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        say_and_time(lab, SEQUENTIAL, one_after_the_other)
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        say_and_time(lab, COROUTINES, coroutines)
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        say_and_time(lab, THREADS, threads)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        say_and_time(lab, PROCESSES, processes)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let of = |label| findings.median(label, BOTH);
        Some(verdict(
            of(SEQUENTIAL)?,
            [of(COROUTINES)?, of(THREADS)?, of(PROCESSES)?],
        ))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let ms = |label| {
            let median = findings.median(label, BOTH)?;
            Some(with_unit(Unit::Nanoseconds, median))
        };
        let answer = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let value = format!("{} and {}", ms(COROUTINES)?, ms(THREADS)?);
            Some(Answer::new(Place::Glimpse, outcome, value, why))
        };
        answer().into_iter().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let excerpt = |name| Excerpt::of(file!(), include_str!("hello.rs"), name);
        ["coroutines", "threads", "processes"].map(excerpt).into()
    }

    fn is_scenario(&self) -> bool {
        true
    }
}

/// Judges medians in nanoseconds; `together` are those of coroutines, threads and processes.
fn verdict(sequential: f64, together: [f64; 3]) -> Verdict {
    // Two naps in the time of one would be 2; what making the units costs, and a machine that has other things
    // to do, takes a little off.
    const TOGETHER: f64 = 1.6;
    let gains = together.map(|time| sequential / time);
    let outcome = match gains.iter().filter(|&&gain| gain >= TOGETHER).count() {
        3 => Outcome::Confirmed,
        0 => Outcome::Refuted,
        _ => Outcome::Depends,
    };
    let ns = |time| with_unit(Unit::Nanoseconds, time);
    let [coroutines, threads, processes] = together;
    Verdict {
        outcome,
        why: format!(
            "one after the other takes {}; together it takes {} with coroutines, {} with threads, {} with processes: \
             the first {} times as long as either. Who sleeps needs no processor, so it does not matter here that two \
             coroutines share one thread, nor which model is the cheapest: see `creation` and `switch` for that.",
            ns(sequential),
            ns(coroutines),
            ns(threads),
            ns(processes),
            times(sequential, coroutines.max(threads).max(processes)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_hears_both_hellos() {
        let nap = Duration::from_millis(1);
        let both = [greeting("A"), greeting("B")];
        for pair in [one_after_the_other, coroutines, threads] {
            assert_eq!(pair(nap).unwrap(), both);
        }
        // `processes` needs a process with one thread: tests/cli.rs runs it.
    }

    #[test]
    fn half_the_time_confirms_and_the_same_time_refutes() {
        let outcome = |together| verdict(2e9, together).outcome;
        assert_eq!(outcome([1e9, 1e9, 1.1e9]), Outcome::Confirmed);
        assert_eq!(outcome([2e9, 1e9, 1e9]), Outcome::Depends);
        assert_eq!(outcome([2e9, 2e9, 2.1e9]), Outcome::Refuted);
    }
}
