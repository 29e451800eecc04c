//! From values to pixels, and where an axis has its ticks.
#![forbid(unsafe_code)]

use crate::figure::Axis;
use crate::quantity::round_with_unit;
use crate::report::Unit;

/// One axis: which values it shows, and where.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    unit: Unit,
    from: f64,
    to: f64,
}

/// A tick: its place in pixels and its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

impl Scale {
    /// The scale of `axis` on which all of `values` find room between the pixels `from` and `to`. A logarithmic one shows
    /// positive values only. `None` if there are none to show.
    pub fn new(
        axis: &Axis,
        values: impl IntoIterator<Item = f64>,
        (from, to): (f64, f64),
    ) -> Option<Scale> {
        let fits = |value: &f64| value.is_finite() && (!axis.logarithmic || *value > 0.0);
        let values: Vec<f64> = values.into_iter().filter(fits).collect();
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        let (low, high) = if axis.logarithmic {
            // Some room on both sides, so that the smallest bar has a length.
            (low / 1.6, high * 1.3)
        } else {
            let high = if high > 0.0 { high * 1.05 } else { 1.0 };
            (low.min(0.0), high)
        };
        Some(Scale {
            low,
            high,
            logarithmic: axis.logarithmic,
            unit: axis.unit,
            from,
            to,
        })
    }

    /// Where `value` stands, in pixels; at the end of the axis if it is beyond.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            let value = value.max(self.low);
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Where a bar begins.
    pub fn origin(&self) -> f64 {
        if self.logarithmic {
            self.from
        } else {
            self.at(0.0)
        }
    }

    /// At most `count_max` ticks, and 2 at least where that many round values lie within.
    pub fn ticks(&self, count_max: usize) -> Vec<Tick> {
        let candidates: Vec<Vec<f64>> = if self.logarithmic {
            self.logarithmic_steps()
        } else {
            self.linear_steps()
        };
        let within = |values: Vec<f64>| -> Vec<f64> {
            let is_within = |value: &f64| *value >= self.low && *value <= self.high;
            values.into_iter().filter(is_within).collect()
        };
        let values = candidates
            .into_iter()
            .map(within)
            .find(|values| values.len() <= count_max)
            .unwrap_or_default();
        let tick = |value: f64| Tick {
            at: self.at(value),
            label: round_with_unit(self.unit, value),
        };
        values.into_iter().map(tick).collect()
    }

    /// Round values from the densest set to the sparsest.
    fn logarithmic_steps(&self) -> Vec<Vec<f64>> {
        let base: f64 = if self.unit == Unit::Bytes { 2.0 } else { 10.0 };
        let first = self.low.log(base).floor() as i32;
        let last = self.high.log(base).ceil() as i32;
        let every = |step: i32, digits: &[f64]| -> Vec<f64> {
            let begin = first.div_euclid(step) * step;
            let exponents = (begin..=last).step_by(step as usize);
            exponents
                .flat_map(|exponent| digits.iter().map(move |digit| digit * base.powi(exponent)))
                .collect()
        };
        if self.unit == Unit::Bytes {
            return [1, 2, 5, 10, 20].map(|step| every(step, &[1.0])).into();
        }
        let mut sets = vec![every(1, &[1.0, 2.0, 5.0]), every(1, &[1.0, 3.0])];
        sets.extend([1, 2, 3, 6, 9].map(|step| every(step, &[1.0])));
        sets
    }

    fn linear_steps(&self) -> Vec<Vec<f64>> {
        let range = self.high - self.low;
        let decade = 10f64.powf(range.log10().floor() - 1.0);
        let every = |step: f64| -> Vec<f64> {
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step).floor() as i64;
            (first..=last).map(|number| number as f64 * step).collect()
        };
        [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
            .map(|digit| every(digit * decade))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, count_max: usize) -> Vec<String> {
        let ticks = scale.ticks(count_max);
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn equal_factors_are_equal_lengths() {
        let axis = Axis::log("time", Unit::Nanoseconds);
        let scale = Scale::new(&axis, [1.0, 10.0, 1_000.0], (0.0, 100.0)).unwrap();
        let step = scale.at(10.0) - scale.at(1.0);
        assert!((scale.at(1_000.0) - scale.at(10.0) - 2.0 * step).abs() < 1e-9);
        assert!(scale.at(1.0) > scale.origin());
        assert_eq!(labels(&scale, 5), ["1 ns", "10 ns", "100 ns", "1 us"]);
        assert_eq!(labels(&scale, 3), ["1 ns", "100 ns"]);
        assert_eq!(scale.at(-1.0), 0.0);
    }

    #[test]
    fn bytes_have_ticks_at_powers_of_two() {
        let axis = Axis::log("size", Unit::Bytes);
        let scale = Scale::new(&axis, [1.0, 1_048_576.0], (0.0, 100.0)).unwrap();
        assert_eq!(labels(&scale, 3), ["1 B", "1 KiB", "1 MiB"]);
    }

    #[test]
    fn a_linear_axis_begins_at_nought() {
        let axis = Axis::linear("gap", Unit::Nanoseconds);
        let scale = Scale::new(&axis, [4e6, 9e6], (100.0, 0.0)).unwrap();
        assert_eq!(scale.origin(), 100.0);
        assert_eq!(labels(&scale, 6), ["0 ns", "2 ms", "4 ms", "6 ms", "8 ms"]);
        let flat = Scale::new(&axis, [0.0], (0.0, 1.0)).unwrap();
        assert!(flat.at(0.0) == 0.0 && !flat.ticks(3).is_empty());
    }

    #[test]
    fn nothing_to_show_has_no_scale() {
        let axis = Axis::log("time", Unit::Nanoseconds);
        assert!(Scale::new(&axis, [0.0, -1.0, f64::NAN], (0.0, 1.0)).is_none());
    }
}
