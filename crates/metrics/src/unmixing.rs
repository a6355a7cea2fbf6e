use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::{all_finite, same_shape};
use crate::{Error, Result};

/// Spectra that can be matched at most.
const MOST: usize = 16;

/// Found spectra matched one to one with true ones, such that the angles between them,
///
/// ```text
/// θ(m, t) = arccos( m·t / (|m| |t|) ),
/// ```
///
/// are least in sum: for each true spectrum, the row of the found one and the angle in radians.
///
/// # Shapes
/// Both (R, L), 1 to 16 spectra.
///
/// # Errors
/// If the shapes differ, there are none or more than 16 or no channels, or a spectrum is zero or not finite.
///
/// Reference: Keshava & Mustard 2002, IEEE Signal Processing Magazine 19, 44.
pub fn match_spectra(found: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>) -> Result<Vec<(usize, f64)>> {
    same_shape("found spectra", found.shape(), truth.shape())?;
    let r = truth.nrows();
    if truth.ncols() == 0 {
        return Err(Error::TooFew { what: "channels of the spectra", needed: 1 });
    }
    if r == 0 || r > MOST {
        let accepted = format!("1 to {MOST}");
        return Err(Error::Parameter { name: "number of spectra", value: r as f64, accepted });
    }
    for (what, spectra) in [("found spectra", found.view()), ("true spectra", truth.view())] {
        all_finite(what, spectra.iter().copied())?;
        if let Some(row) = spectra.outer_iter().position(|s| s.iter().all(|v| *v == 0.0)) {
            return Err(Error::Zero { what, row });
        }
    }
    let angles = Array2::from_shape_fn((r, r), |(t, f)| angle(truth.row(t), found.row(f)));
    // least[set]: of the first true spectra, as many as the set has members, matched with the set.
    let mut least = vec![(f64::INFINITY, 0); 1 << r];
    least[0].0 = 0.0;
    for set in 1..least.len() {
        let t = set.count_ones() as usize - 1;
        let with = |f: usize| (least[set & !(1 << f)].0 + angles[(t, f)], f);
        let members = (0..r).filter(|f| set & (1 << f) != 0).map(with);
        if let Some(best) = members.min_by(|a, b| a.0.total_cmp(&b.0)) {
            least[set] = best;
        }
    }
    let mut set = least.len() - 1;
    let mut matched = vec![(0, 0.0); r];
    for (t, place) in matched.iter_mut().enumerate().rev() {
        let f = least[set].1;
        *place = (f, angles[(t, f)]);
        set &= !(1 << f);
    }
    Ok(matched)
}

/// From the difference of the directions: arccos is blind to small angles.
fn angle(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    let (of_a, of_b) = (a.dot(&a).sqrt(), b.dot(&b).sqrt());
    let (mut off, mut sum) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a / of_a, b / of_b);
        off += (a - b) * (a - b);
        sum += (a + b) * (a + b);
    }
    2.0 * f64::atan2(off.sqrt(), sum.sqrt())
}

/// Root of the mean squared error of abundances found, over all pixels and endmembers:
///
/// ```text
/// √( Σ (â(n, mᵣ) − a(n, r))² / (N·R) )
/// ```
///
/// with mᵣ = `order[r]` the column found that goes with endmember r, as [`match_spectra`] tells it.
///
/// # Shapes
/// `found` and `truth` (N, R), `order` R.
///
/// # Errors
/// If the shapes differ, there is nothing to score, a value is not finite, or `order` does not name each column once.
///
/// Reference: Plaza et al. 2004, IEEE Transactions on Geoscience and Remote Sensing 42, 650.
pub fn abundance_error(found: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>, order: &[usize]) -> Result<f64> {
    check_abundances(found, truth, order)?;
    let square = |((n, r), a): ((usize, usize), &f64)| (found[(n, order[r])] - a).powi(2);
    Ok((truth.indexed_iter().map(square).sum::<f64>() / truth.len() as f64).sqrt())
}

