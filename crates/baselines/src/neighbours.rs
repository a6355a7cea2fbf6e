//! Distances without cancellation, and the nearest rows of each row, exactly.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use ndarray_stats::QuantileExt;
use rayon::prelude::*;

use crate::products::{BLOCK, mean, squares};

/// Rows near each row, nearest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neighbours {
    /// Which rows, (N, k).
    pub(crate) rows: Array2<usize>,
    /// How far they are, (N, k).
    pub(crate) distances: Array2<f64>,
}

/// Rows that are searched at a time.
const TILE: usize = 4096;

/// The `k` rows of `among` nearest to each of `rows`; of `rows` themselves, the others, if `among` is none. There are at least
/// `k` of them, and at least one. Of equally far rows the earlier ones are taken.
///
/// |a − b|² = |a|² + |b|² − 2 a·b, less and more what rounding may do to it, leaves all rows that may be among the nearest.
/// Their distances are then computed without cancellation, and the nearest so far tell which of further rows may be.
///
/// Memory: a copy of the rows that are searched, and of each thread 2 kB for each row of a [`TILE`] and 16·256·k bytes.
pub(crate) fn nearest<'a>(rows: ArrayView2<'a, f64>, among: Option<ArrayView2<'a, f64>>, k: usize) -> Neighbours {
    let (others, themselves) = (among.unwrap_or(rows), among.is_none());
    let n = rows.nrows();
    let (mut found, mut distances) = (Array2::zeros((n, k)), Array2::zeros((n, k)));
    if k == 0 || others.is_empty() {
        return Neighbours { rows: found, distances };
    }
    let centre = mean(others);
    let about = &others - &centre;
    let lengths = squares(about.view());
    // As a part of |a|² + |b|², twice what it may be at worst.
    let rounding = 2.0 * (rows.ncols() + 4) as f64 * f64::EPSILON;
    let blocks = found.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    let blocks = blocks.zip(distances.axis_chunks_iter_mut(Axis(0), BLOCK)).enumerate();
    blocks.for_each(|(block, (mut found, mut distances))| {
        let first = block * BLOCK;
        let part = &rows.slice(s![first..first + found.nrows(), ..]) - &centre;
        let mut best: Vec<Vec<(f64, usize)>> = vec![Vec::new(); found.nrows()];
        let (mut lows, mut order) = (Vec::with_capacity(TILE), Vec::with_capacity(TILE));
        for (start, tile) in (0..).step_by(TILE).zip(about.axis_chunks_iter(Axis(0), TILE)) {
            let along = part.dot(&tile.t());
            let lengths = &lengths[start..start + tile.nrows()];
            for (slot, (along, best)) in along.outer_iter().zip(&mut best).enumerate() {
                let (i, row) = (first + slot, part.row(slot));
                let square = row.dot(&row);
                // |b|² − 2 a·b, less the doubt of its first part.
                let low = |(dot, length): (&f64, &f64)| length * (1.0 - rounding) - 2.0 * dot;
                lows.clear();
                lows.extend(along.iter().zip(lengths).map(low).zip(start..));
                if themselves && (start..start + tile.nrows()).contains(&i) {
                    lows.swap_remove(i - start);
                }
                let Some(last) = k.min(lows.len()).checked_sub(1) else { continue };
                let most = if best.len() == k {
                    // No farther than the farthest so far.
                    best[k - 1].0 * (1.0 + rounding) - square * (1.0 - rounding)
                } else {
                    let (nearer, last, _) = lows.select_nth_unstable_by(last, by_distance);
                    let highest = |(low, j): &(f64, usize)| low + 2.0 * rounding * lengths[*j - start];
                    nearer.iter().map(highest).fold(highest(last), f64::max) + 2.0 * rounding * square
                };
                order.clear();
                order.extend(lows.iter().filter(|(low, _)| *low <= most).map(|(_, j)| *j));
                // In their order, for among as many equal ones as are asked for, later rows need no look.
                order.sort_unstable();
                let mut equal = best.iter().filter(|(square, _)| *square == 0.0).count();
                for j in &order {
                    if equal >= k {
                        break;
                    }
                    let square = squared_distance(rows.row(i), others.row(*j));
                    best.push((square, *j));
                    equal += usize::from(square == 0.0);
                }
                best.sort_unstable_by(by_distance);
                best.truncate(k);
                best.shrink_to(k);
            }
        }
        for (slot, best) in best.iter().enumerate() {
            for (slot_of, (square, j)) in best.iter().enumerate() {
                (found[(slot, slot_of)], distances[(slot, slot_of)]) = (*j, square.sqrt());
            }
        }
    });
    Neighbours { rows: found, distances }
}

fn by_distance(a: &(f64, usize), b: &(f64, usize)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// |a − b|².
pub(crate) fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Place of the smallest, of equal ones the first.
pub(crate) fn least(values: ArrayView1<'_, f64>) -> usize {
    values.argmin().unwrap_or(0)
}

/// A few points, at least one, to which distances are asked for.
pub(crate) struct Points<'a> {
    points: ArrayView2<'a, f64>,
    centre: Array1<f64>,
    about: Array2<f64>,
    squares: Vec<f64>,
}

/// A squared distance below this part of |a|² + |b|² has lost too many of its digits.
const CLOSE: f64 = 1e-4;

