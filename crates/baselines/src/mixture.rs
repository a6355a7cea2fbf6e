use std::f64::consts::TAU;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::cholesky::{cholesky, solve_lower};
use crate::kmeans::KMeans;
use crate::neighbours::squared_distances;
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::products::{BLOCK, product_of_columns};
use crate::rows::{RowEmbedding, RowModel, fitting};
use crate::{Error, Result};

/// Which form the covariances of a mixture have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covariance {
    /// Each component its own: ellipsoids of any form; D(D+1)/2 numbers each.
    Full,
    /// One for all components.
    Tied,
    /// Ellipsoids along the axes: D numbers each.
    Diagonal,
    /// Balls, in units of the columns' standard deviations: a number each.
    Spherical,
}

/// A mixture of Gaussians, fitted by expectation and maximisation:
///
/// ```text
/// p(x) = Σ πₖ N(x; mₖ, Σₖ)
/// ```
///
/// Columns are brought to unit variance, to which `regular` is added, so that a component of few rows stays one, and constant columns
/// do no harm. One start takes the clusters of k-means, each other one gives every row to the nearest of as many random rows as components; a few
/// rounds tell which start is the likeliest, and that one is brought to its end. Long, thin clusters need many starts. A mixture
/// that is not at its end after all rounds is the best one found, and says so ([`GaussianMixtureModel::converged`]).
///
/// Reference: Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianMixture {
    components: usize,
    covariance: Covariance,
    starts: usize,
    rounds: usize,
    regular: f64,
    seed: u64,
}

/// Rounds of each start before the choice.
const TRIAL: usize = 20;

/// Gain of ln p of a row in a round below which a mixture is at its end.
const TOLERANCE: f64 = 1e-6;

/// Rows that a component cannot have fewer of.
const LEAST: f64 = 1e-3;

impl GaussianMixture {
    /// A mixture of so many components, 1 to one below the number of rows; of full covariances, from 5 starts.
    pub fn params(components: usize) -> Params<Self> {
        let (covariance, starts, rounds, regular, seed) = (Covariance::Full, 5, 200, 1e-6, 0);
        Params(Self { components, covariance, starts, rounds, regular, seed })
    }
}

impl Params<GaussianMixture> {
    /// The form of the covariances; default full.
    pub fn covariance(mut self, covariance: Covariance) -> Self {
        self.0.covariance = covariance;
        self
    }

    /// Starts, 1 to 10,000; default 5.
    pub fn starts(mut self, starts: usize) -> Self {
        self.0.starts = starts;
        self
    }

    /// Rounds of the chosen start at most, 1 to 1,000,000; default 200.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }

    /// What is added to the variances of columns of unit variance, above 0 to 1; default 1e−6.
    pub fn regular(mut self, regular: f64) -> Self {
        self.0.regular = regular;
        self
    }

    /// Seed of the starts; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for GaussianMixture {
    fn check(&self) -> Result<()> {
        if self.components == 0 {
            return Err(Error::parameter("number of components", 0, "1 and more"));
        }
        if !(1..=10_000).contains(&self.starts) {
            return Err(Error::parameter("number of starts", self.starts, "1 to 10000"));
        }
        if !(1..=1_000_000).contains(&self.rounds) {
            return Err(Error::parameter("number of rounds", self.rounds, "1 to 1000000"));
        }
        if !(self.regular > 0.0 && self.regular <= 1.0) {
            return Err(Error::parameter("regularisation of a mixture", self.regular, "above 0 to 1"));
        }
        Ok(())
    }
}

/// A fitted mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixtureModel {
    /// πₖ, which sum to 1.
    pub weights: Array1<f64>,
    /// mₖ, (K, D).
    pub means: Array2<f64>,
    /// Mean of ln p over the rows of the fit.
    pub log_likelihood: f64,
    /// Whether the last round gained next to nothing.
    pub converged: bool,
    /// Akaike's criterion, 2·(free numbers) − 2 ln p; the lower, the better.
    pub aic: f64,
    /// The Bayesian criterion, (free numbers)·ln N − 2 ln p.
    pub bic: f64,
    covariance: Covariance,
    /// Lower triangles L of Σₖ = L·Lᵀ; one if they are tied.
    factors: Vec<Array2<f64>>,
}

