//! `web-crawler`: every page of a site, found by following links. Most of the time it waits for others.
//!
//! | file      | what                                                          |
//! |-----------|---------------------------------------------------------------|
//! | `address` | addresses, and what a reference in a page names               |
//! | `page`    | the links of a page                                           |
//! | `fetch`   | one request, over a thread's socket or a coroutine's          |
//! | `crawl`   | what is known, what is next, what came of it                  |
//! | `site`    | a site of its own on loopback, to compare with                |
//! | here      | the comparison, and a crawl of somebody's site with `--url`   |
#![forbid(unsafe_code)]

mod address;
mod crawl;
mod fetch;
mod page;
mod site;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use self::address::Url;
use self::crawl::{Frontier, Report, Rules, fetcher};
use self::fetch::{OfCoroutines, OfThreads};
use self::site::{BROKEN, Site, Size};
use crate::comparison::{Answer, Place, Scenario};
use crate::excerpt::Excerpt;
use crate::experiments::Experiment;
use crate::figure::Figure;
use crate::lab::Lab;
use crate::options::{Choice, Options};
use crate::os::{self, Pin};
use crate::quantity::{grouped, times, with_unit};
use crate::report::{Body, Effort, Findings, Metric, Outcome, Row, Unit, Verdict};
use crate::stats::Summary;

/// See the module's head.
pub struct WebCrawler;

const CRAWL: &str = "crawl";
const CPU: &str = "cpu";

const SEQUENTIAL: &str = "one page after the other";
const COROUTINES: &str = "coroutines";
const THREADS: &str = "threads";
const PROCESSES: &str = "processes";

const URL: Choice = Choice {
    name: "url",
    value: "URL",
    help: "Crawl the site of URL once, by coroutines, four requests at a time; http only, robots.txt is not read",
};
const PAGES: Choice = Choice {
    name: "pages",
    value: "N",
    help: "With --url: ask for N pages at most (1,000 unless given; 100,000 at most)",
};
const TIMEOUT: Choice = Choice {
    name: "timeout",
    value: "SECONDS",
    help: "With --url: how long a page may take (10 unless given)",
};

/// The site; how many of its pages are fetched one after the other; how often it is crawled.
fn size(effort: Effort) -> (Size, usize, usize) {
    let (pages, latency_ms, sample, rounds) = match effort {
        Effort::Quick => (200, 10, 20, 3),
        Effort::Standard => (1_000, 50, 20, 3),
        Effort::Full => (1_000, 100, 100, 11),
    };
    let latency = Duration::from_millis(latency_ms);
    let size = Size {
        pages,
        hosts: 25,
        latency,
    };
    (size, sample, rounds)
}

/// As many fetchers as politeness has use for.
fn fetchers(size: Size) -> usize {
    4 * size.hosts
}

/// A page of the site may take as long as the machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The site, served by a process of its own, and who crawls it.
struct Visit {
    _server: os::Child,
    start: Url,
    hosts: BTreeSet<String>,
    redirects: usize,
    size: Size,
}

impl Visit {
    /// The process that calls has one thread yet.
    fn prepare(lab: &Lab) -> io::Result<Visit> {
        let (size, ..) = size(lab.effort);
        let site = Site::new(size)?;
        let start = Url::parse(&site.start()).map_err(|why| io::Error::other(why.to_string()))?;
        let (hosts, redirects) = (site.hosts().collect(), site.redirects());
        let cpu = lab.second_cpu();
        let server = os::fork(move || {
            // Without a second CPU, or if it is refused, they share one.
            let _pin = cpu.map(Pin::to);
            site.serve().is_err().into()
        })?;
        Ok(Visit {
            _server: server,
            start,
            hosts,
            redirects,
            size,
        })
    }

    fn frontier(&self, pages_max: usize) -> Frontier {
        let rules = Rules::new(self.hosts.clone(), pages_max, PATIENCE);
        Frontier::new(self.start.clone(), rules)
    }

