use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use ndarray_stats::QuantileExt;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::kmeans::KMeans;
use crate::neighbours::{least, squared_distances};
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::products::{ROUNDING, mean};
use crate::rows::{RowEmbedding, RowModel, at_least, fitting, measurable};
use crate::{Error, Result};

mod em;

use em::{Fit, Gaussians, improved, joint, log_sum, normalised};

/// Which form the covariances of a mixture have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covariance {
    /// Each component its own: ellipsoids of any form; D(D+1)/2 numbers each.
    Full,
    /// One for all components.
    Tied,
    /// Ellipsoids along the axes: D numbers each.
    Diagonal,
    /// Balls in the rows as they are, whatever the units of their columns: a number each.
    Spherical,
}

/// A mixture of Gaussians, fitted by expectation and maximisation:
///
/// ```text
/// p(x) = Σ πₖ N(x; mₖ, Σₖ)
/// ```
///
/// Columns are brought to unit variance (for balls, which have one width along all columns, to unit variance in the mean),
/// to which `regular` is added, so that a component of few rows stays one, and constant columns do no harm: those whose
/// deviation is 9·10⁻¹⁶ of their mean or less, which stay in their own units. One start takes the clusters of k-means,
/// each other one gives every row to the nearest of as many random rows as components; a few rounds tell which start is
/// the likeliest, and that one is brought to its end. A component of too few rows has directions without variance, and any
/// likelihood that `regular` lets it have: starts in which each has D + 1 rows (2, if its axes are given; 1 of tied ones)
/// go before all others. Long, thin clusters need many starts. A mixture that is not at its end after all rounds is the
/// best one found, and says so ([`GaussianMixtureModel::converged`]).
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

/// What must be added to unit variances for a covariance without variance along some directions to have a factor.
const LEAST_REGULAR: f64 = 1e-12;
/// Rounds of each start before the choice.
const TRIAL: usize = 20;

impl GaussianMixture {
    /// A mixture of so many components, 1 to one below the number of rows and at most as many as rows differ, of 2 rows at
    /// least; of full covariances, from 5 starts.
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

    /// What is added to the variances of columns of unit variance, 1e−12 to 1; default 1e−6. Less would be lost in the rounding of
    /// covariances.
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
        if !(LEAST_REGULAR..=1.0).contains(&self.regular) {
            let value = format!("{:e}", self.regular);
            return Err(Error::parameter("regularisation of a mixture", value, "1e-12 to 1"));
        }
        Ok(())
    }
}

/// A fitted mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixtureModel {
    weights: Array1<f64>,
    means: Array2<f64>,
    log_likelihood: f64,
    converged: bool,
    aic: f64,
    bic: f64,
    covariance: Covariance,
    /// Lower triangles L of Σₖ = L·Lᵀ; one if they are tied.
    factors: Vec<Array2<f64>>,
}

impl Method for GaussianMixture {
    type Model = GaussianMixtureModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<GaussianMixtureModel> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let (n, k) = (rows.nrows(), self.components);
        if k >= n {
            let accepted = format!("1 to {}, one below the number of rows", n - 1);
            return Err(Error::parameter("number of components", k, accepted));
        }
        let mean = mean(rows);
        let sd = units(rows, &mean, self.covariance);
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
            Ok(improved(scaled.view(), shares, self.covariance, self.regular, TRIAL.min(self.rounds)))
        };
        let mut best: Option<Fit> = None;
        for start in 0..self.starts {
            // The earlier of equal starts stays.
            best = match (best, trial(start)?) {
                (Some(best), Some(new)) if new.goes_before(&best) => Some(new),
                (None, new) => new,
                (best, _) => best,
            };
        }
        let best = best.ok_or_else(|| {
            let accepted =
                "components that keep rows of their own; fewer components, more starts, or a larger regularisation";
            Error::parameter("number of components", k, accepted)
        })?;
        let rest = self.rounds.saturating_sub(TRIAL);
        let best = if best.converged || rest == 0 {
            best
        } else {
            improved(scaled.view(), best.shares.clone(), self.covariance, self.regular, rest).unwrap_or(best)
        };
        Ok(best.rescaled(&mean, &sd))
    }
}

