use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::forest::Forest;
use crate::keys::key;
use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::rows::{RowEmbedding, RowModel, at_least, fitting, measurable};
use crate::within::{BLOCK, Frame, Points};
use crate::{Error, Result};

mod radius;

/// DBSCAN: clusters of any shape, where rows lie dense; what lies apart from them is noise.
///
/// A row with at least so many rows within the radius, itself among them, is a core row. Core rows within the radius of
/// each other are of one cluster. Another row within the radius of a core row is on the border of its cluster, of the
/// first if there are several; any other is noise, class −1. Clusters are numbered from 0 in the order of their first
/// core rows.
///
/// Distances are exact, and none is kept; time is N²·D, less where the rows spread along a column. Memory of the fit,
/// beside the rows: 4·(D + 8) bytes for each (its image in f32), at most 1,024 for the pairs that are kept from the count
/// of neighbours to the joining of clusters, and 16 for each pair of a core row and one on its border; of the model, 8·D
/// for each core row.
///
/// A further row is of the cluster of the nearest core row within the radius, else noise; a row of the fit keeps its
/// class. There are no columns, only classes.
///
/// Reference: Ester, Kriegel, Sander & Xu 1996, KDD-96, 226.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dbscan {
    /// None: as the rows suggest.
    radius: Option<f64>,
    min_rows: usize,
}

/// Pairs that are kept of a block of rows, so that they are not looked for twice.
const KEPT: usize = 64 * BLOCK;

impl Dbscan {
    /// Rows within this distance of each other are near: above 0, in the units of the rows.
    /// [`Dbscan::suggested_radius`] may help.
    pub fn params(radius: f64) -> Params<Self> {
        Params(Self { radius: Some(radius), min_rows: 5 })
    }

    /// The radius that the rows of the fit suggest, by [`Dbscan::suggested_radius`] of one neighbour less than make a core
    /// row: 1 at least, and N − 1 at most of N rows.
    pub fn suggested() -> Params<Self> {
        Params(Self { radius: None, min_rows: 5 })
    }

    /// A radius at which clusters, if there are any, are whole and apart.
    ///
    /// First the knee of the distances to the k-th nearest other row, in ascending order: the point farthest below the
    /// line from the first to the last. Rows in clusters are at most about as far apart; noise is farther. k is one less
    /// than the number of rows that makes a core row.
    ///
    /// At the knee near clusters may be one already. So the radius is followed from 0 upwards: where two and more clusters
    /// that count, of 2(k + 1) rows and a twentieth of all, together hold half of all rows, and stay the same while the
    /// radius grows by 15 % and a ball of it twofold, the knee is moved into that range. Of several ranges it is that of
    /// the largest ln(to/from) times the part of the rows that its clusters gain. Where there is none, as in data that
    /// are dense throughout, the knee stays, and DBSCAN may find one cluster.
    ///
    /// Time is N²·D, memory N·D.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If a number of the rows is not finite or beyond ±1e140, k is not 1 to N − 1, or each row has k copies of itself.
    ///
    /// References: Ester et al. 1996, section 4.2 (knee); Campello, Moulavi & Sander 2013, PAKDD, 160 (clusters that
    /// last).
    pub fn suggested_radius(rows: ArrayView2<'_, f64>, k: usize) -> Result<f64> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let n = rows.nrows();
        if k == 0 || k >= n {
            return Err(Error::parameter("number of neighbours", k, format!("1 to {} for {n} rows", n - 1)));
        }
        let core = nearest(rows, None, k).distances.column(k - 1).to_vec();
        let found = radius::suggested(rows, &core, 2 * (k + 1));
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
        if let Some(radius) = self.radius.filter(|r| !(r.is_finite() && *r > 0.0)) {
            return Err(Error::parameter("radius of neighbours", radius, "above 0, finite"));
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
    /// Classes of the rows on the border, by their keys.
    border: HashMap<u128, i64>,
    frame: Frame,
    means: Array2<f64>,
}

impl DbscanModel {
    /// The radius, given or suggested.
    pub fn radius(&self) -> f64 {
        self.radius
    }

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
        measurable(rows)?;
        let radius = match self.radius {
            Some(radius) => radius,
            // Few rows have no more neighbours than there are.
            None => Self::suggested_radius(rows, (self.min_rows - 1).min(rows.nrows().saturating_sub(1)).max(1))?,
        };
        let frame = Frame::of(rows);
        let (classes, core) = self.classes(&Points::new(rows, &frame, radius));
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
                border.insert(key(rows.row(i)), class);
            }
        }
        means /= &Array1::from(counts).insert_axis(Axis(1));
        let core_rows = rows.select(Axis(0), &core);
        Ok(DbscanModel { radius, width: rows.ncols(), classes, core, core_rows, border, frame, means })
    }
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
                Some((*row, self.border.get(&key(rows.row(*row))).copied().unwrap_or(of_core)))
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
mod tests;