/// Share of the true abundances within k standard deviations of those found,
///
/// ```text
/// |â(n, mᵣ) − a(n, r)| ≤ k σ(n, mᵣ),
/// ```
///
/// with mᵣ = `order[r]` as in [`abundance_error`]. For k = 2 it is 0.954 if the deviations are right and the errors normal.
///
/// # Shapes
/// `found`, its standard deviations `sd` and `truth` (N, R), `order` R.
///
/// # Errors
/// As [`abundance_error`], or if a deviation is not finite or below 0, or `k` is not a finite number from 0.
pub fn abundance_coverage(
    found: ArrayView2<'_, f64>,
    sd: ArrayView2<'_, f64>,
    truth: ArrayView2<'_, f64>,
    order: &[usize],
    k: f64,
) -> Result<f64> {
    check_abundances(found, truth, order)?;
    same_shape("standard deviations", sd.shape(), truth.shape())?;
    all_finite("standard deviations", sd.iter().copied())?;
    let below = sd.iter().copied().find(|v| *v < 0.0).map(|v| ("standard deviation", v));
    let odd = (!k.is_finite() || k < 0.0).then_some(("number of standard deviations", k));
    if let Some((name, value)) = below.or(odd) {
        return Err(Error::Parameter { name, value, accepted: "finite numbers from 0".to_owned() });
    }
    let within = |((n, r), a): &((usize, usize), &f64)| {
        let column = order[*r];
        (found[(*n, column)] - *a).abs() <= k * sd[(*n, column)]
    };
    Ok(truth.indexed_iter().filter(within).count() as f64 / truth.len() as f64)
}

