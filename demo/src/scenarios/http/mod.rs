//! `http-10k`: one HTTP server, ten thousand connections that stay, and a process, a thread or a coroutine for each.
//!
//! | file     | what                                                                   |
//! |----------|------------------------------------------------------------------------|
//! | `server` | what a connection is served by, and the three ways to run that         |
//! | `load`   | the clients: a process of their own, on another CPU                    |
//! | `contest` | brings them together, and counts
//! | here     | the comparison between the three, and serving for real with `--listen`    |
#![forbid(unsafe_code)]

mod contest;
mod load;
mod server;

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use self::contest::{Contest, goal, prepare, raise_descriptors};
use self::server::{Journal, SharedJournal};
use super::listen::{self, ALLOW_REMOTE, Address, LISTEN, MODEL};
use crate::comparison::{self, Answer, Feature, Place};
use crate::excerpt::Excerpt;
use crate::experiments::Experiment;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::memory;
use crate::options::{Choice, Options};
use crate::os;
use crate::quantity::{grouped, times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Unit, Verdict};

/// See the module's head.
pub struct Http10k;

const RATE: &str = "requests";
const P50: &str = "p50";
const P99: &str = "p99";
const MEMORY: &str = "own_memory";
const RUNS_OUT: &str = "runs_out_of";

const COROUTINES: &str = "coroutine per connection";
const THREADS: &str = "thread per connection";
const PROCESSES: &str = "process per connection";

impl Experiment for Http10k {
    fn name(&self) -> &'static str {
        "http-10k"
    }

    fn claim(&self) -> &'static str {
        "An HTTP server with 10,000 and more requests at once is a case for coroutines."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let goal = goal(effort);
        vec![
            format!(
                "A server on loopback answers {} connections that stay open, each with a request under way at any \
                 time; the clients are coroutines of a process of their own, on another CPU if there is one.",
                grouped(goal.connections)
            ),
            format!(
                "The server has one CPU and the same code for all three. {} windows of {}, longer where answers \
                 take longer, are looked at once every connection has been answered; percentiles are within a window.",
                goal.windows,
                with_unit(Unit::Nanoseconds, goal.window.as_nanos() as f64)
            ),
            "Memory is what the server's process has of its own for each connection, page tables included; of \
             processes, what the latest has for itself. The kernel's part, sockets above all, comes on top."
                .to_owned(),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(RATE, Unit::PerSecond, "answers in a second"),
            Metric::new(P50, Unit::Nanoseconds, "half of the answers took no longer"),
            Metric::new(P99, Unit::Nanoseconds, "99 of 100 answers took no longer"),
            Metric::new(
                MEMORY,
                Unit::Bytes,
                "memory of the server for each connection",
            ),
            Metric::new(
                RUNS_OUT,
                Unit::Words,
                "the limit met first, and at how many connections",
            ),
        ]
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        let (listener, load, control, goal) = prepare(lab)?;
        runtime::run(|| {
            let before = memory::own_bytes()?;
            let journal = Arc::new(Journal::default());
            let of_server = Arc::clone(&journal);
            runtime::spawn(move || server::coroutine_per_connection(listener, &of_server));
            let mut contest = Contest {
                lab,
                label: COROUTINES,
                body: Body::Coroutine,
                goal,
            };
            let control = runtime::net::UnixStream::from(control);
            let memory = |count| Ok(memory::own_bytes()?.saturating_sub(before) / count);
            contest.conduct(&control, memory, || journal.refusal())
        })?;
        load.wait()
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        let (listener, load, control, goal) = prepare(lab)?;
        let before = memory::own_bytes()?;
        let journal = Arc::new(Journal::default());
        let of_server = Arc::clone(&journal);
        // Ends with this process.
        thread::Builder::new()
            .spawn(move || server::thread_per_connection(&listener, &of_server))?;
        let mut contest = Contest {
            lab,
            label: THREADS,
            body: Body::Thread,
            goal,
        };
        let memory = |count| Ok(memory::own_bytes()?.saturating_sub(before) / count);
        contest.conduct(&control, memory, || journal.refusal())?;
        load.wait()
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        let (listener, load, control, goal) = prepare(lab)?;
        let journal = SharedJournal::new()?;
        let server = os::fork(|| {
            server::process_per_connection(&listener, &journal)
                .is_err()
                .into()
        })?;
        let mut contest = Contest {
            lab,
            label: PROCESSES,
            body: Body::Process,
            goal,
        };
        let memory = |_| {
            let latest = journal.latest().ok_or(io::ErrorKind::NotFound)?;
            memory::private_bytes(latest)
        };
        contest.conduct(&control, memory, || journal.refusal())?;
        drop(server);
        load.wait()
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let of = |label| Served::of(findings, label);
        Some(verdict(&of(COROUTINES)?, &of(THREADS)?, &of(PROCESSES)?))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let answers = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let served = Served::of(findings, COROUTINES)?;
            let value = format!(
                "{} at once, {}",
                grouped(served.connections),
                with_unit(Unit::Bytes, served.memory)
            );
            let places = [
                Place::Scenario(comparison::Scenario::Http10k),
                Place::Cell(Feature::UseCase, Body::Coroutine),
                Place::Takeaway(Body::Coroutine),
            ];
            Some(places.map(|place| Answer::new(place, outcome, &*value, &*why)))
        };
        answers().into_iter().flatten().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let source = include_str!("server.rs");
        let excerpt = |name| Excerpt::of("demo/src/scenarios/http/server.rs", source, name);
        ["serve", "coroutines", "threads", "processes"]
            .map(excerpt)
            .into()
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let wanted = [
            (RATE, "Requests in a second"),
            (MEMORY, "Memory for each connection"),
        ];
        let metrics = self.metrics();
        let figure = |(name, title)| {
            let metric = metrics.iter().find(|metric| metric.name == name)?;
            Some(Figure::ladder(title, metric, findings.0))
        };
        wanted.into_iter().filter_map(figure).collect()
    }

    fn is_scenario(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [Choice] {
        &[LISTEN, ALLOW_REMOTE, MODEL]
    }

    fn check(&self, options: &Options) -> Result<(), String> {
        let address = Address::asked_for(options)?;
        if let Some(Address::Unix(path)) = &address {
            return Err(format!(
                "--listen {}: http-10k serves TCP only",
                path.display()
            ));
        }
        if listen::model(options)?.is_some() && address.is_none() {
            return Err("--model means nothing without --listen".to_owned());
        }
        Ok(())
    }

    fn alone(&self, options: &Options) -> Option<io::Result<bool>> {
        match Address::asked_for(options) {
            Ok(Some(Address::Tcp(address))) => {
                let model = listen::model(options)
                    .ok()
                    .flatten()
                    .unwrap_or(Body::Coroutine);
                let served = raise_descriptors()
                    .and_then(|_| listen::tcp(address))
                    .and_then(|listener| serve_for_real(listener, model));
                Some(served.map(|()| true))
            }
            _ => None,
        }
    }
}

