use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::products::{product, product_about, product_of_columns_about, squares, varies};
use crate::solve::directions;
use crate::unmix::noise::{Noise, Weights};
use crate::{Error, Result};

/// Largest number of a row in the unit of the fit, whose squares and those of its point are numbers yet.
const LARGEST: f64 = 1e140;

/// The plane in which R spectra and their mixtures lie, found from data whose noise is brought to one level.
///
/// A point z of it stands for the spectrum s·(centre + Aᵀz): A orthonormal axes, s the noise of channels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Space {
    pub weights: Weights,
    /// Of the scaled data, D.
    pub centre: Array1<f64>,
    /// R − 1 of the scaled data, (R − 1, D).
    pub axes: Array2<f64>,
}

/// Rows in a space, with what it leaves of them.
pub(crate) struct Projected {
    pub space: Space,
    /// (N, R − 1).
    pub points: Array2<f64>,
    /// gₙ, the variance of the noise of a row relative to the others.
    pub variances: Vec<f64>,
    /// Σ of squares of the scaled data outside the plane.
    pub outside: f64,
    /// How many free numbers these are.
    pub freedom: f64,
}

impl Projected {
    /// The plane in which `endmembers` spectra explain the rows best, for this noise.
    pub fn of(rows: ArrayView2<'_, f64>, endmembers: usize, noise: Noise) -> Result<Self> {
        let ((n, d), k) = (rows.dim(), endmembers - 1);
        let weights = Weights::of(noise, rows);
        let variances: Vec<f64> = rows.rows().into_iter().map(|r| weights.variance(r)).collect();
        let mut scaled = &rows / &weights.channels;
        let shares = Array1::from_iter(variances.iter().map(|g| 1.0 / g));
        // About the first row, so that equal rows are their mean.
        let first = scaled.row(0).to_owned();
        let centre = product_of_columns_about(scaled.view(), &first, shares.view().insert_axis(Axis(1)));
        let centre = first + &(centre.column(0).to_owned() / shares.sum());
        if !varies(scaled.view(), &centre) {
            return Err(Error::Rank { components: k, rank: 0 });
        }
        scaled -= &centre;
        scaled.axis_iter_mut(Axis(0)).into_par_iter().zip(&variances).for_each(|(mut r, g)| r /= g.sqrt());
        let total: f64 = squares(scaled.view()).iter().sum();
        let (_, axes) = directions(&scaled, k)?;
        let mut points = product(scaled.view(), axes.t());
        let along = points.map_axis(Axis(0), |p| p.dot(&p));
        // The solver may take rounding for a direction.
        let rank = along.iter().filter(|v| **v > 1e-20 * along[0]).count();
        if rank < k {
            return Err(Error::Rank { components: k, rank });
        }
        let outside = (total - along.sum()).max(0.0);
        points.axis_iter_mut(Axis(0)).into_par_iter().zip(&variances).for_each(|(mut p, g)| p *= g.sqrt());
        let freedom = (n as f64 - 1.0 - k as f64) * (d as f64 - k as f64);
        Ok(Self { space: Space { weights, centre, axes }, points, variances, outside, freedom })
    }

    /// The same with the noise that makes the data likelier.
    pub fn of_likelier(rows: ArrayView2<'_, f64>, endmembers: usize) -> Result<(Self, Noise)> {
        let uniform = Self::of(rows, endmembers, Noise::Uniform)?;
        let size = rows.len() as f64;
        // Of a plane that holds all rows, only rounding lies outside, and tells nothing of the noise.
        if uniform.freedom <= 0.0 || uniform.outside <= uniform.rounding() * uniform.freedom {
            return Ok((uniform, Noise::Uniform));
        }
        let counts = match Self::of(rows, endmembers, Noise::Counts) {
            // Weights may hide a direction that is there without them.
            Err(Error::Rank { .. }) => return Ok((uniform, Noise::Uniform)),
            counts => counts?,
        };
        let likelihood = |p: &Self| -0.5 * size * (p.outside / size).ln() - p.space.weights.log_volume(&p.variances);
        let (of_uniform, of_counts) = (likelihood(&uniform), likelihood(&counts));
        Ok(if of_counts > of_uniform { (counts, Noise::Counts) } else { (uniform, Noise::Uniform) })
    }

    /// Variance of the noise of a number of mean variance, from what lies outside the plane; not below the rounding.
    pub fn noise_variance(&self) -> f64 {
        let outside = if self.freedom > 0.0 { self.outside / self.freedom } else { 0.0 };
        outside.max(self.rounding())
    }

    /// Variance below which the points are not known.
    pub fn rounding(&self) -> f64 {
        1e-14 * self.points.iter().map(|v| v * v).sum::<f64>() / self.points.len() as f64
    }
}

impl Space {
    /// The points next to rows, (N, D) → (N, R − 1).
    pub fn project(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let most = LARGEST * self.weights.unit.min(1.0);
        if let Some(value) = rows.iter().find(|v| v.abs() > most) {
            return Err(Error::parameter("a number of the rows", value, format!("-{most:e} to {most:e}")));
        }
        let mean = &self.centre * &self.weights.channels;
        Ok(product_about(rows, &mean, (&self.axes / &self.weights.channels).t()))
    }

    /// Spectra of points, (N, R − 1) → (N, D).
    pub fn spectra(&self, points: ArrayView2<'_, f64>) -> Array2<f64> {
        (product(points, self.axes.view()) + &self.centre) * &self.weights.channels
    }

