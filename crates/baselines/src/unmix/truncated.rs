use std::f64::consts::{FRAC_1_SQRT_2, PI};

use rand::Rng;
use rand_distr::{Exp1, StandardNormal};

/// A number from the normal distribution of this mean and deviation, cut to `low` to `high`.
///
/// Reference: Robert 1995, Statistics and Computing 5, 121; rejection, exact in the tails.
pub(crate) fn truncated_normal(rng: &mut impl Rng, mean: f64, sd: f64, low: f64, high: f64) -> f64 {
    if low >= high {
        return 0.5 * (low + high);
    }
    let (a, b) = ((low - mean) / sd, (high - mean) / sd);
    if a == f64::INFINITY || b == f64::NEG_INFINITY {
        return if a > 0.0 { low } else { high };
    }
    let drawn = if a > 0.0 {
        tail(rng, a, b)
    } else if b < 0.0 {
        -tail(rng, -b, -a)
    } else {
        middle(rng, a, b)
    };
    // Rounding may leave the interval.
    (mean + sd * drawn).clamp(low, high)
}

/// Standard, cut to a ≤ 0 ≤ b.
fn middle(rng: &mut impl Rng, a: f64, b: f64) -> f64 {
    // Narrower than √2π, a flat proposal is taken more often than a normal one.
    if b - a > 2.5 {
        loop {
            let x: f64 = rng.sample(StandardNormal);
            if x >= a && x <= b {
                return x;
            }
        }
    }
    flat(rng, a, b, 0.0)
}

/// Standard, cut to 0 < a < b.
fn tail(rng: &mut impl Rng, a: f64, b: f64) -> f64 {
    // The density falls by exp(−a(b − a)) at least: little, and a flat proposal is good, else an exponential one.
    if (b - a) * a < 1.0 && b - a < 1.0 {
        return flat(rng, a, b, a);
    }
    if a < 0.5 {
        loop {
            let x: f64 = rng.sample::<f64, _>(StandardNormal).abs();
            if x >= a && x <= b {
                return x;
            }
        }
    }
    // The square of a would be too large, and the exponential is exact.
    if a > 1e8 {
        return (a + rng.sample::<f64, _>(Exp1) / a).min(b);
    }
    let rate = 0.5 * (a + (a * a + 4.0).sqrt());
    loop {
        let x = a + rng.sample::<f64, _>(Exp1) / rate;
        let off = x - rate;
        if x <= b && rng.r#gen::<f64>() <= (-0.5 * off * off).exp() {
            return x;
        }
    }
}

/// By a flat proposal on a to b, the density being largest at `peak`.
fn flat(rng: &mut impl Rng, a: f64, b: f64, peak: f64) -> f64 {
    loop {
        let x = a + (b - a) * rng.r#gen::<f64>();
        if rng.r#gen::<f64>() <= (0.5 * (peak - x) * (peak + x)).exp() {
            return x;
        }
    }
}

/// ∫exp(−x²/2) from a to b, relative to the largest value of the function there; a < b.
pub(crate) fn normal_integral(a: f64, b: f64) -> f64 {
    if b < 0.0 {
        return normal_integral(-b, -a);
    }
    let peak = a.max(0.0);
    let at = |x: f64| (0.5 * (peak - x) * (peak + x)).exp();
    // Nearly straight: the difference of two tails would lose its digits.
    if (b - a) * (1.0 + b.max(-a)) < 0.3 {
        return (b - a) * (at(a) + 4.0 * at(0.5 * (a + b)) + at(b)) / 6.0;
    }
    let half = (0.5 * PI).sqrt();
    if a > 0.0 {
        return half * (scaled_tail(a) - at(b) * scaled_tail(b));
    }
    half * (2.0 - at(a) * scaled_tail(-a) - at(b) * scaled_tail(b))
}

