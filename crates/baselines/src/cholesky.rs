//! Triangular factors, by blocks so that nearly all the work is in products of matrices.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

/// Rows and columns of a block.
const BLOCK: usize = 48;

/// Lower L with L·Lᵀ = `matrix`; none if that is not positive definite.
pub(crate) fn cholesky(mut matrix: Array2<f64>) -> Option<Array2<f64>> {
    let n = matrix.nrows();
    for first in (0..n).step_by(BLOCK) {
        let (end, size) = ((first + BLOCK).min(n), BLOCK.min(n - first));
        for j in 0..size {
            let (j_row, pivot) = {
                let row = matrix.slice(s![first + j, first..first + j]).to_owned();
                let pivot = matrix[(first + j, first + j)] - row.dot(&row);
                (row, pivot)
            };
            if !pivot.is_finite() || pivot <= 0.0 {
                return None;
            }
            let pivot = pivot.sqrt();
            matrix[(first + j, first + j)] = pivot;
            for i in first + j + 1..n {
                let dot = matrix.slice(s![i, first..first + j]).dot(&j_row);
                matrix[(i, first + j)] = (matrix[(i, first + j)] - dot) / pivot;
            }
        }
        if end < n {
            let panel = matrix.slice(s![end.., first..end]).to_owned();
            general_mat_mul(-1.0, &panel, &panel.t(), 1.0, &mut matrix.slice_mut(s![end.., end..]));
        }
    }
    for i in 0..n {
        matrix.slice_mut(s![i, i + 1..]).fill(0.0);
    }
    Some(matrix)
}

/// Solves L·Y = `right` in its place, of a lower `factor`.
///
/// # Shapes
/// (D, D), (D, N).
pub(crate) fn solve_lower(factor: ArrayView2<'_, f64>, mut right: ArrayViewMut2<'_, f64>) {
    let n = factor.nrows();
    for first in (0..n).step_by(BLOCK) {
        let end = (first + BLOCK).min(n);
        let (mut here, mut below) = right.view_mut().split_at(ndarray::Axis(0), end);
        let mut block = here.slice_mut(s![first.., ..]);
        for i in 0..end - first {
            let (before, mut row) = block.view_mut().split_at(ndarray::Axis(0), i);
            let mut row = row.row_mut(0);
            for (j, solved) in before.rows().into_iter().enumerate() {
                row.scaled_add(-factor[(first + i, first + j)], &solved);
            }
            row /= factor[(first + i, first + i)];
        }
        if end < n {
            general_mat_mul(-1.0, &factor.slice(s![end.., first..end]), &block, 1.0, &mut below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_back_and_solve() {
        for n in [1, 5, 48, 49, 130] {
            let a = Array2::from_shape_fn((n, n), |(i, j)| (((i * 31 + j * 17) % 23) as f64 - 11.0) / 11.0);
            let matrix = a.dot(&a.t()) + Array2::<f64>::eye(n);
            let factor = cholesky(matrix.clone()).unwrap();
            assert!((&factor.dot(&factor.t()) - &matrix).iter().all(|d| d.abs() < 1e-9 * n as f64));
            assert!(n < 2 || factor[(0, 1)] == 0.0);
            let x = Array2::from_shape_fn((n, 7), |(i, j)| (i + 2 * j) as f64 / n as f64);
            let mut solved = factor.dot(&x);
            solve_lower(factor.view(), solved.view_mut());
            assert!((solved - &x).iter().all(|d| d.abs() < 1e-8));
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_none() {
        assert_eq!(cholesky(Array2::zeros((3, 3))), None);
        assert_eq!(cholesky(-Array2::<f64>::eye(60)), None);
        assert_eq!(cholesky(Array2::from_elem((2, 2), f64::NAN)), None);
    }
}
