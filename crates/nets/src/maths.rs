//! Elementwise functions of vectors, and functions compiled once per instruction set. Each instruction set repeats its own
//! bits; between two of them the last ones differ.
#![allow(unsafe_code, reason = "vector instructions, and functions compiled for them called after detecting them")]

use crate::simd::Simd;

/// Compiles a function generic over the vector for AVX-512, AVX2 and the baseline, and picks at run time.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: compiled for the instructions of the vector.
                    unsafe { $body::<$crate::simd::x86::__m512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: compiled for the instructions of the vector.
                    unsafe { $body::<$crate::simd::x86::__m256>($($arg),*) }
                }
                match $crate::maths::level() {
                    // SAFETY: `level` has found AVX-512 F, DQ, VL and BW, AVX2 and FMA on this CPU.
                    $crate::maths::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` has found AVX2 and FMA on this CPU.
                    $crate::maths::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::maths::Level::Portable => {}
                }
            }
            // SAFETY: plain arithmetic runs everywhere.
            unsafe { $body::<$crate::simd::Plain>($($arg),*) }
        }
    };
}
pub(crate) use dispatch;

/// Instruction sets the elementwise functions are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best instruction set of this CPU, or a lower one if `PARSIMON_SIMD` is `avx2` or `portable`.
pub(crate) fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wish = std::env::var("PARSIMON_SIMD").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma");
            if wide && !matches!(wish.as_str(), "avx2" | "portable") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && wish != "portable" {
                return Level::Avx2;
            }
        }
        let _ = wish;
        Level::Portable
    })
}

/// A polynomial, highest power first (Horner's scheme).
#[inline(always)]
unsafe fn polynomial<V: Simd, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let mut sum = V::splat(coefficients[0]);
        for c in &coefficients[1..] {
            sum = sum.fused(x, V::splat(*c));
        }
        sum
    }
}

/// eˣ to 2 ulp for x in [−87, 88], limited outside.
#[inline(always)]
pub(crate) unsafe fn exp<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe { exp_within(x.at_least(V::splat(-87.0)).at_most(V::splat(88.0))) }
}

/// As [`exp`], for x known to be in its range.
#[inline(always)]
unsafe fn exp_within<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        // eˣ = 2ⁿ eʳ with |r| ≤ ln 2 / 2; ln 2 in two parts keeps r exact.
        let whole = V::splat(12_582_912.0);
        let shifted = x.fused(V::splat(std::f32::consts::LOG2_E), whole);
        let n = shifted.sub(whole);
        let r = n.fused(V::splat(2.121_944_4e-4), n.fused(V::splat(-0.693_359_4), x));
        let p = polynomial(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
        p.mul(shifted.power_of_two())
    }
}

/// tanh x to an absolute error below 3·10⁻⁷.
#[inline(always)]
pub(crate) unsafe fn tanh<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let limited = x.at_least(V::splat(-10.0)).at_most(V::splat(10.0));
        let one = V::splat(1.0);
        V::splat(-2.0).fused(exp_within(limited.add(limited)).add(one).reciprocal(), one)
    }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let one = V::splat(1.0);
        one.add(exp(V::splat(0.0).sub(x))).reciprocal()
    }
}

/// ln(1 + eˣ), without overflow.
#[inline(always)]
pub(crate) unsafe fn softplus<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let zero = V::splat(0.0);
        let minus = zero.sub(x);
        let t = exp(x.at_most(minus));
        x.at_least(zero).add(ln_beyond(t))
    }
}

/// ln(1 + t) for t from √½ − 1 to 1.
#[inline(always)]
unsafe fn ln_beyond<V: Simd>(t: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        // 2 artanh(t / (2+t)), whose argument is at most 1/3.
        let s = t.mul(V::splat(2.0).add(t).reciprocal());
        let p = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
        s.add(s).mul(polynomial(s.mul(s), p))
    }
}

/// ln x of normal numbers above 0.
#[inline(always)]
pub(crate) unsafe fn ln<V: Simd>(x: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let (mantissa, n) = x.parts();
        // ln 2 in two parts, the first of which has few digits, keeps the sum exact.
        let rest = n.fused(V::splat(-2.121_944_4e-4), ln_beyond(mantissa.sub(V::splat(1.0))));
        n.fused(V::splat(0.693_359_4), rest)
    }
}

/// ln n! = ln Γ(n + 1), n from 0 on.
#[inline(always)]
pub(crate) unsafe fn ln_factorial<V: Simd>(n: V) -> V {
    // SAFETY: as the vector's methods say.
    unsafe {
        let number = V::splat;
        // Stirling's series is exact enough from 8 on: n! = (n + 8)! / (n+1)(n+2)…(n+8).
        let few = number(16.0).sub(n);
        let y = few.if_positive(n.add(number(8.0)), n);
        let mut product = n.add(number(1.0));
        for i in 2..=8 {
            product = product.mul(n.add(number(i as f32)));
        }
        let below = few.if_positive(ln(product), number(0.0));
        let turn = y.reciprocal();
        let series = polynomial(turn.mul(turn), [1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0]).mul(turn);
        // ½ ln 2π.
        let series = series.add(number(0.918_938_5));
        y.add(number(0.5)).mul(ln(y)).sub(y).add(series).sub(below)
    }
}

/// ln((e^ℓ − 1)/ℓ), the integral of e^ℓx over x from 0 to 1, and its derivative, the mean of x.
#[inline(always)]
pub(crate) unsafe fn ln_partition<V: Simd>(l: V) -> (V, V) {
    // SAFETY: as the vector's methods say.
    unsafe {
        let number = V::splat;
        let (zero, half, one) = (number(0.0), number(0.5), number(1.0));
        let size = l.at_least(zero.sub(l));
        // Where differences cancel: ℓ/2 + ℓ²/24 − ℓ⁴/2880 + ….
        let (square, near) = (l.mul(l), l.at_least(number(-1.0)).at_most(one));
        let near_square = near.mul(near);
        let even = [-1.0 / 9_676_800.0, 1.0 / 181_440.0, -1.0 / 2880.0, 1.0 / 24.0];
        let odd = [1.0 / 47_900_160.0, -1.0 / 1_209_600.0, 1.0 / 30_240.0, -1.0 / 720.0, 1.0 / 12.0];
        let near_value = half.fused(near, polynomial(near_square, even).mul(near_square));
        let near_mean = polynomial(near_square, odd).fused(near, half);
        // Elsewhere max(ℓ, 0) + ln((1 − e^−|ℓ|)/|ℓ|), and for the mean 1/(1 − e^−|ℓ|) − 1/|ℓ| or what is left to 1.
        let far = size.at_least(one).at_most(number(1e30));
        let (turn, room) = (far.reciprocal(), one.sub(exp(zero.sub(far))));
        let far_value = l.at_least(zero).add(ln(room.mul(turn)));
        let upper = room.reciprocal().sub(turn);
        let far_mean = l.if_positive(upper, one.sub(upper));
        let is_far = square.sub(one);
        (is_far.if_positive(far_value, near_value), is_far.if_positive(far_mean, near_mean))
    }
}

const LANES: usize = 16;

/// Σ aᵢ·bᵢ over the shorter slice, summed in 16 lanes so that it vectorises and never depends on the machine.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (wide_a, rest_a) = a.as_chunks::<LANES>();
    let (wide_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in wide_a.iter().zip(wide_b) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    let tail: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe fn each<V: Simd>(function: usize, values: &mut [f32]) {
        unsafe fn value<V: Simd>(l: V) -> V {
            // SAFETY: called by `dispatch!` only.
            unsafe { ln_partition(l).0 }
        }
        unsafe fn mean<V: Simd>(l: V) -> V {
            // SAFETY: called by `dispatch!` only.
            unsafe { ln_partition(l).1 }
        }
        let all = [exp::<V>, tanh::<V>, sigmoid::<V>, softplus::<V>, value::<V>, mean::<V>, ln::<V>, ln_factorial::<V>];
        for values in values.chunks_mut(V::LANES) {
            // SAFETY: called by `dispatch!` only.
            unsafe { all[function](V::get(values)).put(values) }
        }
    }

    dispatch!(fn apply(function: usize, values: &mut [f32]) = each);

    /// Fails unless the error at every argument is below `than`, or that share of a value beyond 1.
    fn agrees(function: usize, arguments: &[f32], than: f64, exact: impl Fn(f64) -> f64) {
        let mut found = arguments.to_vec();
        apply(function, &mut found);
        for (x, y) in arguments.iter().zip(found) {
            let exact = exact(f64::from(*x));
            assert!((f64::from(y) - exact).abs() < than * exact.abs().max(1.0), "{function} of {x}: {y} {exact}");
        }
    }

    fn off_by_less(than: f64, function: usize, exact: impl Fn(f64) -> f64, relative: bool) -> bool {
        let arguments: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.005).collect();
        let mut found = arguments.clone();
        apply(function, &mut found);
        let error = |(x, y): (&f32, &f32)| {
            let e = exact(f64::from(*x));
            (f64::from(*y) - e).abs() / if relative { e } else { 1.0 }
        };
        arguments.iter().zip(&found).map(error).all(|error| error < than)
    }

    #[test]
    fn functions_agree_with_f64() {
        assert!(off_by_less(3e-7, 0, f64::exp, true));
        assert!(off_by_less(3e-7, 1, f64::tanh, false));
        assert!(off_by_less(5e-7, 2, |x| 1.0 / (1.0 + (-x).exp()), true));
        assert!(off_by_less(1e-6, 3, |x| x.exp().ln_1p(), true));
    }

    #[test]
    fn the_partition_of_the_continuous_bernoulli_agrees_with_f64() {
        let arguments: Vec<f32> = (-8000..=8000).map(|i| i as f32 * 0.005).collect();
        agrees(4, &arguments, 5e-7, |l| if l == 0.0 { 0.0 } else { (l.exp_m1() / l).ln() });
        // Its own differences cancel in f64 too, near 0.
        let mean = |l: f64| if l.abs() < 1e-3 { 0.5 + l / 12.0 } else { l.exp() / l.exp_m1() - 1.0 / l };
        agrees(5, &arguments, 5e-7, mean);
    }

    #[test]
    fn logarithms_agree_with_f64() {
        let mantissas = [1.0f32, 1.2, 1.41, 1.42, 1.9];
        let arguments: Vec<f32> = (-120..=120).flat_map(|e| mantissas.map(|m| m * 2f32.powi(e))).collect();
        agrees(6, &arguments, 3e-7, f64::ln);
        let counts: Vec<f32> = (0..3000).map(|n| n as f32).collect();
        agrees(7, &counts, 1e-6, |n| (1..=n as u32).map(|i| f64::from(i).ln()).sum());
        // Between whole numbers: Γ(3/2) = √π/2.
        agrees(7, &[0.5], 1e-6, |_| (std::f64::consts::PI.sqrt() / 2.0).ln());
    }

    #[test]
    fn extreme_arguments_stay_finite_and_nan_stays_nan() {
        for function in 0..6 {
            let mut values = [-1e30, -1e3, 1e3, 1e30, f32::INFINITY, f32::NAN];
            apply(function, &mut values);
            // ln(1 + e^∞) and its like alone have no finite value.
            let finite = if matches!(function, 3 | 4) { 4 } else { 5 };
            assert!(values[..finite].iter().all(|v| v.is_finite()), "{function}: {values:?}");
            assert!(values[5].is_nan(), "{function}: {values:?}");
            assert!(function != 1 || values[..5].iter().all(|v| v.abs() <= 1.0));
        }
    }
}
