//! A few singular vectors of a tall matrix, by products with random ones.

use linfa_linalg::Order;
use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::{Array1, Array2, ArrayView2, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::krylov::independent;
use crate::products::{product, product_about, product_of_columns, product_of_columns_about};
use crate::{Error, Result};

/// Vectors beyond those asked for.
const SPARE: usize = 10;

/// The `k` largest singular values of X − 1·mᵀ, and their right singular vectors as rows, (k, D).
///
/// A random basis of its range is sharpened by `powers` products with X and Xᵀ. With a spectrum that falls at all, a few are
/// enough; vectors of equal values are mixed. There are fewer than k where the rank is less.
///
/// Reference: Halko, Martinsson & Tropp 2011, SIAM Rev. 53, 217.
pub(crate) fn leading(
    rows: ArrayView2<'_, f64>,
    mean: &Array1<f64>,
    k: usize,
    powers: usize,
    seed: u64,
) -> Result<(Array1<f64>, Array2<f64>)> {
    let (n, d) = rows.dim();
    // What is dependent is left out, so that the basis may end up narrower.
    let basis_of = |columns: ArrayView2<'_, f64>| independent(Array2::zeros((columns.nrows(), 0)).view(), columns, 0.0);
    let width = (k + SPARE).min(n).min(d);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut across: Array2<f64> = Array2::from_shape_fn((d, width), |_| rng.sample(StandardNormal));
    for round in 0..=powers {
        let along = basis_of(product_about(rows, mean, across.view()).view());
        across = product_of_columns_about(rows, mean, along.view());
        if round < powers {
            across = basis_of(across.view());
        }
    }
    // B = Qᵀ(X − 1·mᵀ) = `across`ᵀ; its small Gram matrix gives the values.
    let solved = product_of_columns(across.view(), across.view()).eigh_into();
    let (values, vectors) = solved.map_err(|e| Error::Solver(e.to_string()))?.sort_eig(Order::Largest);
    let largest = values.first().copied().unwrap_or(0.0);
    let rank = values.iter().take(k).filter(|v| **v > d as f64 * f64::EPSILON * largest).count();
    let values = values.slice(s![..rank]).mapv(f64::sqrt);
    let directions = product(across.view(), vectors.slice(s![.., ..rank])) / &values;
    Ok((values, directions.reversed_axes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_singular_values_and_vectors_are_found() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut random = |n: usize, d: usize| Array2::from_shape_fn((n, d), |_| rng.sample::<f64, _>(StandardNormal));
        let mut orthonormal = |n: usize| independent(Array2::zeros((n, 0)).view(), random(n, 6).view(), 0.0);
        let (u, v) = (orthonormal(300), orthonormal(80).reversed_axes());
        let values = Array1::from(vec![9.0, 7.0, 5.0, 1e-3, 5e-4, 1e-4]);
        let matrix = (u * &values).dot(&v);
        let (found, directions) = leading(matrix.view(), &Array1::zeros(80), 3, 4, 0).unwrap();
        assert!((&found - &values.slice(s![..3])).iter().all(|d| d.abs() < 1e-9), "{found}");
        assert!(
            (directions.dot(&v.slice(s![..3, ..]).t()).mapv(f64::abs) - Array2::<f64>::eye(3))
                .iter()
                .all(|d| d.abs() < 1e-6)
        );
        // An offset of all rows, taken off as the mean, changes nothing.
        let mean = Array1::from_elem(80, 3.0);
        let (again, _) = leading((&matrix + &mean).view(), &mean, 3, 4, 0).unwrap();
        assert!((again - found).iter().all(|d| d.abs() < 1e-9));
        let (few, _) = leading(matrix.view(), &Array1::zeros(80), 20, 4, 0).unwrap();
        assert_eq!(few.len(), 6, "no more than the rank");
    }
}
