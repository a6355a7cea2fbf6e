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
use crate::rows::squarable;
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
    batch: usize,
    passes: usize,
    seed: u64,
}

/// Starts on the first batch.
const STARTS: usize = 3;
/// Rows for each cluster that a centre is given time for.
const TIME: usize = 10;
/// Part of its share of rows below which a centre starves.
const STARVING: f64 = 0.01;

impl MiniBatchKMeans {
    /// So many clusters, 1 to the number of different rows of the first batch; of a matrix batches of 1,024, 5 passes.
    pub fn params(clusters: usize) -> Params<Self> {
        Params(Self { clusters, batch: 1024, passes: 5, seed: 0 })
    }
}

impl Params<MiniBatchKMeans> {
    /// Rows of a batch drawn from a matrix, the number of clusters and more; default 1,024. One that is larger than the
    /// matrix is all of it.
    pub fn batch(mut self, rows: usize) -> Self {
        self.0.batch = rows;
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
        if self.batch < self.clusters {
            let accepted = format!("{} and more for as many clusters", self.clusters);
            return Err(Error::parameter("rows of a batch", self.batch, accepted));
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

    /// The clusters so far. Their inertia is summed as the rows came by, of each batch before it moved the centres;
    /// their rounds are batches.
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
        let mut order: Vec<usize> = (0..rows.nrows()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::MAX);
        order.shuffle(&mut rng);
        let drawn = |order: &[usize]| rows.select(Axis(0), order);
        // A first batch of too many equal rows grows.
        let mut first = self.batch.min(rows.nrows());
        let mut state = loop {
            match self.learn(None, drawn(&order[..first]).view()) {
                Err(Error::Distinct { .. }) if first < rows.nrows() => first = (2 * first).min(rows.nrows()),
                state => break state?,
            }
        };
        for pass in 0..self.passes {
            for part in order[if pass == 0 { first } else { 0 }..].chunks(self.batch) {
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
mod tests {
    use linfa::DatasetBase;
    use linfa::traits::{Fit, FitWith};
    use ndarray::{array, s};
    use rand_distr::StandardNormal;

    use super::*;

    /// Rows around `centres`, which take turns.
    fn blobs(n: usize, centres: &Array2<f64>, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut rows = Array2::from_shape_fn((n, centres.ncols()), |_| rng.sample::<f64, _>(StandardNormal));
        rows.outer_iter_mut().enumerate().for_each(|(i, mut row)| row += &centres.row(i % centres.nrows()));
        rows
    }

    fn corners(k: usize, d: usize) -> Array2<f64> {
        Array2::from_shape_fn((k, d), |(c, j)| 1000.0 + 4.0 * ((c * 7 + j * 3 + c * j) as f64).sin())
    }

    #[test]
    fn the_inertia_is_nearly_that_of_all_rows_at_once() {
        let rows = blobs(6000, &corners(8, 5), 1);
        let full = KMeans::params(8).fit_matrix(rows.view()).unwrap();
        let model = MiniBatchKMeans::params(8).batch(500).fit(&DatasetBase::from(rows.view())).unwrap();
        assert!(model.inertia() < full.inertia() * 1.01, "{} {}", model.inertia(), full.inertia());
        assert_eq!(model.rounds(), 60);
        // Each row once, as they come.
        let mut state = None;
        for batch in rows.axis_chunks_iter(Axis(0), 500) {
            state = Some(MiniBatchKMeans::params(8).fit_with(state.as_ref(), &DatasetBase::from(batch)).unwrap());
        }
        let state = state.unwrap();
        let streamed = inertia(rows.view(), state.centres());
        assert!(streamed < full.inertia() * 1.05, "{streamed} {}", full.inertia());
        assert_eq!((state.rows(), state.k_means().rounds()), (6000, 12));
        assert!((state.k_means().inertia() / streamed - 1.0).abs() < 0.05, "{} {streamed}", state.k_means().inertia());
    }

    #[test]
    fn centres_are_the_means_of_all_rows_they_got() {
        let rows = blobs(900, &corners(1, 3), 2);
        let mut state = None;
        for batch in rows.axis_chunks_iter(Axis(0), 200) {
            state = Some(MiniBatchKMeans::params(1).fit_batch(state.as_ref(), batch).unwrap());
        }
        let off = &state.unwrap().centres().row(0) - &rows.mean_axis(Axis(0)).unwrap();
        assert!(off.iter().all(|d| d.abs() < 1e-4), "{off}");
    }

    #[test]
    fn a_starving_centre_moves_where_it_is_needed_and_one_that_had_its_rows_stays() {
        let places = array![[0.0, 0.0], [60.0, 0.0], [0.0, 60.0], [60.0, 60.0]];
        let params = MiniBatchKMeans::params(4);
        // Two rows far off, which do not come back; the fourth place is not there yet.
        let mut first = blobs(600, &places.slice(s![..3, ..]).to_owned(), 3);
        first.slice_mut(s![..2, ..]).fill(-500.0);
        let mut state = params.fit_batch(None, first.view()).unwrap();
        assert!(state.centres().iter().any(|v| *v < -400.0));
        for seed in 4..24 {
            state = params.fit_batch(Some(&state), blobs(600, &places, seed).view()).unwrap();
        }
        let nearest = |state: &MiniBatchKMeansModel, place: ArrayView1<'_, f64>| {
            state.centres().outer_iter().map(|c| squared_distance(c, place)).fold(f64::MAX, f64::min)
        };
        // Two of them had the rows of the fourth place at first.
        assert!(places.outer_iter().all(|p| nearest(&state, p) < 9.0), "{}", state.centres());
        // Only the first place comes by, ten times as often as all others did.
        for seed in 30..60 {
            let one = blobs(600, &places.slice(s![..1, ..]).to_owned(), seed);
            state = params.fit_batch(Some(&state), one.view()).unwrap();
        }
        assert!(places.outer_iter().all(|p| nearest(&state, p) < 9.0), "{}", state.centres());
    }

    #[test]
    fn many_equal_rows_and_threads_and_seeds() {
        let mut rows = Array2::zeros((3000, 2));
        (rows[(7, 0)], rows[(1500, 1)]) = (1.0, 2.0);
        let model = MiniBatchKMeans::params(3).batch(10).fit_matrix(rows.view()).unwrap();
        assert!(model.inertia() < 1e-9, "{}", model.inertia());
        let rows = blobs(3000, &corners(6, 4), 5);
        let on = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| MiniBatchKMeans::params(6).batch(700).seed(seed).fit_matrix(rows.view()).unwrap())
        };
        assert_eq!(on(1, 0), on(3, 0));
        assert_ne!(on(1, 0), on(1, 1));
    }

    #[test]
    fn clusters_are_the_same_at_any_scale() {
        let rows = blobs(2000, &(corners(4, 3) * 3.0), 7);
        let relative = |scale: f64| {
            let scaled = &rows * scale;
            MiniBatchKMeans::params(4).batch(500).fit_matrix(scaled.view()).unwrap().inertia() / scale / scale
        };
        let one = relative(1.0);
        assert!(
            [1e-30, 1e20, 1e100].iter().all(|s| (relative(*s) / one - 1.0).abs() < 1e-9),
            "{}",
            relative(1e20) / one
        );
    }

    #[test]
    fn every_rejection() {
        let rows = array![[1.0, 2.0], [0.0, 1.0], [3.0, 0.5]];
        let two = MiniBatchKMeans::params(2);
        let refused = |params: Params<MiniBatchKMeans>| params.fit_matrix(rows.view()).unwrap_err().to_string();
        assert!(refused(MiniBatchKMeans::params(0)).contains("clusters is 0"));
        assert!(refused(MiniBatchKMeans::params(4)).contains("only 3"));
        assert!(refused(two.batch(1)).contains("batch is 1, accepted are 2 and more"));
        assert!(refused(two.passes(0)).contains("passes is 0") && refused(two.passes(10_001)).contains("1 to 10000"));
        let batch = |params: Params<MiniBatchKMeans>, state: Option<&MiniBatchKMeansModel>, rows: &Array2<f64>| {
            params.fit_batch(state, rows.view()).unwrap_err().to_string()
        };
        assert!(batch(MiniBatchKMeans::params(4), None, &rows).contains("only 3 of the rows differ"));
        let state = two.fit_batch(None, rows.view()).unwrap();
        assert!(batch(MiniBatchKMeans::params(3), Some(&state), &rows).contains("clusters is 3, accepted are 2"));
        assert!(batch(two, Some(&state), &array![[1.0]]).contains("rows of 1 numbers"));
        assert!(batch(two, Some(&state), &array![[1.0, f64::NAN]]).contains("row 0"));
        assert!(batch(two, Some(&state), &array![[1.0, 1e200]]).contains("1e140"));
        assert!(batch(two, Some(&state), &Array2::zeros((0, 2))).contains("0 rows"));
        let further = two.fit_batch(Some(&state), array![[9.0, 9.0]].view()).unwrap();
        assert_eq!(further.rows(), 4, "a later batch may be smaller than the number of clusters");
        assert!(two.fit_with(Some(&state), &DatasetBase::from(array![[f64::NAN, 0.0]])).is_err());
    }
}
