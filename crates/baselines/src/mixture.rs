use std::f64::consts::TAU;

use linfa_linalg::cholesky::Cholesky;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{Error, Result};

/// A mixture of Gaussians with full covariances, fitted by expectation and maximisation:
///
/// ```text
/// p(x) = Σ πₖ N(x; mₖ, Σₖ)
/// ```
///
/// Each start gives every point to the nearest of as many random points as components; a few rounds tell which start is the
/// likeliest, and that one is brought to its end. Long, thin clusters need many starts.
///
/// Reference: Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaussianMixture {
    /// Number of components K; 1 and more.
    pub components: usize,
    /// Starts; 1 to 10,000, default 50.
    pub starts: usize,
    /// Seed of the starts; default 0.
    pub seed: u64,
}

/// Rounds of each start before the choice, and of the chosen one at most.
const ROUNDS: (usize, usize) = (30, 500);

/// Gain of ln p of a point in a round below which it is at its end.
const TOLERANCE: f64 = 1e-6;

/// Added to the variances of columns of unit variance, so that a component of few points stays one.
const REGULAR: f64 = 1e-6;

/// A fitted mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixtureModel {
    /// πₖ, which sum to 1.
    pub weights: Array1<f64>,
    /// mₖ, (K, D).
    pub means: Array2<f64>,
    /// Σₖ, K of (D, D).
    pub covariances: Vec<Array2<f64>>,
    /// Mean of ln p over the points of the fit.
    pub log_likelihood: f64,
    /// Lower triangles L of Σₖ = L·Lᵀ.
    factors: Vec<Array2<f64>>,
}

impl GaussianMixture {
    /// A mixture of so many components, from 50 starts.
    pub fn new(components: usize) -> Self {
        Self { components, starts: 50, seed: 0 }
    }

    /// Fits the mixture to points, whose columns may have any scale.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If there are fewer than K + 1 points or no columns, a value is not finite, no start is asked for, or every start
    /// ends in a component without points.
    pub fn fit(&self, points: ArrayView2<'_, f64>) -> Result<GaussianMixtureModel> {
        let (n, d) = points.dim();
        if !(1..n).contains(&self.components) || d == 0 {
            return Err(Error::Points { components: self.components, points: n, columns: d });
        }
        if !(1..=10_000).contains(&self.starts) {
            return Err(Error::Starts(self.starts));
        }
        finite(points)?;
        let mean = points.sum_axis(Axis(0)) / n as f64;
        let sd = points.std_axis(Axis(0), 0.0).mapv(|s| if s > 0.0 { s } else { 1.0 });
        let scaled = (&points - &mean) / &sd;
        let start = |start: u64| -> Option<GaussianMixtureModel> {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(start);
            let seeds = sample(&mut rng, n, self.components).into_vec();
            let nearest = |p: ArrayView1<'_, f64>| {
                let off = |s: &usize| (&scaled.row(*s) - &p).mapv(|v| v * v).sum();
                (0..seeds.len()).min_by(|a, b| off(&seeds[*a]).total_cmp(&off(&seeds[*b]))).unwrap_or(0)
            };
            let mut shares = Array2::zeros((n, self.components));
            scaled.axis_iter(Axis(0)).enumerate().for_each(|(i, p)| shares[(i, nearest(p))] = 1.0);
            improved(scaled.view(), shares, ROUNDS.0)
        };
        let found: Vec<Option<GaussianMixtureModel>> = (0..self.starts as u64).into_par_iter().map(start).collect();
        let best = found.into_iter().flatten().max_by(|a, b| a.log_likelihood.total_cmp(&b.log_likelihood));
        let best = best.ok_or(Error::Starts(self.starts))?;
        let shares = best.shares_of(scaled.view());
        let best = improved(scaled.view(), shares, ROUNDS.1).unwrap_or(best);
        Ok(best.rescaled(&mean, &sd))
    }
}

fn finite(points: ArrayView2<'_, f64>) -> Result<()> {
    match points.axis_iter(Axis(0)).position(|p| p.iter().any(|v| !v.is_finite())) {
        Some(row) => Err(Error::NotFinite { row }),
        None => Ok(()),
    }
}