/// Serves until Ctrl-C, which ends this process, its threads and its children as it is: they hold nothing that stays.
fn serve_for_real(listener: TcpListener, model: Body) -> io::Result<()> {
    let address = listener.local_addr()?;
    Address::Tcp(address).warn_if_remote();
    println!(
        "http://{address}/ is served by a {} per connection; Ctrl-C ends it",
        model.name()
    );
    io::stdout().flush()?;
    let journal = Journal::default();
    match model {
        Body::Thread => server::thread_per_connection(&listener, &journal),
        Body::Process => server::process_per_connection(&listener, &SharedJournal::new()?),
        Body::Baseline | Body::Coroutine => {
            runtime::run(|| server::coroutine_per_connection(listener, &journal))
        }
    }
}

/// One row, as the judge reads it.
struct Served {
    connections: u64,
    rate: f64,
    p99: f64,
    memory: f64,
    runs_out_of: String,
}

impl Served {
    fn of(findings: Findings<'_>, label: &str) -> Option<Served> {
        let row = findings.0.iter().find(|row| row.label == label)?;
        let median = |metric| findings.median(label, metric);
        Some(Served {
            connections: row.units?,
            rate: median(RATE)?,
            p99: median(P99)?,
            memory: median(MEMORY)?,
            runs_out_of: row.words.get(RUNS_OUT)?.clone(),
        })
    }
}

/// Judges what the three came to.
fn verdict(coroutine: &Served, thread: &Served, process: &Served) -> Verdict {
    // Both differ by more wherever they differ for a reason.
    const LESS_MEMORY: f64 = 1.25;
    const AS_FAST: f64 = 0.8;
    let others = [thread, process];
    let holds_as_many = others
        .iter()
        .all(|other| coroutine.connections >= other.connections);
    let takes_less = others
        .iter()
        .all(|other| coroutine.memory * LESS_MEMORY <= other.memory);
    let is_as_fast = others
        .iter()
        .all(|other| coroutine.rate >= AS_FAST * other.rate);
    let outcome = match (holds_as_many && takes_less, is_as_fast) {
        (true, true) => Outcome::Confirmed,
        (false, false) => Outcome::Refuted,
        _ => Outcome::Depends,
    };
    let rate = |served: &Served| with_unit(Unit::PerSecond, served.rate);
    let size = |served: &Served| with_unit(Unit::Bytes, served.memory);
    Verdict {
        outcome,
        why: format!(
            "with {} connections a coroutine for each answers {} requests, with {} threads {}, with {} processes {}; \
             the slowest of a hundred takes {}, {} and {}. Of its own a connection takes {} by coroutine, {} times \
             that by thread ({}), {} times by process ({}). The first limit is {} for coroutines, {} for threads, {} \
             for processes.",
            grouped(coroutine.connections),
            rate(coroutine),
            grouped(thread.connections),
            rate(thread),
            grouped(process.connections),
            rate(process),
            with_unit(Unit::Nanoseconds, coroutine.p99),
            with_unit(Unit::Nanoseconds, thread.p99),
            with_unit(Unit::Nanoseconds, process.p99),
            size(coroutine),
            times(thread.memory, coroutine.memory),
            size(thread),
            times(process.memory, coroutine.memory),
            size(process),
            coroutine.runs_out_of,
            thread.runs_out_of,
            process.runs_out_of,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(connections: u64, rate: f64, memory: f64) -> Served {
        Served {
            connections,
            rate,
            p99: 1e6,
            memory,
            runs_out_of: "memory, at 1".to_owned(),
        }
    }

    #[test]
    fn less_memory_at_the_same_rate_confirms_and_either_alone_depends() {
        let thread = served(10_000, 40e3, 20e3);
        let process = served(9_000, 20e3, 90e3);
        let outcome = |coroutine| verdict(&coroutine, &thread, &process).outcome;
        assert_eq!(outcome(served(10_000, 60e3, 6e3)), Outcome::Confirmed);
        assert_eq!(outcome(served(10_000, 60e3, 20e3)), Outcome::Depends);
        assert_eq!(outcome(served(10_000, 10e3, 6e3)), Outcome::Depends);
        assert_eq!(outcome(served(5_000, 10e3, 6e3)), Outcome::Refuted);
    }
}
