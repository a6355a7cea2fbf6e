//! Multiplicative updates for counts.
//!
//! Reference: Lee & Seung 2001, NIPS 13.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Rows of a block, which a thread works on.
const BLOCK: usize = 64;
/// Keeps logarithms and quotients finite where nothing is expected.
const LEAST: f64 = 1e-300;
/// Largest of the ratios, so that products with it are numbers.
const LARGEST: f64 = 1e150;
/// Rounds between two looks at the divergence.
const LOOK: usize = 10;
/// Rounds at most where the components are known.
const KNOWN: usize = 1000;

/// Σ x ln(x / wh) − x + wh.
pub(crate) fn of(rows: ArrayView2<'_, f64>, weights: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> f64 {
    let blocks = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().zip(weights.axis_chunks_iter(Axis(0), BLOCK));
    let term = |(x, e): (&f64, &f64)| if *x > 0.0 { x * (x.ln() - e.max(LEAST).ln()) - x + e } else { *e };
    let sums: Vec<f64> = blocks.map(|(x, w)| x.iter().zip(&w.dot(&components)).map(term).sum()).collect();
    sums.iter().sum()
}

/// W ← W ∘ (X ⊘ WH)Hᵀ ⊘ Σⱼ H.
fn updated(rows: ArrayView2<'_, f64>, mut weights: ArrayViewMut2<'_, f64>, components: ArrayView2<'_, f64>) {
    let sums = components.sum_axis(Axis(1)).mapv(|s| s.max(LEAST));
    let factors = ratios(rows, weights.view(), components).dot(&components.t()) / &sums;
    weights *= &factors;
}

/// X ⊘ WH.
fn ratios(rows: ArrayView2<'_, f64>, weights: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = weights.dot(&components);
    out.zip_mut_with(&rows, |e, x| *e = ratio(*x, *e));
    out
}

/// x/e. Where nothing is expected, no factor of W or H changes that, and so the number has no say: 0.
fn ratio(x: f64, e: f64) -> f64 {
    if x > 0.0 && e > 0.0 { (x / e).min(LARGEST) } else { 0.0 }
}

/// Rounds of W and H from a start until the divergence falls by less than `tolerance` of the first in ten of them.
pub(crate) fn descended(
    rows: ArrayView2<'_, f64>,
    mut weights: Array2<f64>,
    mut components: Array2<f64>,
    rounds: usize,
    tolerance: f64,
) -> (Array2<f64>, Array2<f64>, usize) {
    let first = of(rows, weights.view(), components.view());
    let mut last = first;
    for round in 1..=rounds {
        let blocks = weights.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        let parts = blocks.zip(rows.axis_chunks_iter(Axis(0), BLOCK)).map(|(mut w, x)| {
            updated(x, w.view_mut(), components.view());
            w.t().dot(&ratios(x, w.view(), components.view()))
        });
        let parts: Vec<Array2<f64>> = parts.collect();
        let sums = weights.sum_axis(Axis(0)).mapv(|s| s.max(LEAST)).insert_axis(Axis(1));
        let factors = parts.into_iter().fold(Array2::zeros(components.dim()), |sum, part| sum + part) / sums;
        components *= &factors;
        if round % LOOK == 0 {
            let now = of(rows, weights.view(), components.view());
            if last - now <= tolerance * first {
                return (weights, components, round);
            }
            last = now;
        }
    }
    (weights, components, rounds)
}

/// W of rows, of components that are known; each row by itself.
pub(crate) fn weights(rows: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> Array2<f64> {
    let sums = components.sum_axis(Axis(1)).mapv(|s| s.max(LEAST));
    let mut weights = Array2::zeros((rows.nrows(), components.nrows()));
    let pairs = weights.axis_iter_mut(Axis(0)).into_par_iter().zip(rows.axis_iter(Axis(0)));
    pairs.with_min_len(BLOCK).for_each(|(w, x)| weigh(x, w, components, &sums));
    weights
}

/// Rounds until one changes the weights by less than 10⁻⁸ of their sum.
fn weigh(x: ArrayView1<'_, f64>, mut w: ArrayViewMut1<'_, f64>, components: ArrayView2<'_, f64>, sums: &Array1<f64>) {
    let even = x.sum() / w.len() as f64;
    w.fill(even);
    let mut expected = Array1::zeros(x.len());
    for _ in 0..KNOWN {
        expected.fill(0.0);
        components.rows().into_iter().zip(&w).for_each(|(h, w)| expected.scaled_add(*w, &h));
        expected.zip_mut_with(&x, |e, x| *e = ratio(*x, *e));
        let (mut change, mut before) = (0.0, 0.0);
        for ((w, h), sum) in w.iter_mut().zip(components.rows()).zip(sums) {
            let now = *w * (h.dot(&expected) / sum);
            change += (now - *w).abs();
            before += *w;
            *w = now;
        }
        if change <= 1e-8 * before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{array, s};

    use super::*;

    #[test]
    fn counts_where_no_component_has_any_change_no_weight() {
        let components = array![[0.5, 0.5, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 0.0]];
        let found = weights(array![[3.0, 7.0, 2e8], [3.0, 7.0, 0.0], [0.0, 0.0, 5.0]].view(), components.view());
        assert!(found.iter().all(|w| w.is_finite()), "{found}");
        assert!((&found.row(0) - &found.row(1)).iter().all(|d| d.abs() < 1e-6), "{found}");
        // 3 = w₁/2 + w₂/10 and 7 = w₁/2 + 9w₂/10.
        assert!((found[(1, 0)] - 5.0).abs() < 1e-3 && (found[(1, 1)] - 5.0).abs() < 1e-3, "{found}");
        assert_eq!(found.row(2), array![0.0, 0.0, 0.0]);
        let divergence = of(array![[0.0, 0.0, 2e8]].view(), array![[1.0, 0.0, 0.0]].view(), components.view());
        assert!(divergence.is_finite() && divergence > 1e10);
        assert_eq!((ratio(1e100, 1e-100), ratio(0.0, 0.0), ratio(2.0, 0.0), ratio(3.0, 2.0)), (1e150, 0.0, 0.0, 1.5));
    }

    #[test]
    fn weights_of_a_row_do_not_depend_on_its_neighbours() {
        let components = Array2::from_shape_fn((3, 7), |(c, j)| ((c * 5 + j * 3) % 7) as f64 / 21.0);
        let rows = Array2::from_shape_fn((130, 7), |(n, j)| ((n * n + j * 11) % 13) as f64);
        let all = weights(rows.view(), components.view());
        for n in [0, 63, 64, 100, 129] {
            assert_eq!(weights(rows.slice(s![n..=n, ..]), components.view()), all.slice(s![n..=n, ..]));
        }
    }
}
