//! From clock readings to a figure with its spread.
//!
//! ```text
//!   calibrate           warm up          samples
//!   1, 2, 8, .. runs    thrown away      n x (iterations in one clock pair)
//!   until one takes     |                |
//!   `sample_time`       v                v
//!   ----------------->  [s] [s]          [s] [s] [s] [s] ... -> median, p5, p95, n
//! ```
//!
//! A sample is the time of many iterations divided by their number, less what reading the clock costs.
//! The median and the 5th and 95th percentiles are reported, never the mean: one interruption by the
//! kernel would move it.
#![forbid(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a set of samples says: the middle, the spread, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half of the samples are no larger than this. In the unit of its metric.
    pub median: f64,
    /// 5th percentile: one sample in twenty is smaller.
    pub p5: f64,
    /// 95th percentile: one sample in twenty is larger.
    pub p95: f64,
    /// How many samples were taken.
    pub n: usize,
}

impl Summary {
    /// Summarises `samples`; `None` if there are none.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            median: percentile(&sorted, 50.0)?,
            p5: percentile(&sorted, 5.0)?,
            p95: percentile(&sorted, 95.0)?,
            n: sorted.len(),
        })
    }

    /// The width from p5 to p95 as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.p95 == self.p5 {
            0.0
        } else {
            (self.p95 - self.p5) / self.median.abs()
        }
    }

    /// Whether the samples lie too far apart to tell two figures of the same size from each other.
    pub fn is_wide(&self) -> bool {
        self.spread() > WIDE
    }
}

/// A spread of more than half the median is called wide.
const WIDE: f64 = 0.5;

/// The `p`th percentile of ascending values, interpolated between the two nearest; `None` of nothing.
fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = p / 100.0 * last as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    Some(below + (above - below) * rank.fract())
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Samples that count; at least 10.
    pub samples: usize,
    /// Samples thrown away first, while caches, pools and branch predictors settle.
    pub warm_up: usize,
    /// What one sample should at least take, so that the clock's own step is far below it.
    pub sample_time: Duration,
}

/// What it costs to read the clock, to be taken off every sample.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    overhead: Duration,
}

impl Clock {
    /// Measures the clock against itself: the median of a thousand pairs of readings.
    pub fn calibrate() -> Clock {
        let mut pairs: Vec<Duration> = (0..1_000).map(|_| Instant::now().elapsed()).collect();
        pairs.sort();
        Clock {
            overhead: pairs[pairs.len() / 2],
        }
    }

    /// The nanoseconds of `elapsed` less the clock's own; never below 0.
    pub fn net_ns(&self, elapsed: Duration) -> f64 {
        elapsed.saturating_sub(self.overhead).as_nanos() as f64
    }
}

/// Samples `run`, which performs as many iterations as it is told and returns the time they took.
///
/// Returns the nanoseconds per iteration of each sample. `after_each` is called between samples, with
/// the number taken so far.
///
/// # Errors
/// The first error of `run`.
pub fn sample(
    plan: &Plan,
    clock: &Clock,
    mut run: impl FnMut(u64) -> io::Result<Duration>,
    mut after_each: impl FnMut(usize),
) -> io::Result<Vec<f64>> {
    let iterations = calibrate(plan.sample_time, &mut run)?;
    for _ in 0..plan.warm_up {
        run(iterations)?;
    }
    let mut samples = Vec::with_capacity(plan.samples);
    for _ in 0..plan.samples {
        samples.push(clock.net_ns(run(iterations)?) / iterations as f64);
        after_each(samples.len());
    }
    Ok(samples)
}

