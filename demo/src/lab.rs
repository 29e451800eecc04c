//! Where a body of an experiment runs: in a helper process that does nothing else.
//!
//! ```text
//!   demo                                helper: demo __body switch process
//!   ----                                ----------------------------------
//!   conduct ── starts, waits ─────────> one thread, pinned, dies with its parent
//!      ^                                   Lab
//!      │                                   ├─ measure: warm up, sample, summarise
//!      └── stdout: one JSON line per ───── └─ send: Row, Timeline, Trace, Progress, Failure, Done
//!          event
//! ```
//!
//! So every body starts from the same small process: a fork copies little unless the experiment wants it
//! to, memory is counted from nothing, and whatever a body breaks, the demo goes on.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::experiments::Experiment;
use crate::figure::{Timeline, Trace};
use crate::options::Options;
use crate::os::{Pin, allowed_cpus, share_a_core};
use crate::report::{Body, Effort, Row};
use crate::stats::{Clock, Plan, Summary, sample};

/// What a helper process tells the demo, one JSON object per line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A finished line of the table.
    Row(Row),
    /// Who ran when.
    Timeline(Timeline),
    /// What threads and coroutines did, and who started whom.
    Trace(Trace),
    /// How far the current row has come: for the progress bar only.
    Progress {
        /// What is being measured.
        what: String,
        /// Samples or units done.
        done: u64,
        /// Samples or units in all.
        total: u64,
    },
    /// The helper could not be tied to a CPU, and why.
    Unpinned(String),
    /// Something that should have been measured could not be, and why.
    Failure(String),
    /// The body has returned; nothing follows.
    Done,
}

/// What a body measures with and reports to.
pub struct Lab {
    /// How much to measure.
    pub effort: Effort,
    /// What the user asked of this experiment.
    pub options: Options,
    /// A directory for files and sockets, the same for all bodies of a section, empty at first.
    pub scratch: PathBuf,
    body: Body,
    clock: Clock,
    cpus: Vec<usize>,
    // Its drop gives the CPUs back.
    _pin: Option<Pin>,
    // Rationed: each event wakes the demo, which may be on the CPU that is being measured.
    last_progress: Instant,
    events: Box<dyn Write>,
}

impl Lab {
    /// Pins the calling thread to the last CPU that it may use and reports to `events`.
    ///
    /// The last, because the first ones take most of the interrupts.
    pub fn new(
        effort: Effort,
        body: Body,
        options: Options,
        scratch: PathBuf,
        events: Box<dyn Write>,
    ) -> Lab {
        let cpus = allowed_cpus().unwrap_or_default();
        let pin = match cpus.last() {
            Some(&cpu) => Pin::to(cpu),
            None => Err(io::Error::other(
                "the system does not tell which CPUs are allowed",
            )),
        };
        let why_unpinned = pin.as_ref().err().map(ToString::to_string);
        let mut lab = Lab {
            effort,
            options,
            scratch,
            body,
            clock: Clock::calibrate(),
            cpus,
            _pin: pin.ok(),
            last_progress: Instant::now(),
            events,
        };
        if let Some(why) = why_unpinned {
            lab.send(&Event::Unpinned(why));
        }
        lab
    }

    /// Runs this body of `experiment`, reports its error if it has one, and says that it is done.
    pub fn run(mut self, experiment: &dyn Experiment) {
        let body = self.body;
        let outcome = match body {
            Body::Baseline => experiment.baseline(&mut self),
            Body::Coroutine => experiment.coroutine(&mut self),
            Body::Thread => experiment.thread(&mut self),
            Body::Process => experiment.process(&mut self),
        };
        if let Err(error) = outcome {
            self.send(&Event::Failure(format!("{}: {error}", body.name())));
        }
        self.send(&Event::Done);
    }

    /// Lets this thread, and those that it starts from now on, run on every CPU that the demo may use.
    pub fn unpin(&mut self) {
        self._pin = None;
    }

    /// The CPUs that the demo may use.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// A CPU on another core than the one that this process runs on; `None` if there is none.
    ///
    /// Two hardware threads of one core would not do: they wake each other faster, and slow each other down.
    pub fn second_cpu(&self) -> Option<usize> {
        let (&own, others) = self.cpus.split_last()?;
        let mut others = others.iter().rev().copied();
        others.find(|&other| !share_a_core(own, other))
    }

    /// How long and how often to sample.
    pub fn plan(&self) -> Plan {
        match self.effort {
            Effort::Quick => Plan {
                samples: 11,
                warm_up: 2,
                sample_time: Duration::from_millis(2),
            },
            Effort::Standard => Plan {
                samples: 31,
                warm_up: 4,
                sample_time: Duration::from_millis(8),
            },
            Effort::Full => Plan {
                samples: 101,
                warm_up: 5,
                sample_time: Duration::from_millis(10),
            },
        }
    }

    /// The same for each of many points of a line: shorter, but for publishing.
    pub fn sweep_plan(&self) -> Plan {
        match self.effort {
            Effort::Full => self.plan(),
            Effort::Quick | Effort::Standard => Plan {
                samples: 11,
                warm_up: 2,
                sample_time: self.plan().sample_time / 2,
            },
        }
    }

    /// Nanoseconds of `elapsed`, less what reading the clock cost.
    pub fn net_ns(&self, elapsed: Duration) -> f64 {
        self.clock.net_ns(elapsed)
    }

