use std::collections::HashSet;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::kernels::dots;
use crate::neighbours::squared_distances;
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::rows::{RowEmbedding, RowModel, fitting};
use crate::{Error, Result};

/// k-means: K centres for which Σᵢ minₖ |xᵢ − cₖ|² is least, as far as can be found.
///
/// Each start draws centres apart from each other (greedy k-means++) and moves them to the means of their rows until they stand still
/// (Lloyd). A centre that loses its rows takes the row farthest from its own centre. Distances between rows and centres are
/// in f32 about the mean, sums and the inertia in f64. Columns of the embedding are the distances `d1`, `d2`, … to the centres; the
/// class is the nearest.
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

/// Rows of a block, which a thread works on.
const BLOCK: usize = 256;

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

    /// Rounds that the best start took.
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

impl Method for KMeans {
    type Model = KMeansModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<KMeansModel> {
        enough_distinct(rows, self.clusters)?;
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
        let data = Centred::new(rows, mean.view());
        let still = self.tolerance * data.squares.iter().map(|s| f64::from(*s)).sum::<f64>() / rows.len() as f64;
        let mut best: Option<KMeansModel> = None;
        for start in 0..self.starts as u64 {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(start);
            let (centres, rounds) = data.moved(data.apart(self.clusters, &mut rng), self.rounds, still);
            let centres = centres + &mean;
            let inertia = inertia(rows, centres.view());
            if best.as_ref().is_none_or(|b| inertia < b.inertia) {
                best = Some(KMeansModel { centres, inertia, rounds });
            }
        }
        best.ok_or_else(|| Error::parameter("number of starts", self.starts, "1 to 10000"))
    }
}

/// Fails if fewer than `clusters` rows differ.
pub(crate) fn enough_distinct(rows: ArrayView2<'_, f64>, clusters: usize) -> Result<()> {
    let mut seen = HashSet::new();
    for row in rows.rows() {
        // −0 and 0 are one number.
        seen.insert(row.iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>());
        if seen.len() >= clusters {
            return Ok(());
        }
    }
    Err(Error::Distinct { clusters, distinct: seen.len() })
}

/// Σᵢ minₖ |xᵢ − cₖ|².
pub(crate) fn inertia(rows: ArrayView2<'_, f64>, centres: ArrayView2<'_, f64>) -> f64 {
    let of = |block: ArrayView2<'_, f64>| -> f64 {
        let distance = |row: ArrayView1<'_, f64>, centre: ArrayView1<'_, f64>| {
            row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        };
        let least =
            |row: ArrayView1<'_, f64>| centres.rows().into_iter().map(|c| distance(row, c)).fold(f64::MAX, f64::min);
        block.rows().into_iter().map(least).sum()
    };
    let blocks: Vec<f64> = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().map(of).collect();
    blocks.iter().sum()
}

/// Rows about their mean, one after the other.
struct Centred {
    values: Vec<f32>,
    squares: Vec<f32>,
    d: usize,
}

/// What a block of rows adds to its clusters, or takes from them.
struct Change {
    sums: Array2<f64>,
    counts: Vec<i64>,
    moved: usize,
}

impl Centred {
    fn new(rows: ArrayView2<'_, f64>, mean: ArrayView1<'_, f64>) -> Self {
        let values: Vec<f32> = rows
            .rows()
            .into_iter()
            .flat_map(|r| r.iter().zip(&mean).map(|(v, m)| (v - m) as f32).collect::<Vec<_>>())
            .collect();
        let squares = values.chunks_exact(rows.ncols()).map(|r| r.iter().map(|v| v * v).sum()).collect();
        Self { values, squares, d: rows.ncols() }
    }

