use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

/// How the variance of the noise depends on the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// It does not.
    Uniform,
    /// As for counts: in proportion to the mean spectrum times the sum of the row (Keenan & Kotula 2004, Surf.
    /// Interface Anal. 36, 203).
    Counts,
}

/// A channel's variance is at least this part of the mean one: an empty channel has noise as well.
const LEAST_CHANNEL: f64 = 1e-3;

/// A row's variance is at least this part of the mean one.
const LEAST_ROW: f64 = 1e-2;

/// Standard deviations of channels, and variances of rows, relative to the mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    /// Power of two next to the largest number of the rows: squares are numbers in it, and nothing is rounded.
    pub unit: f64,
    /// √hₗ of the unit.
    pub channels: Array1<f64>,
    /// Mean sum of a row; 0 if rows are alike.
    total: f64,
}

impl Weights {
    pub fn of(noise: Noise, rows: ArrayView2<'_, f64>) -> Self {
        let largest = rows.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
        // Its inverse must be a number as well.
        let unit = 2f64.powi(largest.log2().floor().clamp(-1000.0, 1000.0) as i32);
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
        let (total, level) = (mean.sum(), mean.sum() / mean.len() as f64);
        // Counts without a single count have no scale.
        if noise == Noise::Uniform || level <= 0.0 {
            return Self { unit, channels: Array1::from_elem(mean.len(), unit), total: 0.0 };
        }
        Self { unit, channels: mean.mapv(|m| unit * (m / level).max(LEAST_CHANNEL).sqrt()), total }
    }

    /// gₙ of a row.
    pub fn variance(&self, row: ArrayView1<'_, f64>) -> f64 {
        if self.total > 0.0 { (row.sum() / self.total).max(LEAST_ROW) } else { 1.0 }
    }

    /// ln of the volume that one of the scaled data takes in the unit, half of Σₙₗ ln gₙhₗ.
    pub fn log_volume(&self, row_variances: &[f64]) -> f64 {
        let rows: f64 = row_variances.iter().map(|g| g.ln()).sum();
        let channels: f64 = self.channels.iter().map(|s| 2.0 * (s / self.unit).ln()).sum();
        0.5 * (rows * self.channels.len() as f64 + channels * row_variances.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn counts_have_more_noise_where_there_is_more() {
        let rows = array![[1.0, 3.0, 0.0], [3.0, 5.0, 0.0]];
        let weights = Weights::of(Noise::Counts, rows.view());
        // Mean spectrum 2, 4, 0; its mean 2; sums of rows 4 and 8 about 6; largest 5.
        assert_eq!(weights.unit, 4.0);
        assert_eq!(weights.channels, 4.0 * array![1.0, 2f64.sqrt(), LEAST_CHANNEL.sqrt()]);
        assert_eq!(weights.variance(rows.row(0)), 4.0 / 6.0);
        assert_eq!(weights.variance(array![0.0, -1.0, 0.0].view()), LEAST_ROW);
        let volume = 0.5 * (3.0 * (32f64 / 36.0).ln() + 2.0 * (2.0 * LEAST_CHANNEL).ln());
        assert!((weights.log_volume(&[4.0 / 6.0, 8.0 / 6.0]) - volume).abs() < 1e-12);
        let uniform = Weights::of(Noise::Uniform, rows.view());
        assert_eq!((uniform.variance(rows.row(0)), uniform.log_volume(&[1.0; 2])), (1.0, 0.0));
        let empty = Weights::of(Noise::Counts, array![[0.0, 0.0], [0.0, 0.0]].view());
        assert!(empty.channels.iter().all(|s| *s > 0.0 && (1.0 / s).is_finite()));
        let tiny = Weights::of(Noise::Uniform, array![[1e-310, 0.0]].view());
        assert!(tiny.channels.iter().all(|s| *s > 0.0 && (1.0 / s).is_finite()));
    }
}
