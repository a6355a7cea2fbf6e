use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::products::BLOCK;
use crate::unmix::space::Projected;
use crate::{Error, Result};

/// How endmembers are looked for among the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extraction {
    /// Vertex component analysis: the farthest row in a random direction orthogonal to the endmembers so far. One look
    /// at the rows for each endmember.
    ///
    /// Always in the R − 1 directions of largest variance, which is the published choice at low signal, and fits
    /// abundances that sum to 1 at any.
    ///
    /// Reference: Nascimento & Bioucas-Dias 2005, IEEE Trans. Geosci. Remote Sens. 43, 898.
    Vca,
    /// The rows that span the largest volume: those of [`Extraction::Vca`], exchanged for others until the volume grows
    /// no more; the largest of all starts.
    ///
    /// Reference: Winter 1999, Proc. SPIE 3753, 266.
    NFindr,
}

/// Rows near a vertex, within so many standard deviations of the noise along each axis, are the same spectrum.
const SAME: f64 = 1.0;

/// Volume must grow by this part for an exchange, more than rounding.
const GROWTH: f64 = 1e-9;

impl Extraction {
    /// Points of the endmembers, (R, R − 1).
    pub(crate) fn vertices(
        self,
        data: &Projected,
        starts: usize,
        average: Option<usize>,
        seed: u64,
    ) -> Result<Array2<f64>> {
        let points = data.points.view();
        let mut best: Option<(f64, Vec<usize>)> = None;
        for start in 0..starts as u64 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(start);
            let mut chosen = farthest(points, &mut rng);
            if self == Self::NFindr {
                grow(points, &mut chosen);
            }
            let volume = log_volume(points.select(Axis(0), &chosen).view());
            if volume.is_finite() && best.as_ref().is_none_or(|(largest, _)| volume > *largest) {
                best = Some((volume, chosen));
            }
        }
        let (_, chosen) =
            best.ok_or_else(|| Error::Solver("no rows span a simplex with as many corners as endmembers".into()))?;
        let (rows, means) = (data.points.select(Axis(0), &chosen), averaged(data, &chosen, average));
        if log_volume(means.view()) >= log_volume(rows.view()) - flattened(chosen.len()) {
            return Ok(means);
        }
        match average {
            Some(count) => {
                Err(Error::parameter("number of rows of an endmember", count, "fewer: their means span no simplex"))
            }
            None => Ok(rows),
        }
    }
}

/// By how much ln of the volume of a simplex of `r` corners is less where means took the place of its corners, and so all but a
/// direction: each edge may be halved.
fn flattened(r: usize) -> f64 {
    (r as f64 - 1.0) * std::f64::consts::LN_2 + 20.0
}

/// Corners (1, t) one below the other.
fn corners(vertices: ArrayView2<'_, f64>) -> Array2<f64> {
    let (r, k) = vertices.dim();
    let mut out = Array2::ones((r, k + 1));
    out.slice_mut(s![.., 1..]).assign(&vertices);
    out
}

/// E⁻¹ of the corners E: (1, z)·E⁻¹ are the abundances of z without bounds.
pub(crate) fn inverse_of_corners(vertices: ArrayView2<'_, f64>) -> Option<Array2<f64>> {
    let (inverse, determinant) = eliminate(corners(vertices));
    (determinant.is_finite() && inverse.iter().all(|v| v.is_finite())).then_some(inverse)
}

/// ln of the volume that vertices span, times (R − 1)!.
pub(crate) fn log_volume(vertices: ArrayView2<'_, f64>) -> f64 {
    eliminate(corners(vertices)).1
}

/// Inverse and ln |determinant|, by Gauss and Jordan with the largest pivots.
fn eliminate(mut matrix: Array2<f64>) -> (Array2<f64>, f64) {
    let n = matrix.nrows();
    let (mut inverse, mut log) = (Array2::<f64>::eye(n), 0.0);
    for i in 0..n {
        let pivot = (i..n).max_by(|a, b| matrix[(*a, i)].abs().total_cmp(&matrix[(*b, i)].abs())).unwrap_or(i);
        for m in [&mut matrix, &mut inverse] {
            for j in 0..n {
                m.swap((i, j), (pivot, j));
            }
        }
        let value = matrix[(i, i)];
        log += value.abs().ln();
        matrix.row_mut(i).mapv_inplace(|v| v / value);
        inverse.row_mut(i).mapv_inplace(|v| v / value);
        for row in (0..n).filter(|row| *row != i) {
            let factor = matrix[(row, i)];
            for m in [&mut matrix, &mut inverse] {
                for j in 0..n {
                    m[(row, j)] -= factor * m[(i, j)];
                }
            }
        }
    }
    (inverse, log)
}

/// The row whose offset + direction·z is largest in magnitude, and that magnitude; the first of equals.
fn largest(points: ArrayView2<'_, f64>, offset: f64, direction: ArrayView1<'_, f64>) -> (f64, usize) {
    let of = |(block, points): (usize, ArrayView2<'_, f64>)| {
        let mut best = (-1.0, block * BLOCK);
        for (i, z) in points.rows().into_iter().enumerate() {
            let along = (offset + z.iter().zip(&direction).map(|(z, d)| z * d).sum::<f64>()).abs();
            if along > best.0 {
                best = (along, block * BLOCK + i);
            }
        }
        best
    };
    let blocks: Vec<(f64, usize)> =
        points.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().enumerate().map(of).collect();
    blocks.into_iter().fold((-1.0, 0), |best, next| if next.0 > best.0 { next } else { best })
}