impl<'a> Points<'a> {
    pub(crate) fn new(points: ArrayView2<'a, f64>) -> Self {
        let centre = mean(points);
        let about = &points - &centre;
        let squares = about.outer_iter().map(|p| p.dot(&p)).collect();
        Self { points, centre, about, squares }
    }

    /// Squared distances of a block of rows, (N, points), by one thread.
    ///
    /// |a − b|² = |a|² + |b|² − 2 a·b about the mean of the points, and Σ (a − b)² where little is left of that: to 2e−12·(D + 4)
    /// of itself.
    pub(crate) fn squared_distances(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut out = Array2::zeros((rows.nrows(), self.squares.len()));
        let about = &rows - &self.centre;
        general_mat_mul(-2.0, &about, &self.about.t(), 0.0, &mut out);
        for ((mut out, about), row) in out.outer_iter_mut().zip(about.outer_iter()).zip(rows.outer_iter()) {
            let square = about.dot(&about);
            for ((v, of_point), point) in out.iter_mut().zip(&self.squares).zip(self.points.outer_iter()) {
                let squares = square + of_point;
                *v += squares;
                if *v <= CLOSE * squares {
                    *v = squared_distance(row, point);
                }
            }
        }
        out
    }
}

/// Squared distances of all rows to a few `points`, at least one, (N, points).
pub(crate) fn squared_distances(rows: ArrayView2<'_, f64>, points: ArrayView2<'_, f64>) -> Array2<f64> {
    let points = Points::new(points);
    let mut out = Array2::zeros((rows.nrows(), points.squares.len()));
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(rows.axis_chunks_iter(Axis(0), BLOCK));
    blocks.for_each(|(mut out, rows)| out.assign(&points.squared_distances(rows)));
    out
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(n: usize, d: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((n, d), |_| 1000.0 + rng.gen_range(-1.0..1.0))
    }

    #[test]
    fn nearest_rows_are_those_of_an_exhaustive_search() {
        let (rows, others) = (random(600, 7, 1), random(300, 7, 2));
        for among in [None, Some(others.view())] {
            let found = nearest(rows.view(), among, 5);
            let from = among.unwrap_or(rows.view());
            for i in [0, 1, 255, 256, 599] {
                let distance = |j: usize| (&rows.row(i) - &from.row(j)).mapv(|v| v * v).sum().sqrt();
                let mut order: Vec<usize> = (0..from.nrows()).filter(|j| among.is_some() || *j != i).collect();
                order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
                assert_eq!(found.rows.row(i).to_vec(), order[..5]);
                assert!((found.distances[(i, 4)] - distance(order[4])).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn of_equal_distances_the_first_is_the_least() {
        let rows = ndarray::array![[3.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [f64::INFINITY, 2.0, 2.0, 5.0]];
        assert_eq!(rows.outer_iter().map(least).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!(least(rows.column(2)), 1);
    }

    #[test]
    fn tiles_and_equal_rows_among_them_change_nothing() {
        // Each row three times, 3,000 rows apart, and so in up to three tiles.
        let some = random(3000, 2, 3);
        let rows = Array2::from_shape_fn((9000, 2), |(i, j)| some[(i % 3000, j)]);
        let all = Array2::from_elem((2 * TILE + 5, 1), 0.3);
        for k in [1, 2, 5] {
            let found = nearest(rows.view(), None, k);
            for i in [0, 2999, 4095, 4096, 8192, 8999] {
                let square = |j: usize| squared_distance(rows.row(i), rows.row(j));
                let mut order: Vec<usize> = (0..9000).filter(|j| *j != i).collect();
                order.sort_by(|a, b| square(*a).total_cmp(&square(*b)));
                assert_eq!(found.rows.row(i).to_vec(), order[..k], "row {i}");
                let distances: Vec<f64> = order[..k].iter().map(|j| square(*j).sqrt()).collect();
                assert_eq!(found.distances.row(i).to_vec(), distances, "row {i}");
            }
            let first = nearest(all.slice(s![TILE..TILE + 3, ..]), Some(all.view()), k);
            assert!(first.rows.outer_iter().all(|row| row.to_vec() == Vec::from_iter(0..k)));
        }
    }

    #[test]
    fn near_rows_far_from_the_mean_are_told_apart() {
        // Two groups whose distance squared times the rounding of f64 is more than the distances within them squared.
        let rows = Array2::from_shape_fn((40, 1), |(i, _)| {
            (i % 20) as f64 / 8192.0 + if i < 20 { 0.0 } else { f64::from(1 << 20) }
        });
        let found = nearest(rows.view(), None, 3);
        for i in 0..40 {
            let distance = |j: usize| (rows[(i, 0)] - rows[(j, 0)]).abs();
            let mut order: Vec<usize> = (0..40).filter(|j| *j != i).collect();
            order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            let expected: Vec<f64> = order[..3].iter().map(|j| distance(*j)).collect();
            assert_eq!(found.rows.row(i).to_vec(), order[..3], "row {i}");
            assert_eq!(found.distances.row(i).to_vec(), expected, "row {i}");
        }
    }

    #[test]
    fn equal_rows_are_at_no_distance() {
        let found = nearest(Array2::from_elem((4, 3), 0.1).view(), None, 3);
        assert!(found.distances.iter().all(|d| *d == 0.0));
        assert_eq!(found.rows.row(1).to_vec(), [0, 2, 3]);
    }
}
