use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::batches::{InBatches, as_wide, learns_with_linfa};
use crate::kmeans::{KMeans, KMeansModel, inertia};
use crate::neighbours::{Points, least, squared_distance};
use crate::params::{Check, Method, Params, fits_with_linfa};
use crate::products::{BLOCK, part};
use crate::rows::{measurable, squarable};
use crate::{Error, Result};

/// k-means of rows that come by in batches, for data larger than memory.
///
/// The first batch is clustered by [`KMeans`], the best of 3 starts. Of each further batch, the rows go to the nearest
/// centres, and each centre becomes the mean of all rows it ever got: cₖ ← cₖ + (Σ x − m·cₖ)/(nₖ + m) for m rows, of nₖ
/// so far.
///
/// Centres may starve. One that got fewer than a hundredth of its share of the rows that came since it was placed (of
/// 10·K of them at least; its share is a K-th) is given up where that lowers the inertia, as far as the batch and the
/// rows it had tell: it takes a row of the batch, drawn by its squared distance to the nearest centre, and forgets the
/// rows it had. At most half of the centres are given up at once, those with the fewest rows first. One that had its
/// rows early is kept, so that a phase at the top of an image stays.
///
/// What differs much from all of the first batch finds no centre of its own: where rows lie in an order, take the first
/// batch from all over.
///
/// `fit_batch` and linfa's `FitWith` take batches as they come; `fit_matrix` and linfa's `Fit` draw them from a matrix,
/// all rows once in each pass in an order of their own.
///
/// Memory beside the batch of b rows: 8·(K·D·(4 + min(b/256, 32)) + 2·b) bytes, and for the first one 4·b·(D + 16) more,
/// whatever the number of batches.
///
/// Reference: Sculley 2010, WWW, 1177.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MiniBatchKMeans {
    clusters: usize,
    /// None: as many as there are clusters, 1,024 at least.
    batch: Option<usize>,
    passes: usize,
    seed: u64,
}

/// Rows of a batch drawn from a matrix, if nothing else is said.
const BATCH: usize = 1024;
/// Starts on the first batch.
const STARTS: usize = 3;
/// Rows for each cluster that a centre is given time for.
const TIME: usize = 10;
/// Part of its share of rows below which a centre starves.
const STARVING: f64 = 0.01;

impl MiniBatchKMeans {
    /// So many clusters, 1 to the number of different rows of the first batch; of a matrix 5 passes in batches of 1,024, or of as
    /// many rows as there are clusters if they are more.
    pub fn params(clusters: usize) -> Params<Self> {
        Params(Self { clusters, batch: None, passes: 5, seed: 0 })
    }
}

impl Params<MiniBatchKMeans> {
    /// Rows of a batch drawn from a matrix, the number of clusters and more; default 1,024, or the number of clusters if
    /// that is more. One that is larger than the matrix is all of it. Batches that come by have the rows they have.
    pub fn batch(mut self, rows: usize) -> Self {
        self.0.batch = Some(rows);
        self
    }

    /// How often each row of a matrix is drawn, 1 to 10,000; default 5.
    pub fn passes(mut self, passes: usize) -> Self {
        self.0.passes = passes;
        self
    }

    /// Seed of the starts, of the batches, and of the rows that centres take; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for MiniBatchKMeans {
    fn check(&self) -> Result<()> {
        if self.clusters == 0 {
            return Err(Error::parameter("number of clusters", 0, "1 and more"));
        }
        if !(1..=10_000).contains(&self.passes) {
            return Err(Error::parameter("number of passes", self.passes, "1 to 10000"));
        }
        Ok(())
    }
}

/// What has been learnt from the rows so far.
#[derive(Debug, Clone, PartialEq)]
pub struct MiniBatchKMeansModel {
    centres: Array2<f64>,
    /// Rows that each centre is the mean of.
    counts: Vec<u64>,
    /// Rows that have come by since each was placed.
    since: Vec<u64>,
    rows: u64,
    batches: usize,
    inertia: f64,
}

impl MiniBatchKMeansModel {
    /// The centres, (K, D).
    pub fn centres(&self) -> ArrayView2<'_, f64> {
        self.centres.view()
    }

    /// Rows that have come by.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The clusters so far. Their inertia is summed as the rows came by, of the first batch about its clusters and of each further
    /// one before it moved the centres: that of all rows about the centres as they are now is another, and not known
    /// without them. Their rounds are batches.
    pub fn k_means(&self) -> KMeansModel {
        KMeansModel::new(self.centres.clone(), self.inertia, self.batches)
    }

    /// The state after a further batch.
    fn with(&self, batch: ArrayView2<'_, f64>, seed: u64) -> Self {
        let mut next = self.clone();
        next.add(batch, seed);
        next
    }

    fn add(&mut self, batch: ArrayView2<'_, f64>, seed: u64) {
        let Nearest { squares, sums, counts } = Nearest::of(batch, self.centres.view());
        self.inertia += squares.iter().sum::<f64>();
        self.rows += batch.nrows() as u64;
        self.batches += 1;
        for (c, more) in counts.iter().enumerate().filter(|(_, more)| **more > 0) {
            self.counts[c] += more;
            let part = 1.0 / self.counts[c] as f64;
            // The sums are about the centre.
            self.centres.row_mut(c).scaled_add(part, &sums.row(c));
        }
        self.since.iter_mut().for_each(|since| *since += batch.nrows() as u64);
        let k = self.counts.len();
        let starves = |c: &usize| {
            let share = self.since[*c] as f64 / k as f64;
            share >= TIME as f64 && (self.counts[*c] as f64) < STARVING * share
        };
        let mut starving: Vec<usize> = (0..k).filter(starves).collect();
        starving.sort_by_key(|c| self.counts[*c]);
        starving.truncate(k / 2);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(self.batches as u64);
        self.replace(&starving, batch, squares, &mut rng);
    }

    /// Gives these centres rows of the batch, drawn by their squared distance to the nearest centre.
    fn replace(&mut self, centres: &[usize], batch: ArrayView2<'_, f64>, mut squares: Vec<f64>, rng: &mut ChaCha8Rng) {
        for &c in centres {
            let others = self.centres.outer_iter().enumerate().filter(|(other, _)| *other != c);
            let apart = others.map(|(_, other)| squared_distance(other, self.centres.row(c))).fold(f64::MAX, f64::min);
            let loss = apart * self.counts[c] as f64 / self.since[c] as f64;
            let mut left = rng.gen_range(0.0..1.0) * squares.iter().sum::<f64>();
            let drawn = squares.iter().position(|square| {
                left -= square;
                left < 0.0
            });
            // None where all rows are on centres.
            let Some(drawn) = drawn else { return };
            let to_drawn = |row: ArrayView1<'_, f64>| squared_distance(row, batch.row(drawn));
            let after: Vec<f64> = batch.outer_iter().zip(&squares).map(|(row, s)| s.min(to_drawn(row))).collect();
            let gain = squares.iter().zip(&after).map(|(s, a)| s - a).sum::<f64>() / squares.len() as f64;
            if gain > loss {
                self.centres.row_mut(c).assign(&batch.row(drawn));
                (self.counts[c], self.since[c]) = (0, 0);
                squares = after;
            }
        }
    }
}

