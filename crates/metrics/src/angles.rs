use std::collections::BTreeMap;
use std::f64::consts::TAU;

use ndarray::ArrayView1;

use crate::error::{all_finite, same_shape};
use crate::{Error, Result};

/// How well the angles of one class were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassAngle {
    /// The class; 0 if no classes were given.
    pub class: i64,
    /// Samples of it.
    pub count: usize,
    /// From 0 (nothing found) to 1 (the truth up to offset and sign).
    pub r: f64,
    /// +1 or −1: the sense of rotation that fits better.
    pub sign: f64,
    /// truth − sign·found on average, in radians, from −π/m to π/m for symmetry of order m.
    pub offset: f64,
    /// The `r` of a constant angle. It is high if the true angles spread little: compare `r` with it.
    pub constant: f64,
}

/// How well angles were found.
#[derive(Debug, Clone, PartialEq)]
pub struct AngleScore {
    /// Mean of `r` over the classes, each counting the same.
    pub mean: f64,
    /// Mean of `constant` over the classes.
    pub constant: f64,
    /// Each class, in order.
    pub classes: Vec<ClassAngle>,
}

/// Circular correlation of angles up to an offset and a sign per class.
///
/// For each class, r = max over s = ±1 of |mean exp(i·m·(truth − s·found))|, with m the order of its rotational
/// symmetry: 1 for none, 2 for a diamond, which looks the same after half a turn. Note that uniform true angles within
/// ±R give sin(R)/R to a model that finds nothing (0.41 for ±120°, 0.99 for ±12°): see [`ClassAngle::constant`].
///
/// # Shapes
/// `truth` and `found` in radians and `classes`, if given, of length N. Class −1 (unknown) is left out.
///
/// # Errors
/// If the lengths differ, an angle is not finite, an order is 0, or no sample is left.
///
/// Reference: Fisher, Statistical Analysis of Circular Data, ch. 6 (1993).
pub fn circular_correlation(
    truth: ArrayView1<'_, f64>,
    found: ArrayView1<'_, f32>,
    classes: Option<ArrayView1<'_, i64>>,
    symmetry: impl Fn(i64) -> u32,
) -> Result<AngleScore> {
    same_shape("found angles", found.shape(), truth.shape())?;
    all_finite("true angles", truth.iter().copied())?;
    all_finite("found angles", found.iter().map(|&f| f.into()))?;
    if let Some(classes) = classes {
        same_shape("classes", classes.shape(), truth.shape())?;
    }
    let mut groups: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
    for (index, (&t, &f)) in truth.iter().zip(found).enumerate() {
        let class = classes.and_then(|c| c.get(index).copied()).unwrap_or(0);
        if class != -1 {
            groups.entry(class).or_default().push((t, f.into()));
        }
    }
    let score = |(class, angles): (i64, Vec<(f64, f64)>)| one_class(class, &angles, symmetry(class));
    let classes = groups.into_iter().map(score).collect::<Result<Vec<_>>>()?;
    if classes.is_empty() {
        return Err(Error::TooFew { what: "angles of known class", needed: 1 });
    }
    let mean = |of: fn(&ClassAngle) -> f64| classes.iter().map(of).sum::<f64>() / classes.len() as f64;
    Ok(AngleScore { mean: mean(|c| c.r), constant: mean(|c| c.constant), classes })
}

