use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_linalg::Order;
use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::{Error, Result};

/// linfa's solver finds a few of many directions; beyond one in this many it may lose them.
const FEW: usize = 5;
/// Largest residual of an eigenpair, relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-9;

/// The `k` orthonormal directions (rows, largest first) along which the centred rows of `data` vary most.
///
/// linfa's PCA serves if its answer can be verified; else a dense eigenvalue problem is solved: linfa returns what it
/// has when it does not converge, and drops components silently.
pub(crate) fn directions(data: &Array2<f64>, k: usize) -> Result<Array2<f64>> {
    let (n, d) = data.dim();
    let norm = data.iter().map(|v| v * v).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Err(Error::Rank { components: k, rank: 0 });
    }
    // linfa's tolerance is absolute: with unit norm it is relative.
    let scaled = data / norm;
    let mut found = None;
    if FEW * k <= n.min(d) {
        let dataset = DatasetBase::from(scaled.view());
        let fitted = linfa_reduction::Pca::params(k).fit(&dataset);
        found = fitted.ok().map(|m| m.components().clone()).filter(|v| is_solution(&scaled, v, k));
    }
    let mut directions = match found {
        Some(directions) => directions,
        None => dense(&scaled, k)?,
    };
    for mut direction in directions.axis_iter_mut(Axis(0)) {
        let largest = direction.iter().copied().fold(0.0, |best: f64, v| if v.abs() > best.abs() { v } else { best });
        if largest < 0.0 {
            direction.mapv_inplace(|v| -v);
        }
    }
    Ok(directions)
}

/// Whether the rows of `v` are `k` orthonormal eigenvectors of XᵀX, largest first.
fn is_solution(x: &Array2<f64>, v: &Array2<f64>, k: usize) -> bool {
    if v.dim() != (k, x.ncols()) {
        return false;
    }
    let gram = v.dot(&v.t()) - Array2::<f64>::eye(k);
    let scores = x.dot(&v.t());
    let values = scores.map_axis(Axis(0), |s| s.dot(&s));
    let residual = scores.t().dot(x) - &(v * &values.view().insert_axis(Axis(1)));
    let largest = values.first().copied().unwrap_or(0.0);
    let off = residual.map_axis(Axis(1), |r| r.dot(&r).sqrt());
    gram.iter().all(|g| g.abs() <= TOLERANCE)
        && off.iter().all(|r| *r <= TOLERANCE * largest)
        && values.windows(2).into_iter().all(|w| w[0] >= w[1] - TOLERANCE * largest)
}

/// All eigenvectors of the smaller of XᵀX and XXᵀ, of which the first `k` are kept.
fn dense(x: &Array2<f64>, k: usize) -> Result<Array2<f64>> {
    let (n, d) = x.dim();
    let tall = n >= d;
    let gram = if tall { x.t().dot(x) } else { x.dot(&x.t()) };
    let size = gram.nrows();
    let solved = gram.eigh_into().map_err(|e| Error::Solver(e.to_string()))?;
    let (values, vectors): (Array1<f64>, Array2<f64>) = solved.sort_eig(Order::Largest);
    let largest = values.first().copied().unwrap_or(0.0);
    let rank = values.iter().filter(|&&v| v > size as f64 * f64::EPSILON * largest).count();
    if rank < k {
        return Err(Error::Rank { components: k, rank });
    }
    let vectors = vectors.slice(s![.., ..k]);
    let rows = if tall { vectors.t().to_owned() } else { vectors.t().dot(x) };
    Ok(orthonormal(rows.view()))
}

/// Gram–Schmidt in the order of the rows, twice, which restores what rounding took from the small ones.
pub(crate) fn orthonormal(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = rows.to_owned();
    for i in 0..out.nrows() {
        for _ in 0..2 {
            let (before, mut rest) = out.view_mut().split_at(Axis(0), i);
            let mut row = rest.row_mut(0);
            let along = before.dot(&row);
            row -= &before.t().dot(&along);
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Centred random data whose columns shrink.
    fn random(n: usize, d: usize) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let data = Array2::from_shape_fn((n, d), |(_, j)| rng.gen_range(-1.0..1.0) / (1.0 + j as f64));
        let mean = data.sum_axis(Axis(0)) / n as f64;
        data - &mean
    }

    #[test]
    fn linfa_and_the_dense_solver_agree() {
        for (n, d) in [(300, 60), (40, 200)] {
            let data = random(n, d);
            let dataset = DatasetBase::from(data.view());
            let linfa = linfa_reduction::Pca::params(3).fit(&dataset).unwrap();
            let dense = dense(&data, 3).unwrap();
            let overlap = linfa.components().dot(&dense.t()).mapv(f64::abs);
            assert!((overlap - Array2::<f64>::eye(3)).iter().all(|o| o.abs() < 1e-6), "{n}×{d}");
        }
    }

    #[test]
    fn every_answer_is_a_verified_solution() {
        for (n, d, k) in [(50, 20, 1), (50, 20, 4), (50, 20, 20), (20, 50, 3), (20, 50, 19), (3, 2, 2), (2, 5, 1)] {
            let data = random(n, d);
            let found = directions(&data, k).unwrap();
            assert!(is_solution(&data, &found, k), "{n}×{d}, {k} components");
        }
    }

    #[test]
    fn a_wrong_answer_is_not_taken_for_a_solution() {
        let data = random(50, 20);
        let good = dense(&data, 3).unwrap();
        assert!(is_solution(&data, &good, 3));
        assert!(!is_solution(&data, &(&good * 1.001), 3));
        assert!(!is_solution(&data, &good.slice(s![..;-1, ..]).to_owned(), 3));
        assert!(!is_solution(&data, &Array2::eye(20).slice(s![..3, ..]).to_owned(), 3));
        assert!(!is_solution(&data, &good, 2));
    }

    #[test]
    fn missing_rank_is_told_not_filled() {
        let line = Array2::from_shape_fn((30, 20), |(i, j)| (i as f64 - 14.5) * (j as f64 + 1.0));
        assert!(directions(&line, 1).is_ok());
        assert_eq!(directions(&line, 2), Err(Error::Rank { components: 2, rank: 1 }));
        assert_eq!(directions(&Array2::zeros((30, 20)), 2), Err(Error::Rank { components: 2, rank: 0 }));
    }
}