    /// Crawls the whole site as often as the effort says.
    fn measure(
        &self,
        lab: &mut Lab,
        label: &str,
        body: Body,
        crawl: fn(&Frontier, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let (size, _, rounds) = size(lab.effort);
        let (mut took, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            lab.progress(label, round as u64, rounds as u64);
            let frontier = self.frontier(usize::MAX);
            let (start, busy) = (Instant::now(), cpu_time());
            crawl(&frontier, fetchers(size))?;
            took.push(lab.net_ns(start.elapsed()));
            cpu.push((cpu_time() - busy).as_nanos() as f64);
            self.verify(&frontier.report())?;
        }
        let mut row = Row::new(label, body);
        row.units = Some(fetchers(size) as u64);
        for (metric, samples) in [(CRAWL, took), (CPU, cpu)] {
            let summary = Summary::of(&samples);
            row.values
                .extend(summary.map(|summary| (metric.to_owned(), summary)));
        }
        lab.row(row);
        Ok(())
    }

    /// Every page was found, once, and what is broken was noticed.
    fn verify(&self, report: &Report) -> io::Result<()> {
        // The circle's second redirect closes it.
        let redirects = self.redirects + 1;
        let seen = (report.pages, report.redirects, report.broken.len());
        if seen != (self.size.pages, redirects, BROKEN) || report.left > 0 {
            return Err(io::Error::other(format!(
                "the site was not crawled as a whole: {seen:?} pages, redirects, broken; {:?}",
                report.broken
            )));
        }
        Ok(())
    }
}

/// How long this process has computed so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

// excerpt: coroutines
fn by_coroutines(frontier: &Frontier, fetchers: usize) -> io::Result<()> {
    runtime::run(|| {
        runtime::scope(|scope| {
            for _ in 0..fetchers {
                scope.spawn(|| fetcher::<OfCoroutines>(frontier));
            }
        });
    });
    Ok(())
}
// excerpt: end

// excerpt: threads
fn by_threads(frontier: &Frontier, fetchers: usize) -> io::Result<()> {
    thread::scope(|scope| {
        for _ in 0..fetchers {
            thread::Builder::new().spawn_scoped(scope, || fetcher::<OfThreads>(frontier))?;
        }
        Ok(())
    })
}
// excerpt: end

impl Experiment for WebCrawler {
    fn name(&self) -> &'static str {
        "web-crawler"
    }

