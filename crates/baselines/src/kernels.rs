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
        // Two rows at once, so that a centre is read half as often.
        let (two, mut of_two) = (rows.chunks_exact(2 * d), out.chunks_exact_mut(2 * k));
        let rest = two.remainder();
        for (x, out) in two.zip(&mut of_two) {
            let (first, second) = out.split_at_mut(k);
            along(simd, [&x[..d], &x[d..]], centres, [first, second]);
        }
        if !rest.is_empty() {
            along(simd, [rest], centres, [of_two.into_remainder()]);
        }
    }
}

#[inline(always)]
fn along<S: Simd, const R: usize>(simd: S, rows: [&[f32]; R], centres: &[f32], out: [&mut [f32]; R]) {
    let (d, k) = (rows[0].len(), out[0].len());
    let mut done = 0;
    while done + 4 <= k {
        let [a, b, c, e] = [0, 1, 2, 3].map(|c| (done + c) * d);
        let four = [&centres[a..][..d], &centres[b..][..d], &centres[c..][..d], &centres[e..][..d]];
        let sums = dots_with(simd, rows, four);
        for r in 0..R {
            out[r][done..done + 4].copy_from_slice(&sums[r]);
        }
        done += 4;
    }
    while done < k {
        let sums = dots_with(simd, rows, [&centres[done * d..][..d]]);
        for r in 0..R {
            [out[r][done]] = sums[r];
        }
        done += 1;
    }
}

/// Slices of as many numbers, whole vectors and what is left. (What `map` calls is not compiled for the wide instructions.)
#[inline(always)]
fn split<S: Simd, const N: usize>(slices: [&[f32]; N]) -> ([&[S::f32s]; N], [&[f32]; N]) {
    let (mut vectors, mut tails): ([&[S::f32s]; N], [&[f32]; N]) = ([&[]; N], [&[]; N]);
    for n in 0..N {
        (vectors[n], tails[n]) = S::as_simd_f32s(slices[n]);
        vectors[n] = &vectors[n][..vectors[0].len()];
    }
    (vectors, tails)
}

#[inline(always)]
fn dots_with<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    centres: [&[f32]; C],
) -> [[f32; C]; R] {
    let ((rows, row_tails), (centres, tails)) = (split::<S, R>(rows), split::<S, C>(centres));
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for at in 0..rows[0].len() {
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = simd.mul_add_f32s(rows[r][at], centres[c][at], sums[r][c]);
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for r in 0..R {
        for c in 0..C {
            out[r][c] = simd.reduce_sum_f32s(sums[r][c]);
            for (x, y) in row_tails[r].iter().zip(tails[c]) {
                out[r][c] += x * y;
            }
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
            let x = [&x[..d], &x[d..2 * d], &x[2 * d..3 * d], &x[3 * d..]];
            let of = |c: usize| [w[c], w[k + c], w[2 * k + c], w[3 * k + c]];
            let mut pairs = out.chunks_exact_mut(2 * d);
            for (pair, out) in (&mut pairs).enumerate() {
                let (first, second) = out.split_at_mut(d);
                add(simd, x, [of(2 * pair), of(2 * pair + 1)], [first, second]);
            }
            let last = pairs.into_remainder();
            if !last.is_empty() {
                add(simd, x, [of(k - 1)], [last]);
            }
        }
        for (x, w) in rest.chunks_exact(d).zip(of_rest.chunks_exact(k)) {
            for (out, w) in out.chunks_exact_mut(d).zip(w) {
                add(simd, [x], [[*w]], [out]);
            }
        }
    }
}

#[inline(always)]
fn add<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    weights: [[f32; R]; C],
    out: [&mut [f32]; C],
) {
    let (rows, tails) = split::<S, R>(rows);
    let n = rows[0].len();
    let mut lanes = [[simd.splat_f32s(0.0); R]; C];
    let (mut vectors, mut rests): ([&mut [S::f32s]; C], [&mut [f32]; C]) =
        ([(); C].map(|()| &mut [][..]), [(); C].map(|()| &mut [][..]));
    for (c, out) in out.into_iter().enumerate() {
        let (vector, rest) = S::as_mut_simd_f32s(out);
        (vectors[c], rests[c]) = (&mut vector[..n], rest);
        for r in 0..R {
            lanes[c][r] = simd.splat_f32s(weights[c][r]);
        }
    }
    for at in 0..n {
        for c in 0..C {
            let mut sum = vectors[c][at];
            for r in 0..R {
                sum = simd.mul_add_f32s(lanes[c][r], rows[r][at], sum);
            }
            vectors[c][at] = sum;
        }
    }
    for c in 0..C {
        for (at, out) in rests[c].iter_mut().enumerate() {
            for r in 0..R {
                *out += weights[c][r] * tails[r][at];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_sums_of_products() {
        for (n, d, k) in [(3, 1, 1), (2, 15, 3), (5, 16, 4), (4, 50, 9), (1, 40, 6)] {
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
        for (n, d, k) in [(1, 1, 1), (7, 5, 3), (8, 33, 2), (6, 16, 5)] {
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
