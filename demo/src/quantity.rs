//! Numbers as people read them: three figures and a unit that fits.
#![forbid(unsafe_code)]

use crate::report::Unit;

/// A unit for display, and what a value in the metric's own unit is divided by to get there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The unit's symbol.
    pub symbol: &'static str,
    divisor: f64,
}

impl Scale {
    /// The largest unit in which `value` is at least 1.
    pub fn of(unit: Unit, value: f64) -> Scale {
        const TIMES: [(&str, f64); 4] = [("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0)];
        const SIZES: [(&str, f64); 4] = [
            ("GiB", 1_073_741_824.0),
            ("MiB", 1_048_576.0),
            ("KiB", 1_024.0),
            ("B", 1.0),
        ];
        const RATES: [(&str, f64); 3] = [("M/s", 1e6), ("k/s", 1e3), ("/s", 1.0)];
        const FLOWS: [(&str, f64); 4] = [("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3), ("B/s", 1.0)];
        let ladder: &[(&str, f64)] = match unit {
            Unit::Nanoseconds => &TIMES,
            Unit::Bytes => &SIZES,
            Unit::PerSecond => &RATES,
            Unit::BytesPerSecond => &FLOWS,
            Unit::Count | Unit::Words => &[("", 1.0)],
        };
        let fits = |&&(_, divisor): &&(&str, f64)| value.abs() >= divisor;
        let smallest = &ladder[ladder.len() - 1];
        let &(symbol, divisor) = ladder.iter().find(fits).unwrap_or(smallest);
        Scale { symbol, divisor }
    }

    /// `value`, given in the metric's own unit, in this one: three significant figures, no unit.
    pub fn number(&self, value: f64) -> String {
        let scaled = value / self.divisor;
        if self.symbol.is_empty() && scaled.fract() == 0.0 && scaled.abs() < 1e3 {
            // Of what is counted there are no hundredths.
            return format!("{scaled}");
        }
        figures(scaled)
    }
}

/// `value` with a unit: `2.35 us`.
pub fn with_unit(unit: Unit, value: f64) -> String {
    let scale = Scale::of(unit, value);
    let text = format!("{} {}", scale.number(value), scale.symbol);
    text.trim_end().to_owned()
}

/// As [`with_unit`], without digits that say nothing: `10 us`, `1.5 ms`. For values that were chosen, not measured.
pub fn round_with_unit(unit: Unit, value: f64) -> String {
    let text = with_unit(unit, value);
    let (number, symbol) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {symbol}").trim_end().to_owned()
}

/// How many times `more` is of `less`: `1.04`, `37`, `1,400`.
pub fn times(more: f64, less: f64) -> String {
    let ratio = more / less;
    match ratio.abs() {
        10.0.. => {
            // Two significant figures: a ratio of two medians carries no more.
            let step = 10f64.powf(ratio.abs().log10().floor() - 1.0);
            grouped(((ratio / step).round() * step) as u64)
        }
        _ => figures(ratio),
    }
}

/// Three significant figures: `0.53`, `1.62`, `23.5`, `132`, `1,024`.
fn figures(value: f64) -> String {
    match value.abs() {
        999.5.. => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", grouped(value.abs().round() as u64))
        }
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with a comma at each thousand.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_in_the_largest_unit_that_it_fills() {
        let time = |ns| with_unit(Unit::Nanoseconds, ns);
        assert_eq!(time(1.623), "1.62 ns");
        assert_eq!(time(2_351.0), "2.35 us");
        assert_eq!(time(132_000.0), "132 us");
        assert_eq!(time(5.5e9), "5.50 s");
        assert_eq!(time(0.25), "0.25 ns");
        assert_eq!(time(0.0), "0.00 ns");
        let size = |bytes| with_unit(Unit::Bytes, bytes);
        assert_eq!(size(4_224.0), "4.12 KiB");
        assert_eq!(size(1_000.0), "1,000 B");
        assert_eq!(size(-2_048.0), "-2.00 KiB");
        assert_eq!(with_unit(Unit::PerSecond, 12_340.0), "12.3 k/s");
        assert_eq!(with_unit(Unit::BytesPerSecond, 2.5e9), "2.50 GB/s");
        assert_eq!(with_unit(Unit::Count, 3.0), "3");
        assert_eq!(with_unit(Unit::Count, 2.5), "2.50");
        assert_eq!(with_unit(Unit::Count, 12_345.0), "12,345");
    }

    #[test]
    fn a_round_value_has_no_needless_digits() {
        let size = |bytes| round_with_unit(Unit::Bytes, bytes);
        assert_eq!(
            (size(65_536.0), size(1_536.0)),
            ("64 KiB".into(), "1.5 KiB".into())
        );
        assert_eq!(size(0.0), "0 B");
        assert_eq!(round_with_unit(Unit::Count, 1_000.0), "1,000");
        assert_eq!(round_with_unit(Unit::Nanoseconds, 100.0), "100 ns");
    }

    #[test]
    fn a_spread_is_shown_in_the_unit_of_its_median() {
        let scale = Scale::of(Unit::Nanoseconds, 1_500.0);
        assert_eq!((scale.number(900.0), scale.symbol), ("0.90".into(), "us"));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn a_ratio_has_two_figures_once_it_is_large() {
        assert_eq!(times(10.4, 10.0), "1.04");
        assert_eq!(times(374.0, 10.0), "37");
        assert_eq!(times(14_370.0, 10.0), "1,400");
    }
}