    fn claim(&self) -> &'static str {
        "A web crawler, which waits for others most of the time, is a case for coroutines."
    }

    fn method(&self, effort: Effort) -> Vec<String> {
        let (size, sample, rounds) = size(effort);
        vec![
            format!(
                "A site of {} pages on {} hosts of loopback, each answered after {} on average, with redirects and broken \
                 links, is crawled {rounds} times from its first page; a host is asked for four pages at a time at most.",
                grouped(size.pages as u64),
                size.hosts,
                with_unit(Unit::Nanoseconds, size.latency.as_nanos() as f64)
            ),
            format!(
                "{} fetchers, on one CPU; the site is served from another if there is one. One page after the other, only \
                 {sample} pages are fetched, and the time for the whole site is extrapolated from that.",
                fetchers(size)
            ),
        ]
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CRAWL, Unit::Nanoseconds, "time for the whole site"),
            Metric::new(CPU, Unit::Nanoseconds, "of that, what the crawler computed"),
        ]
    }

    fn baseline(&self, lab: &mut Lab) -> io::Result<()> {
        let visit = Visit::prepare(lab)?;
        let (size, sample, _) = size(lab.effort);
        let frontier = visit.frontier(sample);
        let (start, busy) = (Instant::now(), cpu_time());
        fetcher::<OfThreads>(&frontier);
        // Redirects and broken pages take as long as others.
        let all = size.pages + visit.redirects + BROKEN + 1;
        let scale = all as f64 / sample as f64;
        let mut row = Row::new(SEQUENTIAL, Body::Baseline);
        row.note = Some(format!("extrapolated from {sample} pages"));
        let columns = [(CRAWL, start.elapsed()), (CPU, cpu_time() - busy)];
        for (metric, time) in columns {
            let summary = Summary::of(&[lab.net_ns(time) * scale]);
            row.values
                .extend(summary.map(|summary| (metric.to_owned(), summary)));
        }
        lab.row(row);
        Ok(())
    }

    fn coroutine(&self, lab: &mut Lab) -> io::Result<()> {
        Visit::prepare(lab)?.measure(lab, COROUTINES, Body::Coroutine, by_coroutines)
    }

    fn thread(&self, lab: &mut Lab) -> io::Result<()> {
        Visit::prepare(lab)?.measure(lab, THREADS, Body::Thread, by_threads)
    }

    fn process(&self, lab: &mut Lab) -> io::Result<()> {
        lab.skip(
            PROCESSES,
            "not compared: all fetchers share the set of pages that are known, which processes do not",
        );
        Ok(())
    }

    fn judge(&self, findings: Findings<'_>) -> Option<Verdict> {
        let of = |label, metric| findings.median(label, metric);
        let both = |label| Some((of(label, CRAWL)?, of(label, CPU)?));
        let (fetchers, _) = findings.largest(Body::Coroutine, CRAWL)?;
        Some(verdict(
            fetchers,
            of(SEQUENTIAL, CRAWL)?,
            both(COROUTINES)?,
            both(THREADS)?,
        ))
    }

    fn answers(&self, findings: Findings<'_>) -> Vec<Answer> {
        let answer = || {
            let Verdict { outcome, why } = self.judge(findings)?;
            let time = |label| findings.median(label, CRAWL);
            let ns = |label| Some(with_unit(Unit::Nanoseconds, time(label)?));
            let value = format!(
                "{}, threads {}; in turn {}",
                ns(COROUTINES)?,
                ns(THREADS)?,
                ns(SEQUENTIAL)?
            );
            Some(Answer::new(
                Place::Scenario(Scenario::WebCrawler),
                outcome,
                value,
                why,
            ))
        };
        answer().into_iter().collect()
    }

    fn code(&self) -> Vec<Excerpt> {
        let of_crawl = include_str!("crawl.rs");
        let here = |name| {
            Excerpt::of(
                "demo/src/scenarios/crawler/mod.rs",
                include_str!("mod.rs"),
                name,
            )
        };
        vec![
            Excerpt::of("demo/src/scenarios/crawler/crawl.rs", of_crawl, "fetcher"),
            here("coroutines"),
            here("threads"),
        ]
    }

    fn figures(&self, findings: Findings<'_>) -> Vec<Figure> {
        let metrics = self.metrics();
        let titles = [
            "Time for the whole site",
            "What the crawler computed meanwhile",
        ];
        let figures = titles.iter().zip(&metrics);
        figures
            .map(|(title, metric)| Figure::ladder(title, metric, findings.0))
            .collect()
    }

    fn is_scenario(&self) -> bool {
        true
    }

    fn options(&self) -> &'static [Choice] {
        &[URL, PAGES, TIMEOUT]
    }

    fn check(&self, options: &Options) -> Result<(), String> {
        Wish::of(options).map(|_| ())
    }

    fn alone(&self, options: &Options) -> Option<io::Result<bool>> {
        let wish = Wish::of(options).ok().flatten()?;
        Some(wish.crawl())
    }
}

/// What the user wants crawled.
struct Wish {
    start: Url,
    pages_max: usize,
    patience: Duration,
}

impl Wish {
    fn of(options: &Options) -> Result<Option<Wish>, String> {
        let number = |choice: &Choice, otherwise: usize, most: usize| {
            let Some(text) = options.text(choice.name)? else {
                return Ok(otherwise);
            };
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number));
            number
                .ok_or_else(|| format!("--{} {text}: it is a number from 1 to {most}", choice.name))
        };
        let pages_max = number(&PAGES, 1_000, 100_000)?;
        let patience = number(&TIMEOUT, 10, 3_600)?;
        let Some(text) = options.text(URL.name)? else {
            return match [PAGES, TIMEOUT]
                .iter()
                .find(|choice| options.has(choice.name))
            {
                Some(choice) => Err(format!("--{} means nothing without --url", choice.name)),
                None => Ok(None),
            };
        };
        Ok(Some(Wish {
            start: Url::parse(text).map_err(|why| format!("--url {text}: {why}"))?,
            pages_max,
            patience: Duration::from_secs(patience as u64),
        }))
    }

    /// Crawls, and tells what came of it; returns whether nothing was broken.
    fn crawl(self) -> io::Result<bool> {
        let hosts = BTreeSet::from([self.start.authority()]);
        let rules = Rules::new(hosts, self.pages_max, self.patience);
        let fetchers = rules.per_host;
        let frontier = Frontier::new(self.start.clone(), rules);
        let start = Instant::now();
        by_coroutines(&frontier, fetchers)?;
        let report = frontier.report();
        if let ([only], 0) = (&report.broken[..], report.pages) {
            return Err(io::Error::other(format!("{}: {}", only.url, only.why)));
        }
        tell(&report, start.elapsed())?;
        Ok(report.broken.is_empty())
    }
}

