//! A radius that the rows suggest.

use ndarray::{Array1, ArrayView2, Axis};
use ndarray_stats::QuantileExt;
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::forest::Forest;

/// Clusters count if they hold one of so many rows.
const PART: usize = 20;
/// Clusters are believed if they last while the radius grows by this factor, and a ball of it twofold: chance clumps of one
/// cluster last for 1.1.
const LASTING: f64 = 1.15;
/// What lies within a radius, and beyond it, is told apart in spite of rounding.
const MARGIN: f64 = 1e-9;
/// Rows of a task, the squares of their distances in a first-level cache.
const BLOCK: usize = 1024;

/// The knee of `core`, the distances to the k-th nearest other row; where clusters last for some range of radii, the
/// nearest of that range. None if all distances are 0.
///
/// Clusters of less than `least` rows, or a twentieth of all, do not count.
pub(super) fn suggested(rows: ArrayView2<'_, f64>, core: &[f64], least: usize) -> Option<f64> {
    let knee = knee(core.to_vec())?;
    let least = least.max(core.len().div_ceil(PART));
    let Some(range) = lasting(&tree(rows, core), least, rows.ncols()) else { return Some(knee) };
    Some(knee.max(range.0 * (1.0 + MARGIN)).min(range.1 * (1.0 - MARGIN)))
}

/// The point of the ascending distances farthest below the line from the first to the last; none if all are 0.
fn knee(mut distances: Vec<f64>) -> Option<f64> {
    distances.sort_by(f64::total_cmp);
    let n = distances.len();
    let (first, last) = (distances[0], distances[n - 1]);
    let below = |i: usize| first + (last - first) * i as f64 / (n - 1) as f64 - distances[i];
    let knee = Array1::from_shape_fn(n, below).argmax().ok()?;
    distances[knee..].iter().copied().find(|d| *d > 0.0)
}

/// An edge of a tree: its length, and the rows at its ends.
type Edge = (f64, usize, usize);

/// From which radius to which the same clusters, two and more of at least `least` rows, hold most rows, if they last;
/// `edges` of the tree are in ascending order.
///
/// Of several such ranges the one of the largest product of ln(to/from) and the part of the rows that its clusters gain.
fn lasting(edges: &[Edge], least: usize, dimensions: usize) -> Option<(f64, f64)> {
    let n = edges.len() + 1;
    let lasts = LASTING.max(2f64.powf(1.0 / dimensions as f64));
    let (forest, mut sizes) = (Forest::new(n), vec![1; n]);
    let (mut clusters, mut inside) = (0, 0);
    // Since which radius there are so many clusters, and how many rows they held then.
    let mut since = (0.0f64, 0);
    let mut best: Option<(f64, (f64, f64))> = None;
    for &(length, a, b) in edges {
        let parts = [a, b].map(|row| sizes[forest.root(row)]);
        let size = parts[0] + parts[1];
        forest.join(a, b);
        sizes[forest.root(a)] = size;
        let counted = |size: usize| if size >= least { (1, size) } else { (0, 0) };
        let (whole, [left, right]) = (counted(size), parts.map(counted));
        let now = clusters + whole.0 - left.0 - right.0;
        if now != clusters {
            let grown = length / since.0.max(MARGIN * length);
            let score = grown.ln() * (inside - since.1) as f64;
            let believed = clusters >= 2 && 2 * inside >= n && grown >= lasts;
            if believed && best.is_none_or(|(most, _)| score > most) {
                best = Some((score, (since.0, length)));
            }
        }
        inside = inside + whole.1 - left.1 - right.1;
        if now != clusters {
            (clusters, since) = (now, (length, inside));
        }
    }
    best.map(|(_, range)| range)
}

/// The shortest tree over all rows, its edges in ascending order. Between two rows lies the radius at which both are core
/// rows and near each other, max(coreᵢ, coreⱼ, |xᵢ − xⱼ|), so at any radius its edges up to there join the core rows to
/// their clusters.
///
/// It grows row by row (Prim 1957, Bell Syst. Tech. J. 36, 1389): time N²·D, memory N·D.
fn tree(rows: ArrayView2<'_, f64>, core: &[f64]) -> Vec<Edge> {
    let n = rows.nrows();
    let centred = &rows - &(rows.sum_axis(Axis(0)) / n as f64);
    let mut parts: Vec<Part> = (1..n)
        .step_by(BLOCK)
        .map(|first| {
            let own = first..(first + BLOCK).min(n);
            Part {
                columns: centred.columns().into_iter().map(|c| own.clone().map(|i| c[i]).collect()).collect(),
                core: core[own.clone()].to_vec(),
                nearest: vec![(f64::INFINITY, 0); own.len()],
                rows: own.collect(),
                squares: vec![0.0; BLOCK],
            }
        })
        .collect();
    let mut edges: Vec<Edge> = Vec::with_capacity(n - 1);
    let (mut last, mut row) = (0, centred.row(0).to_vec());
    // The nearest of the rows that are left, as long as there are any.
    let nearest = |parts: &mut [Part], row: &[f64], last: usize| {
        let met = parts.par_iter_mut().enumerate().filter_map(|(of, part)| {
            let at = Arch::new().dispatch(Meeting { part, row, core: core[last], last })?;
            Some((part.nearest[at].0, part.rows[at], of, at))
        });
        met.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
    };
    while let Some((length, next, of, at)) = nearest(&mut parts, &row, last) {
        let part = &mut parts[of];
        edges.push((length, part.nearest[at].1, next));
        (last, row) = (next, part.take(at));
    }
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    edges
}

