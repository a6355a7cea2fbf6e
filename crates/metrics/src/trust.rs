use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use crate::error::all_finite;
use crate::{Error, Result};

/// Trustworthiness: how far rows that are near in an embedding are near in the data, from 0 to 1.
///
/// ```text
/// T = 1 − 2 / (N k (2N − 3k − 1)) · Σᵢ Σ_{j ∈ Uᵢ} (r(i, j) − k)
/// ```
///
/// with U those among the `k` nearest of i in the embedding that are not so in the data, and r their rank there.
///
/// # Shapes
/// `data` (N, D), `embedding` (N, d); time grows as N²·(D + ln N).
///
/// # Errors
/// If the numbers of rows differ, a value is not finite, or k is not 1 to below N / 2.
///
/// Reference: Venna & Kaski 2001, ICANN, 485.
pub fn trustworthiness(data: ArrayView2<'_, f32>, embedding: ArrayView2<'_, f32>, k: usize) -> Result<f64> {
    let n = data.nrows();
    if embedding.nrows() != n {
        return Err(Error::Shape { what: "rows of the embedding", found: vec![embedding.nrows()], expected: vec![n] });
    }
    all_finite("data", data.iter().map(|&v| v.into()))?;
    all_finite("embedding", embedding.iter().map(|&v| v.into()))?;
    if k == 0 || 2 * k >= n {
        let accepted = format!("1 to below half the number of rows, {n}");
        return Err(Error::Parameter { name: "number of neighbours", value: k as f64, accepted });
    }
    let surplus: Vec<usize> = (0..n)
        .into_par_iter()
        .map(|i| {
            let mut rank = vec![0; n];
            order(data, i).into_iter().zip(1..).for_each(|(j, r)| rank[j] = r);
            order(embedding, i).into_iter().take(k).map(|j| rank[j].max(k) - k).sum()
        })
        .collect();
    let (n, k) = (n as f64, k as f64);
    Ok(1.0 - 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)) * surplus.iter().sum::<usize>() as f64)
}

/// The other rows, nearest first; of equally near ones the first.
fn order(rows: ArrayView2<'_, f32>, i: usize) -> Vec<usize> {
    let own = rows.row(i);
    let square = |row: ndarray::ArrayView1<'_, f32>| -> f64 {
        row.iter().zip(own).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
    };
    let mut order: Vec<(f64, usize)> = rows.axis_iter(Axis(0)).map(square).zip(0..).filter(|(_, j)| *j != i).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, j)| j).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn it_is_that_of_scikit_learn() {
        // sklearn.manifold.trustworthiness(x, y, n_neighbors=3), version 1.9.1.
        let x = Array2::from_shape_fn((12, 3), |(i, j)| ((i * i + 3 * i * j + 5 * j) % 17) as f32 + 0.01 * i as f32);
        let y = Array2::from_shape_fn((12, 2), |(i, j)| ((i * 7 + 4 * j * i) % 13) as f32 + 0.02 * i as f32);
        let found = trustworthiness(x.view(), y.view(), 3).unwrap();
        assert!((found - 0.5198412698412699).abs() < 1e-12, "{found}");
        assert_eq!(trustworthiness(x.view(), x.view(), 3).unwrap(), 1.0);
    }

    #[test]
    fn what_cannot_be_scored_is_told() {
        let x = Array2::from_shape_fn((6, 2), |(i, j)| (i * 2 + j) as f32);
        for k in [0, 3, 9] {
            assert!(trustworthiness(x.view(), x.view(), k).unwrap_err().to_string().contains(&k.to_string()));
        }
        assert!(trustworthiness(x.view(), Array2::zeros((5, 2)).view(), 2).is_err());
        assert!(trustworthiness(x.view(), Array2::from_elem((6, 2), f32::NAN).view(), 2).is_err());
    }
}
