//! Alternating rounds and what is made of them.

/// The rates of one thing, a round each.
#[derive(Clone, Debug, Default)]
pub struct Rates(pub Vec<f64>);

impl Rates {
    pub fn push(&mut self, rate: f64) {
        self.0.push(rate);
    }

    /// The middle one; of an even number the lower middle, so that it was really measured.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// Round by round the smaller of the two.
    pub fn min(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a.min(*b)).collect())
    }

    /// The largest difference from the median, as a share of it: how far the machine can be trusted.
    pub fn spread(&self) -> f64 {
        let median = self.median();
        self.0.iter().map(|rate| (rate - median).abs() / median).fold(0.0, f64::max)
    }
}
