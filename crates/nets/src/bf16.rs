//! Matrix products of one block of rows in bf16, summed in f32: activations are kept twice, in pairs along columns as the
//! left factor of the next layer, and in pairs along rows for the products summed over rows.
#![allow(unsafe_code, reason = "tiles of registers over pointers; every entry checks the lengths first")]

use crate::Activation;
use crate::blocks::{HIGH, Multiply, Start, Tile, WIDE, in_tiles, lanes, tile};
use crate::maths::dispatch;
use crate::simd::Simd;

/// Widths of layers are filled up with zeros to a multiple of this, so that all tiles are whole.
pub(crate) const WHOLE: usize = 32;

/// Activations of a block.
#[derive(Clone, Debug)]
pub(crate) struct Half {
    /// A multiple of [`WHOLE`].
    width: usize,
    /// Row by row.
    rows: Vec<u16>,
    /// Rows 2p (lower half) and 2p + 1 (upper half) together.
    pairs: Vec<u32>,
    /// As `rows`, of activations that keep their slopes, else empty.
    slopes: Vec<u16>,
}

impl Half {
    /// For so many rows, an even number.
    pub(crate) fn new(rows: usize, width: usize, activation: Activation) -> Self {
        assert!(rows.is_multiple_of(2) && width.is_multiple_of(WHOLE), "{rows}×{width}");
        let slopes = if activation.keeps_slope() { rows * width } else { 0 };
        Self { width, rows: vec![0; rows * width], pairs: vec![0; rows / 2 * width], slopes: vec![0; slopes] }
    }

    /// What the slopes of the activation are made of.
    fn kept(&self) -> &[u16] {
        if self.slopes.is_empty() { &self.rows } else { &self.slopes }
    }
}

/// A matrix in panels of columns, two rows of it together.
#[derive(Clone, Debug)]
pub(crate) struct HalfPanels {
    k: usize,
    n: usize,
    width: usize,
    values: Vec<u32>,
}

impl HalfPanels {
    /// From a row-major k×n matrix, both multiples of [`WHOLE`].
    pub(crate) fn new(matrix: &[f32], k: usize, n: usize) -> Self {
        Self::of(k, n, |row, column| matrix[row * n + column])
    }

    /// The transpose of a row-major n×k matrix.
    pub(crate) fn transposed(matrix: &[f32], n: usize, k: usize) -> Self {
        Self::of(k, n, |row, column| matrix[column * k + row])
    }

    fn of(k: usize, n: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let width = WIDE * lanes();
        assert!(k.is_multiple_of(WHOLE) && n.is_multiple_of(WHOLE), "{k}×{n}");
        let mut values = Vec::with_capacity(k * n / 2);
        for from in (0..n).step_by(width) {
            for row in (0..k).step_by(2) {
                values.extend((from..from + width).map(|c| pair(at(row, c), at(row + 1, c))));
            }
        }
        Self { k, n, width, values }
    }
}

/// Two numbers in bf16, the second in the upper half.
fn pair(low: f32, up: f32) -> u32 {
    let bits = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    bits(low) | bits(up) << 16
}

/// Pairs of bf16, multiplied in f32: for CPUs without instructions for them.
struct Split;

impl Multiply for Split {
    #[inline(always)]
    unsafe fn fused<V: Simd>(left: V, right: V, sum: V) -> V {
        // SAFETY: as the caller vouches.
        unsafe { left.upper().fused(right.upper(), left.lower().fused(right.lower(), sum)) }
    }
}

/// Pairs of bf16 by AVX512-BF16.
#[cfg(target_arch = "x86_64")]
struct Native;

