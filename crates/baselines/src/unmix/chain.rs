use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Exp1, Gamma, Poisson, StandardNormal};
use rayon::prelude::*;

use crate::cholesky::cholesky;
use crate::products::BLOCK;
use crate::unmix::pixels::{AlongEdge, Block, Simplex, Sums};
use crate::unmix::space::Projected;
use crate::unmix::truncated::truncated_normal;

/// Deviation of the endmembers' prior about the start, in units of the start's own extent: next to no prior.
const PRIOR: f64 = 10.0;

/// Deviation of the noise from which the chain is cooled, in units of the prior's.
const WARM: f64 = 0.005;

/// Blocks that a thread should have before others are asked for help along an edge, where there is little to do for a
/// row.
const SHARED: usize = 16;

/// Width of the slices along an orbit, in ln of the length of an edge: more than a chain ever moves at once.
const SLICE: f64 = 0.5;

/// Trials within a slice, each of which halves it on average.
const MOST_TRIALS: usize = 100;

/// Markov chain of endmembers, abundances and the variance of the noise.
pub(crate) struct Chain<'a> {
    data: &'a Projected,
    rng: ChaCha8Rng,
    pub blocks: Vec<Block>,
    /// Points of the endmembers, (R, R − 1), and of their prior.
    pub vertices: Array2<f64>,
    prior: Array2<f64>,
    prior_variance: f64,
    pub variance: f64,
    /// What the variance is not let below.
    pub least_variance: f64,
    /// Odds of the absence of each endmember; 0, and all are present.
    pub odds: Vec<f64>,
    /// AᵀWA of now.
    pub shares: Array2<f64>,
    /// Scaled spectra of the vertices, (R, D), and what they may not fall below, D.
    spectra: Array2<f64>,
    floor: Array1<f64>,
    /// Σ w z².
    square: f64,
}

