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
/// If the shapes differ, there are none or more than 16, or a spectrum is zero or not finite.
///
/// Reference: Keshava & Mustard 2002, IEEE Signal Processing Magazine 19, 44.
pub fn match_spectra(found: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>) -> Result<Vec<(usize, f64)>> {
    same_shape("found spectra", found.shape(), truth.shape())?;
    let r = truth.nrows();
    if r == 0 || r > MOST {
        let accepted = format!("1 to {MOST}");
        return Err(Error::Parameter { name: "number of spectra", value: r as f64, accepted });
    }
    for (what, spectra) in [("found spectra", found.view()), ("true spectra", truth.view())] {
        all_finite(what, spectra.iter().copied())?;
        if spectra.outer_iter().any(|s| s.iter().all(|v| *v == 0.0)) {
            return Err(Error::TooFew { what: "a spectrum of zeros", needed: 1 });
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
        let none = Array2::zeros((0, 3));
        assert!(match_spectra(none.view(), none.view()).is_err());
        let many = Array2::eye(17);
        assert!(match_spectra(many.view(), many.view()).is_err());
    }
}
