//! The curve by which places belong together, and powers for it.

/// Places of the curve at which it is fitted.
const POINTS: usize = 300;

/// a and b for which 1/(1 + a x^2b) is nearest, in least squares over 0 to 3 spreads, to 1 up to `min_dist` and
/// exp(−(x − min_dist)/spread) beyond.
pub(super) fn fit(min_dist: f64, spread: f64) -> (f64, f64) {
    let points = || {
        (1..POINTS).map(|i| {
            let x = 3.0 * spread * i as f64 / (POINTS - 1) as f64;
            (x.ln(), if x <= min_dist { 1.0 } else { (-(x - min_dist) / spread).exp() })
        })
    };
    // In ln a and ln b, which keeps both above 0; a starts in units of the spread.
    let curve = |[a, b]: [f64; 2], log_x: f64| 1.0 / (1.0 + (a + 2.0 * b.exp() * log_x).exp());
    let loss = |at: [f64; 2]| points().map(|(x, y)| (curve(at, x) - y).powi(2)).sum::<f64>();
    let mut at = [-2.0 * spread.ln(), 0.0];
    let (mut least, mut damping) = (loss(at), 1e-3);
    // Levenberg and Marquardt.
    for _ in 0..200 {
        let (mut normal, mut right) = ([0.0f64; 3], [0.0f64; 2]);
        for (x, y) in points() {
            let value = curve(at, x);
            let by_a = -value * (1.0 - value);
            let by_b = by_a * 2.0 * at[1].exp() * x;
            let off = y - value;
            normal = [normal[0] + by_a * by_a, normal[1] + by_a * by_b, normal[2] + by_b * by_b];
            right = [right[0] + by_a * off, right[1] + by_b * off];
        }
        let (p, q, r) = (normal[0] * (1.0 + damping), normal[1], normal[2] * (1.0 + damping));
        let determinant = p * r - q * q;
        let step = [(r * right[0] - q * right[1]) / determinant, (p * right[1] - q * right[0]) / determinant];
        let next = [at[0] + step[0], at[1] + step[1]];
        let then = loss(next);
        if then < least {
            (at, damping) = (next, damping * 0.1);
            if least - then < 1e-15 * least {
                break;
            }
            least = then;
        } else {
            damping *= 10.0;
            if damping > 1e15 {
                break;
            }
        }
    }
    (at[0].exp(), at[1].exp())
}

/// xᵖ, to a relative 2e−5 for moderate results; x above 0, no subnormal.
#[inline(always)]
pub(super) fn power(x: f32, p: f32) -> f32 {
    /// √½, from which to its double a mantissa goes.
    const LEAST: u32 = 0x3f35_04f3;
    /// Added to a number, leaves its integer part in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let exponent = x.to_bits().wrapping_sub(LEAST) as i32 >> 23;
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((exponent as u32) << 23));
    // ln m = 2 artanh((m − 1)/(m + 1)).
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let series = s2.mul_add(s2.mul_add(s2.mul_add(0.412_198_6, 0.577_078), 0.961_796_7), 2.885_39);
    let exponent = (p * s.mul_add(series, exponent as f32)).clamp(-120.0, 120.0);
    let rounded = exponent + ROUND;
    let rest = exponent - (rounded - ROUND);
    // 2^rest, rest within a half.
    let high = rest.mul_add(rest.mul_add(1.333_4e-3, 9.618_1e-3), 5.550_4e-2);
    let part = rest.mul_add(rest.mul_add(rest.mul_add(high, 0.240_226_5), std::f32::consts::LN_2), 1.0);
    f32::from_bits(part.to_bits().wrapping_add(rounded.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_that_of_umap_learn() {
        // umap.umap_.find_ab_params(spread, min_dist), version 0.5.12.
        let expected = [
            (0.1, 1.0, 1.57694, 0.895061),
            (0.0, 1.0, 1.93281, 0.790495),
            (0.5, 1.0, 0.58303, 1.33417),
            (0.25, 2.0, 0.416273, 0.921855),
            (1.0, 1.0, 0.114976, 1.92924),
        ];
        for (min_dist, spread, a, b) in expected {
            let found = fit(min_dist, spread);
            assert!((found.0 / a - 1.0).abs() < 1e-3 && (found.1 / b - 1.0).abs() < 1e-3, "{found:?}, not {a} {b}");
        }
    }

    #[test]
    fn powers_are_those_of_the_library() {
        for p in [0.9f32, 0.5, 1.3, 1.0] {
            for i in -200..200 {
                let x = (i as f32 * 0.1).exp();
                let (found, expected) = (power(x, p), x.powf(p));
                assert!((found / expected - 1.0).abs() < 2e-5, "{x}^{p}: {found}, not {expected}");
            }
        }
    }
}
