//! Pairs of rows no farther apart than a radius, exactly, without keeping their distances.
//!
//! Blocks of rows in the order of their widest column serve few columns too. For 50,000 rows of 2 to 4 columns, the
//! queries alone of a k-d tree take from a third of the time of all of DBSCAN (2 columns, hundreds of neighbours) to as
//! long; a whole DBSCAN on a tree has not been timed.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use ndarray_stats::QuantileExt;
use pulp::{Arch, Simd, WithSimd};

use crate::neighbours::squared_distance;

/// Rows of a block: its products with another fit a second-level cache.
pub(crate) const BLOCK: usize = 256;
/// A multiple of the numbers in any vector.
const LANES: usize = 64;
/// Coordinates of rows beyond this, in units of the frame, are not trusted in f32.
const FAR: f64 = 1e6;

/// How rows are put in order and in units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    centre: Array1<f64>,
    unit: f64,
    /// The column that varies most, along which the rows are in order.
    column: usize,
}

impl Frame {
    /// Of at least one row.
    pub(crate) fn of(rows: ArrayView2<'_, f64>) -> Self {
        let centre = rows.sum_axis(ndarray::Axis(0)) / rows.nrows() as f64;
        let mut spreads = Array1::<f64>::zeros(rows.ncols());
        let mut largest = 0.0f64;
        for row in rows.outer_iter() {
            for ((spread, v), c) in spreads.iter_mut().zip(row).zip(&centre) {
                *spread += (v - c) * (v - c);
                largest = largest.max((v - c).abs());
            }
        }
        let column = spreads.argmax().unwrap_or(0);
        Self { centre, unit: if largest > 0.0 { largest } else { 1.0 }, column }
    }
}

/// Rows in the order of one column, with their f32 images, by which most pairs are told to be near or far.
///
/// |a − b|² ≤ r² is a·b − |b|²/2 ≥ (|a|² − r²)/2. In f32 the two sides are wrong by less than a bound that is known;
/// where that leaves doubt, the distance is computed in f64 from the rows themselves.
pub(crate) struct Points<'a> {
    rows: ArrayView2<'a, f64>,
    /// Row at each place.
    pub(crate) order: Vec<usize>,
    keys: Vec<f64>,
    values: Array2<f32>,
    /// |b|²/2, less and more its doubt.
    halves: [Vec<f32>; 2],
    /// r²/2.
    level: f32,
    radius: f64,
}

impl<'a> Points<'a> {
    pub(crate) fn new(rows: ArrayView2<'a, f64>, frame: &Frame, radius: f64) -> Self {
        let d = rows.ncols();
        let mut order: Vec<usize> = (0..rows.nrows()).collect();
        order.sort_by(|a, b| rows[(*a, frame.column)].total_cmp(&rows[(*b, frame.column)]));
        let value = |p: usize, j: usize| (rows[(order[p], j)] - frame.centre[j]) / frame.unit;
        let values = Array2::from_shape_fn(rows.dim(), |(p, j)| value(p, j).clamp(-FAR, FAR) as f32);
        // A radius beyond all distances holds all pairs, whatever it is.
        let level = (0.5 * (radius / frame.unit).powi(2)).min(FAR * FAR * d as f64) as f32;
        // Rounding of values, of D products, of their sums, and of what is added to them: four times what it may be at
        // worst.
        let relative = 2.0 * (d as f32 + 8.0) * f32::EPSILON;
        let doubtful = |p: usize, v: ArrayView1<'_, f32>| {
            let half = 0.5 * v.dot(&v);
            let trusted = (0..d).all(|j| value(p, j).abs() < FAR);
            (half, if trusted { relative * (half + level) + 1e-30 } else { f32::INFINITY })
        };
        let found: Vec<(f32, f32)> = values.outer_iter().enumerate().map(|(p, v)| doubtful(p, v)).collect();
        let halves = [-1.0, 1.0].map(|sign| found.iter().map(|(half, doubt)| half + sign * doubt).collect());
        let keys = order.iter().map(|i| rows[(*i, frame.column)]).collect();
        Self { rows, order, keys, values, halves, level, radius }
    }

    /// Number of blocks of places.
    pub(crate) fn blocks(&self) -> usize {
        self.order.len().div_ceil(BLOCK)
    }

    /// Calls `hit` with the places of each pair within the radius, of one block here and the blocks from `first` on
    /// there.
    pub(crate) fn pairs(&self, block: usize, there: &Points<'_>, first: usize, mut hit: impl FnMut(usize, usize)) {
        let here = block * BLOCK..((block + 1) * BLOCK).min(self.order.len());
        let reach = self.radius * (1.0 + 1e-9);
        let mut products = Array2::<f32>::zeros((here.len(), BLOCK));
        let mut near: Vec<usize> = Vec::with_capacity(BLOCK);
        for other in first..there.blocks() {
            let beyond = other * BLOCK..((other + 1) * BLOCK).min(there.order.len());
            if there.keys[beyond.start] - self.keys[here.end - 1] > reach {
                break;
            }
            if self.keys[here.start] - there.keys[beyond.end - 1] > reach {
                continue;
            }
            let mut products = products.slice_mut(s![.., ..beyond.len()]);
            let (a, b) = (self.values.slice(s![here.clone(), ..]), there.values.slice(s![beyond.clone(), ..]));
            general_mat_mul(1.0, &a, &b.t(), 0.0, &mut products);
            let [less, more] = there.halves.each_ref().map(|halves| &halves[beyond.clone()]);
            for (i, products) in here.clone().zip(products.outer_iter()) {
                let Some(products) = products.to_slice() else { continue };
                near.clear();
                not_below(products, less, self.halves[0][i] - self.level, &mut near);
                for &j in &near {
                    let sure = products[j] - more[j] > self.halves[1][i] - self.level;
                    let place = beyond.start + j;
                    if sure || self.squared_distance(i, there, place) <= self.radius * self.radius {
                        hit(i, place);
                    }
                }
            }
        }
    }

    /// Of the rows at place `i` here and place `j` there.
    pub(crate) fn squared_distance(&self, i: usize, there: &Points<'_>, j: usize) -> f64 {
        squared_distance(self.rows.row(self.order[i]), there.rows.row(there.order[j]))
    }
}

