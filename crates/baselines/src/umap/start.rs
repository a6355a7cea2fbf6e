//! Where places begin: the smoothest functions on the graph.

use ndarray::{Array2, ArrayView2, Axis, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::Result;
use crate::affinities::Affinities;
use crate::forest::Forest;
use crate::krylov::{independent, largest};
use crate::neighbours::nearest;
use crate::placed::principal_start;
use crate::products::{product, product_of_columns};

/// Vectors that are iterated together, a cache line of a row.
const WIDTH: usize = 8;
/// Parts of fewer rows begin by chance.
const SMALL: usize = 4 * WIDTH;
/// Passes of the iteration at most, and products with the graph in each.
const PASSES: (usize, usize) = (16, 40);
/// What a pass may make the smoothest function grow by, beside those that are to vanish.
const GROWTH: f64 = 1e7;
/// Residual of an eigenvector, as a part of 1 − λ, that is near enough for a start.
const NEAR: f64 = 0.02;
/// Size of a part of the graph, in distances to the nearest other.
const SIZE: f64 = 0.4;
/// Rows of a task.
const BLOCK: usize = 256;

/// A number for each vector.
type Row = [f64; WIDTH];

/// Places (N, `dimensions`), each column from 0 to 10 and with a chance of 0.01 by which equal rows come apart.
///
/// They are eigenvectors of the normalised Laplacian of the graph, those of the least eigenvalues above 0. Parts of the
/// graph that nothing joins lie about the principal scores of their mean rows, no farther than leaves them apart.
pub(super) fn spectral_start(
    rows: ArrayView2<'_, f64>,
    graph: &Affinities,
    dimensions: usize,
    seed: u64,
) -> Result<Array2<f64>> {
    let n = rows.nrows();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parts = parts(graph);
    let mut start = Array2::zeros((n, dimensions));
    if parts.len() == 1 {
        start = smoothest(graph, dimensions, &mut rng)?;
    } else {
        let mut means = Array2::zeros((parts.len(), rows.ncols()));
        for (mut mean, part) in means.rows_mut().into_iter().zip(&parts) {
            part.iter().for_each(|row| mean.scaled_add(1.0 / part.len() as f64, &rows.row(*row)));
        }
        let centres = principal_start(means.view(), dimensions, seed)?;
        let apart = nearest(centres.view(), None, 1).distances;
        for (part, (centre, apart)) in parts.iter().zip(centres.rows().into_iter().zip(&apart)) {
            let places = smoothest(&graph.part(part, 0.0), dimensions, &mut rng)?;
            let far = places.rows().into_iter().map(|place| place.dot(&place).sqrt()).fold(f64::MIN_POSITIVE, f64::max);
            for (row, place) in part.iter().zip(places.rows()) {
                start.row_mut(*row).assign(&(&centre + &(&place * (SIZE * apart / far))));
            }
        }
    }
    for mut column in start.columns_mut() {
        let low = column.iter().fold(f64::INFINITY, |low, v| low.min(*v));
        let width = column.iter().fold(f64::NEG_INFINITY, |high, v| high.max(*v)) - low;
        column.mapv_inplace(|v| 10.0 * (v - low) / width.max(f64::MIN_POSITIVE));
    }
    Ok(start + Array2::from_shape_simple_fn((n, dimensions), || 0.01 * rng.sample::<f64, _>(StandardNormal)))
}

/// Rows of each part that nothing joins to the others.
fn parts(graph: &Affinities) -> Vec<Vec<usize>> {
    let n = graph.starts.len() - 1;
    let forest = Forest::new(n);
    for i in 0..n {
        graph.row(i).0.iter().for_each(|j| forest.join(i, *j as usize));
    }
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); n];
    (0..n).for_each(|i| parts[forest.root(i)].push(i));
    parts.retain(|part| !part.is_empty());
    parts
}

/// D^−½ W D^−½, of the weights W of a connected graph and the sums D of its rows, and √D of length 1, of which it makes
/// itself.
struct Smoother<'a> {
    graph: &'a Affinities,
    values: Vec<f64>,
    itself: Array2<f64>,
}

impl<'a> Smoother<'a> {
    fn new(graph: &'a Affinities) -> Self {
        let n = graph.starts.len() - 1;
        let roots: Vec<f64> =
            (0..n).map(|i| graph.row(i).1.iter().map(|w| f64::from(*w)).sum::<f64>().sqrt()).collect();
        let of_row = |i: usize| {
            let (columns, values) = graph.row(i);
            let pairs = columns.iter().zip(values);
            pairs.map(|(j, w)| f64::from(*w) / (roots[i] * roots[*j as usize])).collect::<Vec<f64>>()
        };
        let values = (0..n).flat_map(of_row).collect();
        let length = roots.iter().map(|r| r * r).sum::<f64>().sqrt();
        Self { graph, values, itself: Array2::from_shape_fn((n, 1), |(i, _)| roots[i] / length) }
    }

    /// a·S·x + b·x + c·y.
    fn step(&self, [a, b, c]: [f64; 3], x: &[Row], y: &[Row]) -> Vec<Row> {
        let mut out = vec![[0.0; WIDTH]; x.len()];
        out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
            for (i, out) in (block * BLOCK..).zip(out) {
                let range = self.graph.starts[i]..self.graph.starts[i + 1];
                let mut sum = [0.0; WIDTH];
                for (j, value) in self.graph.columns[range.clone()].iter().zip(&self.values[range]) {
                    let other = &x[*j as usize];
                    (0..WIDTH).for_each(|k| sum[k] += value * other[k]);
                }
                *out = std::array::from_fn(|k| a * sum[k] + b * x[i][k] + c * y[i][k]);
            }
        });
        out
    }
}