impl<'a> Chain<'a> {
    /// Starts at these endmembers and abundances.
    pub fn new(data: &'a Projected, start: ArrayView2<'_, f64>, abundances: ArrayView2<'_, f64>, seed: u64) -> Self {
        let variance = data.noise_variance();
        let (centre, axes) = (&data.space.centre, &data.space.axes);
        let floor = floor(data, start, variance);
        let mut vertices = start.to_owned();
        for mut vertex in vertices.rows_mut() {
            // Towards the mean spectrum, which is above the floor.
            let change = axes.t().dot(&vertex);
            let room = change.iter().zip(centre).zip(&floor).filter(|((c, _), _)| **c < 0.0);
            let most = room.map(|((c, m), f)| (f - m) / c).fold(1.0, f64::min);
            vertex *= most;
        }
        let spectra = vertices.dot(axes) + centre;
        let extent = vertices.iter().map(|v| v * v).sum::<f64>() / vertices.len() as f64;
        let chunk = |(number, (a, z)): (usize, (ArrayView2<'_, f64>, ArrayView2<'_, f64>))| {
            let variances = &data.variances[number * BLOCK..][..a.nrows()];
            // Stream 0 is the chain's own.
            Block::new(seed, number as u64 + 1, a, z, variances)
        };
        let (a, z) = (abundances.axis_chunks_iter(Axis(0), BLOCK), data.points.axis_chunks_iter(Axis(0), BLOCK));
        let square = data.points.rows().into_iter().zip(&data.variances).map(|(z, g)| z.dot(&z) / g).sum();
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            blocks: a.zip(z).enumerate().map(chunk).collect(),
            prior: vertices.clone(),
            prior_variance: PRIOR * PRIOR * extent,
            odds: vec![0.0; start.nrows()],
            shares: Array2::zeros((start.nrows(), start.nrows())),
            least_variance: data.rounding(),
            data,
            vertices,
            variance,
            spectra,
            floor,
            square,
        }
    }

    /// Keeps the noise above a level that falls from a part of the endmembers' extent to nothing as `progress` goes
    /// from 0 to 1.
    ///
    /// A row is found to lack an endmember when the simplex is as near as the noise. At little noise that never happens
    /// by chance, at more it does, and stays as the noise falls.
    pub fn cool(&mut self, progress: f64) {
        if self.odds.iter().all(|o| *o == 0.0) {
            self.odds.fill(1.0);
        }
        let least = self.data.rounding();
        let most = WARM * WARM * self.prior_variance;
        self.least_variance = if progress < 1.0 && most > least { most * (least / most).powf(progress) } else { least };
    }

    /// One round: abundances, endmembers, noise, and the simplex as a whole; of absent endmembers as well, if they may
    /// be.
    pub fn round(&mut self, absence: bool) {
        let simplex = Simplex::new(self.vertices.view());
        let sd = self.variance.sqrt();
        let parts: Vec<Sums> = self.blocks.par_iter_mut().map(|b| b.draw(&simplex, sd, &self.odds)).collect();
        let (r, k) = self.vertices.dim();
        let sums = parts.into_iter().fold(Sums::zeros(r, k), |sum, part| Sums {
            shares: sum.shares + part.shares,
            points: sum.points + part.points,
            present: sum.present + part.present,
        });
        self.draw_together(&sums);
        self.draw_one_by_one(&sums);
        self.draw_variance(&sums);
        if absence {
            self.draw_odds(&sums);
        }
        self.shares = sums.shares;
        for i in 0..r {
            for j in (0..r).filter(|j| *j != i) {
                self.draw_along_edge(i, j);
            }
        }
    }

    /// All endmembers' coordinates along an axis at once; kept if no spectrum falls below the floor.
    fn draw_together(&mut self, sums: &Sums) {
        let (r, k) = self.vertices.dim();
        let precision =
            &sums.shares / self.variance + Array2::from_diag(&Array1::from_elem(r, 1.0 / self.prior_variance));
        let Some(factor) = cholesky(precision) else { return };
        for axis in 0..k {
            let pull = &sums.points.column(axis) / self.variance + &self.prior.column(axis) / self.prior_variance;
            // L·Lᵀ·x = pull, with standard normal numbers added on the way.
            let mut drawn = Array1::<f64>::zeros(r);
            for i in 0..r {
                let dot: f64 = (0..i).map(|m| factor[(i, m)] * drawn[m]).sum();
                drawn[i] = (pull[i] - dot) / factor[(i, i)];
            }
            drawn.mapv_inplace(|v| v + self.rng.sample::<f64, _>(StandardNormal));
            for i in (0..r).rev() {
                let dot: f64 = (i + 1..r).map(|m| factor[(m, i)] * drawn[m]).sum();
                drawn[i] = (drawn[i] - dot) / factor[(i, i)];
            }
            let loading = self.data.space.axes.row(axis);
            let fits = (0..r).all(|i| {
                let change = drawn[i] - self.vertices[(i, axis)];
                let spectrum = self.spectra.row(i);
                spectrum.iter().zip(loading).zip(&self.floor).all(|((m, u), f)| m + change * u >= *f)
            });
            if fits {
                for i in 0..r {
                    self.spectra.row_mut(i).scaled_add(drawn[i] - self.vertices[(i, axis)], &loading);
                    self.vertices[(i, axis)] = drawn[i];
                }
            }
        }
    }

    /// Each coordinate of each endmember, between the values at which its spectrum falls below the floor.
    fn draw_one_by_one(&mut self, sums: &Sums) {
        let (r, k) = self.vertices.dim();
        for i in 0..r {
            for axis in 0..k {
                let loading = self.data.space.axes.row(axis);
                let (low, high) = room(self.spectra.row(i), loading, &self.floor);
                let at = self.vertices[(i, axis)];
                let others = sums.shares.row(i).dot(&self.vertices.column(axis)) - sums.shares[(i, i)] * at;
                let precision = sums.shares[(i, i)] / self.variance + 1.0 / self.prior_variance;
                let pull =
                    (sums.points[(i, axis)] - others) / self.variance + self.prior[(i, axis)] / self.prior_variance;
                let drawn =
                    truncated_normal(&mut self.rng, pull / precision, precision.sqrt().recip(), at + low, at + high);
                self.spectra.row_mut(i).scaled_add(drawn - at, &loading);
                self.vertices[(i, axis)] = drawn;
            }
        }
        // Rounding of many small steps.
        self.spectra = self.vertices.dot(&self.data.space.axes) + &self.data.space.centre;
    }

    /// σ² from what the endmembers leave, inside and outside the plane.
    fn draw_variance(&mut self, sums: &Sums) {
        let t = &self.vertices;
        let cross = (t * &sums.points).sum();
        let fitted = (t * &sums.shares.dot(t)).sum();
        let inside = (self.square - 2.0 * cross + fitted).max(0.0);
        let freedom = self.data.points.len() as f64 + self.data.freedom.max(0.0);
        let outside = if self.data.freedom > 0.0 { self.data.outside } else { 0.0 };
        if let Ok(gamma) = Gamma::new(0.5 * freedom, 1.0) {
            let drawn = 0.5 * (inside + outside) / self.rng.sample::<f64, _>(gamma);
            self.variance = drawn.max(self.least_variance);
        }
    }

    /// Odds π/(1 − π) of absence, of a flat prior of each probability π.
    ///
    /// No row lacks all endmembers, so that a row's set has the probability ∏π ∏(1 − π) / (1 − p), with p = ∏π over all
    /// endmembers. Of N rows the factor (1 − p)⁻ᴺ is Σ C(N + M − 1, M) pᴹ: of M more rows that did lack all. These are
    /// drawn first, from a negative binomial distribution; given them, each π has a beta distribution.
    fn draw_odds(&mut self, sums: &Sums) {
        let rows = self.data.points.nrows() as f64;
        // −ln p; the odds of a row that lacks all are p/(1 − p).
        let log: f64 = self.odds.iter().map(|o| (1.0 / o).ln_1p()).sum();
        let rate = Gamma::new(rows, 1.0 / log.exp_m1()).map_or(0.0, |gamma| self.rng.sample(gamma));
        let empty: f64 = Poisson::new(rate).map_or(0.0, |poisson| self.rng.sample(poisson));
        for (odds, present) in self.odds.iter_mut().zip(&sums.present) {
            let absent = Gamma::new(1.0 + rows - present + empty, 1.0);
            if let (Ok(absent), Ok(present)) = (absent, Gamma::new(1.0 + present, 1.0)) {
                *odds = self.rng.sample::<f64, _>(absent) / self.rng.sample::<f64, _>(present);
            }
        }
    }

    /// Moves endmember i away from j or towards it, and the abundances such that the mixtures of both stay where they
    /// are.
    ///
    /// A group of transformations tᵢ → tᵢ + ε(tᵢ − tⱼ), ε = eˢ − 1, along whose orbit s is drawn: each row with both
    /// loses a volume e⁻ˢ of its abundances, the endmember gains eˢ for each axis, and rows with i alone are fitted
    /// otherwise than before. Draws with fixed abundances move an endmember by the noise only, this one by what the
    /// rows at the faces leave free: without it chains of little noise hardly move.
    ///
    /// References: Liu & Sabatti 2000, Biometrika 87, 353; Neal 2003, Annals of Statistics 31, 705.
    fn draw_along_edge(&mut self, i: usize, j: usize) {
        let vertices = self.vertices.view();
        let parts: Vec<AlongEdge> =
            self.blocks.par_iter().with_min_len(SHARED).map(|b| b.along_edge(vertices, i, j)).collect();
        let rows = parts.into_iter().fold(AlongEdge::NONE, AlongEdge::and);
        let edge = &self.spectra.row(i) - &self.spectra.row(j);
        let (back, out) = room(self.spectra.row(i), edge.view(), &self.floor);
        let (low, high) = ((1.0 + back).max(1.0 / (1.0 + rows.least)).ln(), (1.0 + out).ln());
        let ends = &self.vertices.row(i) - &self.vertices.row(j);
        let to_prior = (&self.prior.row(i) - &self.vertices.row(i)).dot(&ends);
        let square = ends.dot(&ends) * (rows.squares / self.variance + 1.0 / self.prior_variance);
        let pull = rows.pull / self.variance + to_prior / self.prior_variance;
        let slope = ends.len() as f64 - rows.both;
        let density = |s: f64| {
            let e = s.exp_m1();
            slope * s - 0.5 * square * e * e + pull * e
        };
        // A slice below the density of now, 0, whose width does not depend on the state.
        let level = -self.rng.sample::<f64, _>(Exp1);
        let first = -SLICE * self.rng.r#gen::<f64>();
        let (mut from, mut to) = (first.max(low), (first + SLICE).min(high));
        for _ in 0..MOST_TRIALS {
            let s = from + (to - from) * self.rng.r#gen::<f64>();
            if density(s) > level {
                self.vertices.row_mut(i).scaled_add(s.exp_m1(), &ends);
                self.spectra.row_mut(i).scaled_add(s.exp_m1(), &edge);
                let part = -(-s).exp_m1();
                self.blocks.par_iter_mut().with_min_len(SHARED).for_each(|b| b.shift(i, j, part));
                return;
            }
            if s < 0.0 {
                from = s;
            } else {
                to = s;
            }
        }
    }
}