/// Where product − half is not below the level.
fn not_below(products: &[f32], halves: &[f32], level: f32, out: &mut Vec<usize>) {
    Arch::new().dispatch(NotBelow { products, halves, level, out });
}

struct NotBelow<'a> {
    products: &'a [f32],
    halves: &'a [f32],
    level: f32,
    out: &'a mut Vec<usize>,
}

impl WithSimd for NotBelow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { products, halves, level, out } = self;
        for (chunk, (products, halves)) in products.chunks(LANES).zip(halves.chunks(LANES)).enumerate() {
            let ((p, _), (h, _)) = (S::as_simd_f32s(products), S::as_simd_f32s(halves));
            let none = simd.splat_f32s(f32::NEG_INFINITY);
            let most = p.iter().zip(h).fold(none, |most, (p, h)| simd.max_f32s(most, simd.sub_f32s(*p, *h)));
            // The last places may not fill a vector.
            if products.len() < LANES || simd.reduce_max_f32s(most) >= level {
                let places = products.iter().zip(halves).enumerate().filter(|(_, (p, h))| *p - *h >= level);
                out.extend(places.map(|(j, _)| chunk * LANES + j));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn pairs_are_those_of_all_distances_at_every_scale() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (n, m, d, scale, offset) in [(300, 520, 3, 1.0, 0.0), (270, 30, 40, 1e-9, 1.0), (257, 257, 1, 1e90, -1e90)]
        {
            let mut random = |n: usize| {
                // On a lattice, so that many pairs are exactly as far apart as the radius.
                Array2::from_shape_fn((n, d), |_| offset + scale * f64::from(rng.gen_range(-3..4)))
            };
            let (a, mut b) = (random(n), random(m));
            b.row_mut(7).fill(1e120);
            for radius in [0.5, 1.0, 2.0, 3.0, 6.0, 1e7, 1e40].map(|r| r * scale) {
                let frame = Frame::of(a.view());
                let (here, there) = (Points::new(a.view(), &frame, radius), Points::new(b.view(), &frame, radius));
                let mut found = Vec::new();
                for block in 0..here.blocks() {
                    here.pairs(block, &there, 0, |i, j| found.push((here.order[i], there.order[j])));
                }
                found.sort_unstable();
                let distance =
                    |i: usize, j: usize| a.row(i).iter().zip(b.row(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
                let all = (0..n).flat_map(|i| (0..m).map(move |j| (i, j)));
                let expected: Vec<_> = all.filter(|(i, j)| distance(*i, *j) <= radius * radius).collect();
                assert!(found == expected, "{n} and {m} rows of {d}, radius {radius}");
            }
        }
    }
}
