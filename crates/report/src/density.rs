//! Density of points in the plane: a smoothed histogram, and the contours that hold a share of the points.

use std::num::NonZero;

use kiddo::{ImmutableKdTree, SquaredEuclidean};

use crate::ticks;

const CELLS: usize = 128;

/// A histogram over the unit square, smoothed by a Gaussian; x runs fastest.
pub(crate) struct Density {
    cells: Vec<f64>,
}

impl Density {
    /// `points` in \[0,1\]². The kernel is as wide as the median distance of a point to its ⌈√n⌉-th neighbour: about
    /// Scott's `σ n^(−1/6)` for one cluster, but still that of a cluster where there are several; at least one cell.
    pub fn of(points: &[[f64; 2]]) -> Self {
        let mut cells = vec![0.0; CELLS * CELLS];
        for &point in points {
            let [x, y] = point.map(|v| ((v * CELLS as f64) as usize).min(CELLS - 1));
            cells[y * CELLS + x] += 1.0;
        }
        let width = (reach(points) * CELLS as f64).clamp(1.0, CELLS as f64 / 12.0);
        let cells = blur(&blur(&cells, width, 1), width, CELLS);
        Self { cells }
    }

    fn cell(&self, x: isize, y: isize) -> f64 {
        let inside = |v: isize| usize::try_from(v).ok().filter(|&v| v < CELLS);
        inside(x).zip(inside(y)).and_then(|(x, y)| self.cells.get(y * CELLS + x)).copied().unwrap_or(0.0)
    }

    /// Density at a point, interpolated; points per cell.
    pub fn at(&self, [x, y]: [f64; 2]) -> f64 {
        let (u, v) = (x * CELLS as f64 - 0.5, y * CELLS as f64 - 0.5);
        let (i, j) = (u.floor() as isize, v.floor() as isize);
        let (u, v) = (u - u.floor(), v - v.floor());
        let row = |j| (1.0 - u) * self.cell(i, j) + u * self.cell(i + 1, j);
        (1.0 - v) * row(j) + v * row(j + 1)
    }

    /// Segments of the line where the density is `level` (marching squares on the cell centres).
    pub fn contour(&self, level: f64) -> Vec<[[f64; 2]; 2]> {
        let mut segments = Vec::new();
        let place = |i: isize, j: isize| [(i as f64 + 0.5) / CELLS as f64, (j as f64 + 0.5) / CELLS as f64];
        for j in -1..CELLS as isize {
            for i in -1..CELLS as isize {
                let corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)];
                let mut crossings = Vec::with_capacity(4);
                for k in 0..4 {
                    let (a, b) = (corners[k], corners[(k + 1) % 4]);
                    let (va, vb) = (self.cell(a.0, a.1) - level, self.cell(b.0, b.1) - level);
                    if (va < 0.0) != (vb < 0.0) {
                        let (pa, pb, t) = (place(a.0, a.1), place(b.0, b.1), va / (va - vb));
                        crossings.push([pa[0] + t * (pb[0] - pa[0]), pa[1] + t * (pb[1] - pa[1])]);
                    }
                }
                segments.extend(crossings.chunks_exact(2).map(|c| [c[0], c[1]]));
            }
        }
        segments
    }
}

/// Median distance to the ⌈√n⌉-th neighbour.
fn reach(points: &[[f64; 2]]) -> f64 {
    let order = (points.len() as f64).sqrt().ceil() as usize + 1;
    let Some(order) = NonZero::new(order) else { return 0.0 };
    let Ok(tree) = ImmutableKdTree::<f64, 2>::new_from_slice(points) else { return 0.0 };
    let far = |p| tree.query(p).nearest_n::<SquaredEuclidean<f64>>(order).execute().last().map(|n| n.distance.sqrt());
    // A thousand points tell the median; an odd step meets every class of interleaved ones.
    let mut distances: Vec<f64> = points.iter().step_by((points.len() / 1000) | 1).filter_map(far).collect();
    distances.sort_by(f64::total_cmp);
    if distances.is_empty() { 0.0 } else { ticks::quantile(&distances, 0.5) }
}

/// Gaussian of standard deviation `sd` cells along the axis with this stride.
fn blur(cells: &[f64], sd: f64, stride: usize) -> Vec<f64> {
    let reach = (3.0 * sd).ceil() as isize;
    let kernel: Vec<f64> = (-reach..=reach).map(|d| (-0.5 * (d as f64 / sd).powi(2)).exp()).collect();
    let sum: f64 = kernel.iter().sum();
    let value = |index: usize| {
        let along = (index / stride % CELLS) as isize;
        let steps = (-reach..=reach).zip(&kernel).filter(|(d, _)| (0..CELLS as isize).contains(&(along + d)));
        steps.map(|(d, k)| k * cells[(index as isize + d * stride as isize) as usize]).sum::<f64>() / sum
    };
    (0..cells.len()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn density_is_that_of_the_points() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut normal = || (0..12).map(|_| random.r#gen::<f64>()).sum::<f64>() - 6.0;
        let points: Vec<[f64; 2]> = (0..20_000).map(|_| [0.5 + 0.08 * normal(), 0.5 + 0.08 * normal()]).collect();
        let density = Density::of(&points);
        let peak = 20_000.0 / (std::f64::consts::TAU * (0.08 * CELLS as f64).powi(2));
        assert!((density.at([0.5, 0.5]) / peak - 1.0).abs() < 0.12, "{} {peak}", density.at([0.5, 0.5]));
        let ratio = density.at([0.58, 0.5]) / density.at([0.5, 0.5]);
        assert!((ratio - (-0.5f64).exp()).abs() < 0.08, "{ratio}");
        // The contour at half the peak is a circle of radius 0.08·sqrt(2 ln 2) = 0.094.
        let line = density.contour(0.5 * density.at([0.5, 0.5]));
        let radii: Vec<f64> = line.iter().map(|s| (s[0][0] - 0.5).hypot(s[0][1] - 0.5)).collect();
        assert!(radii.len() > 40 && radii.iter().all(|r| (r - 0.094).abs() < 0.02), "{radii:?}");
    }

    #[test]
    fn no_point_and_one_point_have_a_density() {
        assert_eq!(Density::of(&[]).at([0.5, 0.5]), 0.0);
        assert!(Density::of(&[[1.0, 0.0]]).at([1.0, 0.0]) > 0.0);
    }
}