/// Finds how many iterations take about `target`, approaching it from below.
fn calibrate(
    target: Duration,
    run: &mut impl FnMut(u64) -> io::Result<Duration>,
) -> io::Result<u64> {
    const GROWTH_MAX: f64 = 16.0;
    const ITERATIONS_MAX: u64 = 1 << 40;
    let mut iterations = 1;
    loop {
        let took = run(iterations)?;
        if took >= target || iterations >= ITERATIONS_MAX {
            return Ok(iterations);
        }
        let wanted = target.as_secs_f64() / took.as_secs_f64().max(1e-9);
        // A tenth more than wanted, or it would come out just below the target again and again.
        let growth = (1.1 * wanted).clamp(1.2, GROWTH_MAX);
        iterations = (iterations as f64 * growth).ceil() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        samples: 10,
        warm_up: 3,
        sample_time: Duration::from_millis(1),
    };
    const FREE_CLOCK: Clock = Clock {
        overhead: Duration::ZERO,
    };

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(
            (summary.p5, summary.median, summary.p95, summary.n),
            (5.0, 50.0, 95.0, 101)
        );
        assert_eq!(Summary::of(&[1.0, 2.0]).unwrap().median, 1.5);
    }

    #[test]
    fn one_sample_is_its_own_median_and_spread() {
        let summary = Summary::of(&[3.0]).unwrap();
        assert_eq!((summary.p5, summary.median, summary.p95), (3.0, 3.0, 3.0));
        assert!(!summary.is_wide());
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let mut samples = vec![10.0; 20];
        samples.push(1e9);
        assert_eq!(Summary::of(&samples).unwrap().median, 10.0);
    }

    #[test]
    fn a_spread_over_half_the_median_is_wide() {
        let of = |p5, p95| Summary {
            median: 10.0,
            p5,
            p95,
            n: 10,
        };
        assert!(!of(8.0, 12.0).is_wide());
        assert!(of(8.0, 14.0).is_wide());
        assert!(
            Summary {
                median: 0.0,
                p5: -1.0,
                p95: 1.0,
                n: 10
            }
            .is_wide()
        );
        assert!(
            !Summary {
                median: 0.0,
                p5: 0.0,
                p95: 0.0,
                n: 10
            }
            .is_wide()
        );
    }

    #[test]
    fn a_run_of_constant_cost_gives_exactly_that_cost() {
        let run = |iterations| Ok(Duration::from_nanos(250) * iterations as u32);
        let samples = sample(&PLAN, &FREE_CLOCK, run, |_| ()).unwrap();
        assert_eq!(samples, [250.0; 10]);
    }

    #[test]
    fn calibration_reaches_the_sample_time_and_not_much_more() {
        let mut longest = Duration::ZERO;
        let run = |iterations| {
            let took = Duration::from_nanos(7) * iterations as u32;
            longest = longest.max(took);
            Ok(took)
        };
        sample(&PLAN, &FREE_CLOCK, run, |_| ()).unwrap();
        assert!(
            longest >= PLAN.sample_time && longest < 2 * PLAN.sample_time,
            "{longest:?}"
        );
    }

    #[test]
    fn warm_up_runs_are_not_samples() {
        let mut runs = 0;
        let run = |_| {
            runs += 1;
            // The first runs are ten times as slow, as in a cold cache.
            Ok(Duration::from_millis(if runs <= 4 { 100 } else { 10 }))
        };
        let samples = sample(&PLAN, &FREE_CLOCK, run, |_| ()).unwrap();
        assert!(samples.iter().all(|&ns| ns == 10e6), "{samples:?}");
        assert_eq!(runs, 1 + PLAN.warm_up + PLAN.samples);
    }

    #[test]
    fn the_clock_is_taken_off_but_never_below_zero() {
        let clock = Clock {
            overhead: Duration::from_nanos(30),
        };
        assert_eq!(clock.net_ns(Duration::from_nanos(100)), 70.0);
        assert_eq!(clock.net_ns(Duration::from_nanos(20)), 0.0);
        assert!(Clock::calibrate().overhead < Duration::from_millis(1));
    }

    #[test]
    fn an_error_of_the_run_ends_the_sampling() {
        let run = |_| Err(io::Error::other("refused"));
        assert!(sample(&PLAN, &FREE_CLOCK, run, |_| ()).is_err());
    }

    #[test]
    fn after_each_hears_of_every_sample() {
        let mut heard = vec![];
        let run = |_| Ok(Duration::from_millis(5));
        sample(&PLAN, &FREE_CLOCK, run, |taken| heard.push(taken)).unwrap();
        assert_eq!(heard, (1..=10).collect::<Vec<_>>());
    }
}
