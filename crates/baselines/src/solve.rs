//! Directions along which rows vary most.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::krylov::{RESOLVED, independent, largest};
use crate::products::{gram, product, product_of_columns, squares};
use crate::{Error, Result};

/// Beyond so many rows and columns, products with the data are cheaper than those of its columns with each other.
const GRAM: usize = 2048;
/// Largest residual of an eigenpair, relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-9;

/// The `k` orthonormal directions (rows, largest first) along which the centred rows of `data` vary most, and the sum
/// of their squares along each.
///
/// They are eigenvectors of XᵀX. Those of the smaller of it and XXᵀ are found, and what is returned has passed the test
/// of its residuals with X itself. The element of largest magnitude of each is positive.
pub(crate) fn directions(data: &Array2<f64>, k: usize) -> Result<(Array1<f64>, Array2<f64>)> {
    let total: f64 = squares(data.view()).iter().sum();
    if total == 0.0 {
        return Err(Error::Rank { components: k, rank: 0 });
    }
    let (n, d) = data.dim();
    let mut found = None;
    if n.min(d) <= GRAM {
        let tall = n >= d;
        let gram = gram(if tall { data.view() } else { data.t() }) / total;
        let (values, vectors) = largest(|v| product(gram.view(), v), gram.nrows(), k)?;
        enough(&values, gram.nrows())?;
        let directions = if tall { vectors } else { product(data.t(), vectors.view()) };
        let directions = independent(Array2::zeros((d, 0)).view(), directions.view(), 0.0).reversed_axes();
        found = verified(data.view(), &directions, k).map(|values| (values, directions));
    }
    // XXᵀ may not resolve directions whose squares are below 1e−8 of the largest.
    let (values, mut directions) = match found {
        Some(found) => found,
        None => through_products(data, total, k)?,
    };
    point_up(&mut directions);
    Ok((values, directions))
}

/// The same, or as many directions as the rows vary along if they are fewer than `k`, but at least one.
pub(crate) fn up_to(data: &Array2<f64>, k: usize) -> Result<(Array1<f64>, Array2<f64>)> {
    let mut wanted = k;
    loop {
        match directions(data, wanted) {
            // Near the floor, one solver may see a direction that another does not.
            Err(Error::Rank { rank, .. }) if (1..wanted).contains(&rank) => wanted = rank,
            found => return found,
        }
    }
}

/// The same from products with X and Xᵀ.
fn through_products(data: &Array2<f64>, total: f64, k: usize) -> Result<(Array1<f64>, Array2<f64>)> {
    let apply = |v: ArrayView2<'_, f64>| product_of_columns(data.view(), product(data.view(), v).view()) / total;
    let (values, vectors) = largest(apply, data.ncols(), k)?;
    enough(&values, data.ncols())?;
    let directions = vectors.reversed_axes();
    let values = verified(data.view(), &directions, k);
    let values = values.ok_or_else(|| Error::Solver(format!("{k} directions of largest variance were not found")))?;
    Ok((values, directions))
}

/// Fails unless all of the values, of a matrix of `size` rows, are more than rounding, [`Error::Rank`] tells of which.
fn enough(values: &Array1<f64>, size: usize) -> Result<()> {
    let floor = (size as f64 * f64::EPSILON).max(2.0 * RESOLVED) * values.first().copied().unwrap_or(0.0);
    match values.iter().filter(|v| **v > floor).count() {
        rank if rank < values.len() => Err(Error::Rank { components: values.len(), rank }),
        _ => Ok(()),
    }
}

/// Turns each row so that its element of largest magnitude is positive.
pub(crate) fn point_up(rows: &mut Array2<f64>) {
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let largest = row.iter().copied().fold(0.0, |best: f64, v| if v.abs() > best.abs() { v } else { best });
        if largest < 0.0 {
            row.mapv_inplace(|v| -v);
        }
    }
}

/// The sum of squares of X along each row of `v`, if these are `k` orthonormal eigenvectors of XᵀX, largest first.
fn verified(x: ArrayView2<'_, f64>, v: &Array2<f64>, k: usize) -> Option<Array1<f64>> {
    if v.dim() != (k, x.ncols()) {
        return None;
    }
    let gram = v.dot(&v.t()) - Array2::<f64>::eye(k);
    let scores = product(x, v.t());
    let values = scores.map_axis(Axis(0), |s| s.dot(&s));
    let residual = product_of_columns(x, scores.view()) - &v.t() * &values;
    let largest = values.first().copied().unwrap_or(0.0);
    // The square of a sum of squares may be beyond f64.
    let off = residual.map_axis(Axis(0), |r| r.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt());
    let is_solution = gram.iter().all(|g| g.abs() <= TOLERANCE)
        && off.iter().all(|r| *r <= TOLERANCE)
        && values.windows(2).into_iter().all(|w| w[0] >= w[1] - TOLERANCE * largest);
    is_solution.then_some(values)
}