impl Method for GaussianMixture {
    type Model = GaussianMixtureModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<GaussianMixtureModel> {
        let ((n, d), k) = (rows.dim(), self.components);
        if k >= n {
            let accepted = format!("1 to {}, one below the number of rows", n - 1);
            return Err(Error::parameter("number of components", k, accepted));
        }
        let mean = rows.sum_axis(Axis(0)) / n as f64;
        let sd = rows.std_axis(Axis(0), 0.0);
        let sd = Array1::from_shape_fn(d, |j| if sd[j] > 1e-12 * mean[j].abs() { sd[j] } else { 1.0 });
        let scaled = (&rows - &mean) / &sd;
        let trial = |start: usize| -> Result<Option<Fit>> {
            let seeds = if start == 0 {
                KMeans::quick(k, self.seed).fit_rows(scaled.view())?.centres().to_owned()
            } else {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(start as u64);
                scaled.select(Axis(0), &sample(&mut rng, n, k).into_vec())
            };
            let mut shares = Array2::zeros((n, k));
            let distances = squared_distances(scaled.view(), seeds.view());
            for (mut row, distances) in shares.rows_mut().into_iter().zip(distances.rows()) {
                row[least(distances)] = 1.0;
            }
            Ok(self.improved(scaled.view(), shares, TRIAL.min(self.rounds)))
        };
        let mut best: Option<Fit> = None;
        for start in 0..self.starts {
            // The earlier of equal starts stays.
            best = match (best, trial(start)?) {
                (Some(best), Some(new)) if new.likelihood > best.likelihood => Some(new),
                (None, new) => new,
                (best, _) => best,
            };
        }
        let best = best.ok_or_else(|| {
            let accepted = "components that keep rows of their own; fewer components, or more starts";
            Error::parameter("number of components", k, accepted)
        })?;
        let rest = self.rounds.saturating_sub(TRIAL);
        let best = match (best.converged, best.shares_of(scaled.view())) {
            (false, shares) if rest > 0 => self.improved(scaled.view(), shares, rest).unwrap_or(best),
            _ => best,
        };
        Ok(best.rescaled(&mean, &sd, n))
    }
}

/// Place of the smallest.
fn least(values: ArrayView1<'_, f64>) -> usize {
    (0..values.len()).min_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0)
}

/// A mixture in the columns of unit variance.
struct Fit {
    weights: Array1<f64>,
    means: Array2<f64>,
    factors: Vec<Array2<f64>>,
    likelihood: f64,
    converged: bool,
    covariance: Covariance,
}

impl GaussianMixture {
    /// The mixture of these shares of the components in the rows (N, K).
    fn maximised(&self, rows: ArrayView2<'_, f64>, shares: &Array2<f64>) -> Option<Fit> {
        let (n, d) = rows.dim();
        let counts = shares.sum_axis(Axis(0));
        if counts.iter().any(|c| *c < LEAST) {
            return None;
        }
        let means = product_of_columns(shares.view(), rows) / counts.view().insert_axis(Axis(1));
        let regular = |mut covariance: Array2<f64>| {
            covariance.diag_mut().mapv_inplace(|v| v + self.regular);
            covariance
        };
        let factors = match self.covariance {
            Covariance::Full | Covariance::Tied => {
                let of = |k: usize| {
                    let mut off = &rows - &means.row(k);
                    for (mut row, share) in off.rows_mut().into_iter().zip(shares.column(k)) {
                        row *= share.sqrt();
                    }
                    product_of_columns(off.view(), off.view())
                };
                if self.covariance == Covariance::Tied {
                    let sum = (0..counts.len()).map(of).fold(Array2::zeros((d, d)), |sum, part| sum + part);
                    vec![cholesky(regular(sum / n as f64))?]
                } else {
                    let factors = (0..counts.len()).into_par_iter().map(|k| cholesky(regular(of(k) / counts[k])));
                    factors.collect::<Option<Vec<_>>>()?
                }
            }
            Covariance::Diagonal | Covariance::Spherical => {
                let squares = product_of_columns(shares.view(), rows.mapv(|v| v * v).view());
                let variances = squares / counts.view().insert_axis(Axis(1)) - means.mapv(|m| m * m);
                let factor = |k: usize| {
                    let own = variances.row(k).mapv(|v| v.max(0.0));
                    let own = if self.covariance == Covariance::Spherical {
                        Array1::from_elem(d, own.mean().unwrap_or(0.0))
                    } else {
                        own
                    };
                    Array2::from_diag(&own.mapv(|v| (v + self.regular).sqrt()))
                };
                (0..counts.len()).map(factor).collect()
            }
        };
        let (weights, covariance) = (counts / n as f64, self.covariance);
        Some(Fit { weights, means, factors, likelihood: f64::NEG_INFINITY, converged: false, covariance })
    }

