//! Inner loops over f32, written over arrays of lanes, which `pulp` compiles for the widest instructions the machine has.

use pulp::Arch;

const LANES: usize = 16;

/// Dot products of `row` with each of the `centres`, which lie one after the other.
#[inline(always)]
fn dots_of(row: &[f32], centres: &[f32], out: &mut [f32]) {
    let d = row.len();
    let mut done = 0;
    while done + 4 <= out.len() {
        let four: [&[f32]; 4] = std::array::from_fn(|c| &centres[(done + c) * d..][..d]);
        out[done..done + 4].copy_from_slice(&dots_with(row, four));
        done += 4;
    }
    for (k, out) in out.iter_mut().enumerate().skip(done) {
        [*out] = dots_with(row, [&centres[k * d..][..d]]);
    }
}

#[inline(always)]
fn dots_with<const C: usize>(row: &[f32], centres: [&[f32]; C]) -> [f32; C] {
    let mut sums = [[0.0f32; LANES]; C];
    let whole = row.len() / LANES * LANES;
    let mut at = 0;
    while at < whole {
        let x: &[f32; LANES] = row[at..].first_chunk().unwrap_or(&[0.0; LANES]);
        for (sum, centre) in sums.iter_mut().zip(&centres) {
            let c: &[f32; LANES] = centre[at..].first_chunk().unwrap_or(&[0.0; LANES]);
            for lane in 0..LANES {
                sum[lane] = x[lane].mul_add(c[lane], sum[lane]);
            }
        }
        at += LANES;
    }
    std::array::from_fn(|k| {
        let tail = row[whole..].iter().zip(&centres[k][whole..]).map(|(a, b)| a * b).sum::<f32>();
        // Halved again and again, as the lanes of a register are.
        let mut sum = sums[k];
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                sum[lane] += sum[lane + width];
            }
        }
        sum[0] + tail
    })
}

/// Dot products of each of the `rows`, of `d` numbers, with each of the `centres`; (rows, centres).
pub(crate) fn dots(rows: &[f32], d: usize, centres: &[f32], out: &mut [f32]) {
    let k = centres.len() / d;
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, out) in rows.chunks_exact(d).zip(out.chunks_exact_mut(k)) {
                dots_of(row, centres, out);
            }
        },
    );
}

/// Adds Wᵀ·X to `out` (K, D), of `rows` X of `d` numbers and as many `weights` W of K.
pub(crate) fn add_products(rows: &[f32], d: usize, weights: &[f32], out: &mut [f32]) {
    let k = out.len() / d;
    Arch::new().dispatch(
        #[inline(always)]
        || {
            // Four rows at once, so that what is added to is read and written a fourth as often.
            let (four, rest) = (rows.chunks_exact(4 * d), rows.chunks_exact(4 * d).remainder());
            let of_rest = weights.chunks_exact(4 * k).remainder();
            for (x, w) in four.zip(weights.chunks_exact(4 * k)) {
                let [x0, x1, x2, x3]: [&[f32]; 4] = std::array::from_fn(|r| &x[r * d..][..d]);
                for (c, out) in out.chunks_exact_mut(d).enumerate() {
                    let [w0, w1, w2, w3]: [f32; 4] = std::array::from_fn(|r| w[r * k + c]);
                    for ((((out, x0), x1), x2), x3) in out.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
                        *out = w3.mul_add(*x3, w2.mul_add(*x2, w1.mul_add(*x1, w0.mul_add(*x0, *out))));
                    }
                }
            }
            for (x, w) in rest.chunks_exact(d).zip(of_rest.chunks_exact(k)) {
                for (out, w) in out.chunks_exact_mut(d).zip(w) {
                    out.iter_mut().zip(x).for_each(|(out, x)| *out = w.mul_add(*x, *out));
                }
            }
        },
    );
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
