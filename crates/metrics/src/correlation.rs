use ndarray::{ArrayView1, Axis, stack};
use ndarray_stats::CorrelationExt;

use crate::error::{all_finite, same_shape};
use crate::{Error, Result};

/// Pearson's r of two numbers of each sample:
///
/// ```text
/// r = Σ (aᵢ − ā)(bᵢ − b̄) / √(Σ (aᵢ − ā)² · Σ (bᵢ − b̄)²)
/// ```
///
/// −1 to 1, and 0 if either is the same in all samples.
///
/// # Shapes
/// Both N.
///
/// # Errors
/// If the lengths differ, there are fewer than two samples, or a value is not finite.
///
/// Reference: Pearson 1895, Proc. R. Soc. London 58, 240.
pub fn correlation(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> Result<f64> {
    same_shape("second number", b.shape(), a.shape())?;
    all_finite("first number", a.iter().copied())?;
    all_finite("second number", b.iter().copied())?;
    if a.len() < 2 {
        return Err(Error::TooFew { what: "samples", needed: 2 });
    }
    // From the first of them, as the mean of equal numbers is not quite that number; halves, as differences may overflow.
    let mut both = stack![Axis(0), a, b].mapv(|v| 0.5 * v);
    for mut v in both.rows_mut() {
        let first = v[0];
        v -= first;
        let largest = v.fold(0.0, |m: f64, x| m.max(x.abs()));
        if largest == 0.0 {
            return Ok(0.0);
        }
        v /= largest;
    }
    let r = both.pearson_correlation().map_err(|_| Error::TooFew { what: "samples", needed: 2 })?;
    Ok(r[(0, 1)].clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r_is_that_of_numpy() {
        let (a, b) = (array![1.0, 2.0, 4.0, 3.0, 9.0], array![2.0, 1.0, 3.0, 5.0, 4.0]);
        // numpy.corrcoef
        assert!((correlation(a.view(), b.view()).unwrap() - 0.507_673_082_566_809_4).abs() < 1e-14);
        assert!((correlation(a.view(), (-2.0 * &a).view()).unwrap() + 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_number_that_is_the_same_everywhere_tells_nothing() {
        let some = Array1::from_iter((0..1000).map(|i| f64::from(i % 7)));
        // A thousand times 0.1 has a mean that is not 0.1.
        assert_eq!(correlation(some.view(), Array1::from_elem(1000, 0.1).view()).unwrap(), 0.0);
    }

    #[test]
    fn what_has_no_correlation_is_an_error() {
        let two = array![1.0, 2.0];
        assert!(matches!(correlation(two.view(), array![1.0].view()), Err(Error::Shape { .. })));
        assert_eq!(
            correlation(array![1.0].view(), array![1.0].view()),
            Err(Error::TooFew { what: "samples", needed: 2 })
        );
        let nan = array![1.0, f64::NAN];
        assert_eq!(correlation(two.view(), nan.view()), Err(Error::NotFinite { what: "second number", index: 1 }));
    }

    proptest! {
        #[test]
        fn units_change_nothing(
            pairs in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 3..30),
            unit in prop::sample::select(vec![1e-200, 1e-3, 1.0, 1e3, 1e200]),
        ) {
            let (a, b): (Array1<f64>, Array1<f64>) = (pairs.iter().map(|p| p.0).collect(), pairs.iter().map(|p| p.1).collect());
            let r = correlation(a.view(), b.view()).unwrap();
            prop_assert!((-1.0..=1.0).contains(&r));
            prop_assert!((correlation((unit * &a).view(), b.view()).unwrap() - r).abs() < 1e-9);
            prop_assert!((correlation(b.view(), a.view()).unwrap() - r).abs() < 1e-12);
        }
    }
}
