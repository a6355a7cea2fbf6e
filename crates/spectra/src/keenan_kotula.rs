use ndarray::{Array1, Array2, ArrayView1, Axis as Dim};
use parsimon_core::Spectra;
use rayon::prelude::*;

use crate::error::{counts, shaped};
use crate::{Error, Result};

/// Weights that make the Poisson noise of counts alike in all channels and pixels, so that what varies most is no noise:
///
/// ```text
/// X̃ᵢⱼ = Xᵢⱼ / √(pᵢ sⱼ / m),   pᵢ the mean of spectrum i, sⱼ the mean of channel j, m that of all.
/// ```
///
/// Where all spectra have one shape, the noise of X̃ has variance 1. Channels and spectra without counts stay 0, there and
/// back.
///
/// # Reference
/// M. R. Keenan and P. G. Kotula, Surf. Interface Anal. 36, 203 (2004).
#[derive(Debug, Clone, PartialEq)]
pub struct KeenanKotula {
    /// √(pᵢ/m).
    spectra: Array1<f64>,
    /// √sⱼ.
    channels: Array1<f64>,
}

impl KeenanKotula {
    /// The weights of counts, N×L.
    ///
    /// # Errors
    /// If a value is below 0, or all are 0.
    pub fn find(spectra: &Spectra) -> Result<Self> {
        let values = spectra.values();
        counts(values)?;
        let by_spectrum: Array1<f64> = values.sum_axis(Dim(1)) / values.ncols() as f64;
        let by_channel: Array1<f64> = values.sum_axis(Dim(0)) / values.nrows() as f64;
        let mean = by_channel.sum() / values.ncols() as f64;
        if !(mean.is_finite() && mean > 0.0) {
            return Err(Error::NoCounts { mean });
        }
        Ok(Self { spectra: by_spectrum.mapv(|p| (p / mean).sqrt()), channels: by_channel.mapv(f64::sqrt) })
    }

    /// Counts to scaled values, N×L.
    ///
    /// # Errors
    /// If the shape is not that of the counts whose weights these are.
    pub fn scale(&self, spectra: Spectra) -> Result<Spectra> {
        let (values, axis) = spectra.into_parts();
        let inverse = |root: &f64| if *root > 0.0 { 1.0 / root } else { 0.0 };
        let by_spectrum: Array1<f64> = self.spectra.iter().map(inverse).collect();
        let by_channel: Array1<f64> = self.channels.iter().map(inverse).collect();
        Ok(Spectra::new(self.times(values, by_spectrum.view(), by_channel.view())?, axis)?)
    }

    /// Scaled values, such as a reconstruction, to counts; N×L.
    ///
    /// # Errors
    /// If the shape is not that of the counts whose weights these are.
    pub fn restore(&self, values: Array2<f64>) -> Result<Array2<f64>> {
        self.times(values, self.spectra.view(), self.channels.view())
    }

    /// Components of scaled values to components of counts, R×L: times √sⱼ. A mean spectrum goes back in the same way.
    ///
    /// # Errors
    /// If the number of channels differs.
    pub fn components(&self, components: Array2<f64>) -> Result<Array2<f64>> {
        shaped("components", &[components.ncols()], &[self.channels.len()])?;
        Ok(components * &self.channels)
    }

    /// Loadings of scaled values to loadings of counts, N×R: times √(pᵢ/m).
    ///
    /// # Errors
    /// If the number of spectra differs.
    pub fn loadings(&self, loadings: Array2<f64>) -> Result<Array2<f64>> {
        shaped("loadings", &[loadings.nrows()], &[self.spectra.len()])?;
        Ok(loadings * self.spectra.view().insert_axis(Dim(1)))
    }

    /// The weights of a part of the spectra and channels.
    pub(crate) fn part(&self, spectra: &[usize], channels: std::ops::Range<usize>) -> Self {
        Self {
            spectra: self.spectra.select(Dim(0), spectra),
            channels: self.channels.slice_axis(Dim(0), channels.into()).to_owned(),
        }
    }