    fn improved(&self, rows: ArrayView2<'_, f64>, mut shares: Array2<f64>, rounds: usize) -> Option<Fit> {
        let mut last: Option<Fit> = None;
        for _ in 0..rounds {
            // A component that has lost its rows ends a start, but what it was before is a mixture still.
            let Some(mut model) = self.maximised(rows, &shares) else { break };
            let log_p = joint(rows, model.weights.view(), model.means.view(), &model.factors, self.covariance);
            let log_sums = log_p.map_axis(Axis(1), log_sum);
            model.likelihood = log_sums.mean()?;
            if !model.likelihood.is_finite() {
                break;
            }
            shares = (log_p - log_sums.insert_axis(Axis(1))).mapv(f64::exp);
            let gain = last.as_ref().map_or(f64::INFINITY, |l| model.likelihood - l.likelihood);
            model.converged = gain.abs() < TOLERANCE;
            let done = model.converged;
            last = Some(model);
            if done {
                break;
            }
        }
        last
    }
}

impl Fit {
    fn shares_of(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        shares(&joint(rows, self.weights.view(), self.means.view(), &self.factors, self.covariance))
    }

    /// The same of rows that are `mean` + `sd`·x, with what it costs to write down.
    fn rescaled(mut self, mean: &Array1<f64>, sd: &Array1<f64>, n: usize) -> GaussianMixtureModel {
        let (k, d) = self.means.dim();
        let log_likelihood = self.likelihood - sd.iter().map(|s| s.ln()).sum::<f64>();
        self.means = &self.means * sd + mean;
        self.factors.iter_mut().for_each(|factor| *factor *= &sd.view().insert_axis(Axis(1)));
        let free = free(self.covariance, k, d) as f64;
        let twice = 2.0 * n as f64 * log_likelihood;
        GaussianMixtureModel {
            weights: self.weights,
            means: self.means,
            log_likelihood,
            converged: self.converged,
            aic: 2.0 * free - twice,
            bic: free * (n as f64).ln() - twice,
            covariance: self.covariance,
            factors: self.factors,
        }
    }
}

/// Free numbers of K components in D columns.
fn free(covariance: Covariance, k: usize, d: usize) -> usize {
    let shapes = match covariance {
        Covariance::Full => k * d * (d + 1) / 2,
        Covariance::Tied => d * (d + 1) / 2,
        Covariance::Diagonal => k * d,
        Covariance::Spherical => k,
    };
    k * d + k - 1 + shapes
}

