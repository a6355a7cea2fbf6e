use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::forest::Forest;
use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::rows::{RowEmbedding, RowModel, finite, fitting, squarable};
use crate::within::{BLOCK, Frame, Points};
use crate::{Error, Result};

/// DBSCAN: clusters of any shape, where rows lie dense; what lies apart from them is noise.
///
/// A row with at least so many rows within the radius, itself among them, is a core row. Core rows within the radius of
/// each other are of one cluster. Another row within the radius of a core row is on the border of its cluster, of the
/// first if there are several; any other is noise, class −1. Clusters are numbered from 0 in the order of their first
/// core rows.
///
/// Distances are exact, and none is kept: memory is about 1 kB for each row, time is N²·D, less where the rows spread
/// along a column.
///
/// A further row is of the cluster of the nearest core row within the radius, else noise; a row of the fit keeps its
/// class. There are no columns, only classes.
///
/// Reference: Ester, Kriegel, Sander & Xu 1996, KDD-96, 226.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dbscan {
    radius: f64,
    min_rows: usize,
}

/// Pairs that are kept of a block of rows, so that they are not looked for twice.
const KEPT: usize = 64 * BLOCK;

impl Dbscan {
    /// Rows within this distance of each other are near: above 0, in the units of the rows.
    /// [`Dbscan::suggested_radius`] may help.
    pub fn params(radius: f64) -> Params<Self> {
        Params(Self { radius, min_rows: 5 })
    }

    /// The knee of the distances to the k-th nearest other row, in ascending order: the point farthest below the line
    /// from the first to the last.
    ///
    /// Rows in clusters are at most about as far apart; noise is farther. k is one less than the number of rows that
    /// makes a core row.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If a number of the rows is not finite, k is not 1 to N − 1, or each row has k copies of itself.
    ///
    /// Reference: Ester et al. 1996, section 4.2.
    pub fn suggested_radius(rows: ArrayView2<'_, f64>, k: usize) -> Result<f64> {
        finite(rows)?;
        squarable(rows)?;
        let n = rows.nrows();
        if k == 0 || k >= n {
            return Err(Error::parameter("number of neighbours", k, format!("1 to {} for {n} rows", n - 1)));
        }
        let near = nearest(rows, None, k);
        let mut distances = near.distances.column(k - 1).to_vec();
        distances.sort_by(f64::total_cmp);
        let (first, last) = (distances[0], distances[n - 1]);
        let below = |i: usize| first + (last - first) * i as f64 / (n - 1) as f64 - distances[i];
        let knee = (0..n).max_by(|a, b| below(*a).total_cmp(&below(*b)).then(b.cmp(a))).unwrap_or(0);
        let found = distances[knee..].iter().copied().find(|d| *d > 0.0);
        found.ok_or_else(|| Error::parameter("distance to the neighbours", 0, "above 0 for some row"))
    }
}

impl Params<Dbscan> {
    /// Rows within the radius that make a core row, itself among them, 1 and more; default 5.
    pub fn min_rows(mut self, rows: usize) -> Self {
        self.0.min_rows = rows;
        self
    }
}

impl Check for Dbscan {
    fn check(&self) -> Result<()> {
        if !(self.radius.is_finite() && self.radius > 0.0) {
            return Err(Error::parameter("radius of neighbours", self.radius, "above 0, finite"));
        }
        if self.min_rows == 0 {
            return Err(Error::parameter("rows that make a core row", 0, "1 and more"));
        }
        Ok(())
    }
}

/// Clusters that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct DbscanModel {
    radius: f64,
    width: usize,
    classes: Array1<i64>,
    core: Vec<usize>,
    core_rows: Array2<f64>,
    /// Rows on the border, by their bits.
    border: HashMap<Vec<u64>, i64>,
    frame: Frame,
    means: Array2<f64>,
}

impl DbscanModel {
    /// Class of each row of the fit, −1 for noise.
    pub fn classes(&self) -> ArrayView1<'_, i64> {
        self.classes.view()
    }

    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.means.nrows()
    }

    /// Core rows of the fit, ascending.
    pub fn core(&self) -> &[usize] {
        &self.core
    }
}