    fn rows(&self) -> usize {
        self.squares.len()
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.d..][..self.d]
    }

    /// Squared distances of all rows to `points` of theirs, (N, points).
    fn squared_distances(&self, points: &[usize]) -> Vec<f32> {
        let chosen: Vec<f32> = points.iter().flat_map(|p| self.row(*p).to_vec()).collect();
        let k = points.len();
        let mut out = vec![0.0; self.rows() * k];
        let blocks = out.par_chunks_mut(BLOCK * k).zip(self.values.par_chunks(BLOCK * self.d));
        blocks.zip(self.squares.par_chunks(BLOCK)).for_each(|((out, rows), squares)| {
            dots(rows, self.d, &chosen, out);
            for (out, square) in out.chunks_exact_mut(k).zip(squares) {
                out.iter_mut().zip(points).for_each(|(v, p)| *v = (square + self.squares[*p] - 2.0 * *v).max(0.0));
            }
        });
        out
    }

    /// Greedy k-means++: of a few rows drawn by the square of their distance to the centres so far, the one that helps most.
    fn apart(&self, k: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let trials = 2 + (k as f64).ln() as usize;
        let mut chosen = vec![rng.gen_range(0..self.rows())];
        let mut nearest = self.squared_distances(&chosen);
        nearest[chosen[0]] = 0.0;
        while chosen.len() < k {
            let total: f64 = nearest.iter().map(|v| f64::from(*v)).sum();
            let drawn: Vec<usize> = (0..trials)
                .map(|_| {
                    let mut left = rng.gen_range(0.0..1.0) * total;
                    let place = nearest.iter().position(|v| {
                        left -= f64::from(*v);
                        left < 0.0
                    });
                    // Rounding, or rows that are all centres already: any row that is none.
                    place.or_else(|| (0..self.rows()).find(|i| !chosen.contains(i))).unwrap_or(0)
                })
                .collect();
            let distances = self.squared_distances(&drawn);
            let after = |t: usize| -> f64 {
                distances.chunks_exact(trials).zip(&nearest).map(|(d, n)| f64::from(d[t].min(*n))).sum()
            };
            let best = (0..trials).min_by(|a, b| after(*a).total_cmp(&after(*b))).unwrap_or(0);
            nearest.iter_mut().zip(distances.chunks_exact(trials)).for_each(|(n, d)| *n = n.min(d[best]));
            nearest[drawn[best]] = 0.0;
            chosen.push(drawn[best]);
        }
        chosen
    }

    /// Lloyd's rounds from these rows as centres, and how many they were.
    ///
    /// A row whose own centre is nearer than any other can have come is not looked at.
    ///
    /// Reference: Hamerly 2010, SIAM Data Mining.
    fn moved(&self, seeds: Vec<usize>, rounds: usize, still: f64) -> (Array2<f64>, usize) {
        let (k, d) = (seeds.len(), self.d);
        let mut centres = Array2::from_shape_fn((k, d), |(c, j)| f64::from(self.row(seeds[c])[j]));
        let mut places = vec![Place::UNKNOWN; self.rows()];
        let (mut sums, mut counts) = (Array2::<f64>::zeros((k, d)), vec![0i64; k]);
        let mut steps = vec![0.0f32; k];
        for round in 1..=rounds {
            let round_of = Round::new(&centres, &steps);
            let parts = places.par_chunks_mut(BLOCK).zip(self.values.par_chunks(BLOCK * d)).enumerate();
            let parts: Vec<Change> =
                parts.map(|(b, (places, rows))| self.assigned(b * BLOCK, places, rows, &round_of)).collect();
            if parts.iter().all(|p| p.moved == 0) {
                return (centres, round);
            }
            for part in parts.iter().filter(|p| p.moved > 0) {
                sums += &part.sums;
                counts.iter_mut().zip(&part.counts).for_each(|(c, more)| *c += more);
            }
            if counts.contains(&0) {
                self.refill(&mut places, &mut sums, &mut counts);
            }
            let mut step = 0.0;
            for (c, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let new = &sums.row(c) / *count as f64;
                let square = (&new - &centres.row(c)).mapv(|v| v * v).sum();
                // Rounded up, for it bounds distances.
                steps[c] = (square.sqrt() * (1.0 + 1e-6)) as f32;
                step += square;
                centres.row_mut(c).assign(&new);
            }
            if step <= still {
                return (centres, round);
            }
        }
        (centres, rounds)
    }

    /// Gives each cluster without rows the row farthest from its own centre, of clusters with more than one.
    fn refill(&self, places: &mut [Place], sums: &mut Array2<f64>, counts: &mut [i64]) {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by(|a, b| places[*a].upper.total_cmp(&places[*b].upper));
        for c in 0..counts.len() {
            while counts[c] == 0 {
                let Some(row) = order.pop() else { return };
                let from = places[row].class;
                if counts[from] < 2 {
                    continue;
                }
                for (j, v) in self.row(row).iter().enumerate() {
                    sums[(from, j)] -= f64::from(*v);
                    sums[(c, j)] += f64::from(*v);
                }
                places[row] = Place { class: c, ..Place::UNKNOWN };
                (counts[from], counts[c]) = (counts[from] - 1, 1);
            }
        }
    }

    /// Gives each row of a block to its nearest centre, and tells what that changes.
    fn assigned(&self, first: usize, places: &mut [Place], rows: &[f32], round: &Round) -> Change {
        let (k, d) = (round.halves.len(), self.d);
        let mut along = vec![0.0; k];
        let mut change = Change { sums: Array2::zeros((0, 0)), counts: vec![0; k], moved: 0 };
        for (i, (place, row)) in places.iter_mut().zip(rows.chunks_exact(d)).enumerate() {
            let before = place.class;
            if before < k {
                place.upper += round.steps[before];
                place.lower -= round.longest;
                if place.upper < place.lower.max(round.apart[before]) {
                    continue;
                }
            }
            dots(row, d, &round.centres, &mut along);
            // |x − c|²/2 = |x|²/2 + |c|²/2 − x·c.
            let (mut nearest, mut least, mut second) = (0, f32::INFINITY, f32::INFINITY);
            for (c, (half, dot)) in round.halves.iter().zip(&along).enumerate() {
                let off = half - dot;
                if off < least {
                    (nearest, second, least) = (c, least, off);
                } else if off < second {
                    second = off;
                }
            }
            let distance = |off: f32| (self.squares[first + i] + 2.0 * off).max(0.0).sqrt();
            *place = Place { class: nearest, upper: distance(least), lower: distance(second) };
            if nearest == before {
                continue;
            }
            if change.moved == 0 {
                change.sums = Array2::zeros((k, d));
            }
            if before < k {
                change.sums.row_mut(before).iter_mut().zip(row).for_each(|(s, v)| *s -= f64::from(*v));
                change.counts[before] -= 1;
            }
            change.sums.row_mut(nearest).iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
            change.counts[nearest] += 1;
            change.moved += 1;
        }
        change
    }
}

