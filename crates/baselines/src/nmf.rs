use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, CowArray};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use self::descent::{descended, swept};
use crate::divergence;
use crate::params::{Check, Method, Params, speaks_linfa};
use crate::products::product;
use crate::rows::{RowEmbedding, RowModel, fitting, leading_back, not_negative, squarable};
use crate::svd::leading;
use crate::{Error, Result};

/// What a factorisation keeps small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// ½ Σ (x − wh)², for noise that is alike everywhere; by coordinate descent.
    Frobenius,
    /// Σ x ln(x / wh) − x + wh, for counts; by multiplicative updates.
    KullbackLeibler,
}

/// How a factorisation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NmfStart {
    /// From the parts above and below zero of the leading singular vectors, zeros being filled with the mean for
    /// [`Loss::KullbackLeibler`], whose updates leave a zero as it is; nearly the same for every seed, but for components beyond
    /// the rank, which are drawn.
    Svd,
    /// From random numbers.
    Random,
}

/// Non-negative matrix factorisation: X ≈ W·H with W ≥ 0 (N, K), H ≥ 0 (K, D).
///
/// Columns `nmf1`, `nmf2`, … of the embedding are W, for H as fitted. Each component of H has sum 1 if it is not zero, and
/// components come in the order of what they add up to in the rows of the fit, so that W is in counts where X is. A round passes
/// once over the rows: their part of W follows from H (in f32, a few sweeps), and adds to what H will follow from. By coordinate
/// descent, each round begins a little beyond where the last one ended; what is less than 10⁻⁸ of the squares of X is rounding.
/// Further rows get 500 sweeps at most, which do not tell apart the shares of components of nearly one form (cosines above 0.99).
///
/// References: Lee & Seung 1999, Nature 401, 788; Cichocki & Phan 2009, IEICE E92-A, 708; Gillis & Glineur 2012, Neural Comput.
/// 24, 1085 (sweeps); Ang & Gillis 2019, Neural Comput. 31, 417 (beyond); Boutsidis & Gallopoulos 2008, Pattern Recognit. 41,
/// 1350 (start).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nmf {
    components: usize,
    loss: Loss,
    start: NmfStart,
    rounds: usize,
    tolerance: f64,
    seed: u64,
}

/// Rows of a block, that stays in a second-level cache.
const BLOCK: usize = 64;
/// Sweeps at most where the other factor is known.
const KNOWN: usize = 500;

impl Nmf {
    /// So many components, 1 to min(N, D).
    pub fn params(components: usize) -> Params<Self> {
        let (loss, start) = (Loss::Frobenius, NmfStart::Svd);
        Params(Self { components, loss, start, rounds: 200, tolerance: 1e-4, seed: 0 })
    }
}

impl Params<Nmf> {
    /// What is kept small; default [`Loss::Frobenius`].
    pub fn loss(mut self, loss: Loss) -> Self {
        self.0.loss = loss;
        self
    }

    /// How it begins; default [`NmfStart::Svd`].
    pub fn start(mut self, start: NmfStart) -> Self {
        self.0.start = start;
        self
    }

    /// Rounds at most, 1 to 1,000,000; default 200.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }

    /// When it ends; 0 to 1, default 1e−4.
    ///
    /// [`Loss::Frobenius`]: with the first five rounds that each, on average, lower the loss by no more than this part of what
    /// round 1 did.
    /// [`Loss::KullbackLeibler`]: with the first tenth round that, with the nine before, lowers it by no more than this
    /// part of what it was at the start.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.0.tolerance = tolerance;
        self
    }

    /// Seed of a random start, and of the singular vectors' search; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for Nmf {
    fn check(&self) -> Result<()> {
        if self.components == 0 {
            return Err(Error::parameter("number of components", 0, "1 and more"));
        }
        if !(1..=1_000_000).contains(&self.rounds) {
            return Err(Error::parameter("number of rounds", self.rounds, "1 to 1000000"));
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            return Err(Error::parameter("tolerance of a factorisation", self.tolerance, "0 to 1"));
        }
        Ok(())
    }
}

/// Components that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct NmfModel {
    components: Array2<f64>,
    loss: Loss,
    residual: f64,
    rounds: usize,
}

impl NmfModel {
    /// H, (K, D): each component of sum 1, or zero.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.components.view()
    }

    /// What is left of the rows of the fit: |X − WH| of [`Loss::Frobenius`], else √(2·divergence), as in scikit-learn.
    pub fn residual(&self) -> f64 {
        self.residual
    }

    /// Rounds that it took.
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