    fn times(
        &self,
        mut values: Array2<f64>,
        by_spectrum: ArrayView1<'_, f64>,
        by_channel: ArrayView1<'_, f64>,
    ) -> Result<Array2<f64>> {
        shaped("spectra", values.shape(), &[self.spectra.len(), self.channels.len()])?;
        values.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            let factor = by_spectrum[i];
            row.iter_mut().zip(by_channel).for_each(|(v, c)| *v *= factor * c);
        });
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use parsimon_core::Axis;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Poisson};

    fn of(values: Array2<f64>) -> Spectra {
        Spectra::new(values, Axis::uncalibrated("energy")).unwrap()
    }

    #[test]
    fn the_noise_of_counts_of_one_shape_has_variance_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let expected = |i: usize, j: usize| (0.2 + i as f64 / 100.0) * 20.0 * (-(j as f64) / 12.0).exp();
        let counts = Array2::from_shape_fn((300, 40), |(i, j)| Poisson::new(expected(i, j)).unwrap().sample(&mut rng));
        let weights = KeenanKotula::find(&of(counts.clone())).unwrap();
        let means = weights.scale(of(Array2::from_shape_fn((300, 40), |(i, j)| expected(i, j)))).unwrap();
        let noise = &weights.scale(of(counts.clone())).unwrap().values() - &means.values();
        for part in [noise.slice(ndarray::s![.., ..5]), noise.slice(ndarray::s![.., 30..])] {
            assert!((part.var(0.0) - 1.0).abs() < 0.1, "{}", part.var(0.0));
        }
        let back = weights.restore(weights.scale(of(counts.clone())).unwrap().into_parts().0).unwrap();
        assert!((&back - &counts).iter().all(|d| d.abs() < 1e-9));
    }

    #[test]
    fn components_and_loadings_go_back_to_what_they_multiply_to() {
        let counts = of(array![[4.0, 0.0, 1.0], [2.0, 0.0, 6.0], [0.0, 0.0, 0.0]]);
        let weights = KeenanKotula::find(&counts).unwrap();
        let (loadings, components) =
            (array![[1.0, -0.5], [0.3, 2.0], [7.0, 1.0]], array![[1.0, 2.0, 0.4], [0.1, 3.0, -1.0]]);
        let restored = weights.restore(loadings.dot(&components)).unwrap();
        let product = weights.loadings(loadings).unwrap().dot(&weights.components(components).unwrap());
        assert!((&restored - &product).iter().all(|d| d.abs() < 1e-12));
        // A channel and a spectrum without counts have none afterwards, whatever a model says of them.
        assert!(product.column(1).iter().chain(product.row(2)).all(|v| *v == 0.0));
        // 4 / √(5/3 · 2 / (13/9)).
        let scaled = weights.scale(counts).unwrap();
        assert!((scaled.values()[(0, 0)] - 4.0 / (5.0 / 3.0 * 2.0 / (13.0 / 9.0f64)).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn every_rejection() {
        assert_eq!(KeenanKotula::find(&of(Array2::zeros((2, 2)))), Err(Error::NoCounts { mean: 0.0 }));
        assert!(KeenanKotula::find(&of(Array2::from_elem((2, 2), f64::MAX))).is_err());
        assert!(matches!(KeenanKotula::find(&of(array![[1.0, -1.0]])), Err(Error::Negative { channel: 1, .. })));
        let weights = KeenanKotula::find(&of(array![[1.0, 2.0]])).unwrap();
        assert!(matches!(weights.scale(of(array![[1.0]])), Err(Error::Shape { .. })));
        assert!(weights.restore(array![[1.0, 2.0], [3.0, 4.0]]).is_err());
        assert!(weights.components(array![[1.0]]).is_err());
        assert!(weights.loadings(array![[1.0], [2.0]]).is_err());
    }
}
