//! `image-pipeline`: thumbnails of a folder of pictures: work for the processor, with files at either end.
//!
//! | file         | what                                                            |
//! |--------------|-----------------------------------------------------------------|
//! | `pictures`   | what is done to one picture, and some to have if none are given |
//! | `approaches` | five ways through all of them                                   |
//! | here         | the comparison                                                  |
//!
//! Each way takes turns with doing one picture after the other. By the clock it may be faster or not, if others use the
//! machine; so the judge reads how the computing was divided, which others do not change.
#![forbid(unsafe_code)]

mod approaches;
mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::approaches::{Approach, Batch, coroutines, offloaded, processes, sequential, threads};
use crate::comparison::{Answer, Place, Scenario};
use crate::excerpt::Excerpt;
use crate::experiments::Experiment;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::options::{Choice, Options};
use crate::quantity::times;
use crate::report::{Body, Effort, Findings, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct ImagePipeline;

const BATCH: &str = "batch";
const SPEED_UP: &str = "speed_up";
const CPUS: &str = "cpus";

const SEQUENTIAL: &str = "one after the other";
const COROUTINES: &str = "coroutines, one worker";
const OFFLOADED: &str = "coroutines, spawn_blocking";
const THREADS: &str = "threads";
const PROCESSES: &str = "processes";

const INPUT: Choice = Choice {
    name: "input",
    value: "DIR",
    help: "Take the pictures of DIR (PNG, JPEG; 1,000 at most) instead of generated ones",
};
const OUTPUT: Choice = Choice {
    name: "output",
    value: "DIR",
    help: "Keep the thumbnails in DIR, which is made if need be",
};

/// How many pictures are generated, and how large; how often each way is gone.
fn size(effort: Effort) -> (u32, u32, u32, usize) {
    match effort {
        Effort::Quick => (8, 320, 240, 11),
        Effort::Standard => (16, 360, 270, 11),
        Effort::Full => (48, 1_200, 900, 31),
    }
}

/// However many and large the pictures, no new round begins after so long.
fn patience(effort: Effort) -> Duration {
    Duration::from_millis(match effort {
        Effort::Quick => 300,
        Effort::Standard => 1_500,
        Effort::Full => 15_000,
    })
}

fn input(lab: &Lab) -> PathBuf {
    let given = lab.options.path(INPUT.name).map(Path::to_owned);
    given.unwrap_or_else(|| lab.scratch.join("input"))
}

fn batch(lab: &Lab) -> io::Result<Arc<Batch>> {
    let given = lab.options.path(OUTPUT.name).map(Path::to_owned);
    Ok(Arc::new(Batch {
        pictures: pictures::list(&input(lab))?,
        output: given.unwrap_or_else(|| lab.scratch.join("output")),
        cpus: lab.cpus().len().max(1),
    }))
}

/// One way through the batch: how long it took by the clock in nanoseconds, and how many CPUs it could keep busy: all
/// computing over that of the busiest.
fn time(
    lab: &mut Lab,
    label: &str,
    batch: &Arc<Batch>,
    approach: Approach,
) -> io::Result<(f64, f64)> {
    let total = batch.pictures.len() as u64;
    let mut done = 0;
    let mut computed: BTreeMap<i32, u64> = BTreeMap::new();
    let start = Instant::now();
    approach(batch, &mut |work| {
        *computed.entry(work.who).or_default() += work.cpu_ns;
        done += 1;
        lab.progress(label, done, total);
    })?;
    let ns = lab.net_ns(start.elapsed());
    let busiest = computed.values().copied().max().unwrap_or(0).max(1);
    let all: u64 = computed.values().sum();
    Ok((ns, all as f64 / busiest as f64))
}

/// Goes one way and one after the other, in turns, and reports how the former compares.
fn compare(lab: &mut Lab, label: &str, units: usize, approach: Approach) -> io::Result<()> {
    lab.unpin();
    let batch = batch(lab)?;
    let (_, _, _, rounds) = size(lab.effort);
    let deadline = Instant::now() + patience(lab.effort);
    // Both once, so that files are in memory and threads have stacks.
    time(lab, label, &batch, approach)?;
    let (mut took, mut speed_ups, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    while took.len() < rounds && (took.is_empty() || Instant::now() < deadline) {
        let (one_by_one, _) = time(lab, SEQUENTIAL, &batch, sequential)?;
        let (ns, busy) = time(lab, label, &batch, approach)?;
        took.push(ns);
        speed_ups.push(one_by_one / ns);
        cpus.push(busy);
    }
    let body = match label {
        THREADS => Body::Thread,
        PROCESSES => Body::Process,
        _ => Body::Coroutine,
    };
    let mut row = Row::new(label, body);
    row.units = Some(units as u64);
    let columns = [(BATCH, took), (SPEED_UP, speed_ups), (CPUS, cpus)];
    for (metric, samples) in columns {
        let summary = Summary::of(&samples);
        row.values
            .extend(summary.map(|summary| (metric.to_owned(), summary)));
    }
    lab.row(row);
    Ok(())
}

impl Experiment for ImagePipeline {
    fn name(&self) -> &'static str {
        "image-pipeline"
    }

    fn claim(&self) -> &'static str {
        "An image processing pipeline is a case for threads or processes."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let (count, width, height, rounds) = size(effort);
        vec![
            format!(
                "Thumbnails of a folder of pictures: decode, resize, sharpen, encode. Without --input {count} pictures of \
                 {width} x {height} are generated, PNG and JPEG."
            ),
            format!(
                "Each way takes turns with doing one picture after the other, up to {rounds} times, on all CPUs. Threads and \
                 processes are as many as those; each takes every so-manieth picture."
            ),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(BATCH, Unit::Nanoseconds, "time for all pictures"),
            Metric::new(
                SPEED_UP,
                Unit::Count,
                "times as fast as one after the other, in the same round",
            ),
        ]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        lab.unpin();
        if lab.options.path(INPUT.name).is_none() {
            let (count, width, height, _) = size(lab.effort);
            fs::create_dir(input(lab))?;
            pictures::generate(&input(lab), count, width, height)?;
        }
        let batch = batch(lab)?;
        fs::create_dir_all(&batch.output)?;
        // The first time through shows which are broken. They fail here, and the others are still compared.
        let mut broken = 0;
        for number in 0..batch.pictures.len() {
            lab.progress(SEQUENTIAL, number as u64, batch.pictures.len() as u64);
            if let Err(why) = batch.try_make(number) {
                broken += 1;
                let name = batch.pictures[number].display().to_string();
                lab.fail(&name, &io::Error::other(why));
            }
        }
        if broken == batch.pictures.len() {
            return Err(io::Error::other("none of the pictures could be processed"));
        }
        let (ns, _) = time(lab, SEQUENTIAL, &batch, sequential)?;
        lab.figures(SEQUENTIAL, BATCH, &[ns]);
        Ok(())
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        let cpus = lab.cpus().len();
        compare(lab, COROUTINES, 1, coroutines)?;
        compare(lab, OFFLOADED, cpus, offloaded)
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        let cpus = lab.cpus().len();
        compare(lab, THREADS, cpus, threads)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        let cpus = lab.cpus().len();
        compare(lab, PROCESSES, cpus, processes)
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let of = |label| {
            Some((
                findings.median(label, CPUS)?,
                findings.median(label, SPEED_UP)?,
            ))
        };
        let (cpus, _) = findings.largest(Body::Thread, CPUS)?;
        let ways = [
            of(THREADS)?,
            of(PROCESSES)?,
            of(COROUTINES)?,
            of(OFFLOADED)?,
        ];
        Some(verdict(cpus, ways))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let answer = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let cpus = |label| Some(times(findings.median(label, CPUS)?, 1.0));
            let value = format!(
                "{} and {} CPUs; coroutines {}",
                cpus(THREADS)?,
                cpus(PROCESSES)?,
                cpus(COROUTINES)?
            );
            Some(Answer::new(
                Place::Scenario(Scenario::ImagePipeline),
                outcome,
                value,
                why,
            ))
        };
        answer().into_iter().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let (ways, one) = (include_str!("approaches.rs"), include_str!("pictures.rs"));
        let way = |name| Excerpt::of("demo/src/scenarios/image/approaches.rs", ways, name);
        let mut code = vec![Excerpt::of(
            "demo/src/scenarios/image/pictures.rs",
            one,
            "process",
        )];
        code.extend(["threads", "processes", "coroutines", "offloaded"].map(way));
        code
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let metrics = self.metrics();
        let busy = metrics.iter().find(|metric| metric.name == CPUS);
        let figure = |metric| Figure::ladder("CPUs kept busy", metric, findings.0);
        busy.map(figure).map(Figure::linear).into_iter().collect()
    }

    fn is_scenario(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [Choice] {
        &[INPUT, OUTPUT]
    }

    fn check(&self, options: &Options) -> Result<(), String> {
        let Some(folder) = options.path(INPUT.name) else {
            return Ok(());
        };
        let shown = folder.display();
        let found = pictures::list(folder).map_err(|error| format!("--input {shown}: {error}"))?;
        if found.is_empty() {
            return Err(format!(
                "--input {shown}: no pictures there (*.png, *.jpg, *.jpeg)"
            ));
        }
        let output = options
            .path(OUTPUT.name)
            .and_then(|path| path.canonicalize().ok());
        if output.is_some() && output == folder.canonicalize().ok() {
            return Err(
                "--input and --output are the same: thumbnails would count as pictures".to_owned(),
            );
        }
        Ok(())
    }
}

