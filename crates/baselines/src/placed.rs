//! Places of rows in a plane or the like, which no formula leads to: those of the fit were found together, further ones
//! go between the fitted rows they resemble.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::keys::key;
use crate::neighbours::nearest;
use crate::products::{mean, product, varies};
use crate::rows::fitting;
use crate::solve::up_to;
use crate::{Error, Result};

/// Distance to a row of the fit, as a part of their lengths, below which a row is taken for it.
const SAME: f64 = 1e-12;

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
    /// nearest first. A row equal to one of the fit, or as near as rounding brings it, takes exactly its place; equal to
    /// several, that of the first.
    pub(crate) fn place(&self, rows: ArrayView2<'_, f64>, weights: impl Fn(&[f64]) -> Vec<f64>) -> Result<Array2<f64>> {
        fitting(rows, self.width())?;
        let mut known: HashMap<u128, usize> = HashMap::new();
        for (i, row) in self.rows.rows().into_iter().enumerate() {
            known.entry(key(row)).or_insert(i);
        }
        let (mut places, mut further) = (Array2::zeros((rows.nrows(), self.places.ncols())), Vec::new());
        for (i, row) in rows.rows().into_iter().enumerate() {
            match known.get(&key(row)) {
                Some(j) => places.row_mut(i).assign(&self.places.row(*j)),
                None => further.push(i),
            }
        }
        if further.is_empty() {
            return Ok(places);
        }
        let near = nearest(rows.select(Axis(0), &further).view(), Some(self.rows.view()), self.neighbours);
        let length = |row: ArrayView1<'_, f64>| row.dot(&row).sqrt();
        for (of, i) in further.into_iter().enumerate() {
            let first = near.rows[(of, 0)];
            if near.distances[(of, 0)] <= SAME * (length(rows.row(i)) + length(self.rows.row(first))) {
                places.row_mut(i).assign(&self.places.row(first));
                continue;
            }
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
    let mean = mean(rows);
    if !varies(rows, &mean) {
        return Ok(start);
    }
    let centred = &rows - &mean;
    let wanted = dimensions.min(d).min(n - 1);
    let (_, found) = match up_to(&centred, wanted) {
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

/// Tests of methods that place rows.
#[cfg(test)]
pub(crate) mod made;

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
    fn a_row_that_rounding_moved_keeps_its_place() {
        for scale in [1e-100, 1.0, 1e100] {
            let rows = Array2::from_shape_fn((40, 3), |(i, j)| scale * ((i * 7 + j * 3) % 41) as f64 / 3.0);
            let places = Array2::from_shape_fn((40, 1), |(i, _)| (i * i) as f64);
            let placed = Placed::new(rows.view(), places.clone(), 5);
            let moved = rows.mapv(|v| v * (1.0 + f64::EPSILON));
            assert_ne!(moved, rows);
            assert_eq!(placed.place(moved.view(), |d| vec![1.0; d.len()]).unwrap(), places);
            let farther = rows.mapv(|v| v * (1.0 + 1e-9));
            assert_ne!(placed.place(farther.view(), |d| vec![1.0; d.len()]).unwrap(), places);
        }
    }

    #[test]
    fn rows_unlike_the_fit_are_rejected() {
        let refused = |rows: Array2<f64>| line().place(rows.view(), |d| vec![1.0; d.len()]).unwrap_err();
        assert_eq!(refused(array![[1.0]]), Error::Width { found: 1, expected: 2 });
        assert_eq!(refused(array![[1.0, f64::NAN]]), Error::NotFinite { row: 0 });
        assert!(refused(array![[1.0, -1e200]]).to_string().contains("-1e140 to 1e140"));
    }

    #[test]
    fn a_start_has_the_principal_scores_and_fills_what_is_missing() {
        let line = Array2::from_shape_fn((50, 4), |(i, j)| 1e6 + i as f64 * (j as f64 - 2.0));
        let start = principal_start(line.view(), 3, 1).unwrap();
        let deviation = |j: usize| start.column(j).std(0.0);
        assert!((deviation(0) - 1.0).abs() < 0.01 && (0.005..0.02).contains(&deviation(2)), "{start}");
        assert!((start[(49, 0)] - start[(0, 0)]).abs() > 3.0);
        let steps = Array2::from_shape_fn((50, 2), |(i, j)| if j == 0 { 1e9 } else { i as f64 * 1e-7 });
        let start = principal_start(steps.view(), 1, 1).unwrap();
        assert!((start[(49, 0)] - start[(0, 0)]).abs() > 3.0, "a large column hides no other");
        for equal in [Array2::zeros((5, 2)), Array2::from_elem((5, 2), 0.1)] {
            let start = principal_start(equal.view(), 2, 1).unwrap();
            assert!(start.iter().all(|v| v.is_finite() && v.abs() < 0.1));
            assert_ne!(start, principal_start(equal.view(), 2, 2).unwrap());
        }
    }
}
