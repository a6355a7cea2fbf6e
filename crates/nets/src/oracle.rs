//! Definitions in f64, as plain as they can be, for tests to compare with.

use crate::{Activation, Likelihood};

/// f(x).
pub(crate) fn activation(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Identity => x,
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => x.max(0.01 * x),
        Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Activation::Gelu => 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
    }
}

/// Whether its slope jumps, so that a difference quotient across the jump means nothing.
pub(crate) fn kinked(f: Activation) -> bool {
    matches!(f, Activation::Relu | Activation::LeakyRelu)
}

/// log p of a value x given an output ℓ.
pub(crate) fn log_p(likelihood: Likelihood, l: f64, x: f64, log_sd: f64) -> f64 {
    match likelihood {
        Likelihood::Bernoulli => x * l - activation(Activation::Softplus, l),
        // Its differences cancel near 0.
        Likelihood::ContinuousBernoulli if l.abs() < 1e-3 => x * l - 0.5 * l - l * l / 24.0,
        Likelihood::ContinuousBernoulli => x * l - (l.exp_m1() / l).ln(),
        Likelihood::Gaussian => {
            let z = (x - l) / log_sd.exp();
            -0.5 * z * z - log_sd - 0.5 * std::f64::consts::TAU.ln()
        }
        Likelihood::Poisson(counts) => {
            let (n, counts) = (x * f64::from(counts), f64::from(counts));
            n * (counts.ln() + l) - counts * l.exp() - ln_factorial(n)
        }
    }
}

/// ln Γ(n + 1), by Stirling's series from n + 20 on.
fn ln_factorial(n: f64) -> f64 {
    let y = n + 20.0;
    let series = 1.0 / (12.0 * y) - 1.0 / (360.0 * y.powi(3)) + 0.5 * std::f64::consts::TAU.ln();
    (y + 0.5) * y.ln() - y + series - (1..=20).map(|i| (n + f64::from(i)).ln()).sum::<f64>()
}
