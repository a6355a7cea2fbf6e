use ndarray::{Array1, ArrayView4, Axis, Zip};

use crate::error::{all_finite, same_shape};
use crate::{Error, Result};

/// Mean squared error of each sample: Σ (x − x̂)² / (H·W·C).
///
/// # Shapes
/// `data` and `model` N×H×W×C; the result has length N.
///
/// # Errors
/// If the shapes differ, there is no value, or a value is not finite.
pub fn reconstruction_errors(data: ArrayView4<'_, f32>, model: ArrayView4<'_, f32>) -> Result<Array1<f64>> {
    same_shape("reconstruction", model.shape(), data.shape())?;
    if data.is_empty() {
        return Err(Error::TooFew { what: "values of the data", needed: 1 });
    }
    all_finite("data", data.iter().map(|&v| v.into()))?;
    all_finite("reconstruction", model.iter().map(|&v| v.into()))?;
    let per_sample = (data.len() / data.dim().0) as f64;
    let samples = data.axis_iter(Axis(0)).zip(model.axis_iter(Axis(0)));
    Ok(samples
        .map(|(x, y)| {
            Zip::from(x).and(y).fold(0.0, |sum, &x, &y| sum + (f64::from(x) - f64::from(y)).powi(2)) / per_sample
        })
        .collect())
}

/// Mean squared error per pixel and channel over all samples.
///
/// # Shapes
/// `data` and `model` N×H×W×C.
///
/// # Errors
/// As [`reconstruction_errors`].
pub fn reconstruction_error(data: ArrayView4<'_, f32>, model: ArrayView4<'_, f32>) -> Result<f64> {
    let errors = reconstruction_errors(data, model)?;
    Ok(errors.sum() / errors.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn errors_are_means_over_pixels() {
        let data = Array4::<f32>::zeros((2, 2, 2, 1));
        let mut model = data.clone();
        model[[1, 0, 1, 0]] = 0.5;
        model[[1, 1, 1, 0]] = -1.0;
        let errors = reconstruction_errors(data.view(), model.view()).unwrap();
        assert_eq!(errors.to_vec(), [0.0, 1.25 / 4.0]);
        assert_eq!(reconstruction_error(data.view(), model.view()).unwrap(), 1.25 / 8.0);
    }

    #[test]
    fn unequal_shapes_nan_and_nothing_are_rejected() {
        let data = Array4::<f32>::zeros((2, 2, 2, 1));
        let other = Array4::<f32>::zeros((2, 2, 1, 2));
        assert!(matches!(reconstruction_error(data.view(), other.view()), Err(Error::Shape { .. })));
        let mut nan = data.clone();
        nan[[1, 1, 1, 0]] = f32::NAN;
        let error = reconstruction_error(data.view(), nan.view()).unwrap_err();
        assert_eq!(error, Error::NotFinite { what: "reconstruction", index: 7 });
        assert!(matches!(reconstruction_error(nan.view(), data.view()), Err(Error::NotFinite { what: "data", .. })));
        let none = Array4::<f32>::zeros((0, 2, 2, 1));
        assert!(matches!(reconstruction_error(none.view(), none.view()), Err(Error::TooFew { .. })));
    }
}
