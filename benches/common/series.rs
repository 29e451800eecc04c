//! Samples of one contender, and the two numbers quoted from them: the median and the quartiles around it.
#![forbid(unsafe_code)]

/// What one contender showed, one value per round.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub values: Vec<f64>,
}

impl Series {
    pub fn new(name: impl Into<String>) -> Self {
        Series {
            name: name.into(),
            values: Vec::new(),
        }
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which the share `q` of the samples lies, interpolated between neighbours.
    pub fn quantile(&self, q: f64) -> f64 {
        assert!(!self.values.is_empty(), "{}: no samples", self.name);
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let position = q * (sorted.len() - 1) as f64;
        let (below, above) = (
            sorted[position.floor() as usize],
            sorted[position.ceil() as usize],
        );
        below + (above - below) * position.fract()
    }

    /// This over `other`, round by round: neighbours in time share the machine's mood, medians of
    /// different minutes do not.
    pub fn over(&self, other: &Series) -> Series {
        assert_eq!(
            self.values.len(),
            other.values.len(),
            "a ratio needs paired rounds"
        );
        Series {
            name: format!("{} / {}", self.name, other.name),
            values: self
                .values
                .iter()
                .zip(&other.values)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        }
    }
}