impl Method for Dbscan {
    type Model = DbscanModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<DbscanModel> {
        squarable(rows)?;
        let frame = Frame::of(rows);
        let (classes, core) = self.classes(&Points::new(rows, &frame, self.radius));
        let clusters = classes.iter().max().map_or(0, |c| (c + 1) as usize);
        let (mut means, mut counts) = (Array2::zeros((clusters, rows.ncols())), vec![0.0; clusters]);
        let mut border = HashMap::new();
        let mut is_core = vec![false; rows.nrows()];
        core.iter().for_each(|i| is_core[*i] = true);
        for (i, &class) in classes.iter().enumerate() {
            let Ok(cluster) = usize::try_from(class) else { continue };
            means.row_mut(cluster).scaled_add(1.0, &rows.row(i));
            counts[cluster] += 1.0;
            if !is_core[i] {
                border.insert(bits(rows.row(i)), class);
            }
        }
        means /= &Array1::from(counts).insert_axis(Axis(1));
        let core_rows = rows.select(Axis(0), &core);
        Ok(DbscanModel { radius: self.radius, width: rows.ncols(), classes, core, core_rows, border, frame, means })
    }
}

/// The numbers of a row, −0 as 0.
fn bits(row: ArrayView1<'_, f64>) -> Vec<u64> {
    row.iter().map(|v| (v + 0.0).to_bits()).collect()
}

impl Dbscan {
    /// Classes of the rows, and the core rows.
    fn classes(&self, points: &Points<'_>) -> (Array1<i64>, Vec<usize>) {
        let n = points.order.len();
        let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(1)).collect();
        // Pairs of each block with itself and those after it, or none where they are too many.
        let kept: Vec<Option<Vec<(usize, usize)>>> = (0..points.blocks())
            .into_par_iter()
            .map(|block| {
                let (mut pairs, mut all) = (Vec::new(), true);
                points.pairs(block, points, block, |i, j| {
                    if i < j {
                        let (i, j) = (points.order[i], points.order[j]);
                        counts[i].fetch_add(1, Relaxed);
                        counts[j].fetch_add(1, Relaxed);
                        all &= pairs.len() < KEPT;
                        if all {
                            pairs.push((i, j));
                        }
                    }
                });
                all.then_some(pairs)
            })
            .collect();
        let is_core: Vec<bool> = counts.iter().map(|c| c.load(Relaxed) >= self.min_rows).collect();
        let forest = Forest::new(n);
        let border: Vec<Vec<(usize, usize)>> = kept
            .into_par_iter()
            .enumerate()
            .map(|(block, kept)| {
                let mut border = Vec::new();
                let mut meet = |i: usize, j: usize| match (is_core[i], is_core[j]) {
                    (true, true) => forest.join(i, j),
                    (true, false) => border.push((j, i)),
                    (false, true) => border.push((i, j)),
                    (false, false) => {}
                };
                match kept {
                    Some(pairs) => pairs.into_iter().for_each(|(i, j)| meet(i, j)),
                    None => points.pairs(block, points, block, |i, j| {
                        if i < j {
                            meet(points.order[i], points.order[j]);
                        }
                    }),
                }
                border
            })
            .collect();
        let core: Vec<usize> = (0..n).filter(|i| is_core[*i]).collect();
        let mut classes = Array1::from_elem(n, -1);
        let mut clusters = 0;
        for &i in &core {
            // The first of a cluster stands for it.
            let root = forest.root(i);
            if root == i {
                classes[i] = clusters;
                clusters += 1;
            } else {
                classes[i] = classes[root];
            }
        }
        for (i, core) in border.into_iter().flatten() {
            let class = classes[core];
            classes[i] = if classes[i] < 0 { class } else { class.min(classes[i]) };
        }
        (classes, core)
    }
}

impl RowModel for DbscanModel {
    fn width(&self) -> usize {
        self.width
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width)?;
        squarable(rows)?;
        let mut classes = Array1::from_elem(rows.nrows(), -1);
        let (here, core) =
            (Points::new(rows, &self.frame, self.radius), Points::new(self.core_rows.view(), &self.frame, self.radius));
        let of_block = |block: usize| -> Vec<(usize, i64)> {
            let mut best = vec![(f64::INFINITY, usize::MAX); BLOCK];
            here.pairs(block, &core, 0, |i, j| {
                let found = (here.squared_distance(i, &core, j), core.order[j]);
                let best = &mut best[i - block * BLOCK];
                if found < *best {
                    *best = found;
                }
            });
            let class = |(i, (_, nearest)): (usize, (f64, usize))| {
                let row = here.order.get(block * BLOCK + i)?;
                let of_core = self.core.get(nearest).map_or(-1, |core| self.classes[*core]);
                Some((*row, self.border.get(&bits(rows.row(*row))).copied().unwrap_or(of_core)))
            };
            best.into_iter().enumerate().filter_map(class).collect()
        };
        let blocks: Vec<Vec<(usize, i64)>> = (0..here.blocks()).into_par_iter().map(of_block).collect();
        blocks.into_iter().flatten().for_each(|(row, class)| classes[row] = class);
        Ok(RowEmbedding { columns: Array2::zeros((rows.nrows(), 0)), deviations: None, classes: Some(classes) })
    }

    /// The mean row of each cluster.
    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.means.clone())
    }
}