fn tell(report: &Report, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let time = with_unit(Unit::Nanoseconds, took.as_nanos() as f64);
    writeln!(out, "{} pages in {time}", report.pages)?;
    let counts = [
        (report.others, "that are no HTML"),
        (report.redirects, "redirects followed"),
        (report.duplicates, "links to what was known already"),
        (report.outside, "links to other hosts, not followed"),
        (report.left, "pages left out: --pages asks for no more"),
    ];
    let unfit = report
        .unfit
        .iter()
        .map(|(why, &count)| (count, why.as_str()));
    for (count, what) in counts
        .into_iter()
        .chain(unfit)
        .filter(|(count, _)| *count > 0)
    {
        writeln!(out, "{count:>6} {what}")?;
    }
    for broken in &report.broken {
        write!(out, "broken {}: {}", broken.url, broken.why)?;
        match &broken.linked_by {
            Some(page) => writeln!(out, "; linked by {page}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Judges times in nanoseconds: of one page after the other; elapsed and computed of coroutines and of threads.
fn verdict(fetchers: u64, sequential: f64, coroutines: (f64, f64), threads: (f64, f64)) -> Verdict {
    // With a hundred fetchers it is far more, also on a slow machine; the two differ by far less.
    const GAINS: f64 = 4.0;
    const AS_FAST: f64 = 1.5;
    let gains = |time: f64| sequential >= GAINS * time;
    let outcome = match (gains(coroutines.0), coroutines.0 <= AS_FAST * threads.0) {
        (true, true) => Outcome::Confirmed,
        (false, false) => Outcome::Refuted,
        _ => Outcome::Depends,
    };
    let ns = |time| with_unit(Unit::Nanoseconds, time);
    Verdict {
        outcome,
        why: format!(
            "one page after the other the site takes {}; {fetchers} coroutines on one worker take {}, {} times less, and \
             compute for {} of it. {fetchers} threads take {} and compute for {}. Whoever waits needs no processor, so \
             threads would do as well for so few: what sets coroutines apart, memory for each that waits, counts with \
             thousands (see `http-10k`).",
            ns(sequential),
            ns(coroutines.0),
            times(sequential, coroutines.0),
            ns(coroutines.1),
            ns(threads.0),
            ns(threads.1),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_faster_than_in_turn_and_no_slower_than_threads_confirms() {
        let outcome =
            |coroutines, threads| verdict(100, 50e9, (coroutines, 1e8), (threads, 2e8)).outcome;
        assert_eq!(outcome(1e9, 1e9), Outcome::Confirmed);
        assert_eq!(outcome(4e9, 1e9), Outcome::Depends);
        assert_eq!(outcome(40e9, 1e9), Outcome::Refuted);
    }

    #[test]
    fn a_wish_that_makes_no_sense_says_why() {
        let wish = |name: &str, value: &str| {
            let mut options = Options::default();
            options.insert("url", "http://127.0.0.1/".into());
            options.insert(name, value.into());
            Wish::of(&options).err().unwrap_or_default()
        };
        assert!(wish("url", "https://a/").contains("https is not supported"));
        assert!(wish("url", "nonsense").contains("no address"));
        assert!(wish("pages", "0").contains("1 to 100000"));
        assert!(wish("timeout", "soon").contains("--timeout soon"));
        let mut lonely = Options::default();
        lonely.insert("pages", "5".into());
        assert!(Wish::of(&lonely).err().unwrap().contains("--url"));
    }
}
