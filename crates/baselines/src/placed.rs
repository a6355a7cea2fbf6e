//! Places of rows in a plane or the like, which no formula leads to: those of the fit were found together, further ones
//! go between the fitted rows they resemble.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::neighbours::nearest;
use crate::products::product;
use crate::rows::fitting;
use crate::solve::directions;
use crate::{Error, Result};

/// Largest magnitude whose squares can be summed.
const LARGEST: f64 = 1e150;

/// Rows of a fit, each with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    rows: Array2<f64>,
    places: Array2<f64>,
    neighbours: usize,
}

impl Placed {
    /// `places` (N, P) of `rows` (N, D); further rows go by the nearest so many of them.
    pub(crate) fn new(rows: ArrayView2<'_, f64>, places: Array2<f64>, neighbours: usize) -> Self {
        Self { rows: rows.to_owned(), places, neighbours }
    }

    /// Numbers in a row.
    pub(crate) fn width(&self) -> usize {
        self.rows.ncols()
    }

    /// Places of the rows of the fit, (N, P).
    pub(crate) fn places(&self) -> ArrayView2<'_, f64> {
        self.places.view()
    }

    /// Names of the columns, numbered from 1.
    pub(crate) fn names(&self, method: &str) -> Vec<String> {
        (1..=self.places.ncols()).map(|k| format!("{method}{k}")).collect()
    }

    /// Places of any rows: y = Σⱼ wⱼ yⱼ / Σⱼ wⱼ over the k nearest rows of the fit, the `weights` from their distances,
    /// nearest first. A row equal to one of the fit takes exactly its place; equal to several, that of the first.
    pub(crate) fn place(&self, rows: ArrayView2<'_, f64>, weights: impl Fn(&[f64]) -> Vec<f64>) -> Result<Array2<f64>> {
        fitting(rows, self.width())?;
        moderate(rows)?;
        let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
        for (i, row) in self.rows.rows().into_iter().enumerate() {
            known.entry(key(row)).or_default().push(i);
        }
        let same = |row: ArrayView1<'_, f64>| {
            known.get(&key(row)).and_then(|found| found.iter().find(|i| self.rows.row(**i) == row))
        };
        let (mut places, mut further) = (Array2::zeros((rows.nrows(), self.places.ncols())), Vec::new());
        for (i, row) in rows.rows().into_iter().enumerate() {
            match same(row) {
                Some(j) => places.row_mut(i).assign(&self.places.row(*j)),
                None => further.push(i),
            }
        }
        if further.is_empty() {
            return Ok(places);
        }
        let near = nearest(rows.select(Axis(0), &further).view(), Some(self.rows.view()), self.neighbours);
        for (of, i) in further.into_iter().enumerate() {
            let weights = weights(&near.distances.row(of).to_vec());
            let total: f64 = weights.iter().sum();
            let mut place = places.row_mut(i);
            for (j, weight) in near.rows.row(of).iter().zip(weights) {
                place.scaled_add(weight / total, &self.places.row(*j));
            }
        }
        Ok(places)
    }
}

/// A number that equal rows share.
fn key(row: ArrayView1<'_, f64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    // −0 and 0 are one number.
    row.iter().for_each(|v| (v + 0.0).to_bits().hash(&mut hasher));
    hasher.finish()
}

/// Fails if squared distances of the rows would be no numbers any more.
pub(crate) fn moderate(rows: ArrayView2<'_, f64>) -> Result<()> {
    let largest = rows.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    if largest > LARGEST {
        return Err(Error::parameter("largest magnitude in the rows", largest, format!("0 to {LARGEST:e}")));
    }
    Ok(())
}

/// Fails unless places of 1 to 3 numbers are asked for.
pub(crate) fn few_dimensions(dimensions: usize) -> Result<()> {
    if !(1..=3).contains(&dimensions) {
        return Err(Error::parameter("number of dimensions", dimensions, "1 to 3"));
    }
    Ok(())
}

