//! Inner loops over f32, written once over a vector type, which `pulp` compiles for the widest instructions the machine has.

use pulp::{Arch, Simd, WithSimd};

/// Dot products of each of the `rows`, of `d` numbers, with each of the `centres`; (rows, centres).
pub(crate) fn dots(rows: &[f32], d: usize, centres: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(Dots { rows, d, centres, out });
}

/// Adds Wᵀ·X to `out` (K, D), of `rows` X of `d` numbers and as many `weights` W of K.
pub(crate) fn add_products(rows: &[f32], d: usize, weights: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(AddProducts { rows, d, weights, out });
}

struct Dots<'a> {
    rows: &'a [f32],
    d: usize,
    centres: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, d, centres, out } = self;
        let k = centres.len() / d;
        for (row, out) in rows.chunks_exact(d).zip(out.chunks_exact_mut(k)) {
            let mut done = 0;
            while done + 4 <= k {
                let four: [&[f32]; 4] = [0, 1, 2, 3].map(|c| &centres[(done + c) * d..][..d]);
                out[done..done + 4].copy_from_slice(&dots_with(simd, row, four));
                done += 4;
            }
            while done < k {
                [out[done]] = dots_with(simd, row, [&centres[done * d..][..d]]);
                done += 1;
            }
        }
    }
}

#[inline(always)]
fn dots_with<S: Simd, const C: usize>(simd: S, row: &[f32], centres: [&[f32]; C]) -> [f32; C] {
    let (row, row_tail) = S::as_simd_f32s(row);
    let centres = centres.map(S::as_simd_f32s);
    let mut sums = [simd.splat_f32s(0.0); C];
    for (at, x) in row.iter().enumerate() {
        for c in 0..C {
            sums[c] = simd.mul_add_f32s(*x, centres[c].0[at], sums[c]);
        }
    }
    let mut out = [0.0; C];
    for c in 0..C {
        out[c] = simd.reduce_sum_f32s(sums[c]);
        for (x, y) in row_tail.iter().zip(centres[c].1) {
            out[c] += x * y;
        }
    }
    out
}

struct AddProducts<'a> {
    rows: &'a [f32],
    d: usize,
    weights: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, d, weights, out } = self;
        let k = out.len() / d;
        // Four rows at once, so that what is added to is read and written a fourth as often.
        let (four, of_four) = (rows.chunks_exact(4 * d), weights.chunks_exact(4 * k));
        let (rest, of_rest) = (four.remainder(), of_four.remainder());
        for (x, w) in four.zip(of_four) {
            let x: [&[f32]; 4] = [0, 1, 2, 3].map(|r| &x[r * d..][..d]);
            for (c, out) in out.chunks_exact_mut(d).enumerate() {
                add(simd, x, [w[c], w[k + c], w[2 * k + c], w[3 * k + c]], out);
            }
        }
        for (x, w) in rest.chunks_exact(d).zip(of_rest.chunks_exact(k)) {
            for (out, w) in out.chunks_exact_mut(d).zip(w) {
                add(simd, [x], [*w], out);
            }
        }
    }
}

#[inline(always)]
fn add<S: Simd, const R: usize>(simd: S, rows: [&[f32]; R], weights: [f32; R], out: &mut [f32]) {
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    let rows = rows.map(S::as_simd_f32s);
    let lanes = weights.map(|w| simd.splat_f32s(w));
    for (at, out) in out.iter_mut().enumerate() {
        for r in 0..R {
            *out = simd.mul_add_f32s(lanes[r], rows[r].0[at], *out);
        }
    }
    for (at, out) in out_tail.iter_mut().enumerate() {
        for r in 0..R {
            *out += weights[r] * rows[r].1[at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_sums_of_products() {
        for (n, d, k) in [(3, 1, 1), (2, 15, 3), (5, 16, 4), (4, 50, 9)] {
            let value = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let rows: Vec<f32> = (0..n * d).map(value).collect();
            let centres: Vec<f32> = (0..k * d).map(|i| value(i + 5)).collect();
            let mut found = vec![0.0; n * k];
            dots(&rows, d, &centres, &mut found);
            for (i, found) in found.iter().enumerate() {
                let (row, centre) = (&rows[i / k * d..][..d], &centres[i % k * d..][..d]);
                assert_eq!(*found, row.iter().zip(centre).map(|(a, b)| a * b).sum::<f32>());
            }
        }
    }

    #[test]
    fn products_are_added() {
        for (n, d, k) in [(1, 1, 1), (7, 5, 3), (8, 33, 2)] {
            let value = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let rows: Vec<f32> = (0..n * d).map(value).collect();
            let weights: Vec<f32> = (0..n * k).map(|i| value(i + 3)).collect();
            let mut found = vec![2.0; k * d];
            add_products(&rows, d, &weights, &mut found);
            for (i, found) in found.iter().enumerate() {
                let sum: f32 = (0..n).map(|r| weights[r * k + i / d] * rows[r * d + i % d]).sum();
                assert_eq!(*found, 2.0 + sum);
            }
        }
    }
}
