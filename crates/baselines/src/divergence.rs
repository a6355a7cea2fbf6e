//! Multiplicative updates for counts.
//!
//! Reference: Lee & Seung 2001, NIPS 13.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Rows of a block, which a thread works on.
const BLOCK: usize = 64;
/// Keeps quotients finite where nothing is expected.
const LEAST: f64 = 1e-300;
/// Rounds between two looks at the divergence.
const LOOK: usize = 10;
/// Rounds at most where the components are known.
const KNOWN: usize = 1000;

/// Σ x ln(x / wh) − x + wh.
pub(crate) fn of(rows: ArrayView2<'_, f64>, weights: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> f64 {
    let blocks = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().zip(weights.axis_chunks_iter(Axis(0), BLOCK));
    let term = |(x, e): (&f64, &f64)| if *x > 0.0 { x * (x / e.max(LEAST)).ln() - x + e } else { *e };
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
    out.zip_mut_with(&rows, |e, x| *e = if *x > 0.0 { x / e.max(LEAST) } else { 0.0 });
    out
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

/// W of rows, of components that are known.
pub(crate) fn weights(rows: ArrayView2<'_, f64>, components: ArrayView2<'_, f64>) -> Array2<f64> {
    let k = components.nrows() as f64;
    let mut weights = Array2::zeros((rows.nrows(), components.nrows()));
    let blocks = weights.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks.zip(rows.axis_chunks_iter(Axis(0), BLOCK)).for_each(|(mut w, x)| {
        let sums = x.sum_axis(Axis(1)) / k;
        w.axis_iter_mut(Axis(1)).for_each(|mut column| column.assign(&sums));
        for _ in 0..KNOWN {
            let before = w.to_owned();
            updated(x, w.view_mut(), components);
            let change = (&w - &before).mapv(f64::abs).sum();
            if change <= 1e-8 * before.sum() {
                break;
            }
        }
    });
    weights
}