/// Rows at their nearest centres.
struct Nearest {
    /// Squared distance of each row.
    squares: Vec<f64>,
    /// Σ (x − c) over the rows of each centre, (K, D).
    sums: Array2<f64>,
    counts: Vec<u64>,
}

impl Nearest {
    fn of(rows: ArrayView2<'_, f64>, centres: ArrayView2<'_, f64>) -> Self {
        let points = Points::new(centres);
        let of = |rows: ArrayView2<'_, f64>| {
            let mut part = Self::none(centres.dim());
            for rows in rows.axis_chunks_iter(Axis(0), BLOCK) {
                for (row, squares) in rows.outer_iter().zip(points.squared_distances(rows).outer_iter()) {
                    let nearest = least(squares);
                    part.squares.push(squares[nearest]);
                    part.counts[nearest] += 1;
                    part.sums.row_mut(nearest).zip_mut_with(&(&row - &centres.row(nearest)), |sum, v| *sum += v);
                }
            }
            part
        };
        let parts = rows.axis_chunks_iter(Axis(0), part(rows.nrows())).into_par_iter();
        let parts: Vec<Self> = parts.map(of).collect();
        parts.into_iter().fold(Self::none(centres.dim()), |mut all, part| {
            all.squares.extend(part.squares);
            all.sums += &part.sums;
            all.counts.iter_mut().zip(part.counts).for_each(|(all, more)| *all += more);
            all
        })
    }

    fn none((k, d): (usize, usize)) -> Self {
        Self { squares: Vec::new(), sums: Array2::zeros((k, d)), counts: vec![0; k] }
    }
}

impl InBatches for MiniBatchKMeans {
    type State = MiniBatchKMeansModel;

    fn learn(&self, state: Option<&MiniBatchKMeansModel>, batch: ArrayView2<'_, f64>) -> Result<MiniBatchKMeansModel> {
        squarable(batch)?;
        let Some(state) = state else {
            let first = KMeans::params(self.clusters).starts(STARTS).seed(self.seed).fit_matrix(batch)?;
            let counts = Nearest::of(batch, first.centres()).counts;
            return Ok(MiniBatchKMeansModel {
                centres: first.centres().to_owned(),
                since: vec![batch.nrows() as u64; self.clusters],
                counts,
                rows: batch.nrows() as u64,
                batches: 1,
                inertia: first.inertia(),
            });
        };
        as_wide(batch, state.centres.ncols())?;
        if state.centres.nrows() != self.clusters {
            let accepted = format!("{}, as for the batches before", state.centres.nrows());
            return Err(Error::parameter("number of clusters", self.clusters, accepted));
        }
        Ok(state.with(batch, self.seed))
    }
}

impl Method for MiniBatchKMeans {
    type Model = KMeansModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<KMeansModel> {
        measurable(rows)?;
        let batch = self.batch.unwrap_or(self.clusters.max(BATCH));
        if batch < self.clusters {
            let accepted = format!("{} and more for as many clusters", self.clusters);
            return Err(Error::parameter("rows of a batch", batch, accepted));
        }
        let mut order: Vec<usize> = (0..rows.nrows()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::MAX);
        order.shuffle(&mut rng);
        let drawn = |order: &[usize]| rows.select(Axis(0), order);
        // A first batch of too many equal rows grows.
        let mut first = batch.min(rows.nrows());
        let mut state = loop {
            match self.learn(None, drawn(&order[..first]).view()) {
                Err(Error::Distinct { .. }) if first < rows.nrows() => first = (2 * first).min(rows.nrows()),
                state => break state?,
            }
        };
        for pass in 0..self.passes {
            for part in order[if pass == 0 { first } else { 0 }..].chunks(batch) {
                state = self.learn(Some(&state), drawn(part).view())?;
            }
            order.shuffle(&mut rng);
        }
        let inertia = inertia(rows, state.centres());
        Ok(KMeansModel::new(state.centres, inertia, state.batches))
    }
}

learns_with_linfa!(MiniBatchKMeans, MiniBatchKMeansModel);
fits_with_linfa!(MiniBatchKMeans, KMeansModel);

#[cfg(test)]
mod tests;