#[cfg(target_arch = "x86_64")]
impl Multiply for Native {
    #[inline(always)]
    unsafe fn fused<V: Simd>(left: V, right: V, sum: V) -> V {
        use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
        use std::mem::transmute_copy;
        const { assert!(size_of::<V>() == size_of::<__m512>()) }
        // SAFETY: V is a vector of 512 bits, as asserted; the caller vouches for AVX512-BF16.
        unsafe {
            let bf16 = |v: &V| transmute_copy::<V, __m512bh>(v);
            let sum = _mm512_dpbf16_ps(transmute_copy::<V, __m512>(&sum), bf16(&left), bf16(&right));
            transmute_copy::<__m512, V>(&sum)
        }
    }
}

/// What becomes of the elements of a product, before they are rounded.
#[derive(Clone, Copy)]
pub(crate) enum HalfFinish<'a> {
    /// f of each.
    Activate(Activation),
    /// Each times f′, from outputs of f.
    Chain(Activation, &'a Half),
}

impl HalfFinish<'_> {
    /// Finishes the numbers that go to `to` and on; slopes go where f keeps them.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn apply<V: Simd>(self, x: V, to: usize, slopes: &mut [u16]) -> V {
        // SAFETY: as the caller vouches; the slices bound what is read and written.
        unsafe {
            match self {
                Self::Activate(activation) => {
                    if !slopes.is_empty() {
                        activation.slope_at(x).store_half(slopes[to..to + V::LANES].as_mut_ptr());
                    }
                    activation.of(x)
                }
                Self::Chain(activation, outputs) => {
                    let kept = &outputs.kept()[to..to + V::LANES];
                    x.mul(activation.slope(V::load_half(kept.as_ptr())))
                }
            }
        }
    }
}

/// C ← finish(start + A·B) of the first `m` rows, an even number.
///
/// # Safety
/// The CPU has the instructions of `V` and `K`.
#[inline(always)]
unsafe fn product_body<V: Simd, K: Multiply>(
    (a, m): (&Half, usize),
    b: &HalfPanels,
    start: Start<'_>,
    finish: HalfFinish<'_>,
    c: &mut Half,
) {
    let HalfPanels { k, n, width, ref values } = *b;
    assert!(a.width == k && c.width == n && width == WIDE * V::LANES && width <= WHOLE, "product {m}×{k}×{n}");
    assert!(m.is_multiple_of(2) && m * k <= a.rows.len() && m * n <= c.rows.len(), "product {m}×{k}×{n}");
    start.check(m, n);
    if let HalfFinish::Chain(_, outputs) = finish {
        assert!(outputs.width == n && outputs.rows.len() >= m * n, "slopes of {m}×{n}");
    }
    let mut part = [[0.0f32; WHOLE]; HIGH];
    for (panel, values) in values.chunks_exact((width * k / 2).max(1)).enumerate() {
        let from = panel * width;
        in_tiles!(m, |row, M| {
            let factors = Tile {
                k: k / 2,
                a: a.rows[row * k..].as_ptr().cast(),
                a_row: k / 2,
                a_step: 1,
                b: values.as_ptr().cast(),
                b_step: width,
                c: part.as_mut_ptr().cast(),
                c_row: WHOLE,
                columns: width,
            };
            // SAFETY: the assertions above bound every element; all widths are whole tiles.
            unsafe {
                tile::<V, K, M, true>(&factors, start.at(row, from, n, part.as_ptr().cast()));
                for (p, rows) in part.chunks_exact(2).enumerate().take(M / 2) {
                    for at in (0..width).step_by(V::LANES) {
                        let (to, pair) = ((row + 2 * p) * n + from + at, (row / 2 + p) * n + from + at);
                        let low = finish.apply(V::get(&rows[0][at..]), to, &mut c.slopes);
                        let up = finish.apply(V::get(&rows[1][at..]), to + n, &mut c.slopes);
                        low.store_half(c.rows[to..to + V::LANES].as_mut_ptr());
                        up.store_half(c.rows[to + n..to + n + V::LANES].as_mut_ptr());
                        low.pairs(up).store(c.pairs[pair..pair + V::LANES].as_mut_ptr().cast());
                    }
                }
            }
        });
    }
}