/// Rows by vertex component analysis.
fn farthest(points: ArrayView2<'_, f64>, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let r = points.ncols() + 1;
    let reach = points.map_axis(Axis(1), |z| z.dot(&z)).fold(0.0, |m: f64, v| m.max(*v)).sqrt();
    let mut chosen = Vec::with_capacity(r);
    let mut basis: Vec<Array1<f64>> = Vec::with_capacity(r);
    // The first direction lies in the plane, whose offset is along the first axis.
    let offset = Array1::from_shape_fn(r, |j| if j == 0 { 1.0 } else { 0.0 });
    for i in 0..r {
        let mut direction = Array1::from_shape_fn(r, |_| rng.sample::<f64, _>(StandardNormal));
        let known = if i == 0 { std::slice::from_ref(&offset) } else { &basis[..] };
        remove(&mut direction, known);
        let (_, row) = largest(points, reach * direction[0], direction.slice(s![1..]));
        let mut corner = Array1::from_elem(r, reach);
        corner.slice_mut(s![1..]).assign(&points.row(row));
        remove(&mut corner, &basis);
        basis.push(corner);
        chosen.push(row);
    }
    chosen
}

/// Takes from a vector what lies along an orthonormal basis, and brings it to length 1.
fn remove(vector: &mut Array1<f64>, basis: &[Array1<f64>]) {
    for _ in 0..2 {
        for known in basis {
            let along = vector.dot(known);
            vector.scaled_add(-along, known);
        }
    }
    let length = vector.dot(vector).sqrt();
    if length > 0.0 {
        *vector /= length;
    }
}

/// Exchanges rows until the volume that they span grows no more.
fn grow(points: ArrayView2<'_, f64>, chosen: &mut [usize]) {
    let r = chosen.len();
    let mut since = 0;
    let volume_of = |chosen: &[usize]| log_volume(points.select(Axis(0), chosen).view());
    let mut volume = volume_of(chosen);
    for vertex in (0..r).cycle() {
        // With the others fixed, the volume of a row instead of this one is, relative to now, its abundance without
        // bounds.
        let Some(inverse) = inverse_of_corners(points.select(Axis(0), chosen).view()) else { return };
        let column = inverse.column(vertex);
        let (growth, row) = largest(points, column[0], column.slice(s![1..]));
        since += 1;
        if growth > 1.0 + GROWTH {
            let before = std::mem::replace(&mut chosen[vertex], row);
            let grown = volume_of(chosen);
            // Of a flat simplex, the growth is rounding, and rows would be exchanged for each other without end.
            if grown > volume {
                (volume, since) = (grown, 1);
            } else {
                chosen[vertex] = before;
            }
        }
        if since >= r {
            return;
        }
    }
}

/// Means of the rows at each vertex: the `average` nearest, or those that the noise cannot tell from it.
fn averaged(data: &Projected, chosen: &[usize], average: Option<usize>) -> Array2<f64> {
    let points = &data.points;
    let k = points.ncols();
    let reach = SAME * SAME * k as f64 * data.noise_variance();
    let mut out = Array2::zeros((chosen.len(), k));
    for (mut vertex, &row) in out.rows_mut().into_iter().zip(chosen) {
        let at = points.row(row);
        let distance = |z: ArrayView1<'_, f64>| z.iter().zip(at).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let distances: Vec<f64> = points.axis_iter(Axis(0)).into_par_iter().map(distance).collect();
        let near: Vec<usize> = match average {
            Some(count) => {
                let mut order: Vec<usize> = (0..points.nrows()).collect();
                order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
                order.into_iter().take(count).collect()
            }
            None => {
                let own = data.variances[row];
                (0..points.nrows()).filter(|i| distances[*i] <= reach * (own + data.variances[*i])).collect()
            }
        };
        let mut shares = 0.0;
        for i in near {
            vertex.scaled_add(1.0 / data.variances[i], &points.row(i));
            shares += 1.0 / data.variances[i];
        }
        vertex /= shares;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_end_and_never_take_volume_away() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // From a full simplex to one that only rounding keeps from being flat.
        for flat in [1.0, 1e-6, 1e-9, 1e-12, 1e-14, 1e-15, 1e-16, 0.0] {
            for _ in 0..40 {
                let widths = [1.0, 1.0, flat, flat];
                let points = Array2::from_shape_fn((50, 4), |(_, j)| 1.0 + widths[j] * rng.gen_range(-1.0..1.0));
                let mut chosen = farthest(points.view(), &mut rng);
                let before = log_volume(points.select(Axis(0), &chosen).view());
                grow(points.view(), &mut chosen);
                let after = log_volume(points.select(Axis(0), &chosen).view());
                assert!(after >= before || before.is_nan() || after.is_nan(), "{flat:e}: {before} {after}");
            }
        }
    }
}