/// Where to begin: the scores of the first principal components over the standard deviation of the first of them, and a
/// hundredth of it of chance, by which equal rows come apart. A direction that the data lack is all chance.
pub(crate) fn principal_start(rows: ArrayView2<'_, f64>, dimensions: usize, seed: u64) -> Result<Array2<f64>> {
    let (n, d) = rows.dim();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut start = Array2::from_shape_simple_fn((n, dimensions), || 0.01 * rng.sample::<f64, _>(StandardNormal));
    let mean = rows.sum_axis(Axis(0)) / n as f64;
    let centred = &rows - &mean;
    let length = |of: &Array2<f64>| of.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    // Equal rows differ from their mean by its rounding.
    if length(&centred) <= 1e-14 * mean.iter().fold(0.0, |largest: f64, v| largest.max(v.abs())) {
        return Ok(start);
    }
    let wanted = dimensions.min(d).min(n - 1);
    let (_, found) = match directions(&centred, wanted) {
        Err(Error::Rank { rank, .. }) if rank > 0 => directions(&centred, rank),
        Err(Error::Rank { .. }) => return Ok(start),
        found => found,
    }?;
    let scores = product(centred.view(), found.t());
    let deviation = (scores.column(0).dot(&scores.column(0)) / n as f64).sqrt();
    for (mut column, scores) in start.columns_mut().into_iter().zip(scores.columns()) {
        column.scaled_add(1.0 / deviation, &scores);
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use ndarray::{array, s};

    use super::*;

    fn line() -> Placed {
        Placed::new(
            array![[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]].view(),
            array![[5.0], [7.0], [11.0], [12.0]],
            2,
        )
    }

    #[test]
    fn rows_of_the_fit_keep_their_places_and_others_go_between() {
        let rows = array![[2.0, 1.0], [-0.0, 1.0], [0.25, 1.0], [0.25, 2.0]];
        let near_zero = |d: &[f64]| d.iter().map(|d| 1.0 - d * d).collect();
        let found = line().place(rows.slice(s![..3, ..]), near_zero).unwrap();
        let (a, b) = (1.0 - 0.0625, 1.0 - 0.5625);
        assert_eq!(found.column(0).to_vec()[..2], [11.0, 5.0]);
        assert!((found[(2, 0)] - (a * 5.0 + b * 7.0) / (a + b)).abs() < 1e-12);
        let even = line().place(rows.view(), |d| vec![1.0; d.len()]).unwrap();
        assert_eq!(even.column(0).to_vec(), [11.0, 5.0, 6.0, 6.0]);
    }

    #[test]
    fn rows_unlike_the_fit_are_rejected() {
        let refused = |rows: Array2<f64>| line().place(rows.view(), |d| vec![1.0; d.len()]).unwrap_err();
        assert_eq!(refused(array![[1.0]]), Error::Width { found: 1, expected: 2 });
        assert_eq!(refused(array![[1.0, f64::NAN]]), Error::NotFinite { row: 0 });
        assert!(refused(array![[1.0, -1e200]]).to_string().contains("0 to 1e150"));
    }

    #[test]
    fn a_start_has_the_principal_scores_and_fills_what_is_missing() {
        let line = Array2::from_shape_fn((50, 4), |(i, j)| 1e6 + i as f64 * (j as f64 - 2.0));
        let start = principal_start(line.view(), 3, 1).unwrap();
        let deviation = |j: usize| start.column(j).std(0.0);
        assert!((deviation(0) - 1.0).abs() < 0.01 && (0.005..0.02).contains(&deviation(2)), "{start}");
        assert!((start[(49, 0)] - start[(0, 0)]).abs() > 3.0);
        for equal in [Array2::zeros((5, 2)), Array2::from_elem((5, 2), 0.1)] {
            let start = principal_start(equal.view(), 2, 1).unwrap();
            assert!(start.iter().all(|v| v.is_finite() && v.abs() < 0.1));
            assert_ne!(start, principal_start(equal.view(), 2, 2).unwrap());
        }
    }
}

/// Rows whose truth is known, for tests of methods that place them.
#[cfg(test)]
pub(crate) mod made {
    use super::*;

    /// Four balls in ten dimensions, far apart; the class of a row is its number modulo 4.
    pub(crate) fn balls(n: usize) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        Array2::from_shape_fn((n, 10), |(i, j)| if i % 4 == j { 12.0 } else { rng.sample(StandardNormal) })
    }

    /// A rolled sheet.
    pub(crate) fn roll(n: usize) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let mut rows = Array2::zeros((n, 3));
        for mut row in rows.rows_mut() {
            let (angle, height): (f64, f64) = (4.0 + rng.gen_range(0.0..9.0), rng.gen_range(0.0..20.0));
            row.assign(&ndarray::array![angle * angle.cos(), height, angle * angle.sin()]);
        }
        rows
    }

    /// Part of the rows whose nearest place is that of a row of their class.
    pub(crate) fn kept_apart(places: ArrayView2<'_, f64>) -> f64 {
        let near = nearest(places, None, 1).rows;
        near.column(0).iter().enumerate().filter(|(i, j)| i % 4 == *j % 4).count() as f64 / places.nrows() as f64
    }

    /// How far nearest places are those of near rows, 1 at best (Venna & Kaski 2001).
    pub(crate) fn trustworthiness(rows: ArrayView2<'_, f64>, places: ArrayView2<'_, f64>, k: usize) -> f64 {
        let n = rows.nrows();
        let (by_rows, by_places) = (nearest(rows, None, n - 1).rows, nearest(places, None, k).rows);
        let mut penalty = 0;
        for (order, near) in by_rows.rows().into_iter().zip(by_places.rows()) {
            let rank = |j: usize| order.iter().position(|other| *other == j).unwrap();
            penalty += near.iter().map(|j| (rank(*j) + 1).saturating_sub(k)).sum::<usize>();
        }
        1.0 - 2.0 * penalty as f64 / (n * k * (2 * n - 3 * k - 1)) as f64
    }

    /// What `fit` gives with so many threads.
    pub(crate) fn with_threads<T: Send>(threads: usize, fit: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(fit)
    }
}