/// Rows that are not in the tree yet.
struct Part {
    /// Their numbers, column after column.
    columns: Vec<Vec<f64>>,
    core: Vec<f64>,
    /// How far the tree is, and its row there.
    nearest: Vec<(f64, usize)>,
    rows: Vec<usize>,
    squares: Vec<f64>,
}

impl Part {
    /// Takes a row out.
    fn take(&mut self, at: usize) -> Vec<f64> {
        self.core.swap_remove(at);
        self.nearest.swap_remove(at);
        self.rows.swap_remove(at);
        self.columns.iter_mut().map(|column| column.swap_remove(at)).collect()
    }
}

/// A part of the rows, and the row that came to the tree last.
struct Meeting<'a> {
    part: &'a mut Part,
    row: &'a [f64],
    core: f64,
    last: usize,
}

// A closure may be left outside of what is compiled for the machine; this cannot.
impl NullaryFnOnce for Meeting<'_> {
    /// Which row of the part is nearest to the tree now.
    type Output = Option<usize>;

    #[inline(always)]
    fn call(self) -> Option<usize> {
        let Self { part: Part { columns, core, nearest, rows, squares }, row, core: own, last } = self;
        let squares = &mut squares[..rows.len()];
        squares.fill(0.0);
        for (column, v) in columns.iter().zip(row) {
            for (square, other) in squares.iter_mut().zip(column) {
                *square += (other - v) * (other - v);
            }
        }
        let mut best = None;
        let mut least = f64::INFINITY;
        for (at, ((nearest, square), core)) in nearest.iter_mut().zip(squares.iter()).zip(core.iter()).enumerate() {
            let length = square.sqrt().max(own).max(*core);
            if length < nearest.0 {
                *nearest = (length, last);
            }
            // Of equals the first row, wherever it stands by now.
            if nearest.0 < least || (nearest.0 == least && best.is_some_and(|b: usize| rows[at] < rows[b])) {
                (best, least) = (Some(at), nearest.0);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;
    use crate::Dbscan;
    use crate::neighbours::nearest;

    fn core(rows: &Array2<f64>, k: usize) -> Vec<f64> {
        nearest(rows.view(), None, k).distances.column(k - 1).to_vec()
    }

    #[test]
    fn the_tree_joins_what_dbscan_does_at_any_radius() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (n, d) in [(60, 1), (300, 3), (1500, 5)] {
            let rows = Array2::from_shape_fn((n, d), |(i, _)| 3.0 * (i % 4) as f64 + rng.gen_range(-1.0..1.0));
            let core = core(&rows, 4);
            let edges = tree(rows.view(), &core);
            assert!(edges.len() == n - 1 && edges.windows(2).all(|w| w[0].0 <= w[1].0));
            let mut several = 0;
            for step in 1..20 {
                let radius = edges[(n - 2) * step / 20].0 * (1.0 + MARGIN);
                let model = Dbscan::params(radius).fit_matrix(rows.view()).unwrap();
                let forest = Forest::new(n);
                edges.iter().filter(|e| e.0 <= radius).for_each(|e| forest.join(e.1, e.2));
                for &i in model.core() {
                    let first = model.core().iter().find(|j| model.classes()[**j] == model.classes()[i]).unwrap();
                    assert_eq!(forest.root(i), forest.root(*first), "{n} rows, radius {radius}");
                }
                let roots: std::collections::HashSet<usize> = model.core().iter().map(|i| forest.root(*i)).collect();
                assert_eq!(roots.len(), model.clusters());
                several += usize::from(roots.len() > 1);
            }
            assert!(several > 3);
        }
    }

    /// Balls about the corners of a simplex, and rows spread evenly about them.
    fn balls(n: usize, noise: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((n + noise, 10), |(i, j)| {
            if i >= n {
                rng.gen_range(-4.0..9.0)
            } else {
                f64::from(u8::from(i % 4 == j)) * 5.0 + rng.sample::<f64, _>(StandardNormal)
            }
        })
    }

    #[test]
    fn near_balls_among_noise_stay_apart() {
        for seed in 0..3 {
            let (n, noise) = (1000, 200);
            let rows = balls(n, noise, seed);
            let core = core(&rows, 4);
            let at = |radius: f64| {
                let model = Dbscan::params(radius).fit_matrix(rows.view()).unwrap();
                let truth = (0..n + noise).map(|i| if i < n { i as i64 % 4 } else { -1 });
                let none = |v: i64| if v < 0 { 9 } else { v };
                let truth: Array1<i64> = truth.map(none).collect();
                parsimon_metrics::adjusted_rand_index(truth.view(), model.classes().mapv(none).view()).unwrap()
            };
            let (found, of_knee) = (at(suggested(rows.view(), &core, 10).unwrap()), at(knee(core).unwrap()));
            assert!(found > 0.75, "{found}, at the knee {of_knee}");
        }
    }

    #[test]
    fn one_cluster_has_its_knee() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for d in 1..5 {
            for n in [200, 700] {
                let even = Array2::from_shape_simple_fn((n, d), || rng.gen_range(0.0..1.0));
                let ball = Array2::from_shape_simple_fn((n, d), || rng.sample::<f64, _>(StandardNormal));
                for rows in [even, ball] {
                    let core = core(&rows, 4);
                    assert_eq!(suggested(rows.view(), &core, 10), knee(core), "{n} rows of {d}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let rows = balls(2500, 300, 4);
        let core = core(&rows, 4);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| tree(rows.view(), &core))
        };
        assert!(with(1) == with(2));
    }
}
