//! Symmetric weights between rows that are near each other.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::neighbours::Neighbours;

/// Weights between rows, those of row i from `starts[i]` to `starts[i + 1]`, by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Affinities {
    pub(crate) starts: Vec<usize>,
    pub(crate) columns: Vec<u32>,
    pub(crate) values: Vec<f32>,
}

impl Affinities {
    /// Of directed weights, (N, k) as the neighbours are, `union(wᵢⱼ, wⱼᵢ)`; a weight that is not there is 0.
    pub(crate) fn symmetric(near: &Neighbours, weights: &Array2<f64>, union: impl Fn(f64, f64) -> f64 + Sync) -> Self {
        let (n, k) = near.rows.dim();
        let mut counts = vec![0usize; n + 1];
        near.rows.iter().for_each(|j| counts[j + 1] += 1);
        for i in 0..n {
            counts[i + 1] += counts[i];
        }
        let (mut next, mut back) = (counts.clone(), vec![(0u32, 0.0f64); n * k]);
        for (i, (rows, weights)) in near.rows.axis_iter(Axis(0)).zip(weights.axis_iter(Axis(0))).enumerate() {
            for (j, weight) in rows.iter().zip(weights) {
                back[next[*j]] = (i as u32, *weight);
                next[*j] += 1;
            }
        }
        let of_row = |i: usize| -> Vec<(u32, f32)> {
            let to = near.rows.row(i).into_iter().zip(weights.row(i)).map(|(j, w)| (*j as u32, *w, 0.0));
            let from = back[counts[i]..counts[i + 1]].iter().map(|(j, w)| (*j, 0.0, *w));
            let mut both: Vec<(u32, f64, f64)> = to.chain(from).collect();
            both.sort_unstable_by_key(|(j, ..)| *j);
            both.dedup_by(|again, kept| {
                let same = again.0 == kept.0;
                if same {
                    (kept.1, kept.2) = (kept.1 + again.1, kept.2 + again.2);
                }
                same
            });
            both.into_iter().map(|(j, to, from)| (j, union(to, from) as f32)).collect()
        };
        let rows: Vec<Vec<(u32, f32)>> = (0..n).into_par_iter().map(of_row).collect();
        let mut starts = vec![0];
        rows.iter()
            .scan(0, |sum, row| {
                Some({
                    *sum += row.len();
                    *sum
                })
            })
            .for_each(|end| starts.push(end));
        let (columns, values) = rows.into_iter().flatten().unzip();
        Self { starts, columns, values }
    }

    /// Those of the rows `of`, numbered anew as they stand there; of the weights those not below `least`.
    pub(crate) fn part(&self, of: &[usize], least: f32) -> Self {
        let mut numbers: Vec<Option<u32>> = vec![None; self.starts.len() - 1];
        of.iter().zip(0..).for_each(|(row, number)| numbers[*row] = Some(number));
        let mut part = Self { starts: vec![0], columns: Vec::new(), values: Vec::new() };
        for row in of {
            let (columns, values) = self.row(*row);
            for (column, value) in columns.iter().zip(values).filter(|(_, value)| **value >= least) {
                if let Some(number) = numbers[*column as usize] {
                    part.columns.push(number);
                    part.values.push(*value);
                }
            }
            part.starts.push(part.columns.len());
        }
        part
    }

    /// Columns and weights of a row.
    pub(crate) fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.starts[i]..self.starts[i + 1];
        (&self.columns[range.clone()], &self.values[range])
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn weights_are_united_whatever_their_direction() {
        let near = Neighbours { rows: array![[1, 2], [0, 2], [1, 3], [2, 1]], distances: Array2::zeros((4, 2)) };
        let weights = array![[0.5, 0.25], [1.0, 0.125], [0.75, 0.5], [1.0, 0.0625]];
        let mut full = Array2::<f64>::zeros((4, 4));
        for ((i, k), j) in near.rows.indexed_iter() {
            full[(i, *j)] = weights[(i, k)];
        }
        let found = Affinities::symmetric(&near, &weights, |a, b| a + b - a * b);
        for i in 0..4 {
            let (columns, values) = found.row(i);
            assert!(columns.windows(2).all(|w| w[0] < w[1]));
            for j in 0..4 {
                let expected = full[(i, j)] + full[(j, i)] - full[(i, j)] * full[(j, i)];
                let stored = columns.iter().position(|c| *c == j as u32).map_or(0.0, |at| values[at]);
                assert_eq!(f64::from(stored), expected);
            }
        }
    }

    #[test]
    fn a_part_has_the_weights_between_its_rows() {
        let near = Neighbours { rows: array![[1, 3], [0, 2], [1, 3], [2, 0]], distances: Array2::zeros((4, 2)) };
        let weights = array![[0.5, 0.25], [0.5, 0.125], [0.75, 1.0], [1.0, 0.0625]];
        let found = Affinities::symmetric(&near, &weights, f64::max).part(&[0, 2, 3], 0.2);
        let expected = [(vec![2], vec![0.25]), (vec![2], vec![1.0]), (vec![0, 1], vec![0.25, 1.0])];
        for (i, (columns, values)) in expected.iter().enumerate() {
            assert_eq!(found.row(i), (&columns[..], &values[..]));
        }
        let light = Affinities::symmetric(&near, &weights, f64::max).part(&[0, 1, 2, 3], 0.5);
        assert_eq!(light.row(3), (&[2][..], &[1.0][..]));
    }
}