/// Judges how many CPUs each keeps busy, and how many times as fast it was: threads, processes, coroutines on one worker,
/// coroutines that offload.
fn verdict(cpus: u64, ways: [(f64, f64); 4]) -> Verdict {
    // Two CPUs make 2 at best; pictures of different size make it less.
    const DIVIDES: f64 = 1.25;
    let [threads, processes, coroutines, offloaded] = ways;
    let divides = |(busy, _): (f64, f64)| busy >= DIVIDES;
    let outcome = match (divides(threads) && divides(processes), divides(coroutines)) {
        _ if cpus == 1 => Outcome::Depends,
        (true, false) => Outcome::Confirmed,
        (false, _) => Outcome::Refuted,
        (true, true) => Outcome::Depends,
    };
    let reason = match cpus {
        1 => "With one CPU there is nothing to gain, by whichever way.",
        _ => {
            "Coroutines of one worker take turns on one CPU: they help who waits, not who computes. Once they leave the \
             work to threads and only wait for it, they are as good as those."
        }
    };
    let told =
        |(busy, faster): (f64, f64)| format!("{} ({})", times(busy, 1.0), times(faster, 1.0));
    Verdict {
        outcome,
        why: format!(
            "on {cpus} CPU{} threads keep {} busy, processes {}, coroutines on one worker {}, coroutines with \
             spawn_blocking {}; in brackets how many times as fast each was as one picture after the other, by the clock, \
             which others on the machine slow down too. {reason}",
            if cpus == 1 { "" } else { "s" },
            told(threads),
            told(processes),
            told(coroutines),
            told(offloaded),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_divides_the_work_uses_two_cpus_however_long_it_took() {
        let outcome = |cpus, threads, coroutines| {
            let ways = [threads, threads, coroutines, threads];
            verdict(cpus, ways.map(|busy| (busy, 1.0))).outcome
        };
        assert_eq!(outcome(2, 1.9, 1.0), Outcome::Confirmed);
        assert_eq!(outcome(2, 1.0, 1.0), Outcome::Refuted);
        assert_eq!(outcome(2, 1.9, 1.9), Outcome::Depends);
        assert_eq!(outcome(1, 1.0, 1.0), Outcome::Depends);
    }
}
