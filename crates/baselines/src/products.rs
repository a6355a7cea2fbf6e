//! Products of matrices, their rows shared among threads; the sums do not depend on how many there are.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Zip, s};
use rayon::prelude::*;

/// Rows of a block: few enough for a second-level cache, enough for the product to be worth a task.
pub(crate) const BLOCK: usize = 256;
/// Parts of rows whose sums are held at a time, whatever the number of threads.
const PARTS: usize = 32;
/// Columns of a block of a Gram matrix.
const HALF: usize = BLOCK / 2;

/// What equal numbers may differ by from their mean, as a part of it: a few roundings.
pub(crate) const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// Rows of a part, for sums too large to be held of every block.
pub(crate) fn part(rows: usize) -> usize {
    rows.div_ceil(PARTS).max(BLOCK)
}

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
    let rows = part(a.nrows());
    let blocks = a.axis_chunks_iter(Axis(0), rows).into_par_iter().zip(b.axis_chunks_iter(Axis(0), rows));
    let sums: Vec<Array2<f64>> = blocks.map(|(a, b)| a.t().dot(&b)).collect();
    sums.into_iter().fold(Array2::zeros((a.ncols(), b.ncols())), |sum, part| sum + part)
}

/// AᵀA, of which one half is computed where there are enough columns to share.
pub(crate) fn gram(a: ArrayView2<'_, f64>) -> Array2<f64> {
    let d = a.ncols();
    if d < 2 * BLOCK {
        return product_of_columns(a, a);
    }
    let part = |block: usize| block * HALF..((block + 1) * HALF).min(d);
    let blocks = d.div_ceil(HALF);
    let pairs: Vec<(usize, usize)> = (0..blocks).flat_map(|i| (i..blocks).map(move |j| (i, j))).collect();
    let of = |&(i, j): &(usize, usize)| a.slice(s![.., part(i)]).t().dot(&a.slice(s![.., part(j)]));
    let parts: Vec<Array2<f64>> = pairs.par_iter().map(of).collect();
    let mut out = Array2::zeros((d, d));
    for ((i, j), product) in pairs.into_iter().zip(parts) {
        out.slice_mut(s![part(i), part(j)]).assign(&product);
        out.slice_mut(s![part(j), part(i)]).assign(&product.t());
    }
    out
}

/// Mean of the rows, of which there is at least one; of equal rows exactly the row, for what differs from the first is summed.
pub(crate) fn mean(rows: ArrayView2<'_, f64>) -> Array1<f64> {
    let first = rows.row(0);
    let of = |part: ArrayView2<'_, f64>| {
        let mut sum = Array1::<f64>::zeros(first.len());
        part.outer_iter().for_each(|row| Zip::from(&mut sum).and(row).and(first).for_each(|s, v, f| *s += v - f));
        sum
    };
    let sums: Vec<Array1<f64>> = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().map(of).collect();
    let sum = sums.into_iter().fold(Array1::zeros(first.len()), |sum, part| sum + part);
    sum / rows.nrows() as f64 + first
}

/// Rows without their mean.
pub(crate) fn centred(rows: ArrayView2<'_, f64>, mean: &Array1<f64>) -> Array2<f64> {
    let mut out = Array2::zeros(rows.dim());
    centre(rows, mean, out.view_mut());
    out
}

/// Writes rows without their mean to as many others.
pub(crate) fn centre(rows: ArrayView2<'_, f64>, mean: &Array1<f64>, mut out: ArrayViewMut2<'_, f64>) {
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(rows.axis_chunks_iter(Axis(0), BLOCK));
    blocks.for_each(|(out, rows)| Zip::from(out).and(rows).and_broadcast(mean).for_each(|o, v, m| *o = v - m));
}

/// Σ |x − m|² of rows x.
pub(crate) fn scatter(rows: ArrayView2<'_, f64>, mean: &Array1<f64>) -> f64 {
    let of = |row: ArrayView1<'_, f64>| row.iter().zip(mean).map(|(v, m)| (v - m) * (v - m)).sum::<f64>();
    let sums: Vec<f64> = rows.axis_iter(Axis(0)).into_par_iter().with_min_len(BLOCK).map(of).collect();
    sums.iter().sum()
}

/// Whether rows differ from their [`mean`] by more than rounding, each column by its own: one of large numbers tells nothing about
/// what is resolved in another.
pub(crate) fn varies(rows: ArrayView2<'_, f64>, mean: &Array1<f64>) -> bool {
    let rows = rows.axis_iter(Axis(0)).into_par_iter().with_min_len(BLOCK);
    rows.any(|row| row.iter().zip(mean).any(|(v, m)| (v - m).abs() > ROUNDING * m.abs()))
}

