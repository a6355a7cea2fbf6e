//! Elementwise functions of slices, compiled once per instruction set.
//!
//! The bodies are plain arithmetic without fused multiply-add, so every instruction set gives the same bits.
#![allow(unsafe_code, reason = "calling a function compiled for an instruction set after detecting it")]

/// Compiles a function of slices for AVX-512, AVX2 and the baseline, and picks at run time.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:path) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
                fn avx512($($arg: $ty),*) { $body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) { $body($($arg),*) }
                match $crate::maths::level() {
                    // SAFETY: `level` has found AVX-512 F, DQ, VL and BW on this CPU.
                    $crate::maths::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `level` has found AVX2 on this CPU.
                    $crate::maths::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::maths::Level::Portable => {}
                }
            }
            $body($($arg),*)
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
                && is_x86_feature_detected!("avx512bw");
            if wide && !matches!(wish.as_str(), "avx2" | "portable") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && wish != "portable" {
                return Level::Avx2;
            }
        }
        let _ = wish;
        Level::Portable
    })
}

/// eˣ to 2 ulp for x in [−87, 88], limited outside.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // eˣ = 2ⁿ eʳ with |r| ≤ ln 2 / 2; ln 2 in two parts keeps r exact.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    p * power
}

/// tanh x to an absolute error below 2·10⁻⁷.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(2.0 * x.clamp(-10.0, 10.0));
    1.0 - 2.0 / (e + 1.0)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// ln(1 + eˣ), without overflow.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let t = exp(-x.abs());
    // ln(1+t) = 2 artanh(t / (2+t)), whose argument is at most 1/3.
    let s = t / (2.0 + t);
    let q = s * s;
    let p = 1.0 / 13.0;
    let p = p * q + 1.0 / 11.0;
    let p = p * q + 1.0 / 9.0;
    let p = p * q + 1.0 / 7.0;
    let p = p * q + 1.0 / 5.0;
    let p = p * q + 1.0 / 3.0;
    let p = p * q + 1.0;
    x.max(0.0) + 2.0 * s * p
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

    fn off_by_less(than: f64, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, relative: bool) -> bool {
        (-4000..=4000)
            .map(|i| i as f32 * 0.005)
            .map(|x| {
                let e = exact(f64::from(x));
                (f64::from(ours(x)) - e).abs() / if relative { e } else { 1.0 }
            })
            .all(|error| error < than)
    }

    #[test]
    fn functions_agree_with_f64() {
        assert!(off_by_less(3e-7, exp, f64::exp, true));
        assert!(off_by_less(3e-7, tanh, f64::tanh, false));
        assert!(off_by_less(5e-7, sigmoid, |x| 1.0 / (1.0 + (-x).exp()), true));
        assert!(off_by_less(1e-6, softplus, |x| x.exp().ln_1p(), true));
    }

    #[test]
    fn extreme_arguments_stay_finite() {
        for x in [-1e30, -1e3, 1e3, 1e30] {
            assert!(exp(x).is_finite() && tanh(x).abs() <= 1.0 && (0.0..=1.0).contains(&sigmoid(x)));
            assert!(softplus(x) >= 0.0 && softplus(x).is_finite());
        }
    }
}
