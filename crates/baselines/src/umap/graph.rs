//! Fuzzy neighbourhoods.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::affinities::Affinities;
use crate::neighbours::Neighbours;

/// Least width of a neighbourhood, in mean distances to its rows.
const LEAST: f64 = 1e-3;

/// wⱼ = exp(−max(0, dⱼ − ρ)/σ) with ρ the least distance above 0 and σ such that Σ wⱼ = log₂(k + 1) over the k
/// distances.
pub(super) fn memberships(distances: &[f64]) -> Vec<f64> {
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let nearest = distances.iter().filter(|d| **d > 0.0).fold(f64::INFINITY, |least, d| least.min(*d));
    if !(mean > 0.0 && nearest.is_finite()) {
        return vec![1.0; distances.len()];
    }
    let beyond = |d: &f64| (d - nearest).max(0.0) / mean;
    let wanted = ((distances.len() + 1) as f64).log2();
    let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let sum: f64 = distances.iter().map(|d| (-beyond(d) / width).exp()).sum();
        if (sum - wanted).abs() < 1e-5 {
            break;
        }
        *(if sum > wanted { &mut high } else { &mut low }) = width;
        width = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * width };
    }
    let width = width.max(LEAST);
    distances.iter().map(|d| (-beyond(d) / width).exp()).collect()
}

/// wᵢⱼ + wⱼᵢ − wᵢⱼ wⱼᵢ: in one neighbourhood or the other.
pub(super) fn union(near: &Neighbours) -> Affinities {
    let mut weights = Array2::zeros(near.distances.dim());
    let rows = weights.axis_iter_mut(Axis(0)).into_par_iter().zip(near.distances.axis_iter(Axis(0)));
    rows.for_each(|(mut row, distances)| {
        let found = memberships(&distances.to_vec());
        row.iter_mut().zip(found).for_each(|(w, m)| *w = m);
    });
    Affinities::symmetric(near, &weights, |to, from| to + from - to * from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbourhoods_hold_as_much_as_they_should() {
        for scale in [1e-100, 1.0, 1e100] {
            let distances: Vec<f64> = (0..14).map(|i| scale * (2.0 + f64::from(i * i) / 9.0)).collect();
            let found = memberships(&distances);
            assert_eq!(found[0], 1.0);
            assert!((found.iter().sum::<f64>() - 15f64.log2()).abs() < 1e-4, "{found:?}");
            assert!(found.windows(2).all(|w| w[0] >= w[1]));
        }
    }

    #[test]
    fn equal_rows_are_members_in_full() {
        assert_eq!(memberships(&[0.0; 3]), [1.0; 3]);
        assert_eq!(memberships(&[2.0; 3]), [1.0; 3]);
        let found = memberships(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 9.0]);
        assert!(found[..6].iter().all(|w| *w == 1.0) && (0.0..0.1).contains(&found[6]), "{found:?}");
    }
}
