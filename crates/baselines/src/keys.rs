//! A number that equal rows share.

use ndarray::ArrayView1;

/// Hash of the bits of a row, in which −0 and 0 are one number; the same on every machine and in every release, so that
/// draws may depend on it.
///
/// Two chains of the finaliser of splitmix64: rows that differ share both by a chance of 2⁻¹²⁸.
///
/// Reference: Steele, Lea & Flood 2014, OOPSLA, 453.
pub(crate) fn key(row: ArrayView1<'_, f64>) -> u128 {
    let start = (0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c908);
    let (low, high) = row.iter().fold(start, |(low, high), v| {
        let bits = (v + 0.0).to_bits();
        (mixed(low ^ bits), mixed(high ^ bits))
    });
    u128::from(high) << 64 | u128::from(low)
}

/// The finaliser of splitmix64.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ndarray::{Array2, aview1};

    use super::*;

    #[test]
    fn equal_rows_have_one_key_that_never_changes() {
        // By the same steps in Python.
        let pinned = 0x7da5_4ab3_3ca0_a662_6681_21c6_9d23_2bd1;
        assert_eq!(key(aview1(&[1.0, -2.5, 0.0])), pinned);
        assert_eq!(key(aview1(&[1.0, -2.5, -0.0])), pinned);
    }

    #[test]
    fn rows_that_differ_have_keys_that_differ_in_either_half() {
        let rows = Array2::from_shape_fn((4096, 3), |(i, j)| ((i >> (4 * j)) & 15) as f64);
        let keys: Vec<u128> = rows.rows().into_iter().map(key).collect();
        for half in [0, 64] {
            let halves: HashSet<u64> = keys.iter().map(|k| (k >> half) as u64).collect();
            assert_eq!(halves.len(), 4096);
        }
    }
}
