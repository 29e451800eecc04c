//! A contest: the same workload run by several contenders, so that their ratio can be read off one run.
//!
//! First criterion measures each in turn, as its users expect. Its groups are minutes apart on a noisy
//! machine, so the ratios of the report come from rounds in which the contenders alternate, in rotated order:
//!
//! ```text
//!   round 1   ours  raw   tokio may
//!   round 2   raw   tokio may   ours
//!   round 3   tokio may   ours  raw
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use super::bench::Bench;
use super::report::Table;
use super::series::Series;
use super::station::Station;

/// What a table shows of an iteration.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Its time, in multiples of so many nanoseconds: less is better.
    Time(&'static str, f64),
    /// How many of them a second holds: more is better.
    PerSecond,
}

pub const NS: Unit = Unit::Time("ns", 1.0);
pub const MS: Unit = Unit::Time("ms", 1e6);

impl Unit {
    fn of(self, time: Duration, iterations: u64) -> f64 {
        let iterations = iterations as f64;
        match self {
            Unit::Time(_, nanos) => time.as_secs_f64() * 1e9 / nanos / iterations,
            Unit::PerSecond => iterations / time.as_secs_f64(),
        }
    }

    fn text(self, what: &str) -> String {
        match self {
            Unit::Time(name, _) => format!("{name} per {what}"),
            Unit::PerSecond => format!("{what}s per second"),
        }
    }
}

/// A sample lasts at least this long: far above the clock's grain, far below the machine's moods.
const SAMPLE: Duration = Duration::from_millis(20);

struct Contender<'a> {
    name: &'static str,
    time: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl Contender<'_> {
    /// How many iterations fill a sample.
    fn calibrate(&mut self) -> u64 {
        let mut iterations = 1;
        loop {
            let time = (self.time)(iterations);
            if time >= SAMPLE / 4 {
                return (iterations as f64 * SAMPLE.as_secs_f64() / time.as_secs_f64()).ceil()
                    as u64;
            }
            iterations *= 8;
        }
    }
}

/// One workload and those who run it.
pub struct Contest<'a> {
    title: String,
    what: &'static str,
    unit: Unit,
    rounds: usize,
    contenders: Vec<Contender<'a>>,
}

impl<'a> Contest<'a> {
    /// A contest whose iteration is one `what` (a yield, a spawn).
    pub fn new(title: impl Into<String>, unit: Unit, what: &'static str) -> Self {
        Contest {
            title: title.into(),
            what,
            unit,
            rounds: 15,
            contenders: Vec::new(),
        }
    }

    /// As many rounds instead of 15.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// Adds a contender: a function that says how long so many iterations take.
    pub fn with(mut self, name: &'static str, time: impl FnMut(u64) -> Duration + 'a) -> Self {
        self.contenders.push(Contender {
            name,
            time: Box::new(time),
        });
        self
    }

    /// Adds a contender that has a station.
    pub fn station(self, name: &'static str, mut station: Station) -> Self {
        self.with(name, move |iterations| station.time(iterations))
    }

    /// Runs criterion's group and, unless this is only a try, the rounds; returns what the rounds showed.
    pub fn run(mut self, bench: &mut Bench) -> Option<Table> {
        self.criterion(bench);
        if bench.is_quick() {
            return None;
        }
        let table = self.interleave();
        bench.report.table(&table);
        Some(table)
    }

    /// Runs criterion's group alone.
    pub fn criterion(&mut self, bench: &mut Bench) {
        let mut group = bench.criterion.benchmark_group(&self.title);
        for contender in &mut self.contenders {
            group.bench_function(contender.name, |bencher| {
                bencher.iter_custom(&mut contender.time)
            });
        }
        group.finish();
    }

    fn interleave(&mut self) -> Table {
        let iterations: Vec<u64> = self
            .contenders
            .iter_mut()
            .map(Contender::calibrate)
            .collect();
        let mut series: Vec<Series> = self
            .contenders
            .iter()
            .map(|contender| Series::new(contender.name))
            .collect();
        rotate(self.rounds, self.contenders.len(), |which| {
            let time = (self.contenders[which].time)(iterations[which]);
            series[which]
                .values
                .push(self.unit.of(time, iterations[which]));
        });
        Table {
            title: self.title.clone(),
            unit: self.unit.text(self.what),
            series,
        }
    }
}

/// Calls `sample` with each contender's index once per round, the first of each round moving on by one:
/// who always came after the same neighbour would always inherit its caches.
pub fn rotate(rounds: usize, contenders: usize, mut sample: impl FnMut(usize)) {
    for round in 0..rounds {
        for turn in 0..contenders {
            sample((round + turn) % contenders);
        }
    }
}

/// Takes several figures of each contender in interleaved rounds: `sample` returns those of the contender it is
/// given, in the order of `units`. Returns a table for each figure.
pub fn tables<const N: usize>(
    title: &str,
    names: &[&str],
    rounds: usize,
    units: [&str; N],
    mut sample: impl FnMut(&str) -> [f64; N],
) -> [Table; N] {
    let mut tables = units.map(|unit| Table {
        title: title.to_owned(),
        unit: unit.to_owned(),
        series: names.iter().map(|&name| Series::new(name)).collect(),
    });
    rotate(rounds, names.len(), |which| {
        for (table, figure) in tables.iter_mut().zip(sample(names[which])) {
            table.series[which].values.push(figure);
        }
    });
    tables
}