/// Multiples of a change between which a spectrum stays above the floor; 0 is one of them.
fn room(spectrum: ArrayView1<'_, f64>, change: ArrayView1<'_, f64>, floor: &Array1<f64>) -> (f64, f64) {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for ((m, c), f) in spectrum.iter().zip(change).zip(floor) {
        let until = (f - m) / c;
        if *c > 0.0 {
            low = low.max(until);
        } else if *c < 0.0 {
            high = high.min(until);
        }
    }
    (low.min(0.0), high.max(0.0))
}

/// What scaled spectra may not fall below: 0, less what the noise in the plane itself does to a channel that is 0.
///
/// The plane is known at the place t of a vertex as a regression on the rows is, with σ²(1/N + tᵀ(ZᵀWZ)⁻¹t); of D such
/// numbers the largest is about √(2 ln D) deviations.
fn floor(data: &Projected, vertices: ArrayView2<'_, f64>, variance: f64) -> Array1<f64> {
    let along =
        data.points.axis_iter(Axis(1)).map(|p| p.iter().zip(&data.variances).map(|(z, g)| z * z / g).sum::<f64>());
    let along = Array1::from_iter(along);
    let rows: f64 = data.variances.iter().map(|g| 1.0 / g).sum();
    let leverage = |t: ArrayView1<'_, f64>| 1.0 / rows + t.iter().zip(&along).map(|(t, l)| t * t / l).sum::<f64>();
    let largest = vertices.rows().into_iter().map(leverage).fold(0.0, f64::max);
    let channels = data.space.centre.len() as f64;
    let slack = (variance * largest * 2.0 * (2.0 * channels).ln()).sqrt();
    data.space.centre.mapv(|m| m.min(0.0) - slack)
}

#[cfg(test)]
mod tests;
