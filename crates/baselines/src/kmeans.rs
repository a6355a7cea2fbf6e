use std::collections::HashSet;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::keys::key;
use crate::neighbours::{Points, least, squared_distances};
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::products::{BLOCK, mean};
use crate::rows::{RowEmbedding, RowModel, fitting, measurable};
use crate::{Error, Result};

mod lloyd;

use lloyd::Centred;

/// k-means: K centres for which Σᵢ minₖ |xᵢ − cₖ|² is least, as far as can be found.
///
/// Each start draws centres apart from each other (greedy k-means++) and moves them to the means of their rows until they stand
/// still (Lloyd). A centre that loses its rows takes the row that may be farthest from its own centre, as far as bounds
/// tell. Distances between rows and centres are in f32 about the mean, in f64 where that leaves doubt; sums and the inertia
/// are in f64, and the scale of the rows does not matter. Columns of the embedding are the distances `d1`, `d2`, … to the
/// centres; the class is the nearest.
///
/// Memory beside N rows of D numbers: about 4·N·(D + 16) bytes, and 8·K·D for each 256 rows, 32 times at most.
///
/// References: Lloyd 1982, IEEE Trans. Inf. Theory 28, 129; Arthur & Vassilvitskii 2007, SODA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KMeans {
    clusters: usize,
    starts: usize,
    rounds: usize,
    tolerance: f64,
    seed: u64,
}

impl KMeans {
    /// So many clusters, 1 to the number of different rows, the best of 10 starts.
    pub fn params(clusters: usize) -> Params<Self> {
        Params(Self { clusters, starts: 10, rounds: 300, tolerance: 1e-4, seed: 0 })
    }

    /// One short start, for others to begin with.
    pub(crate) fn quick(clusters: usize, seed: u64) -> Self {
        Self { clusters, starts: 1, rounds: 30, tolerance: 1e-3, seed }
    }
}

impl Params<KMeans> {
    /// Starts, 1 to 10,000; default 10.
    pub fn starts(mut self, starts: usize) -> Self {
        self.0.starts = starts;
        self
    }

    /// Rounds of a start at most, 1 to 1,000,000; default 300.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }

    /// Sum of the squared steps of the centres, in units of the mean variance of a column, below which they stand still; 0 to 1,
    /// default 1e−4.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.0.tolerance = tolerance;
        self
    }

    /// Seed of the starts; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for KMeans {
    fn check(&self) -> Result<()> {
        if self.clusters == 0 {
            return Err(Error::parameter("number of clusters", 0, "1 and more"));
        }
        if !(1..=10_000).contains(&self.starts) {
            return Err(Error::parameter("number of starts", self.starts, "1 to 10000"));
        }
        if !(1..=1_000_000).contains(&self.rounds) {
            return Err(Error::parameter("number of rounds", self.rounds, "1 to 1000000"));
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            return Err(Error::parameter("tolerance of k-means", self.tolerance, "0 to 1"));
        }
        Ok(())
    }
}

/// Centres that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeansModel {
    centres: Array2<f64>,
    inertia: f64,
    rounds: usize,
}

impl KMeansModel {
    pub(crate) fn new(centres: Array2<f64>, inertia: f64, rounds: usize) -> Self {
        Self { centres, inertia, rounds }
    }

    /// The centres, (K, D).
    pub fn centres(&self) -> ArrayView2<'_, f64> {
        self.centres.view()
    }

    /// Sum over the rows of the fit of the squared distance to the nearest centre.
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// Rounds that the best start took; of [`MiniBatchKMeans`](crate::MiniBatchKMeans), batches that came by.
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

impl Method for KMeans {
    type Model = KMeansModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<KMeansModel> {
        measurable(rows)?;
        enough_distinct(rows, self.clusters)?;
        let mean = mean(rows);
        let data = Centred::new(rows.view(), mean.view());
        let still = self.tolerance * data.variance();
        let begun = |start: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(start);
            let (centres, rounds) = data.moved(&data.apart(self.clusters, &mut rng), self.rounds, still);
            let centres = centres * data.unit() + &mean;
            let inertia = inertia(rows, centres.view());
            KMeansModel { centres, inertia, rounds }
        };
        // The earlier of equal starts stays.
        let better = |best: KMeansModel, next: KMeansModel| if next.inertia < best.inertia { next } else { best };
        Ok((1..self.starts as u64).map(begun).fold(begun(0), better))
    }
}

/// Fails if fewer than `clusters` rows differ.
fn enough_distinct(rows: ArrayView2<'_, f64>, clusters: usize) -> Result<()> {
    let mut seen = HashSet::new();
    for row in rows.rows() {
        seen.insert(key(row));
        if seen.len() >= clusters {
            return Ok(());
        }
    }
    Err(Error::Distinct { clusters, distinct: seen.len() })
}

/// Σᵢ minₖ |xᵢ − cₖ|².
pub(crate) fn inertia(rows: ArrayView2<'_, f64>, centres: ArrayView2<'_, f64>) -> f64 {
    let points = Points::new(centres);
    let of = |block: ArrayView2<'_, f64>| -> f64 {
        let squares = points.squared_distances(block);
        squares.outer_iter().map(|row| row.iter().copied().fold(f64::INFINITY, f64::min)).sum()
    };
    let blocks: Vec<f64> = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().map(of).collect();
    blocks.iter().sum()
}

impl RowModel for KMeansModel {
    fn width(&self) -> usize {
        self.centres.ncols()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.centres.nrows()).map(|k| format!("d{k}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        let squares = squared_distances(rows, self.centres.view());
        let classes: Array1<i64> = squares.map_axis(Axis(1), |row| least(row) as i64);
        Ok(RowEmbedding { columns: squares.mapv(f64::sqrt), deviations: None, classes: Some(classes) })
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.centres.clone())
    }
}

speaks_linfa!(KMeans, KMeansModel);
predicts_with_linfa!(KMeansModel);

#[cfg(test)]
mod tests;