/// C ← C + Aᵀ·B over the first `rows` rows, an even number.
///
/// # Safety
/// The CPU has the instructions of `V` and `K`.
#[inline(always)]
unsafe fn add_transposed_body<V: Simd, K: Multiply>(a: &Half, b: &Half, rows: usize, c: &mut [f32]) {
    let (m, n) = (a.width, b.width);
    assert!(rows.is_multiple_of(2) && c.len() == m * n, "product {m}×{rows}×{n}");
    assert!(rows / 2 * m <= a.pairs.len() && rows / 2 * n <= b.pairs.len(), "product {m}×{rows}×{n}");
    let width = WIDE * V::LANES;
    for from in (0..n).step_by(width) {
        in_tiles!(m, |row, M| {
            let c = c[row * n + from..].as_mut_ptr();
            let factors = Tile {
                k: rows / 2,
                a: a.pairs[row..].as_ptr().cast(),
                a_row: 1,
                a_step: m,
                b: b.pairs[from..].as_ptr().cast(),
                b_step: n,
                c,
                c_row: n,
                columns: width,
            };
            // SAFETY: the assertions above bound every element; all widths are whole tiles.
            unsafe { tile::<V, K, M, true>(&factors, Some((c.cast_const(), n))) }
        });
    }
}

/// Adds the first `rows` rows, an even number, to `sums`.
#[inline(always)]
unsafe fn add_rows_body<V: Simd>(a: &Half, rows: usize, sums: &mut [f32]) {
    assert!(sums.len() == a.width, "{} sums of rows of {}", sums.len(), a.width);
    for at in (0..a.width).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only; each pair row has whole vectors.
        unsafe {
            let mut sum = V::get(&sums[at..]);
            for row in a.pairs.chunks_exact(a.width).take(rows / 2) {
                let both = V::load(row[at..at + V::LANES].as_ptr().cast());
                sum = sum.add(both.lower().add(both.upper()));
            }
            sum.put(&mut sums[at..]);
        }
    }
}

/// Rounds rows, and their slopes if there are any, into `to` from its row `at`, an even number, on; an odd last row is
/// followed by one of zeros.
#[inline(always)]
unsafe fn pack_body<V: Simd>(values: &[f32], slopes: &[f32], at: usize, to: &mut Half) {
    let width = to.width;
    for (p, rows) in values.chunks(2 * width).enumerate() {
        for from in (0..width).step_by(V::LANES) {
            // SAFETY: called by `dispatch!` only; each row has whole vectors.
            unsafe {
                let low = V::get(&rows[from..]);
                let up = if rows.len() > width { V::get(&rows[width + from..]) } else { V::splat(0.0) };
                let row = (at + 2 * p) * width + from;
                low.store_half(to.rows[row..row + V::LANES].as_mut_ptr());
                up.store_half(to.rows[row + width..row + width + V::LANES].as_mut_ptr());
                let both = (at / 2 + p) * width + from;
                low.pairs(up).store(to.pairs[both..both + V::LANES].as_mut_ptr().cast());
            }
        }
    }
    for from in (0..slopes.len()).step_by(V::LANES) {
        let to = &mut to.slopes[at * width + from..][..V::LANES];
        // SAFETY: called by `dispatch!` only; each row has whole vectors.
        unsafe { V::get(&slopes[from..]).store_half(to.as_mut_ptr()) }
    }
}

/// Rows from `at` on in f32, as many as `to` holds, and what their slopes are made of.
#[inline(always)]
unsafe fn unpack_body<V: Simd>(from: &Half, at: usize, to: &mut [f32], kept: &mut [f32]) {
    let begin = at * from.width;
    for (values, to) in [(&from.rows[..], to), (from.kept(), kept)] {
        for at in (0..to.len()).step_by(V::LANES) {
            let values = &values[begin + at..][..V::LANES];
            // SAFETY: called by `dispatch!` only; each row has whole vectors.
            unsafe { V::load_half(values.as_ptr()).put(&mut to[at..]) }
        }
    }
}