    /// Measures a row with the metric `metric`: the nanoseconds of one event.
    ///
    /// `run` performs as many iterations as it is told and returns the time they took; each iteration
    /// makes `events` of what the metric counts. If `run` fails, the row says so, a failure is reported,
    /// and the other rows are still measured.
    pub fn measure(
        &mut self,
        label: &str,
        metric: &str,
        events: u32,
        run: impl FnMut(u64) -> io::Result<Duration>,
    ) {
        let plan = self.plan();
        match self.sample(label, &plan, run) {
            Ok(samples) => {
                let each: Vec<f64> = samples.iter().map(|ns| ns / f64::from(events)).collect();
                self.figures(label, metric, &each);
            }
            Err(error) => self.fail(label, &error),
        }
    }

    /// Nanoseconds of one iteration of `run`, which performs as many as it is told and returns the time they took:
    /// one figure for each sample.
    ///
    /// # Errors
    /// The first error of `run`.
    pub fn sample(
        &mut self,
        label: &str,
        plan: &Plan,
        run: impl FnMut(u64) -> io::Result<Duration>,
    ) -> io::Result<Vec<f64>> {
        let clock = self.clock;
        let total = plan.samples as u64;
        self.progress(label, 0, total);
        let after_each = |taken| self.progress(label, taken as u64, total);
        sample(plan, &clock, run, after_each)
    }

    /// Reports a row whose samples, in the unit of `metric`, were taken by the caller.
    pub fn figures(&mut self, label: &str, metric: &str, samples: &[f64]) {
        let mut row = Row::new(label, self.body);
        row.values
            .extend(Summary::of(samples).map(|summary| (metric.to_owned(), summary)));
        self.row(row);
    }

    /// Reports a row that is no number: what `metric`, of [`Unit::Words`], says of `label`.
    ///
    /// [`Unit::Words`]: crate::report::Unit::Words
    pub fn words(&mut self, label: &str, metric: &str, words: &str) {
        let mut row = Row::new(label, self.body);
        row.words.insert(metric.to_owned(), words.to_owned());
        self.row(row);
    }

    /// Reports who ran when.
    pub fn timeline(&mut self, timeline: Timeline) {
        self.send(&Event::Timeline(timeline));
    }

    /// Reports what threads and coroutines did, and who started whom.
    pub fn trace(&mut self, trace: Trace) {
        self.send(&Event::Trace(trace));
    }

    /// Reports a row as it is.
    pub fn row(&mut self, row: Row) {
        self.send(&Event::Row(row));
    }

    /// Reports a row that this machine cannot measure, and why. This is no failure.
    pub fn skip(&mut self, label: &str, why: &str) {
        self.row(Row {
            skipped: Some(why.to_owned()),
            ..Row::new(label, self.body)
        });
    }

    /// Reports a row that should have been measured but failed.
    pub fn fail(&mut self, label: &str, error: &io::Error) {
        self.send(&Event::Failure(format!("{label}: {error}")));
        self.skip(label, &error.to_string());
    }

    /// Moves the progress bar; at most ten times a second.
    pub fn progress(&mut self, what: &str, done: u64, total: u64) {
        const PERIOD: Duration = Duration::from_millis(100);
        if done > 0 && self.last_progress.elapsed() < PERIOD {
            return;
        }
        self.last_progress = Instant::now();
        let what = what.to_owned();
        self.send(&Event::Progress { what, done, total });
    }

    fn send(&mut self, event: &Event) {
        let sent = serde_json::to_writer(&mut self.events, event)
            .map_err(io::Error::from)
            .and_then(|()| self.events.write_all(b"\n"))
            .and_then(|()| self.events.flush());
        if sent.is_err() {
            // The demo has gone, and nobody else wants to know.
            std::process::exit(1);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::env;
    use std::sync::{Arc, Mutex};

    /// A writer that keeps what is written where a test can read it.
    #[derive(Clone, Default)]
    pub struct Tape(Arc<Mutex<Vec<u8>>>);

    impl Tape {
        /// The events written so far, progress left out: how often it is told depends on the clock.
        pub fn events(&self) -> Vec<Event> {
            let bytes = self.0.lock().unwrap();
            let events = bytes
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty());
            events
                .map(|line| serde_json::from_slice(line).unwrap())
                .filter(|event| !matches!(event, Event::Progress { .. }))
                .collect()
        }

        /// All that was written.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        /// A lab that writes to this tape.
        pub fn lab(&self, body: Body) -> Lab {
            let events = Box::new(self.clone());
            Lab::new(
                Effort::Quick,
                body,
                Options::default(),
                env::temp_dir(),
                events,
            )
        }
    }

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_measured_row_counts_events_not_iterations() {
        let tape = Tape::default();
        let run = |iterations| Ok(Duration::from_micros(10) * iterations as u32);
        tape.lab(Body::Thread).measure("trip", "time", 2, run);
        let [Event::Row(row)] = &tape.events()[..] else {
            panic!("{:?}", tape.events())
        };
        let time = row.values["time"];
        assert!(time.median > 4_900.0 && time.median <= 5_000.0, "{time:?}");
        assert_eq!(
            (time.n, row.body, row.label.as_str()),
            (11, Body::Thread, "trip")
        );
    }

    #[test]
    fn a_row_that_fails_is_reported_twice_and_ends_nothing() {
        let tape = Tape::default();
        let mut lab = tape.lab(Body::Process);
        lab.measure("fork", "time", 1, |_| Err(io::Error::other("refused")));
        lab.figures("next", "time", &[1.0]);
        let events = tape.events();
        assert_eq!(events[0], Event::Failure("fork: refused".into()));
        assert!(matches!(&events[1], Event::Row(row) if row.skipped.as_deref() == Some("refused")));
        assert!(matches!(&events[2], Event::Row(row) if row.values["time"].median == 1.0));
    }
}