#[cfg(test)]
mod tests {
    use linfa::DatasetBase;
    use linfa::traits::Fit;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Centred random data whose columns shrink.
    fn random(n: usize, d: usize) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let data = Array2::from_shape_fn((n, d), |(_, j)| rng.gen_range(-1.0..1.0) / (1.0 + j as f64));
        let mean = data.sum_axis(Axis(0)) / n as f64;
        data - &mean
    }

    fn alike(a: &Array2<f64>, b: &Array2<f64>) -> bool {
        (a.dot(&b.t()).mapv(f64::abs) - Array2::<f64>::eye(a.nrows())).iter().all(|o| o.abs() < 1e-6)
    }

    #[test]
    fn linfa_agrees_whichever_way_is_taken() {
        for (n, d) in [(300, 60), (40, 200), (300, 200), (180, 400)] {
            let data = random(n, d);
            let linfa = linfa_reduction::Pca::params(3).fit(&DatasetBase::from(data.view())).unwrap();
            let (values, found) = directions(&data, 3).unwrap();
            assert!(alike(linfa.components(), &found), "{n}×{d}");
            let total = data.iter().map(|v| v * v).sum();
            let (again, directly) = through_products(&data, total, 3).unwrap();
            assert!(alike(&directly, &found) && (again / values).iter().all(|r| (r - 1.0).abs() < 1e-9), "{n}×{d}");
        }
    }

    #[test]
    fn every_answer_is_a_verified_solution() {
        let sizes = [(50, 20, 1), (50, 20, 4), (50, 20, 20), (20, 50, 3), (20, 50, 19), (3, 2, 2), (2, 5, 1)];
        for (n, d, k) in sizes.into_iter().chain([(400, 200, 30), (200, 400, 30)]) {
            let data = random(n, d);
            let (values, found) = directions(&data, k).unwrap();
            assert_eq!(verified(data.view(), &found, k), Some(values), "{n}×{d}, {k} components");
        }
    }

    #[test]
    fn directions_that_hardly_vary_are_still_found() {
        for (n, d) in [(170, 300), (300, 170)] {
            let (u, v) = (random(5, n), random(5, d));
            let orthonormal = |rows: &Array2<f64>| independent(Array2::zeros((rows.ncols(), 0)).view(), rows.t(), 0.0);
            let (u, v) = (orthonormal(&u), orthonormal(&v));
            let sizes = Array1::from(vec![1.0, 1e-1, 1e-3, 1e-4, 1e-5]).slice_move(ndarray::s![..u.ncols()]);
            let (values, found) = directions(&(&u * &sizes).dot(&v.t()), sizes.len()).unwrap();
            assert!(((values.mapv(f64::sqrt) - &sizes) / &sizes).iter().all(|e| e.abs() < 1e-3), "{n}×{d}: {values}");
            assert!(alike(&found, &v.t().to_owned()), "{n}×{d}");
        }
    }

    #[test]
    fn a_wrong_answer_is_not_taken_for_a_solution() {
        for scale in [1.0, 1e-100, 1e100] {
            let data = random(50, 20) * scale;
            let is_solution = |v: &Array2<f64>, k: usize| verified(data.view(), v, k).is_some();
            let (_, good) = directions(&data, 3).unwrap();
            assert!(is_solution(&good, 3));
            assert!(!is_solution(&(&good * 1.001), 3));
            assert!(!is_solution(&good.slice(ndarray::s![..;-1, ..]).to_owned(), 3));
            assert!(!is_solution(&Array2::eye(20).slice(ndarray::s![..3, ..]).to_owned(), 3), "{scale:e}");
            assert!(!is_solution(&good, 2));
        }
    }

    #[test]
    fn directions_about_the_floor_are_taken_or_left() {
        // Many directions as short as what counts, and a little more or less. More than a quarter of them all are looked for in the
        // whole spectrum, fewer by products, which do not round alike.
        let mut refused = Vec::new();
        for step in (0..24).step_by(6) {
            let length = (2.0 * RESOLVED * (1.0 + 2e-4 * f64::from(step - 12))).sqrt();
            for (n, d) in [(300, 170), (170, 300)] {
                let data = Array2::from_shape_fn((n, d), |(i, j)| match i {
                    0 if j == 0 => 1.0,
                    1..90 if i == j => length * (1.0 + 1e-5 * (i % 7) as f64),
                    _ => 1e-9 * ((i * 31 + j * 17) as f64).sin(),
                });
                for k in [45, 60, 90] {
                    if let Err(error) = up_to(&data, k) {
                        refused.push((step, n, d, k, error));
                    }
                }
            }
        }
        assert!(refused.is_empty(), "{refused:?}");
    }

    #[test]
    fn missing_rank_is_told_not_filled() {
        for d in [20, 180] {
            let line = Array2::from_shape_fn((300, d), |(i, j)| (i as f64 - 149.5) * (j as f64 + 1.0));
            assert!(directions(&line, 1).is_ok());
            assert_eq!(directions(&line, 2), Err(Error::Rank { components: 2, rank: 1 }));
            assert_eq!(up_to(&line, 2), directions(&line, 1));
            assert_eq!(up_to(&Array2::zeros((30, d)), 2), Err(Error::Rank { components: 2, rank: 0 }));
            assert_eq!(directions(&Array2::zeros((30, d)), 2), Err(Error::Rank { components: 2, rank: 0 }));
        }
    }
}