/// Compiles a product for AVX512-BF16 and for all instruction sets without it, and picks at run time.
macro_rules! with_pairs {
    ($vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident, else $split:ident) => {
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            if native() {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")]
                fn native($($arg: $ty),*) {
                    // SAFETY: compiled for the instructions of the vector and of the products.
                    unsafe { $body::<crate::simd::x86::__m512, Native>($($arg),*) }
                }
                // SAFETY: `native` has found AVX512-BF16, and `level` the rest.
                return unsafe { native($($arg),*) };
            }
            $split($($arg),*);
        }
    };
}

/// Whether products of bf16 have instructions of their own, so that they are faster than those of f32.
pub(crate) fn native() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static NATIVE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *NATIVE.get_or_init(|| {
            crate::maths::level() == crate::maths::Level::Avx512 && is_x86_feature_detected!("avx512bf16")
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[inline(always)]
unsafe fn product_split_body<V: Simd>(
    a: (&Half, usize),
    b: &HalfPanels,
    start: Start<'_>,
    finish: HalfFinish<'_>,
    c: &mut Half,
) {
    // SAFETY: called by `dispatch!` only.
    unsafe { product_body::<V, Split>(a, b, start, finish, c) }
}

#[inline(always)]
unsafe fn add_transposed_split_body<V: Simd>(a: &Half, b: &Half, rows: usize, c: &mut [f32]) {
    // SAFETY: called by `dispatch!` only.
    unsafe { add_transposed_body::<V, Split>(a, b, rows, c) }
}

dispatch!(fn product_split(
    a: (&Half, usize), b: &HalfPanels, start: Start<'_>, finish: HalfFinish<'_>, c: &mut Half,
) = product_split_body);
dispatch!(fn add_transposed_split(a: &Half, b: &Half, rows: usize, c: &mut [f32]) = add_transposed_split_body);
with_pairs!(pub(crate) fn product(
    a: (&Half, usize), b: &HalfPanels, start: Start<'_>, finish: HalfFinish<'_>, c: &mut Half,
) = product_body, else product_split);
with_pairs!(pub(crate) fn add_transposed(
    a: &Half, b: &Half, rows: usize, c: &mut [f32],
) = add_transposed_body, else add_transposed_split);
dispatch!(pub(crate) fn add_rows(a: &Half, rows: usize, sums: &mut [f32]) = add_rows_body);
dispatch!(pub(crate) fn pack(values: &[f32], slopes: &[f32], at: usize, to: &mut Half) = pack_body);
dispatch!(pub(crate) fn unpack(from: &Half, at: usize, to: &mut [f32], kept: &mut [f32]) = unpack_body);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that bf16 holds exactly, so that only the order of sums is left to differ.
    fn values(seed: u32, n: usize) -> Vec<f32> {
        let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0;
        (0..n).map(|i| half::bf16::from_f32(2.0 * number(i) - 1.0).to_f32()).collect()
    }

    fn packed(values: &[f32], rows: usize, width: usize) -> Half {
        let mut half = Half::new(rows.next_multiple_of(2), width, Activation::Identity);
        pack(values, &[], 0, &mut half);
        half
    }

    fn unpacked(half: &Half, rows: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows * half.width];
        unpack(half, 0, &mut values, &mut []);
        values
    }

    proptest! {
        #[test]
        fn products_agree_with_their_definition(rows in 1usize..40, k in 1usize..4, n in 1usize..4, seed: u32, kind in 0usize..6) {
            let (k, n, even) = (WHOLE * k, WHOLE * n, rows.next_multiple_of(2));
            let activation = Activation::ALL[kind];
            let (a, w, bias) = (values(seed, rows * k), values(seed ^ 1, k * n), values(seed ^ 2, n));
            let (left, panels) = (packed(&a, rows, k), HalfPanels::new(&w, k, n));
            prop_assert_eq!(&unpacked(&left, rows), &a);
            let exact = |row: usize, column: usize| -> f64 {
                (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(w[i * n + column])).sum::<f64>() + f64::from(bias[column])
            };
            let mut out = Half::new(even, n, activation);
            product((&left, even), &panels, Start::Row(&bias), HalfFinish::Activate(activation), &mut out);
            let gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044715 * x.powi(3))).tanh());
            for (i, found) in unpacked(&out, rows).into_iter().enumerate() {
                let x = exact(i / n, i % n);
                let expected = match activation {
                    Activation::Identity => x,
                    Activation::Tanh => x.tanh(),
                    Activation::Relu => x.max(0.0),
                    Activation::LeakyRelu => x.max(0.01 * x),
                    Activation::Softplus => x.exp().ln_1p(),
                    Activation::Gelu => gelu(x),
                };
                // Half a unit of the last of 8 bits, and what the sum lost.
                prop_assert!((f64::from(found) - expected).abs() < 4e-3 * expected.abs() + 1e-4, "{} {}", found, expected);
            }
            // Back through the transpose, times the slopes of the same activation.
            let delta = values(seed ^ 3, rows * n);
            let above = packed(&delta, rows, n);
            let mut outputs = packed(&a, rows, k);
            if activation.keeps_slope() {
                outputs.slopes = outputs.rows.clone();
            }
            let mut below = Half::new(even, k, Activation::Identity);
            let transposed = HalfPanels::transposed(&w, k, n);
            product((&above, even), &transposed, Start::Zero, HalfFinish::Chain(activation, &outputs), &mut below);
            for (i, found) in unpacked(&below, rows).into_iter().enumerate() {
                let (row, input, h) = (i / k, i % k, f64::from(a[i]));
                let sum: f64 = (0..n).map(|o| f64::from(delta[row * n + o]) * f64::from(w[input * n + o])).sum();
                let slope = match activation {
                    Activation::Identity => 1.0,
                    Activation::Tanh => 1.0 - h * h,
                    Activation::Relu => f64::from(h > 0.0),
                    Activation::LeakyRelu => if h > 0.0 { 1.0 } else { 0.01 },
                    Activation::Softplus => 1.0 - (-h).exp(),
                    Activation::Gelu => h,
                };
                let expected = sum * slope;
                prop_assert!((f64::from(found) - expected).abs() < 4e-3 * expected.abs() + 1e-4, "{} {}", found, expected);
            }
            let (mut dw, mut db) = (values(seed ^ 4, k * n), values(seed ^ 5, n));
            let (dw_before, db_before) = (dw.clone(), db.clone());
            add_transposed(&left, &above, even, &mut dw);
            add_rows(&above, even, &mut db);
            for (i, found) in dw.into_iter().enumerate() {
                let sum: f64 = (0..rows).map(|r| f64::from(a[r * k + i / n]) * f64::from(delta[r * n + i % n])).sum();
                prop_assert!((f64::from(found) - sum - f64::from(dw_before[i])).abs() < 1e-4);
            }
            for (o, found) in db.into_iter().enumerate() {
                let sum: f64 = (0..rows).map(|r| f64::from(delta[r * n + o])).sum();
                prop_assert!((f64::from(found) - sum - f64::from(db_before[o])).abs() < 1e-4);
            }
        }

        #[test]
        fn rounding_is_to_the_nearest(x in proptest::num::f32::NORMAL) {
            let mut half = Half::new(2, WHOLE, Activation::Identity);
            pack(&[x; 2 * WHOLE], &[], 0, &mut half);
            let expected = half::bf16::from_f32(x).to_bits();
            prop_assert!(half.rows.iter().all(|h| *h == expected));
            prop_assert!(half.pairs.iter().all(|p| *p == u32::from(expected) * 0x1_0001));
        }
    }
}
