use std::num::NonZero;

use ndarray::{ArrayView1, ArrayView2};

use crate::error::{all_finite, same_shape};
use crate::neighbours::{Standardise, index, rows};
use crate::{Error, Result};

/// Share of the variance of test values that the mean of the k nearest training rows explains:
///
/// ```text
/// R² = 1 − Σ (yᵢ − ŷᵢ)² / Σ (yᵢ − ȳ)²
/// ```
///
/// 1 if the values can be read off the points, 0 or below if not. Columns are standardised over the training rows.
///
/// # Shapes
/// Points N×D and M×D, values N and M.
///
/// # Errors
/// If shapes do not fit, a value is not finite, fewer than two test values differ, or `k` is not 1 to the number of training
/// rows.
pub fn held_out_regression(
    train: (ArrayView2<'_, f32>, ArrayView1<'_, f64>),
    test: (ArrayView2<'_, f32>, ArrayView1<'_, f64>),
    k: usize,
) -> Result<f64> {
    let columns = train.0.ncols();
    same_shape("training values", train.1.shape(), &[train.0.nrows()])?;
    same_shape("test points", test.0.shape(), &[test.1.len(), columns])?;
    all_finite("training values", train.1.iter().copied())?;
    all_finite("test values", test.1.iter().copied())?;
    if columns == 0 {
        return Err(Error::TooFew { what: "columns", needed: 1 });
    }
    let Some(k) = NonZero::new(k).filter(|k| k.get() <= train.1.len()) else {
        let accepted = format!("1 to {}, the number of training rows", train.1.len());
        return Err(Error::Parameter { name: "number of neighbours", value: k as f64, accepted });
    };
    let known = rows("training points", train.0)?;
    let scale = Standardise::of(&known, columns);
    let tree = index(known.iter().map(|r| scale.apply(r)).collect(), columns)?;
    let told = |row: &Vec<f64>| {
        let near = tree.nearest(&scale.apply(row), k);
        near.iter().map(|n| train.1[*n]).sum::<f64>() / near.len() as f64
    };
    let mean = test.1.mean().unwrap_or(0.0);
    let spread: f64 = test.1.iter().map(|v| (v - mean).powi(2)).sum();
    if spread <= 0.0 {
        return Err(Error::TooFew { what: "test values that differ", needed: 2 });
    }
    let points = rows("test points", test.0)?;
    let error: f64 = points.iter().zip(test.1).map(|(row, v)| (v - told(row)).powi(2)).sum();
    Ok(1.0 - error / spread)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};

    use super::*;

    #[test]
    fn a_smooth_value_is_read_off_and_noise_is_not() {
        let points = Array2::from_shape_fn((200, 2), |(i, c)| ((i * (7 + 6 * c)) % 199) as f32);
        let smooth: Array1<f64> = points.column(0).mapv(|x| f64::from(x).sqrt());
        let noise: Array1<f64> = (0..200u64).map(|i| ((i * 2_654_435_761) % 1000) as f64).collect();
        let score = |values: &Array1<f64>| {
            let (train, test) = (ndarray::s![..150, ..], ndarray::s![150.., ..]);
            let values = (values.slice(ndarray::s![..150]), values.slice(ndarray::s![150..]));
            held_out_regression((points.slice(train), values.0), (points.slice(test), values.1), 5).unwrap()
        };
        assert!(score(&smooth) > 0.9, "{}", score(&smooth));
        assert!(score(&noise) < 0.2, "{}", score(&noise));
    }

    #[test]
    fn one_neighbour_repeats_its_value_exactly() {
        let (points, values) = (array![[0.0f32], [1.0], [2.0]], array![3.0, 5.0, 4.0]);
        let own = held_out_regression((points.view(), values.view()), (points.view(), values.view()), 1).unwrap();
        assert!((own - 1.0).abs() < 1e-12);
        let bad = |k| held_out_regression((points.view(), values.view()), (points.view(), values.view()), k);
        assert!(bad(0).is_err() && bad(4).unwrap_err().to_string().contains('4'));
        let even = array![1.0, 1.0, 1.0];
        assert!(held_out_regression((points.view(), values.view()), (points.view(), even.view()), 1).is_err());
        let lost = array![1.0, f64::NAN, 1.0];
        assert!(held_out_regression((points.view(), lost.view()), (points.view(), values.view()), 1).is_err());
    }
}