/// The mixture of these shares of the components in the points (N, K).
fn maximised(points: ArrayView2<'_, f64>, shares: &Array2<f64>) -> Option<GaussianMixtureModel> {
    let (n, d) = points.dim();
    let counts = shares.sum_axis(Axis(0));
    if counts.iter().any(|c| *c < 1e-3) {
        return None;
    }
    let means = shares.t().dot(&points) / counts.view().insert_axis(Axis(1));
    let (mut covariances, mut factors) = (Vec::new(), Vec::new());
    for (k, mean) in means.axis_iter(Axis(0)).enumerate() {
        let off = &points - &mean;
        let weighted = &off * &shares.column(k).insert_axis(Axis(1));
        let covariance = off.t().dot(&weighted) / counts[k] + Array2::<f64>::eye(d) * REGULAR;
        factors.push(covariance.cholesky().ok()?);
        covariances.push(covariance);
    }
    Some(GaussianMixtureModel { weights: counts / n as f64, means, covariances, log_likelihood: f64::NAN, factors })
}

fn improved(points: ArrayView2<'_, f64>, mut shares: Array2<f64>, rounds: usize) -> Option<GaussianMixtureModel> {
    let mut last: Option<GaussianMixtureModel> = None;
    for _ in 0..rounds {
        let mut model = maximised(points, &shares)?;
        let log_p = model.joint(points);
        let log_sums: Array1<f64> = log_p.map_axis(Axis(1), log_sum);
        model.log_likelihood = log_sums.mean()?;
        shares = (log_p - log_sums.insert_axis(Axis(1))).mapv(f64::exp);
        let gain = last.as_ref().map_or(f64::INFINITY, |l| model.log_likelihood - l.log_likelihood);
        last = Some(model);
        if gain < TOLERANCE {
            break;
        }
    }
    last
}