speaks_linfa!(Dbscan, DbscanModel);
predicts_with_linfa!(DbscanModel);

#[cfg(test)]
mod tests {
    use linfa::traits::Predict;
    use ndarray::{Array4, s};
    use parsimon_core::{Embed, Patches, Scaling};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The method as it was published: one row after the other, from each core row as far as it goes.
    fn slow(rows: ArrayView2<'_, f64>, radius: f64, min_rows: usize) -> Vec<i64> {
        let n = rows.nrows();
        let square = |i: usize, j: usize| (&rows.row(i) - &rows.row(j)).mapv(|v| v * v).sum();
        let near: Vec<Vec<usize>> =
            (0..n).map(|i| (0..n).filter(|j| square(i, *j) <= radius * radius).collect()).collect();
        let (mut classes, mut next) = (vec![-1; n], 0);
        for i in 0..n {
            if classes[i] >= 0 || near[i].len() < min_rows {
                continue;
            }
            let mut open = vec![i];
            while let Some(at) = open.pop() {
                if classes[at] >= 0 {
                    continue;
                }
                classes[at] = next;
                if near[at].len() >= min_rows {
                    open.extend(&near[at]);
                }
            }
            next += 1;
        }
        classes
    }

    fn blobs(n: usize, d: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let centres = Array2::from_shape_fn((5, d), |_| rng.gen_range(-2.0..2.0));
        Array2::from_shape_fn((n, d), |(i, j)| centres[(i % 5, j)] + rng.gen_range(-1.0..1.0))
    }

    #[test]
    fn classes_are_those_of_the_method_as_published() {
        for (n, d) in [(1, 2), (40, 1), (300, 2), (700, 3), (600, 12)] {
            let rows = blobs(n, d, n as u64);
            let mut seen = std::collections::HashSet::new();
            for (scale, min_rows) in [(0.05, 3), (0.1, 5), (0.2, 4), (0.3, 8), (0.6, 5), (0.6, 30), (3.0, 5), (0.2, 1)]
            {
                let radius = scale * (d as f64).sqrt();
                let model = Dbscan::params(radius).min_rows(min_rows).fit_matrix(rows.view()).unwrap();
                let expected = slow(rows.view(), radius, min_rows);
                assert_eq!(model.classes().to_vec(), expected, "{n}×{d}, radius {radius}, {min_rows} rows");
                assert_eq!(model.embed_rows(rows.view()).unwrap().classes.unwrap().to_vec(), expected);
                seen.insert(model.clusters());
            }
            assert!(n < 100 || seen.len() > 2, "all alike: {seen:?}");
        }
    }