impl Method for Nmf {
    type Model = NmfModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<NmfModel> {
        squarable(rows)?;
        not_negative(rows)?;
        let ((n, d), k) = (rows.dim(), self.components);
        if k > n.min(d) {
            let accepted = format!("1 to {} for {n} rows of {d} numbers", n.min(d));
            return Err(Error::parameter("number of components", k, accepted));
        }
        let largest = rows.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            return Err(Error::Rank { components: k, rank: 0 });
        }
        // Squares and products of numbers beyond these may be none.
        let unit = if (1e-100..=1e100).contains(&largest) { 1.0 } else { largest };
        let scaled = if unit == 1.0 { CowArray::from(rows) } else { CowArray::from(&rows / unit) };
        let (rows, largest) = (scaled.view(), largest / unit);
        let (weights, components) = self.begun(rows)?;
        let (weights, components, rounds) = match self.loss {
            Loss::Frobenius => descended(rows, largest, weights, components, self.rounds, self.tolerance),
            Loss::KullbackLeibler => divergence::descended(rows, weights, components, self.rounds, self.tolerance),
        };
        let residual = match self.loss {
            Loss::Frobenius => unit * distance(rows, weights.view(), components.view()),
            Loss::KullbackLeibler => {
                unit.sqrt() * (2.0 * divergence::of(rows, weights.view(), components.view())).max(0.0).sqrt()
            }
        };
        let sums = components.sum_axis(Axis(1));
        let amounts = weights.sum_axis(Axis(0)) * &sums;
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|a, b| amounts[*b].total_cmp(&amounts[*a]));
        let scale = sums.mapv(|s| if s > 0.0 { s } else { 1.0 }).insert_axis(Axis(1));
        let components = (components / scale).select(Axis(0), &order);
        Ok(NmfModel { components, loss: self.loss, residual, rounds })
    }
}

/// |X − WH|.
fn distance(rows: ArrayView2<'_, f64>, weights: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> f64 {
    let blocks = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().zip(weights.axis_chunks_iter(Axis(0), BLOCK));
    let sums: Vec<f64> = blocks.map(|(x, w)| (&x - &w.dot(&components)).iter().map(|r| r * r).sum()).collect();
    sums.iter().sum::<f64>().sqrt()
}

impl Nmf {
    fn begun(&self, rows: ArrayView2<'_, f64>) -> Result<(Array2<f64>, Array2<f64>)> {
        let ((n, d), k) = (rows.dim(), self.components);
        let mean = rows.mean().unwrap_or(0.0);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let height = (mean / k as f64).sqrt();
        let mut random = |n: usize, d: usize| Array2::from_shape_fn((n, d), |_| 2.0 * height * rng.gen_range(0.0..1.0));
        if self.start == NmfStart::Random {
            return Ok((random(n, k), random(k, d)));
        }
        let (values, directions) = leading(rows, &Array1::zeros(d), k, 4, self.seed)?;
        let scores = product(rows, directions.t()) / &values;
        let (mut weights, mut components) = (Array2::zeros((n, k)), Array2::zeros((k, d)));
        for (c, value) in values.iter().enumerate() {
            let (u, v) = (scores.column(c), directions.row(c));
            let part = |x: ArrayView1<'_, f64>, sign: f64| x.mapv(|v| (sign * v).max(0.0));
            let sides = [1.0, -1.0].map(|sign| (part(u, sign), part(v, sign)));
            let norms = sides.each_ref().map(|(u, v)| (u.dot(u).sqrt(), v.dot(v).sqrt()));
            let side = usize::from(norms[1].0 * norms[1].1 > norms[0].0 * norms[0].1);
            let ((u, v), (of_u, of_v)) = (&sides[side], norms[side]);
            if of_u > 0.0 && of_v > 0.0 {
                let share = (value * of_u * of_v).sqrt();
                weights.column_mut(c).assign(&(u * (share / of_u)));
                components.row_mut(c).assign(&(v * (share / of_v)));
            }
        }
        for c in values.len()..k {
            // Beyond the rank nothing is left to describe; chance keeps the component alive.
            weights.column_mut(c).assign(&random(n, 1).column(0));
            components.row_mut(c).assign(&random(1, d).row(0));
        }
        if self.loss == Loss::KullbackLeibler {
            let fill = |v: &mut f64| *v = if *v > 0.0 { *v } else { height };
            weights.iter_mut().for_each(fill);
            components.iter_mut().for_each(fill);
        }
        Ok((weights, components))
    }
}

impl RowModel for NmfModel {
    fn width(&self) -> usize {
        self.components.ncols()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.components.nrows()).map(|k| format!("nmf{k}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        not_negative(rows)?;
        if self.loss == Loss::KullbackLeibler {
            return Ok(RowEmbedding::of(divergence::weights(rows, self.components.view())));
        }
        let k = self.components.nrows();
        let gram: Vec<f64> = self.components.dot(&self.components.t()).into_iter().collect();
        let along = product(rows, self.components.t());
        let mut weights = Array2::zeros((rows.nrows(), k));
        weights.axis_iter_mut(Axis(0)).into_par_iter().zip(along.axis_iter(Axis(0))).for_each(|(mut w, along)| {
            let (mut values, mut slopes, mut first) = (vec![0.0; k], along.mapv(|a| -a).to_vec(), 0.0);
            for sweep in 0..KNOWN {
                let slope = swept(&mut values, &mut slopes, &gram).slope;
                if sweep == 0 {
                    first = slope;
                }
                if slope <= 1e-9 * first {
                    break;
                }
            }
            w.iter_mut().zip(values).for_each(|(w, v)| *w = v);
        });
        Ok(RowEmbedding::of(weights))
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.components.clone())
    }

    fn rows_of(&self, columns: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        leading_back(columns, self.components.nrows())?;
        Ok(product(columns, self.components.view()))
    }

    fn goes_back(&self) -> bool {
        true
    }
}

speaks_linfa!(Nmf, NmfModel);

mod descent;

#[cfg(test)]
mod tests;
