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
}
