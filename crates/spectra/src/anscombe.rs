use ndarray::Array2;
use parsimon_core::Spectra;

use crate::Result;
use crate::error::counts;

/// Square roots of counts, whose Poisson noise has a variance near 1 from about 4 counts on:
///
/// ```text
/// f(x) = 2 √(x + 3/8).
/// ```
///
/// # Shapes
/// N×L → N×L.
///
/// # Errors
/// If a value is below 0.
///
/// # Reference
/// F. J. Anscombe, Biometrika 35, 246 (1948).
pub fn anscombe(spectra: Spectra) -> Result<Spectra> {
    counts(spectra.values())?;
    let (mut values, axis) = spectra.into_parts();
    values.par_mapv_inplace(|x| 2.0 * (x + 0.375).sqrt());
    Ok(Spectra::new(values, axis)?)
}

/// Expected counts of means of [`anscombe`]'s values, such as a reconstruction gives: unbiased, in closed form.
///
/// ```text
/// x(D) = D²/4 + √(3/2)/(4D) − 11/(8D²) + 5√(3/2)/(8D³) − 1/8,   0 if D ≤ 2√(3/8).
/// ```
///
/// For a single count it is not the inverse of `f`: the mean of `f` is not `f` of the mean.
///
/// # Reference
/// M. Mäkitalo and A. Foi, IEEE Trans. Image Process. 20, 2697 (2011).
pub fn anscombe_inverse(mut values: Array2<f64>) -> Array2<f64> {
    let least = 2.0 * 0.375f64.sqrt();
    let root = 1.5f64.sqrt();
    values.par_mapv_inplace(|d| {
        if d <= least {
            return 0.0;
        }
        let i = 1.0 / d;
        // Written so that NaN stays NaN.
        let count = 0.25 * d * d - 0.125 + i * (0.25 * root + i * (-1.375 + i * 0.625 * root));
        if count < 0.0 { 0.0 } else { count }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use ndarray::array;
    use parsimon_core::Axis;

    /// Mean and variance of f under Poisson statistics, summed term by term.
    fn moments(mean: f64) -> (f64, f64) {
        let (mut p, mut first, mut second) = ((-mean).exp(), 0.0, 0.0);
        for k in 0..400 {
            let f = 2.0 * (f64::from(k) + 0.375).sqrt();
            first += p * f;
            second += p * f * f;
            p *= mean / f64::from(k + 1);
        }
        (first, second - first * first)
    }

    #[test]
    fn the_inverse_of_a_mean_is_the_expected_count() {
        for mean in [0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0] {
            let (d, variance) = moments(mean);
            let found = anscombe_inverse(array![[d]])[(0, 0)];
            assert!((found - mean).abs() < 0.02, "{found} for {mean}");
            assert!(mean < 4.0 || (variance - 1.0).abs() < 0.06, "{variance} at {mean}");
        }
        assert_eq!(anscombe_inverse(array![[2.0 * 0.375f64.sqrt(), 0.0, -3.0]]), array![[0.0, 0.0, 0.0]]);
    }

    #[test]
    fn roots_are_those_of_the_equation_and_negative_counts_are_rejected() {
        let of = |values| Spectra::new(values, Axis::uncalibrated("energy")).unwrap();
        let roots = anscombe(of(array![[0.0, 1.0, 5.875]])).unwrap();
        assert_eq!(roots.values().row(0).to_vec(), [2.0 * 0.375f64.sqrt(), 2.0 * 1.375f64.sqrt(), 5.0]);
        let found = anscombe(of(array![[1.0, 2.0], [0.0, -0.5]]));
        assert_eq!(found, Err(Error::Negative { spectrum: 1, channel: 1, value: -0.5 }));
    }
}