    #[test]
    fn moons_and_rings_are_whole_at_the_suggested_radius() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut noise = move || rng.gen_range(-0.05..0.05);
        let mut made = |shape: &dyn Fn(bool, f64) -> [f64; 2]| {
            let point = |i: usize| shape(i.is_multiple_of(2), i as f64 * 2.399_963);
            let points: Vec<[f64; 2]> = (0..1000).map(point).map(|[y, x]| [y + noise(), x + noise()]).collect();
            Array2::from(points)
        };
        let moons = made(&|upper, turn| {
            let angle = (turn % std::f64::consts::TAU) / 2.0;
            if upper { [angle.sin(), angle.cos()] } else { [0.5 - angle.sin(), 1.0 - angle.cos()] }
        });
        let rings = made(&|outer, turn| [turn.sin(), turn.cos()].map(|v| if outer { v } else { 0.5 * v }));
        for mut rows in [moons, rings] {
            // Two rows apart from all.
            rows.slice_mut(s![0..2, ..]).assign(&ndarray::array![[4.0, 4.0], [-4.0, 4.0]]);
            let radius = Dbscan::suggested_radius(rows.view(), 4).unwrap();
            let model = Dbscan::params(radius).fit_matrix(rows.view()).unwrap();
            assert_eq!(model.clusters(), 2, "radius {radius}");
            let expected = |i: usize| if i < 2 { -1 } else { i as i64 % 2 };
            assert!(model.classes().iter().enumerate().all(|(i, c)| *c == expected(i)));
            assert!(model.core().len() > 900 && model.core()[0] >= 2);
        }
    }

    #[test]
    fn a_further_row_is_of_the_nearest_core_row() {
        // Two lines of rows, 2 apart, and a border row that both reach.
        let mut rows =
            Array2::from_shape_fn((21, 2), |(i, j)| if j == 0 { 2.0 * (i / 10) as f64 } else { (i % 10) as f64 * 0.1 });
        rows.row_mut(20).assign(&ndarray::array![1.01, 0.0]);
        let model = Dbscan::params(1.05).min_rows(10).fit_matrix(rows.view()).unwrap();
        assert_eq!((model.clusters(), model.classes()[20]), (2, 0));
        let further = ndarray::array![[1.01, 0.0], [1.02, 0.0], [0.9, 0.0], [5.0, 5.0], [2.0, 0.5], [-1e100, 0.0]];
        let found = model.embed_rows(further.view()).unwrap();
        assert_eq!(found.columns.dim(), (6, 0));
        assert_eq!(found.classes.unwrap().to_vec(), [0, 1, 0, -1, 1, -1]);
        assert!((model.patterns().unwrap()[(1, 0)] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let rows = blobs(1500, 4, 1);
        let fitted = |threads: usize, radius: f64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Dbscan::params(radius).fit_matrix(rows.view()).unwrap())
        };
        for radius in [0.3, 0.5, 3.0] {
            assert!(fitted(1, radius) == fitted(2, radius));
        }
    }

    #[test]
    fn patches_have_classes_and_no_columns() {
        let images = Array4::from_shape_fn((24, 3, 3, 1), |(n, y, _, _)| if n % 2 == y { 0.9 } else { 0.1 });
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let model = Dbscan::params(0.5).fit_patches(&patches).unwrap();
        let embedding = model.embed(&patches).unwrap();
        assert!(embedding.columns().is_empty() && embedding.len() == 24);
        assert!(embedding.class().unwrap().iter().enumerate().all(|(n, c)| *c == n as i64 % 2));
        assert_eq!(model.patterns().unwrap().dim(), (2, 3, 3, 1));
        let rows = crate::rows::of_images(patches.images());
        assert_eq!(model.model.predict(&rows).unwrap().to_vec(), embedding.class().unwrap().to_vec());
    }

    #[test]
    fn copies_and_single_rows_are_clusters_or_noise() {
        let copies = Array2::from_elem((300, 3), 0.1);
        let model = Dbscan::params(1e-300).fit_matrix(copies.view()).unwrap();
        assert!(model.clusters() == 1 && model.classes().iter().all(|c| *c == 0));
        let one = copies.slice(s![..1, ..]);
        let alone = Dbscan::params(1.0).fit_matrix(one).unwrap();
        assert_eq!((alone.classes().to_vec(), alone.clusters()), (vec![-1], 0));
        assert_eq!(alone.embed_rows(copies.view()).unwrap().classes.unwrap().to_vec(), [-1; 300]);
        assert_eq!(Dbscan::params(1.0).min_rows(1).fit_matrix(one).unwrap().classes().to_vec(), [0]);
    }

    #[test]
    fn bad_parameters_and_rows_are_rejected() {
        let rows = blobs(20, 2, 0);
        for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Dbscan::params(radius).fit_matrix(rows.view()).unwrap_err().to_string();
            assert!(error.contains(&format!("radius of neighbours is {radius}, accepted are above 0")), "{error}");
        }
        let error = Dbscan::params(1.0).min_rows(0).fit_matrix(rows.view()).unwrap_err().to_string();
        assert!(error.contains("core row is 0"), "{error}");
        for k in [0, 20, usize::MAX] {
            let error = Dbscan::suggested_radius(rows.view(), k).unwrap_err().to_string();
            assert!(error.contains(&format!("neighbours is {k}, accepted are 1 to 19")), "{error}");
        }
        assert!(Dbscan::suggested_radius(rows.slice(s![..1, ..]), 1).is_err());
        let error = Dbscan::suggested_radius(Array2::ones((9, 2)).view(), 2).unwrap_err().to_string();
        assert!(error.contains("above 0"), "{error}");
        let mut bad = rows.clone();
        bad[(4, 0)] = f64::INFINITY;
        assert_eq!(Dbscan::params(1.0).fit_matrix(bad.view()), Err(Error::NotFinite { row: 4 }));
        assert_eq!(Dbscan::suggested_radius(bad.view(), 2), Err(Error::NotFinite { row: 4 }));
        bad[(4, 0)] = -1e200;
        assert!(Dbscan::params(1.0).fit_matrix(bad.view()).unwrap_err().to_string().contains("1e140"));
        let model = Dbscan::params(1.0).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.embed_rows(Array2::zeros((2, 3)).view()), Err(Error::Width { found: 3, expected: 2 }));
    }
}