fn to_rows(columns: &Array2<f64>) -> Vec<Row> {
    let of = |row: ndarray::ArrayView1<'_, f64>| std::array::from_fn(|k| row.get(k).copied().unwrap_or(0.0));
    columns.rows().into_iter().map(of).collect()
}

fn to_columns(rows: &[Row]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), WIDTH), |(i, k)| rows[i][k])
}

/// Eigenvectors of the largest eigenvalues below 1 of the [`Smoother`] of a connected graph; chance, if it is small.
///
/// Subspace iteration (Zhou, Saad, Tiago & Chelikowsky 2006, Phys. Rev. E 74, 066704): a Chebyshev polynomial of the
/// matrix shrinks what lies below the least of the eigenvalues that the vectors have found, and lets the others grow. As
/// they are a start only, it ends before they have all their digits.
fn smoothest(graph: &Affinities, dimensions: usize, rng: &mut ChaCha8Rng) -> Result<Array2<f64>> {
    let n = graph.starts.len() - 1;
    let chance = Array2::from_shape_simple_fn((n, WIDTH), || rng.sample::<f64, _>(StandardNormal));
    let wanted = s![.., ..dimensions];
    if n < SMALL {
        return Ok(chance.slice(wanted).to_owned());
    }
    let smoother = Smoother::new(graph);
    let mut vectors = chance.clone();
    for pass in 1..=PASSES.0 {
        let basis = independent(smoother.itself.view(), vectors.view(), 0.0);
        if basis.ncols() < dimensions {
            return Ok(chance.slice(wanted).to_owned());
        }
        let rows = to_rows(&basis);
        let images = to_columns(&smoother.step([1.0, 0.0, 0.0], &rows, &rows));
        let images = images.slice(s![.., ..basis.ncols()]);
        let inner = product_of_columns(basis.view(), images);
        let (values, turned) = largest(|x| inner.dot(&x), basis.ncols(), basis.ncols())?;
        vectors = product(basis.view(), turned.view());
        let off = product(images, turned.view()) - &vectors * &values;
        let lengths = off.axis_iter(Axis(1)).map(|r| r.dot(&r).sqrt());
        let near = lengths.zip(&values).take(dimensions).all(|(length, value)| length <= NEAR * (1.0 - value));
        // From −1 to the least value found is what is to vanish, 1 the most that may be sought.
        let least = values[values.len() - 1].min(1.0 - 1e-9);
        let (middle, half) = (0.5 * (least - 1.0), 0.5 * (least + 1.0));
        if near || pass == PASSES.0 || half <= 0.0 {
            break;
        }
        let growth = ((1.0 - middle) / half).acosh();
        let degree = ((GROWTH.ln() / growth) as usize).clamp(1, PASSES.1);
        let mut before = to_rows(&vectors);
        let mut now = smoother.step([1.0 / half, -middle / half, 0.0], &before, &before);
        for _ in 1..degree {
            let next = smoother.step([2.0 / half, -2.0 * middle / half, -1.0], &now, &before);
            (before, now) = (now, next);
        }
        vectors = to_columns(&now);
    }
    Ok(vectors.slice(wanted).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::Neighbours;
    use crate::umap::graph::union;

    /// A ring whose rows are joined to those beside them.
    fn ring(n: usize) -> Affinities {
        let near = Array2::from_shape_fn((n, 2), |(i, j)| (i + if j == 0 { 1 } else { n - 1 }) % n);
        union(&Neighbours { rows: near, distances: Array2::ones((n, 2)) })
    }

    #[test]
    fn the_smoothest_functions_on_a_ring_are_its_first_waves() {
        let n = 400;
        let found = smoothest(&ring(n), 2, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        let turn = |i: usize| std::f64::consts::TAU * i as f64 / n as f64;
        let wave = Array2::from_shape_fn((n, 2), |(i, j)| if j == 0 { turn(i).sin() } else { turn(i).cos() });
        let along = wave.t().dot(&found) * (2.0 / n as f64).sqrt();
        // Of length 1, and all of it in the two waves.
        for column in along.columns() {
            assert!((column.dot(&column) - 1.0).abs() < 1e-2, "{along}");
        }
        assert!(found.column(0).dot(&found.column(1)).abs() < 1e-9);
    }

    #[test]
    fn parts_that_nothing_joins_begin_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rows = Array2::from_shape_fn((400, 6), |(i, j)| {
            f64::from(u8::from(i % 5 == j)) * 30.0 + rng.sample::<f64, _>(StandardNormal)
        });
        let graph = union(&nearest(rows.view(), None, 10));
        assert_eq!(parts(&graph).len(), 5);
        for dimensions in 1..=3 {
            let start = spectral_start(rows.view(), &graph, dimensions, 1).unwrap();
            let near = nearest(start.view(), None, 1).rows;
            let kept = near.column(0).iter().enumerate().filter(|(i, j)| i % 5 == *j % 5).count();
            assert!(kept >= 390, "{dimensions} dimensions: {kept}");
            assert!(start.iter().all(|v| (-0.1..10.1).contains(v)));
            assert_ne!(start, spectral_start(rows.view(), &graph, dimensions, 2).unwrap());
        }
    }

    #[test]
    fn few_and_equal_rows_begin_somewhere() {
        for n in [2, 3, 40, 100] {
            let rows = Array2::from_elem((n, 2), 0.1);
            let graph = union(&nearest(rows.view(), None, (n - 1).min(9)));
            let start = spectral_start(rows.view(), &graph, 3, 0).unwrap();
            assert!(start.iter().all(|v| v.is_finite()));
            assert!(start.rows().into_iter().skip(1).all(|row| row != start.row(0)));
        }
    }
}