fn check_abundances(found: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>, order: &[usize]) -> Result<()> {
    same_shape("abundances found", found.shape(), truth.shape())?;
    same_shape("order of the endmembers", &[order.len()], &[truth.ncols()])?;
    if truth.is_empty() {
        return Err(Error::TooFew { what: "abundances", needed: 1 });
    }
    all_finite("abundances found", found.iter().copied())?;
    all_finite("true abundances", truth.iter().copied())?;
    let mut left = vec![true; order.len()];
    for &column in order {
        if !left.get_mut(column).is_some_and(std::mem::take) {
            let accepted = format!("each of 0 to {} once", order.len() - 1);
            return Err(Error::Parameter {
                name: "column in the order of the endmembers",
                value: column as f64,
                accepted,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn spectra_are_matched_whatever_their_order_and_scale() {
        let truth = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1e-6]];
        let found = array![[0.0, 5.0, 0.0], [3.0, 3.0, 0.0], [2.0, 0.0, 2.0]];
        let matched = match_spectra(found.view(), truth.view()).unwrap();
        assert_eq!(matched.iter().map(|m| m.0).collect::<Vec<_>>(), [2, 0, 1]);
        assert!((matched[0].1 - std::f64::consts::FRAC_PI_4).abs() < 1e-12 && matched[1].1 == 0.0);
        assert!((matched[2].1 / (1e-6 / 2f64.sqrt()) - 1.0).abs() < 1e-6, "{}", matched[2].1);
    }

    #[test]
    fn the_sum_is_least_and_not_each_angle() {
        // Both would take the first; together it is better that only one does.
        let at = |degrees: f64| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let (found, truth) = (array![at(20.0), at(50.0)], array![at(30.0), at(10.0)]);
        let matched = match_spectra(found.view(), truth.view()).unwrap();
        let degrees: Vec<f64> = matched.iter().map(|m| m.1.to_degrees().round()).collect();
        assert_eq!((matched[0].0, matched[1].0, degrees), (1, 0, vec![20.0, 10.0]));
    }

    #[test]
    fn every_rejection() {
        let sound = array![[1.0, 0.0], [0.0, 1.0]];
        for wrong in [array![[1.0, 0.0]], array![[1.0, 0.0], [0.0, 0.0]], array![[1.0, f64::NAN], [0.0, 1.0]]] {
            assert!(match_spectra(wrong.view(), sound.view()).is_err());
        }
        let zero = array![[1.0, 0.0], [0.0, 0.0]];
        let said = match_spectra(sound.view(), zero.view()).unwrap_err();
        assert_eq!(said, Error::Zero { what: "true spectra", row: 1 });
        assert!(said.to_string().starts_with("true spectra: row 1 is zero in every channel"), "{said}");
        let narrow = Array2::zeros((2, 0));
        assert!(matches!(match_spectra(narrow.view(), narrow.view()), Err(Error::TooFew { .. })));
        let none = Array2::zeros((0, 3));
        assert!(match_spectra(none.view(), none.view()).is_err());
        let many = Array2::eye(17);
        assert!(match_spectra(many.view(), many.view()).is_err());
    }

    #[test]
    fn abundances_are_scored_in_the_order_of_their_endmembers() {
        let truth = array![[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]];
        // Columns in reverse, and off by 0.125 in the first pixel.
        let found = array![[0.625, 0.375], [0.5, 0.5], [0.0, 1.0]];
        let error = |order: &[usize]| abundance_error(found.view(), truth.view(), order);
        assert_eq!(error(&[1, 0]), Ok((2.0 * 0.125f64.powi(2) / 6.0).sqrt()));
        let straight = (2.0 * (0.375f64.powi(2) + 1.0) / 6.0).sqrt();
        assert!((error(&[0, 1]).unwrap() - straight).abs() < 1e-15);
        let sd = array![[0.0625, 0.05], [0.0, 0.1], [0.1, 0.1]];
        let within = |k: f64| abundance_coverage(found.view(), sd.view(), truth.view(), &[1, 0], k);
        // The bound itself is within; a deviation of 0 holds what is met exactly.
        assert_eq!((within(2.0), within(2.5), within(0.0)), (Ok(5.0 / 6.0), Ok(1.0), Ok(4.0 / 6.0)));
    }

    #[test]
    fn abundances_that_do_not_fit_are_rejected() {
        let truth = array![[0.25, 0.75], [0.5, 0.5]];
        let error = |found: &Array2<f64>, order: &[usize]| abundance_error(found.view(), truth.view(), order);
        for order in [&[0, 0][..], &[0, 2]] {
            let said = error(&truth, order).unwrap_err().to_string();
            assert!(said.contains(&format!("is {}, accepted are each of 0 to 1 once", order[1])), "{said}");
        }
        assert!(matches!(error(&truth, &[0]), Err(Error::Shape { .. })));
        assert!(matches!(error(&array![[1.0, 0.0]], &[0, 1]), Err(Error::Shape { .. })));
        assert!(matches!(error(&array![[1.0, 0.0], [f64::NAN, 0.0]], &[0, 1]), Err(Error::NotFinite { index: 2, .. })));
        let none = Array2::zeros((0, 2));
        assert!(matches!(abundance_error(none.view(), none.view(), &[0, 1]), Err(Error::TooFew { .. })));
        let within = |sd: f64, k: f64| {
            let sd = Array2::from_elem((2, 2), sd);
            abundance_coverage(truth.view(), sd.view(), truth.view(), &[0, 1], k)
        };
        assert_eq!(within(0.1, 2.0), Ok(1.0));
        assert!(matches!(within(-0.1, 2.0), Err(Error::Parameter { value: -0.1, .. })));
        assert!(matches!(within(f64::INFINITY, 2.0), Err(Error::NotFinite { .. })));
        for k in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(within(0.1, k), Err(Error::Parameter { .. })), "{k}");
        }
        let narrow = Array2::zeros((2, 1));
        let sd = abundance_coverage(truth.view(), narrow.view(), truth.view(), &[0, 1], 2.0);
        assert!(matches!(sd, Err(Error::Shape { what: "standard deviations", .. })));
    }
}