fn one_class(class: i64, angles: &[(f64, f64)], order: u32) -> Result<ClassAngle> {
    if order == 0 {
        let accepted = "1 and more".to_owned();
        return Err(Error::Parameter { name: "order of rotational symmetry", value: 0.0, accepted });
    }
    let m = f64::from(order);
    // Length and direction of mean exp(i·m·(truth − s·found)).
    let mean = |s: f64| {
        let add = |(re, im): (f64, f64), &(t, f): &(f64, f64)| {
            let (sin, cos) = (m * (t - s * f).rem_euclid(TAU)).sin_cos();
            (re + cos, im + sin)
        };
        let (re, im) = angles.iter().fold((0.0, 0.0), add);
        (re.hypot(im) / angles.len() as f64, im.atan2(re) / m)
    };
    let (plus, minus) = (mean(1.0), mean(-1.0));
    let ((r, offset), sign) = if plus.0 >= minus.0 { (plus, 1.0) } else { (minus, -1.0) };
    Ok(ClassAngle { class, count: angles.len(), r, sign, offset, constant: mean(0.0).0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, arr1};
    use proptest::prelude::*;
    use std::f64::consts::PI;

    fn spread(n: usize) -> Array1<f64> {
        (0..n).map(|i| 4.0 * ((i as f64 * 0.618_034).fract() - 0.5)).collect()
    }

    #[test]
    fn offset_and_sign_of_each_class_are_found() {
        let truth = spread(200);
        let classes: Array1<i64> = (0..200).map(|i| i % 2).collect();
        let found = Array1::from_shape_fn(200, |i| {
            if i % 2 == 0 { (truth[i] - 0.7) as f32 } else { (1.1 - truth[i] + TAU) as f32 }
        });
        let score = circular_correlation(truth.view(), found.view(), Some(classes.view()), |_| 1).unwrap();
        assert!(score.mean > 1.0 - 1e-9, "{score:?}");
        let [even, odd] = score.classes[..] else { panic!("two classes") };
        assert_eq!((even.sign, odd.sign, even.count), (1.0, -1.0, 100));
        assert!((even.offset - 0.7).abs() < 1e-6 && (odd.offset - 1.1).abs() < 1e-6, "{score:?}");
    }

    #[test]
    fn half_turns_of_a_diamond_are_no_error() {
        let truth = spread(300);
        let found = Array1::from_shape_fn(300, |i| (truth[i] + if i % 3 == 0 { PI } else { 0.0 }) as f32);
        let r = |order| circular_correlation(truth.view(), found.view(), None, |_| order).unwrap().mean;
        assert!((r(1) - 1.0 / 3.0).abs() < 1e-6, "{}", r(1));
        assert!(r(2) > 1.0 - 1e-9, "{}", r(2));
    }

    #[test]
    fn a_constant_angle_scores_what_the_spread_of_the_truth_gives() {
        for limit in [12f64.to_radians(), 120f64.to_radians()] {
            let truth = Array1::from_shape_fn(4001, |i| limit * (i as f64 / 2000.0 - 1.0));
            let score = circular_correlation(truth.view(), Array1::zeros(4001).view(), None, |_| 1).unwrap();
            assert!((score.mean - limit.sin() / limit).abs() < 1e-3, "{score:?}");
            assert_eq!(score.mean, score.constant);
        }
    }

    #[test]
    fn bad_input_is_rejected() {
        let (truth, found) = (arr1(&[0.1, 0.2]), arr1(&[0.1f32, 0.2]));
        let score = |f: &Array1<f32>, c: &[i64], m: u32| {
            circular_correlation(truth.view(), f.view(), Some(arr1(c).view()), |_| m)
        };
        assert!(score(&found, &[0, 0], 1).is_ok());
        assert!(matches!(score(&arr1(&[0.1f32]), &[0, 0], 1), Err(Error::Shape { .. })));
        assert!(matches!(score(&found, &[0], 1), Err(Error::Shape { what: "classes", .. })));
        assert!(matches!(score(&arr1(&[0.1, f32::NAN]), &[0, 0], 1), Err(Error::NotFinite { index: 1, .. })));
        assert!(matches!(score(&found, &[0, 0], 0), Err(Error::Parameter { .. })));
        assert!(matches!(score(&found, &[-1, -1], 1), Err(Error::TooFew { .. })));
    }

    proptest! {
        #[test]
        fn whole_turns_change_nothing(angles in prop::collection::vec((-3.0f64..3.0, -3.0f32..3.0, -2i32..3), 1..30)) {
            let truth: Array1<f64> = angles.iter().map(|a| a.0).collect();
            let turned: Array1<f64> = angles.iter().map(|a| a.0 + f64::from(a.2) * TAU).collect();
            let found: Array1<f32> = angles.iter().map(|a| a.1).collect();
            let r = |t: &Array1<f64>| circular_correlation(t.view(), found.view(), None, |_| 3).unwrap().mean;
            prop_assert!((r(&truth) - r(&turned)).abs() < 1e-9);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&r(&truth)));
        }
    }
}