/// Standard deviations of the columns, by which they are divided; one for all, of balls, and 1 where nothing varies.
fn units(rows: ArrayView2<'_, f64>, mean: &Array1<f64>, covariance: Covariance) -> Array1<f64> {
    let mut sd = rows.std_axis(Axis(0), 0.0);
    sd.zip_mut_with(mean, |sd, mean| {
        if *sd <= ROUNDING * mean.abs() {
            *sd = 0.0;
        }
    });
    if covariance == Covariance::Spherical {
        sd.fill((sd.dot(&sd) / sd.len() as f64).sqrt());
    }
    sd.mapv(|sd| if sd > 0.0 { sd } else { 1.0 })
}

impl Fit {
    /// The same of rows that are `mean` + `sd`·x, with what it costs to write down.
    fn rescaled(self, mean: &Array1<f64>, sd: &Array1<f64>) -> GaussianMixtureModel {
        let Gaussians { weights, means, mut factors, covariance } = self.gaussians;
        let ((k, d), n) = (means.dim(), self.shares.nrows() as f64);
        let log_likelihood = self.likelihood - sd.iter().map(|s| s.ln()).sum::<f64>();
        factors.iter_mut().for_each(|factor| *factor *= &sd.view().insert_axis(Axis(1)));
        let free = free(covariance, k, d) as f64;
        let twice = 2.0 * n * log_likelihood;
        GaussianMixtureModel {
            weights,
            means: means * sd + mean,
            log_likelihood,
            converged: self.converged,
            aic: 2.0 * free - twice,
            bic: free * n.ln() - twice,
            covariance,
            factors,
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

impl GaussianMixtureModel {
    /// πₖ, which sum to 1.
    pub fn weights(&self) -> ArrayView1<'_, f64> {
        self.weights.view()
    }

    /// mₖ, (K, D).
    pub fn means(&self) -> ArrayView2<'_, f64> {
        self.means.view()
    }

    /// Mean of ln p over the rows of the fit.
    pub fn log_likelihood(&self) -> f64 {
        self.log_likelihood
    }

    /// Whether the last round gained next to nothing.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Akaike's criterion, 2·(free numbers) − 2 ln p; the lower, the better.
    pub fn aic(&self) -> f64 {
        self.aic
    }

    /// The Bayesian criterion, (free numbers)·ln N − 2 ln p.
    pub fn bic(&self) -> f64 {
        self.bic
    }

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

    /// ln πₖ N(x; mₖ, Σₖ), (N, K).
    fn joint(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        fitting(rows, self.width())?;
        Ok(joint(rows, self.weights.view(), self.means.view(), &self.factors, self.covariance))
    }

    /// ln p of each row; −∞ of one so far from all components that f64 has no number for it.
    ///
    /// # Shapes
    /// (N, D) → N; D as in the fit.
    ///
    /// # Errors
    /// If the rows have another width, or a value is not finite or beyond ±1e140.
    pub fn log_densities(&self, rows: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        Ok(self.joint(rows)?.map_axis(Axis(1), log_sum))
    }

    /// Share of each component in rows, p(k|x); equal ones where ln p is −∞.
    ///
    /// # Shapes
    /// (N, D) → (N, K); D as in the fit.
    ///
    /// # Errors
    /// As [`GaussianMixtureModel::log_densities`].
    pub fn shares(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        Ok(normalised(self.joint(rows)?).0)
    }

    /// The likeliest component of each row, from 0; of equally likely ones the first, and so 0 where ln p is −∞.
    ///
    /// # Shapes
    /// As [`GaussianMixtureModel::shares`].
    ///
    /// # Errors
    /// As [`GaussianMixtureModel::log_densities`].
    pub fn classes(&self, rows: ArrayView2<'_, f64>) -> Result<Array1<i64>> {
        Ok(likeliest(&self.joint(rows)?))
    }
}

/// Place of the largest number of each row; of equal ones the first.
fn likeliest(joint: &Array2<f64>) -> Array1<i64> {
    joint.map_axis(Axis(1), |row| row.argmax().unwrap_or(0) as i64)
}

impl RowModel for GaussianMixtureModel {
    fn width(&self) -> usize {
        self.means.ncols()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.weights.len()).map(|k| format!("p{k}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        let joint = self.joint(rows)?;
        // Not of the shares, in which rounding makes equals.
        let classes = likeliest(&joint);
        Ok(RowEmbedding { columns: normalised(joint).0, deviations: None, classes: Some(classes) })
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
