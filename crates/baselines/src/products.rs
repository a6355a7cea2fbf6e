//! Products of matrices, their rows shared among threads; the sums do not depend on how many there are.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Rows of a block: few enough for a second-level cache, enough for the product to be worth a task.
pub(crate) const BLOCK: usize = 256;

/// A·B.
pub(crate) fn product(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    if a.is_empty() || b.is_empty() {
        return out;
    }
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(a.axis_chunks_iter(Axis(0), BLOCK));
    blocks.for_each(|(mut out, a)| general_mat_mul(1.0, &a, &b, 0.0, &mut out));
    out
}

/// Aᵀ·B, summed over blocks of rows in their order.
pub(crate) fn product_of_columns(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    // Long sums are shared by their columns when there are enough, else by their rows.
    if a.ncols() >= 2 * BLOCK {
        return product(a.t(), b);
    }
    let rows = a.nrows().div_ceil(16).max(BLOCK);
    let blocks = a.axis_chunks_iter(Axis(0), rows).into_par_iter().zip(b.axis_chunks_iter(Axis(0), rows));
    let sums: Vec<Array2<f64>> = blocks.map(|(a, b)| a.t().dot(&b)).collect();
    sums.into_iter().fold(Array2::zeros((a.ncols(), b.ncols())), |sum, part| sum + part)
}

/// Squares of the lengths of rows.
pub(crate) fn squares(rows: ArrayView2<'_, f64>) -> Vec<f64> {
    rows.axis_iter(Axis(0)).into_par_iter().map(|r| r.iter().map(|v| v * v).sum()).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn products_are_those_of_ndarray() {
        for (n, d, k) in [(1, 1, 1), (700, 5, 3), (300, 600, 7), (5000, 40, 2)] {
            let a = Array2::from_shape_fn((n, d), |(i, j)| ((i * 7 + j * 3) % 11) as f64 - 5.0);
            let b = Array2::from_shape_fn((d, k), |(i, j)| ((i * 5 + j) % 7) as f64 - 3.0);
            let c = Array2::from_shape_fn((n, k), |(i, j)| ((i * 3 + j) % 5) as f64 - 2.0);
            assert_eq!(product(a.view(), b.view()), a.dot(&b));
            assert_eq!(product_of_columns(a.view(), c.view()), a.t().dot(&c));
        }
        assert_eq!(squares(Array2::from_elem((2, 3), 2.0).view()), [12.0, 12.0]);
    }
}
