//! The nearest rows of each row, exactly.

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::products::{BLOCK, product, squares};

/// Rows near each row, nearest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neighbours {
    /// Which rows, (N, k).
    pub(crate) rows: Array2<usize>,
    /// How far they are, (N, k).
    pub(crate) distances: Array2<f64>,
}

/// The `k` rows of `among` nearest to each of `rows`; of `rows` themselves, the others, if `among` is none. There are at least
/// `k` of them.
///
/// |a − b|² = |a|² + |b|² − 2 a·b finds candidates, whose distances are then computed anew, without cancellation.
pub(crate) fn nearest<'a>(rows: ArrayView2<'a, f64>, among: Option<ArrayView2<'a, f64>>, k: usize) -> Neighbours {
    let (others, themselves) = (among.unwrap_or(rows), among.is_none());
    let (n, m) = (rows.nrows(), others.nrows());
    let centre = others.sum_axis(Axis(0)) / m.max(1) as f64;
    let (rows, others) = (&rows - &centre, &others - &centre);
    let lengths = squares(others.view());
    let spare = (k + 8).min(if themselves { m - 1 } else { m });
    let (mut found, mut distances) = (Array2::zeros((n, k)), Array2::zeros((n, k)));
    let blocks = found.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    let blocks = blocks.zip(distances.axis_chunks_iter_mut(Axis(0), BLOCK)).enumerate();
    blocks.for_each(|(block, (mut found, mut distances))| {
        let first = block * BLOCK;
        let part = rows.slice(s![first..first + found.nrows(), ..]);
        let along = part.dot(&others.t());
        let mut order: Vec<(f64, usize)> = Vec::with_capacity(m);
        for (i, along) in along.axis_iter(Axis(0)).enumerate() {
            order.clear();
            let candidates = along.iter().zip(&lengths).map(|(dot, length)| length - 2.0 * dot).zip(0..);
            order.extend(candidates.filter(|(_, j)| !(themselves && *j == first + i)));
            let nearer = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            if spare < order.len() {
                order.select_nth_unstable_by(spare, nearer);
                order.truncate(spare);
            }
            let row = part.row(i);
            for (square, j) in &mut order {
                *square = row.iter().zip(others.row(*j)).map(|(a, b)| (a - b) * (a - b)).sum();
            }
            order.sort_unstable_by(nearer);
            for (slot, (square, j)) in order.iter().take(k).enumerate() {
                (found[(i, slot)], distances[(i, slot)]) = (*j, square.sqrt());
            }
        }
    });
    Neighbours { rows: found, distances }
}

/// Squared distances of all rows to a few `points`, (N, points), never below 0.
pub(crate) fn squared_distances(rows: ArrayView2<'_, f64>, points: ArrayView2<'_, f64>) -> Array2<f64> {
    let (of_rows, of_points) = (squares(rows), squares(points));
    let mut out = product(rows, points.t());
    for (mut row, square) in out.axis_iter_mut(Axis(0)).zip(of_rows) {
        row.iter_mut().zip(&of_points).for_each(|(v, p)| *v = (square + p - 2.0 * *v).max(0.0));
    }
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
    fn equal_rows_are_at_no_distance() {
        let found = nearest(Array2::from_elem((4, 3), 0.1).view(), None, 3);
        assert!(found.distances.iter().all(|d| *d == 0.0));
        assert_eq!(found.rows.row(1).to_vec(), [0, 2, 3]);
    }
}