/// ln Σ eˣ.
fn log_sum(values: ArrayView1<'_, f64>) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + values.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}

/// p(k|x) of ln πₖ N(x; mₖ, Σₖ).
fn shares(log_p: &Array2<f64>) -> Array2<f64> {
    let log_sums = log_p.map_axis(Axis(1), log_sum);
    (log_p - &log_sums.insert_axis(Axis(1))).mapv(f64::exp)
}

/// ln πₖ N(x; mₖ, Σₖ), (N, K).
fn joint(
    rows: ArrayView2<'_, f64>,
    weights: ArrayView1<'_, f64>,
    means: ArrayView2<'_, f64>,
    factors: &[Array2<f64>],
    covariance: Covariance,
) -> Array2<f64> {
    let (n, d) = rows.dim();
    let round = matches!(covariance, Covariance::Diagonal | Covariance::Spherical);
    let mut log_p = Array2::zeros((n, weights.len()));
    let blocks = log_p.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks.zip(rows.axis_chunks_iter(Axis(0), BLOCK)).for_each(|(mut log_p, rows)| {
        // One point to a column, so that a step of the substitution goes along contiguous numbers.
        let points = rows.t().as_standard_layout().into_owned();
        for k in 0..weights.len() {
            let factor = &factors[k.min(factors.len() - 1)];
            let mut off = &points - &means.row(k).insert_axis(Axis(1));
            if round {
                off /= &factor.diag().insert_axis(Axis(1));
            } else {
                solve_lower(factor.view(), off.view_mut());
            }
            let log_det: f64 = factor.diag().iter().map(|v| v.ln()).sum();
            let constant = weights[k].ln() - log_det - 0.5 * d as f64 * TAU.ln();
            let mut column = log_p.column_mut(k);
            column.fill(constant);
            for row in off.rows() {
                column.iter_mut().zip(row).for_each(|(sum, y)| *sum -= 0.5 * y * y);
            }
        }
    });
    log_p
}

impl GaussianMixtureModel {
    /// Σₖ of one of the components, (D, D).
    ///
    /// # Errors
    /// If there is no such component.
    pub fn covariance(&self, component: usize) -> Result<Array2<f64>> {
        let count = self.weights.len();
        if component >= count {
            return Err(Error::parameter("component", component, format!("0 to {}", count - 1)));
        }
        let factor = &self.factors[component.min(self.factors.len() - 1)];
        Ok(factor.dot(&factor.t()))
    }

    fn joint(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        joint(rows, self.weights.view(), self.means.view(), &self.factors, self.covariance)
    }

    /// ln p of each row.
    ///
    /// # Shapes
    /// (N, D) → N; D as in the fit.
    ///
    /// # Errors
    /// If the rows have another width, or a value is not finite.
    pub fn log_densities(&self, rows: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        fitting(rows, self.width())?;
        Ok(self.joint(rows).map_axis(Axis(1), log_sum))
    }

    /// Share of each component in rows, p(k|x).
    ///
    /// # Shapes
    /// (N, D) → (N, K); D as in the fit.
    ///
    /// # Errors
    /// As [`GaussianMixtureModel::log_densities`].
    pub fn shares(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        fitting(rows, self.width())?;
        Ok(shares(&self.joint(rows)))
    }

    /// The likeliest component of each row, from 0.
    ///
    /// # Shapes
    /// As [`GaussianMixtureModel::shares`].
    ///
    /// # Errors
    /// As [`GaussianMixtureModel::log_densities`].
    pub fn classes(&self, rows: ArrayView2<'_, f64>) -> Result<Array1<i64>> {
        fitting(rows, self.width())?;
        Ok(self.joint(rows).map_axis(Axis(1), |row| most(row) as i64))
    }
}

/// Place of the largest; the last of equal ones.
fn most(values: ArrayView1<'_, f64>) -> usize {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0)
}

impl RowModel for GaussianMixtureModel {
    fn width(&self) -> usize {
        self.means.ncols()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.weights.len()).map(|k| format!("p{k}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        let columns = self.shares(rows)?;
        let classes = columns.map_axis(Axis(1), |row| most(row) as i64);
        Ok(RowEmbedding { columns, deviations: None, classes: Some(classes) })
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.means.clone())
    }

    fn parameters(&self) -> Option<usize> {
        let (k, d) = self.means.dim();
        Some(free(self.covariance, k, d))
    }
}

speaks_linfa!(GaussianMixture, GaussianMixtureModel);
predicts_with_linfa!(GaussianMixtureModel);

#[cfg(test)]
mod tests;