/// exp(x²/2)·erfc(x/√2) for x ≥ 0, to 2·10⁻⁷ of it.
///
/// A rational variable and the Chebyshev series of the logarithm that Press et al., Numerical Recipes (1992), give for
/// erfc.
fn scaled_tail(x: f64) -> f64 {
    let z = x * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let series = [
        0.17087277,
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    ];
    t * series.iter().fold(0.0, |sum, c| sum * t + c).exp()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn draws_have_the_moments_of_the_integrals() {
        // Integrals of exp(−x²/2) from a to b by scipy.integrate.quad.
        let cases = [
            (-1.0, 1.0, 0.0, 0.29112509477279325),
            (-3.0, 4.0, 0.00430396441115765, 0.9861314750158282),
            (-0.2, 0.3, 0.048966998541879796, 0.020659605384467695),
            (0.1, 9.0, 0.8626174715309362, 0.34215284496266807),
            (0.3, 0.4, 0.34970843649299804, 0.0008330045980334326),
            (0.4, 2.0, 0.9765435273329544, 0.16855878072548064),
            (2.0, 2.2, 2.093029745061223, 0.0032998061538802317),
            (2.0, 9.0, 2.373215532822841, 0.11427910041408106),
            (6.0, 20.0, 6.1584826045445995, 0.023987636789166787),
            (30.0, 31.0, 30.03325966743362, 0.0011037715118352928),
            (30.0, 30.01, 30.004750333548348, 8.295927006619129e-06),
            (-20.0, 0.1, -0.7353317485057804, 0.3857540447888531),
            (0.0, 1000.0, 0.7978845608028654, 0.3633802276324188),
        ];
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let n = 40_000;
        for (a, b, mean, variance) in cases {
            for (sign, centre, sd) in [(1.0, 0.0, 1.0), (-1.0, 3.0, 0.25)] {
                let (low, high) = if sign > 0.0 { (a, b) } else { (-b, -a) };
                let draws: Vec<f64> = (0..n)
                    .map(|_| truncated_normal(&mut rng, centre, sd, centre + sd * low, centre + sd * high))
                    .map(|x| sign * (x - centre) / sd)
                    .collect();
                assert!(draws.iter().all(|x| *x >= a - 1e-9 && *x <= b + 1e-9));
                let found = draws.iter().sum::<f64>() / n as f64;
                let spread = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
                let error = 4.5 * (variance / n as f64).sqrt();
                assert!((found - mean).abs() < error, "{a} to {b}: mean {found}, not {mean}");
                assert!((spread / variance - 1.0).abs() < 0.06, "{a} to {b}: variance {spread}, not {variance}");
            }
        }
    }

    #[test]
    fn integrals_are_those_of_fine_steps() {
        let cases =
            [(-1.0, 1.0), (-9.0, 9.0), (-0.01, 0.02), (0.3, 0.31), (0.3, 0.6), (0.0, 40.0), (5.0, 5.2), (8.0, 30.0)];
        for (a, b) in cases {
            let high: f64 = if a > 0.0 { f64::min(b, a + 40.0 / a) } else { f64::min(b, 12.0) };
            let (steps, peak) = (100_000, f64::max(a, 0.0));
            let step = (high - a) / f64::from(steps);
            let sum: f64 = (0..steps)
                .map(|i| a + (f64::from(i) + 0.5) * step)
                .map(|x| step * (0.5 * (peak * peak - x * x)).exp())
                .sum();
            assert!((normal_integral(a, b) / sum - 1.0).abs() < 2e-5, "{a} {b}: {} {sum}", normal_integral(a, b));
            assert_eq!(normal_integral(-b, -a), normal_integral(a, b));
        }
    }

    #[test]
    fn extreme_intervals_end() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for (mean, sd, low, high) in
            [(1e9, 1e-3, 0.0, 1.0), (-1e9, 1e-9, 0.0, 1.0), (0.5, 1e-300, 0.0, 1.0), (0.0, 1e9, 0.0, 1.0)]
                .into_iter()
                .chain([1e140, 1e300].into_iter().flat_map(|m| [(m, 1e-10, 0.0, 1.0), (-m, 1e-10, 0.0, 1.0)]))
        {
            let x = truncated_normal(&mut rng, mean, sd, low, high);
            assert!((low..=high).contains(&x), "{x}");
        }
        assert_eq!(truncated_normal(&mut rng, 5.0, 1.0, 2.0, 2.0), 2.0);
    }
}