/// ln Σ eˣ.
fn log_sum(values: ArrayView1<'_, f64>) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + values.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}

impl GaussianMixtureModel {
    /// ln πₖ N(x; mₖ, Σₖ), (N, K).
    fn joint(&self, points: ArrayView2<'_, f64>) -> Array2<f64> {
        let (n, d) = points.dim();
        let mut log_p = Array2::zeros((n, self.weights.len()));
        for (k, mut column) in log_p.columns_mut().into_iter().enumerate() {
            let (factor, mean) = (&self.factors[k], self.means.row(k));
            let log_det: f64 = factor.diag().iter().map(|v| v.ln()).sum();
            let constant = self.weights[k].ln() - log_det - 0.5 * d as f64 * TAU.ln();
            let mut solved = vec![0.0; d];
            for (out, point) in column.iter_mut().zip(points.axis_iter(Axis(0))) {
                // L·y = x − m.
                for i in 0..d {
                    let below: f64 = (0..i).map(|j| factor[(i, j)] * solved[j]).sum();
                    solved[i] = (point[i] - mean[i] - below) / factor[(i, i)];
                }
                *out = constant - 0.5 * solved.iter().map(|y| y * y).sum::<f64>();
            }
        }
        log_p
    }

    /// Share of each component in points, p(k|x).
    ///
    /// # Shapes
    /// (N, D) → (N, K); D as in the fit.
    ///
    /// # Errors
    /// If the points have another number of columns, or a value is not finite.
    pub fn shares(&self, points: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        self.check(points)?;
        Ok(self.shares_of(points))
    }

    fn shares_of(&self, points: ArrayView2<'_, f64>) -> Array2<f64> {
        let log_p = self.joint(points);
        let log_sums: Array1<f64> = log_p.map_axis(Axis(1), log_sum);
        (log_p - log_sums.insert_axis(Axis(1))).mapv(f64::exp)
    }

    fn check(&self, points: ArrayView2<'_, f64>) -> Result<()> {
        let (found, expected) = (points.ncols(), self.means.ncols());
        if found != expected {
            return Err(parsimon_core::Error::Length { what: "row of the points".into(), found, expected }.into());
        }
        finite(points)
    }

    /// The likeliest component of each point, from 0.
    ///
    /// # Shapes
    /// As [`GaussianMixtureModel::shares`].
    ///
    /// # Errors
    /// As [`GaussianMixtureModel::shares`].
    pub fn classes(&self, points: ArrayView2<'_, f64>) -> Result<Array1<i64>> {
        self.check(points)?;
        let most = |row: ArrayView1<'_, f64>| {
            (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).map_or(-1, |k| k as i64)
        };
        Ok(self.joint(points).map_axis(Axis(1), most))
    }

    /// The same of points that are `mean` + `sd`·x.
    fn rescaled(mut self, mean: &Array1<f64>, sd: &Array1<f64>) -> Self {
        self.means = &self.means * sd + mean;
        for (covariance, factor) in self.covariances.iter_mut().zip(&mut self.factors) {
            let rows = sd.view().insert_axis(Axis(1));
            *covariance = &*covariance * &rows * sd;
            *factor = &*factor * &rows;
        }
        self.log_likelihood -= sd.iter().map(|s| s.ln()).sum::<f64>();
        self
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use rand::Rng;
    use rand_distr::StandardNormal;

    use super::*;

    /// Long sticks side by side, and which each point belongs to.
    fn sticks(n: usize) -> (Array2<f64>, Array1<i64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut normal = || rng.sample::<f64, _>(StandardNormal);
        let mut points = Array2::zeros((3 * n, 2));
        for (i, mut p) in points.rows_mut().into_iter().enumerate() {
            (p[0], p[1]) = (4.0 * normal(), 100.0 * ((i % 3) as f64 + 0.08 * normal()));
        }
        (points, (0..3 * n).map(|i| (i % 3) as i64).collect())
    }

    #[test]
    fn sticks_are_told_apart_and_their_shapes_are_found() {
        let (points, truth) = sticks(200);
        let model = GaussianMixture::new(3).fit(points.view()).unwrap();
        let found = model.classes(points.view()).unwrap();
        for k in 0..3i64 {
            let of: Vec<i64> = (0..600).filter(|i| truth[*i] == k).map(|i| found[i]).collect();
            assert!(of.iter().all(|c| *c == of[0]), "stick {k} is one component");
            let (mean, covariance) = (model.means.row(of[0] as usize), &model.covariances[of[0] as usize]);
            assert!((mean[1] - 100.0 * k as f64).abs() < 3.0 && mean[0].abs() < 1.0, "{mean}");
            assert!((covariance[(0, 0)] / 16.0 - 1.0).abs() < 0.3 && (covariance[(1, 1)] / 64.0 - 1.0).abs() < 0.3);
        }
        assert!((&model.weights - 1.0 / 3.0).iter().all(|w| w.abs() < 0.01));
        let shares = model.shares(points.view()).unwrap();
        assert!(model.shares(array![[0.0]].view()).is_err() && model.classes(array![[0.0, f64::NAN]].view()).is_err());
        assert!(shares.sum_axis(Axis(1)).iter().all(|s| (s - 1.0).abs() < 1e-9));
        assert_eq!(model, GaussianMixture::new(3).fit(points.view()).unwrap(), "the seed decides");
    }

    #[test]
    fn one_component_is_the_gaussian_of_the_points() {
        let (points, _) = sticks(100);
        let model = GaussianMixture { components: 1, starts: 1, seed: 0 }.fit(points.view()).unwrap();
        let mean = points.mean_axis(Axis(0)).unwrap();
        let off = &points - &mean;
        let covariance = off.t().dot(&off) / 300.0;
        assert!((&model.means.row(0) - &mean).iter().all(|d| d.abs() < 1e-9));
        assert!((&model.covariances[0] / &covariance - 1.0).diag().iter().all(|d| d.abs() < 1e-5));
        // ln p of a Gaussian at its own points: −(D/2)(1 + ln 2π) − ½ ln |Σ|.
        let det = covariance[(0, 0)] * covariance[(1, 1)] - covariance[(0, 1)].powi(2);
        let expected = -(1.0 + TAU.ln()) - 0.5 * det.ln();
        assert!((model.log_likelihood - expected).abs() < 1e-4, "{} {expected}", model.log_likelihood);
    }

    #[test]
    fn every_rejection() {
        let points = array![[0.0, 1.0], [1.0, 0.0], [2.0, f64::NAN]];
        let fit = |components, starts, rows: usize| {
            GaussianMixture { components, starts, seed: 0 }.fit(points.slice(ndarray::s![..rows, ..])).unwrap_err()
        };
        assert!(fit(2, 5, 2).to_string().contains("2 components") && fit(0, 5, 2).to_string().contains("0 components"));
        assert!(fit(1, 0, 2).to_string().contains('0') && fit(1, 5, 3).to_string().contains("row 2"));
        let alike = Array2::ones((20, 2));
        assert!(GaussianMixture::new(2).fit(alike.view()).is_err(), "points that are all alike have no two components");
    }
}