/// (X − 1·mᵀ)·B, about the mean before they are multiplied, so that large means take no digits away.
pub(crate) fn product_about(rows: ArrayView2<'_, f64>, mean: &Array1<f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    // Rows that are about it already need no copy.
    if b.is_empty() || mean.iter().all(|m| *m == 0.0) {
        return product(rows, b);
    }
    let mut out = Array2::zeros((rows.nrows(), b.ncols()));
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(rows.axis_chunks_iter(Axis(0), BLOCK));
    blocks.for_each(|(mut out, rows)| general_mat_mul(1.0, &(&rows - mean), &b, 0.0, &mut out));
    out
}

/// (X − 1·mᵀ)ᵀ·B, likewise, with a block of X at a time about the mean.
pub(crate) fn product_of_columns_about(
    rows: ArrayView2<'_, f64>,
    mean: &Array1<f64>,
    b: ArrayView2<'_, f64>,
) -> Array2<f64> {
    let of = |rows: ArrayView2<'_, f64>, mean: ArrayView1<'_, f64>, b: ArrayView2<'_, f64>| {
        let mut sum = Array2::zeros((rows.ncols(), b.ncols()));
        for (rows, b) in rows.axis_chunks_iter(Axis(0), BLOCK).zip(b.axis_chunks_iter(Axis(0), BLOCK)) {
            general_mat_mul(1.0, &(&rows - &mean).t(), &b, 1.0, &mut sum);
        }
        sum
    };
    if b.is_empty() || mean.iter().all(|m| *m == 0.0) {
        return product_of_columns(rows, b);
    }
    // As in [`product_of_columns`].
    if rows.ncols() >= 2 * BLOCK {
        let mut out = Array2::zeros((rows.ncols(), b.ncols()));
        let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().enumerate();
        blocks.for_each(|(block, mut out)| {
            let own = block * BLOCK..block * BLOCK + out.nrows();
            out.assign(&of(rows.slice(s![.., own.clone()]), mean.slice(s![own]), b));
        });
        return out;
    }
    let part = part(rows.nrows());
    let parts = rows.axis_chunks_iter(Axis(0), part).into_par_iter().zip(b.axis_chunks_iter(Axis(0), part));
    let sums: Vec<Array2<f64>> = parts.map(|(rows, b)| of(rows, mean.view(), b)).collect();
    sums.into_iter().fold(Array2::zeros((rows.ncols(), b.ncols())), |sum, part| sum + part)
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
        let a = Array2::from_shape_fn((40, 700), |(i, j)| ((i * 7 + j * 3) % 11) as f64 - 5.0);
        assert_eq!(gram(a.view()), a.t().dot(&a));
        assert_eq!(gram(a.t()), a.dot(&a.t()));
        assert_eq!(squares(Array2::from_elem((2, 3), 2.0).view()), [12.0, 12.0]);
    }

    #[test]
    fn rows_about_their_mean() {
        let rows = Array2::from_shape_fn((600, 5), |(i, j)| (i * (j + 1)) as f64);
        let found = mean(rows.view());
        assert_eq!(found, rows.mean_axis(Axis(0)).unwrap());
        let about = centred(rows.view(), &found);
        assert_eq!(about, &rows - &found);
        assert_eq!(scatter(rows.view(), &found), about.iter().map(|v| v * v).sum::<f64>());
    }

    #[test]
    fn equal_rows_are_their_mean() {
        let rows = Array2::from_elem((100_000, 2), 0.1);
        let mean = mean(rows.view());
        assert_eq!(mean.to_vec(), [0.1, 0.1]);
        assert!(!varies(rows.view(), &mean));
    }

    #[test]
    fn a_column_of_large_numbers_hides_no_other() {
        let ulp = 1e9 * f64::EPSILON;
        let rows =
            Array2::from_shape_fn((50, 2), |(i, j)| if j == 0 { 1e9 + (i % 2) as f64 * ulp } else { i as f64 * 1e-7 });
        assert!(varies(rows.view(), &mean(rows.view())));
        let flat = rows.slice(s![.., ..1]);
        assert!(flat[(0, 0)] != flat[(1, 0)] && !varies(flat, &mean(flat)));
    }

    #[test]
    fn products_about_a_far_mean_keep_their_digits() {
        for (n, d) in [(700, 5), (300, 600)] {
            let off = Array2::from_shape_fn((n, d), |(i, j)| ((i * 7 + j * 3) % 11) as f64 - 5.0);
            let mean = Array1::from_shape_fn(d, |j| if j == 0 { f64::from(1 << 30) } else { 2.0 });
            let rows = &off + &mean;
            let b = Array2::from_shape_fn((d, 3), |(i, j)| ((i * 5 + j) % 7) as f64 - 3.0);
            let c = Array2::from_shape_fn((n, 3), |(i, j)| ((i * 3 + j) % 5) as f64 - 2.0);
            assert_eq!(product_about(rows.view(), &mean, b.view()), off.dot(&b));
            assert_eq!(product_of_columns_about(rows.view(), &mean, c.view()), off.t().dot(&c));
        }
    }
}