/// Where a row belongs, and bounds of its distance to that centre and to all others.
#[derive(Clone, Copy)]
struct Place {
    class: usize,
    upper: f32,
    lower: f32,
}

impl Place {
    const UNKNOWN: Self = Self { class: usize::MAX, upper: f32::INFINITY, lower: f32::NEG_INFINITY };
}

/// Centres of a round, and what they tell of distances.
struct Round {
    centres: Vec<f32>,
    /// |c|²/2.
    halves: Vec<f32>,
    /// How far each has moved since the round before, and the farthest of them.
    steps: Vec<f32>,
    longest: f32,
    /// Half the distance to the nearest other centre.
    apart: Vec<f32>,
}

impl Round {
    fn new(centres: &Array2<f64>, steps: &[f32]) -> Self {
        let narrow: Vec<f32> = centres.iter().map(|v| *v as f32).collect();
        let halves = narrow.chunks_exact(centres.ncols()).map(|c| 0.5 * c.iter().map(|v| v * v).sum::<f32>()).collect();
        let mut between = squared_distances(centres.view(), centres.view());
        between.diag_mut().fill(f64::INFINITY);
        let apart = between.map_axis(Axis(1), |row| row.iter().copied().fold(f64::INFINITY, f64::min));
        let apart = apart.iter().map(|square| (0.5 * square.sqrt() * (1.0 - 1e-6)) as f32).collect();
        let longest = steps.iter().copied().fold(0.0, f32::max);
        Self { centres: narrow, halves, steps: steps.to_vec(), longest, apart }
    }
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
        let nearest = |row: ArrayView1<'_, f64>| {
            (0..row.len()).min_by(|a, b| row[*a].total_cmp(&row[*b])).map_or(-1, |k| k as i64)
        };
        let classes: Array1<i64> = squares.map_axis(Axis(1), nearest);
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