    /// Part of the noise of a channel that lies outside the plane.
    pub fn outside(&self) -> Array1<f64> {
        self.axes.map_axis(Axis(0), |u: ArrayView1<'_, f64>| (1.0 - u.dot(&u)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Mixtures of three spectra of 20 channels, without noise.
    fn mixtures(n: usize) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let spectra = Array2::from_shape_fn((3, 20), |_| rng.gen_range(0.5..1.5));
        let shares = Array2::from_shape_fn((n, 3), |_| rng.gen_range(0.0f64..1.0));
        let sums = shares.sum_axis(Axis(1)).insert_axis(Axis(1));
        (shares / sums).dot(&spectra)
    }

    #[test]
    fn mixtures_lie_in_their_plane() {
        let rows = mixtures(50);
        for noise in [Noise::Uniform, Noise::Counts] {
            let found = Projected::of(rows.view(), 3, noise).unwrap();
            assert!(found.noise_variance() < 1e-12);
            assert!((&found.space.project(rows.view()).unwrap() - &found.points).iter().all(|d| d.abs() < 1e-10));
            assert!((found.space.spectra(found.points.view()) - &rows).iter().all(|d| d.abs() < 1e-10));
        }
    }

    #[test]
    fn the_noise_is_measured_and_its_kind_told() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let clean = mixtures(300) * Array2::from_shape_fn((1, 20), |(_, j)| if j % 2 == 0 { 1.0 } else { 0.1 });
        let level = clean.mean().unwrap();
        for (noise, expected) in [(Noise::Uniform, 0.02f64.powi(2)), (Noise::Counts, 0.02f64.powi(2))] {
            let rows = clean.mapv(|v| {
                let sd = if noise == Noise::Uniform { 0.02 } else { 0.02 * (v / level).sqrt() };
                v + sd * rng.sample::<f64, _>(rand_distr::StandardNormal)
            });
            let (found, kind) = Projected::of_likelier(rows.view(), 3).unwrap();
            assert_eq!(kind, noise);
            assert!((found.noise_variance() / expected - 1.0).abs() < 0.1, "{noise:?} {}", found.noise_variance());
        }
    }

    #[test]
    fn the_kind_of_noise_is_not_told_from_rounding() {
        // As many rows as endmembers, and as many channels as directions: the plane holds all.
        let rows = mixtures(50);
        for rows in [rows.slice(ndarray::s![..3, ..]), rows.slice(ndarray::s![.., ..2])] {
            for seed in 0..20 {
                let scaled = &rows * (1.0 + f64::from(seed) / 7.0);
                assert_eq!(Projected::of_likelier(scaled.view(), 3).unwrap().1, Noise::Uniform);
            }
        }
    }

    #[test]
    fn rows_without_noise_have_uniform_noise_at_any_scale() {
        let rows = mixtures(60);
        for seed in 0..40 {
            let scaled = &rows * (1.0 + f64::from(seed) / 7.0);
            assert_eq!(Projected::of_likelier(scaled.view(), 3).unwrap().1, Noise::Uniform, "{seed}");
        }
    }

    #[test]
    fn a_direction_that_weights_hide_is_no_reason_to_refuse() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        // The brightest channel varies least, and an empty one most.
        let (levels, widths) = ([1000.0, 0.0, 500.0], [1e-6, 1.0, 2e-7]);
        let rows = Array2::from_shape_fn((60, 3), |(_, j)| levels[j] + widths[j] * rng.gen_range(-1.0..1.0));
        assert_eq!(Projected::of(rows.view(), 3, Noise::Counts).err(), Some(Error::Rank { components: 2, rank: 1 }));
        assert_eq!(Projected::of_likelier(rows.view(), 3).unwrap().1, Noise::Uniform);
    }

    #[test]
    fn a_bright_constant_channel_hides_no_other() {
        let rows = Array2::from_shape_fn((50, 2), |(i, j)| if j == 0 { 1e9 } else { i as f64 * 1e-7 });
        assert!(Projected::of(rows.view(), 2, Noise::Uniform).is_ok());
    }

    #[test]
    fn data_of_any_size_have_the_same_plane() {
        let rows = mixtures(50);
        for noise in [Noise::Uniform, Noise::Counts] {
            let one = Projected::of(rows.view(), 3, noise).unwrap();
            // Powers of two, which round nothing.
            for scale in [-600, -40, 450].map(|e| 2f64.powi(e)) {
                let scaled = &rows * scale;
                let found = Projected::of(scaled.view(), 3, noise).unwrap();
                assert_eq!(found.points, one.points);
                assert_eq!(found.space.spectra(found.points.view()) / scale, one.space.spectra(one.points.view()));
                let most = if scale < 1.0 { 1e140 * found.space.weights.unit } else { 1e140 };
                assert!(found.space.project(Array2::from_elem((1, 20), most).view()).is_ok());
                let refused = found.space.project(Array2::from_elem((1, 20), -1.1 * most).view()).unwrap_err();
                assert!(refused.to_string().contains(&format!("accepted are -{most:e} to {most:e}")), "{refused}");
            }
        }
    }

    #[test]
    fn too_few_directions_are_told() {
        let rank = |e: usize| Projected::of(mixtures(30).view(), e, Noise::Uniform).err();
        assert_eq!(rank(3), None);
        assert_eq!(rank(4), Some(Error::Rank { components: 3, rank: 2 }));
        let same = Array2::from_elem((8, 5), 0.3);
        assert_eq!(Projected::of(same.view(), 2, Noise::Uniform).err(), Some(Error::Rank { components: 1, rank: 0 }));
    }
}
