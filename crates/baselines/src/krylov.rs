//! A few eigenvectors of a large symmetric matrix that is known by its products only.

use linfa_linalg::Order;
use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::products::{product, product_of_columns};
use crate::{Error, Result};

/// Largest residual |A·v − λ·v|, relative to √(|λ|·λ₁) with λ₁ the largest |λ|: of a Gram matrix, the vectors of the
/// other side then have residuals of this part of λ₁.
const TOLERANCE: f64 = 1e-9;
/// Residuals below this part of λ₁ are as small as rounding lets them be.
pub(crate) const RESOLVED: f64 = 1e-13;
/// What is shorter than this part of λ₁ is rounding.
const ROUNDING: f64 = 1e-14;
/// What is left of a vector of length 1 without those before it, below which it is one of theirs.
const DEPENDENT: f64 = 1e-8;
/// Products with the matrix at most.
const ROUNDS: usize = 2000;
/// Below so many rows, the whole spectrum is cheaper.
const SMALL: usize = 150;

/// The `k` largest eigenvalues of a symmetric matrix of `n` ≥ `k` rows, largest first, and their eigenvectors (n, k).
/// Where the rank is less than `k`, zeros follow.
///
/// `apply` multiplies the matrix with the columns of its argument. Rayleigh–Ritz over a basis that grows by the
/// residuals of the best vectors so far (block Davidson without a preconditioner), and is cut back to them when it is
/// large; what it returns has passed the test of its residuals. Of few rows, or many eigenvalues, the whole spectrum is
/// taken as the solver has it.
pub(crate) fn largest(
    apply: impl Fn(ArrayView2<'_, f64>) -> Array2<f64>,
    n: usize,
    k: usize,
) -> Result<(Array1<f64>, Array2<f64>)> {
    if n <= SMALL || 4 * k > n {
        let (values, vectors) = spectrum(apply(Array2::eye(n).view()))?;
        return Ok((values.slice(s![..k]).to_owned(), vectors.slice(s![.., ..k]).to_owned()));
    }
    // More than asked for: equal eigenvalues at the end of the list are found at once, and near ones sooner.
    let block = k + k / 4 + 2;
    let most = (4 * block).max(48).min(n);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let start = apply(Array2::from_shape_fn((n, block), |_| rng.gen_range(-1.0..1.0)).view());
    let mut basis = independent(Array2::zeros((n, 0)).view(), start.view(), 0.0);
    if basis.ncols() == 0 {
        return Ok((Array1::zeros(k), Array2::zeros((n, k))));
    }
    let mut images = apply(basis.view());
    for _ in 0..ROUNDS {
        let (values, vectors) = spectrum(product_of_columns(basis.view(), images.view()))?;
        let best = vectors.slice(s![.., ..block.min(values.len())]);
        let values = values.slice(s![..best.ncols()]).to_owned();
        let (ritz, ritz_images) = (product(basis.view(), best), product(images.view(), best));
        let residuals = &ritz_images - &(&ritz * &values);
        let scale = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let bound = |value: f64| (TOLERANCE * (value.abs() * scale).sqrt()).max(RESOLVED * scale);
        let lengths = residuals.axis_iter(Axis(1)).map(|r| r.dot(&r).sqrt());
        let found = lengths.zip(&values).take(k).all(|(length, value)| length <= bound(*value));
        let more = independent(basis.view(), residuals.view(), ROUNDING * scale);
        if found && (values.len() >= k || more.ncols() == 0) {
            let (mut all, mut columns) = (Array1::zeros(k), Array2::zeros((n, k)));
            let kept = k.min(values.len());
            all.slice_mut(s![..kept]).assign(&values.slice(s![..kept]));
            columns.slice_mut(s![.., ..kept]).assign(&ritz.slice(s![.., ..kept]));
            return Ok((all, columns));
        }
        if more.ncols() == 0 {
            break;
        }
        if basis.ncols() + block > most {
            (basis, images) = (ritz, ritz_images);
        }
        let of_more = apply(more.view());
        basis = beside(basis.view(), more.view())?;
        images = beside(images.view(), of_more.view())?;
    }
    Err(Error::Solver(format!("{k} eigenvectors of {n} rows did not converge in {ROUNDS} rounds")))
}

/// All eigenvalues of a symmetric matrix, largest first, and their eigenvectors.
fn spectrum(matrix: Array2<f64>) -> Result<(Array1<f64>, Array2<f64>)> {
    let symmetric = (&matrix + &matrix.t()) / 2.0;
    let solved = symmetric.eigh_into().map_err(|e| Error::Solver(e.to_string()))?;
    Ok(solved.sort_eig(Order::Largest))
}

/// What of the `columns` longer than `floor` is independent of the orthonormal `basis` and of each other, orthonormal.
pub(crate) fn independent(basis: ArrayView2<'_, f64>, columns: ArrayView2<'_, f64>, floor: f64) -> Array2<f64> {
    let norms = columns.map_axis(Axis(0), |column| column.dot(&column).sqrt());
    let long: Vec<usize> = (0..norms.len()).filter(|c| norms[*c] > floor).collect();
    let units = columns.select(Axis(1), &long) / norms.select(Axis(0), &long);
    let mut rows = units.t().as_standard_layout().into_owned();
    // Twice, which restores what rounding took from the short ones.
    for _ in 0..2 {
        let along = product_of_columns(basis, rows.t());
        rows = orthogonal(rows - product(basis, along.view()).t());
    }
    rows.reversed_axes()
}

/// Gram–Schmidt in the order of the rows, which are no longer than 1; one that hardly differs from those before is left
/// out.
fn orthogonal(mut rows: Array2<f64>) -> Array2<f64> {
    let mut kept = 0;
    for i in 0..rows.nrows() {
        let (before, mut rest) = rows.view_mut().split_at(Axis(0), i);
        let mut row = rest.row_mut(0);
        for other in before.outer_iter().take(kept) {
            let along = other.dot(&row);
            row.scaled_add(-along, &other);
        }
        let left = row.dot(&row).sqrt();
        if left > DEPENDENT {
            let unit = &row / left;
            rows.row_mut(kept).assign(&unit);
            kept += 1;
        }
    }
    rows.slice(s![..kept, ..]).to_owned()
}

fn beside<'a>(left: ArrayView2<'a, f64>, right: ArrayView2<'a, f64>) -> Result<Array2<f64>> {
    concatenate(Axis(1), &[left, right]).map_err(|e| Error::Solver(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A symmetric matrix of these eigenvalues: two reflections about a diagonal one.
    fn with(values: &[f64]) -> Array2<f64> {
        let n = values.len();
        let mut matrix = Array2::from_diag(&Array1::from(values.to_vec()));
        for wave in [1.3, 0.7] {
            let v = Array1::from_shape_fn(n, |i| (1.0 + wave * i as f64).sin());
            let (column, square) = (v.clone().insert_axis(Axis(1)), v.dot(&v));
            let mirror = Array2::eye(n) - &column.dot(&column.t()) * (2.0 / square);
            matrix = mirror.dot(&matrix).dot(&mirror);
        }
        matrix
    }

    #[test]
    fn eigenvalues_are_the_largest_even_if_others_are_larger_below_zero_or_equal() {
        for n in [60, 400] {
            let mut values: Vec<f64> = (0..n).map(|i| (i as f64 / n as f64) - 0.5).collect();
            (values[3], values[10], values[11], values[12], values[20]) = (-9.0, 5.0, 3.0, 3.0, 2.0);
            let matrix = with(&values);
            for (k, expected) in [(1, &[5.0][..]), (3, &[5.0, 3.0, 3.0]), (4, &[5.0, 3.0, 3.0, 2.0])] {
                let (found, vectors) = largest(|x| matrix.dot(&x), n, k).unwrap();
                assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-8), "{found}");
                assert!((vectors.t().dot(&vectors) - Array2::<f64>::eye(k)).iter().all(|g| g.abs() < 1e-9));
                assert!((matrix.dot(&vectors) - &(&vectors * &found)).iter().all(|r| r.abs() < 1e-7));
            }
        }
    }

    #[test]
    fn close_eigenvalues_at_the_end_converge() {
        let values: Vec<f64> = (0..500).map(|i| 1.0 - 1e-3 * i as f64).collect();
        let matrix = with(&values);
        let (found, _) = largest(|x| matrix.dot(&x), 500, 5).unwrap();
        assert!(found.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-9), "{found}");
    }

    #[test]
    fn what_exceeds_the_rank_is_zero() {
        let mut values = vec![0.0; 300];
        (values[7], values[90]) = (2.0, 1.0);
        let matrix = with(&values);
        let (found, _) = largest(|x| matrix.dot(&x), 300, 3).unwrap();
        assert!((found[0] - 2.0).abs() < 1e-9 && (found[1] - 1.0).abs() < 1e-9 && found[2].abs() < 1e-9, "{found}");
        let (none, _) = largest(|x| x.to_owned() * 0.0, 300, 2).unwrap();
        assert_eq!(none.to_vec(), [0.0, 0.0]);
    }
}
