use ndarray::{Array1, Array2};
use parsimon_core::{Axis, Dataset, Spectra};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::Result;
use crate::error::require;

/// Distance of the two peaks, in half-widths of the spectrum.
const DISTANCE: f64 = 0.28;
/// Full width of a peak at half its height, in the same unit.
const WIDTH: f64 = 0.14;
/// Heights of the two peaks of each shape.
const HEIGHTS: [[f64; 2]; 2] = [[1.0, 0.5], [0.7, 0.9]];

/// Spectra of two peaks that drift along the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeaksParams {
    /// Channels of a spectrum, 16 to 65,536. Default 128.
    pub length: usize,
    /// Spectra of each of the two shapes, 1 to 1,000,000. Default 750.
    pub per_shape: usize,
    /// Largest drift either way, in half-widths of the spectrum, 0 to 0.6. Default 0.5.
    pub shift: f64,
    /// Standard deviation of the Gaussian noise, in heights of the highest peak, 0 to 10. Default 0.05.
    pub noise: f64,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for PeaksParams {
    fn default() -> Self {
        Self { length: 128, per_shape: 750, shift: 0.5, noise: 0.05, seed: 0 }
    }
}

/// Two Lorentzian peaks, of which either the left is the higher (shape 0) or, a little, the right (shape 1):
///
/// ```text
/// I(x) = Σ hᵢ / (1 + (2(x − Δ − cᵢ)/w)²) + noise,   x from −1 to 1 along the spectrum,
/// ```
///
/// with Δ uniform in ± `shift`. Rows are shuffled, so that the last tenth is a fair hold-out.
///
/// # Shapes
/// `spectra` (2·per_shape)×length; `labels` the shape; `truth` holds `dx`, Δ in half-widths of the spectrum, growing with
/// the channel.
///
/// # Errors
/// If a parameter is outside its range.
pub fn peaks(params: &PeaksParams) -> Result<Dataset> {
    let PeaksParams { length, per_shape, shift, noise, seed } = *params;
    require((16..=1 << 16).contains(&length), "length of a spectrum", length as f64, "16 to 65536")?;
    require((1..=1_000_000).contains(&per_shape), "spectra of a shape", per_shape as f64, "1 to 1000000")?;
    require((0.0..=0.6).contains(&shift), "largest drift", shift, "0 to 0.6")?;
    require((0.0..=10.0).contains(&noise), "noise", noise, "0 to 10")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut labels: Vec<i64> = (0..2 * per_shape).map(|i| (i % 2) as i64).collect();
    labels.shuffle(&mut rng);
    let drift: Array1<f64> = labels.iter().map(|_| rng.gen_range(-shift..=shift)).collect();
    let mut values = Array2::zeros((labels.len(), length));
    for ((mut row, label), drift) in values.rows_mut().into_iter().zip(&labels).zip(&drift) {
        for (i, value) in row.iter_mut().enumerate() {
            let x = 2.0 * i as f64 / (length - 1) as f64 - 1.0 - drift;
            let peak =
                |(side, height): (f64, f64)| height / (1.0 + (2.0 * (x - side * DISTANCE / 2.0) / WIDTH).powi(2));
            let heights = HEIGHTS[usize::from(*label == 1)];
            let normal: f64 = rng.sample(StandardNormal);
            *value = peak((-1.0, heights[0])) + peak((1.0, heights[1])) + noise * normal;
        }
    }
    Ok(Dataset {
        spectra: Some(Spectra::new(values, Axis::uncalibrated("energy"))?),
        labels: Some(labels.into()),
        truth: [("dx".to_owned(), drift)].into(),
        ..Dataset::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_stand_where_the_truth_says() {
        let data = peaks(&PeaksParams { per_shape: 20, noise: 0.0, ..PeaksParams::default() }).unwrap();
        let (spectra, labels) = (data.spectra.unwrap(), data.labels.unwrap());
        assert_eq!(spectra.values().dim(), (40, 128));
        for ((row, label), drift) in spectra.values().rows().into_iter().zip(&labels).zip(&data.truth["dx"]) {
            let highest = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            let at = 2.0 * highest as f64 / 127.0 - 1.0 - drift;
            let side = if *label == 0 { -1.0 } else { 1.0 };
            assert!((at - side * DISTANCE / 2.0).abs() < 0.02, "{label}: {at}");
        }
        assert!(data.truth["dx"].iter().any(|d| *d > 0.3) && data.truth["dx"].iter().any(|d| *d < -0.3));
    }

    #[test]
    fn noise_is_as_strong_as_asked_and_the_seed_decides() {
        let of = |noise, seed| {
            let data = peaks(&PeaksParams { per_shape: 50, noise, seed, ..PeaksParams::default() }).unwrap();
            data.spectra.unwrap().values().to_owned()
        };
        let off = of(0.2, 1) - of(0.0, 1);
        assert!((off.std(0.0) - 0.2).abs() < 0.01, "{}", off.std(0.0));
        assert_ne!(of(0.1, 1), of(0.1, 2));
    }

    #[test]
    fn every_rejection() {
        let base = PeaksParams::default();
        for wrong in [
            PeaksParams { length: 4, ..base },
            PeaksParams { per_shape: 0, ..base },
            PeaksParams { shift: 0.7, ..base },
            PeaksParams { noise: f64::NAN, ..base },
        ] {
            assert!(peaks(&wrong).is_err(), "{wrong:?}");
        }
    }
}
