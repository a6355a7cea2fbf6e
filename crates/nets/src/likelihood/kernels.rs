//! Log-likelihoods of pixels and their slopes, over vectors.
#![allow(unsafe_code, reason = "vector instructions, run by functions compiled for them")]

use super::{Likelihood, MAX_CHANNELS};
use crate::maths;
use crate::simd::Simd;

/// No vector has more numbers.
const MAX_LANES: usize = 16;

/// ½ ln 2π.
pub(super) const HALF_LN_TAU: f32 = 0.918_938_5;

/// Beyond it the mean of a Poisson count no longer grows, so that it stays finite; the slope stays as it is there, and leads
/// back.
pub(super) const MOST_LN_MEAN: f32 = 30.0;

/// Log-likelihood of pixels, channels fastest, and, in place of each output, its derivative. Returns Σ log p and
/// ∂Σ log p/∂ ln σ of each channel.
#[inline(always)]
unsafe fn score_body<V: Simd>(
    likelihood: Likelihood,
    outputs: &mut [f32],
    target: &[f32],
    log_sd: &[f32],
) -> (f32, [f32; MAX_CHANNELS]) {
    let none = [0.0; MAX_CHANNELS];
    // SAFETY: called by `dispatch!` only.
    unsafe {
        match likelihood {
            Likelihood::Bernoulli => (each::<V>(outputs, target, |l, x| bernoulli(l, x)), none),
            Likelihood::ContinuousBernoulli => (each::<V>(outputs, target, |l, x| continuous_bernoulli(l, x)), none),
            Likelihood::Poisson(counts) => (each::<V>(outputs, target, |l, x| poisson(counts, l, x)), none),
            Likelihood::Gaussian => gaussian::<V>(outputs, target, log_sd),
        }
    }
}

maths::dispatch!(
    /// See [`score_body`].
    pub(crate) fn score(
        likelihood: Likelihood, outputs: &mut [f32], target: &[f32], log_sd: &[f32],
    ) -> (f32, [f32; MAX_CHANNELS]) = score_body
);

/// Means of outputs, in place.
#[inline(always)]
unsafe fn means_body<V: Simd>(likelihood: Likelihood, outputs: &mut [f32]) {
    for at in (0..outputs.len()).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let l = V::get(&outputs[at..]);
            let mean = match likelihood {
                Likelihood::Bernoulli => maths::sigmoid(l),
                Likelihood::ContinuousBernoulli => maths::ln_partition(l).1,
                Likelihood::Gaussian => l,
                Likelihood::Poisson(_) => maths::exp(l.at_most(V::splat(MOST_LN_MEAN))),
            };
            mean.put(&mut outputs[at..]);
        }
    }
}

maths::dispatch!(pub(super) fn means(likelihood: Likelihood, outputs: &mut [f32]) = means_body);

/// Σ log p, where `of` gives log p of an output and a value, and its slope, which takes the output's place.
#[inline(always)]
unsafe fn each<V: Simd>(outputs: &mut [f32], target: &[f32], of: impl Fn(V, V) -> (V, V)) -> f32 {
    // SAFETY: as the caller vouches.
    unsafe {
        let (mut total, mut rest) = (V::splat(0.0), 0.0);
        for at in (0..outputs.len()).step_by(V::LANES) {
            let (log_p, slope) = of(V::get(&outputs[at..]), V::get(&target[at..]));
            if outputs.len() - at >= V::LANES {
                total = total.add(log_p);
            } else {
                let mut last = [0.0; MAX_LANES];
                log_p.put(&mut last[..outputs.len() - at]);
                rest = last.iter().sum();
            }
            slope.put(&mut outputs[at..]);
        }
        total.sum() + rest
    }
}

#[inline(always)]
unsafe fn bernoulli<V: Simd>(l: V, x: V) -> (V, V) {
    // SAFETY: as the caller vouches.
    unsafe { (x.mul(l).sub(maths::softplus(l)), x.sub(maths::sigmoid(l))) }
}

#[inline(always)]
unsafe fn continuous_bernoulli<V: Simd>(l: V, x: V) -> (V, V) {
    // SAFETY: as the caller vouches.
    unsafe {
        let (partition, mean) = maths::ln_partition(l);
        (x.mul(l).sub(partition), x.sub(mean))
    }
}

#[inline(always)]
unsafe fn poisson<V: Simd>(counts: f32, l: V, x: V) -> (V, V) {
    // SAFETY: as the caller vouches.
    unsafe {
        let l = l.at_most(V::splat(MOST_LN_MEAN));
        let (n, mean) = (x.mul(V::splat(counts)), maths::exp(l).mul(V::splat(counts)));
        let log_p = n.fused(l.add(V::splat(counts.ln())), V::splat(0.0).sub(mean)).sub(maths::ln_factorial(n));
        (log_p, n.sub(mean))
    }
}

/// Values x → n ln c − ln n!, the part of a Poisson log-likelihood that no parameter changes.
#[inline(always)]
unsafe fn poisson_constants_body<V: Simd>(counts: f32, values: &mut [f32]) {
    for at in (0..values.len()).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let n = V::get(&values[at..]).mul(V::splat(counts));
            n.mul(V::splat(counts.ln())).sub(maths::ln_factorial(n)).put(&mut values[at..]);
        }
    }
}

maths::dispatch!(pub(super) fn poisson_constants(counts: f32, values: &mut [f32]) = poisson_constants_body);

#[inline(always)]
unsafe fn gaussian<V: Simd>(outputs: &mut [f32], target: &[f32], log_sd: &[f32]) -> (f32, [f32; MAX_CHANNELS]) {
    let channels = log_sd.len().clamp(1, MAX_CHANNELS);
    // The channels of the vectors repeat after as many vectors as there are channels.
    let mut precision = [0.0; MAX_LANES * MAX_CHANNELS];
    for (i, p) in precision.iter_mut().enumerate() {
        *p = (-2.0 * log_sd.get(i % channels).copied().unwrap_or_default()).exp();
    }
    // SAFETY: as the caller vouches; `precision` and `sums` hold a vector for each channel.
    unsafe {
        let mut squares = [V::splat(0.0); MAX_CHANNELS];
        for (i, at) in (0..outputs.len()).step_by(V::LANES).enumerate() {
            let (o, x) = (V::get(&outputs[at..]), V::get(&target[at..]));
            let residual = x.sub(o);
            let scaled = residual.mul(V::get(&precision[i % channels * V::LANES..]));
            squares[i % channels] = residual.fused(scaled, squares[i % channels]);
            scaled.put(&mut outputs[at..]);
        }
        let mut sums = [0.0; MAX_LANES * MAX_CHANNELS];
        for (i, square) in squares.iter().take(channels).enumerate() {
            square.put(&mut sums[i * V::LANES..][..V::LANES]);
        }
        let pixels = (outputs.len() / channels) as f32;
        let (mut total, mut by_log_sd) = (0.0, [0.0; MAX_CHANNELS]);
        for (c, by) in by_log_sd.iter_mut().take(channels).enumerate() {
            let square: f32 = sums[..channels * V::LANES].iter().skip(c).step_by(channels).sum();
            total -= 0.5 * square + pixels * (log_sd.get(c).copied().unwrap_or_default() + HALF_LN_TAU);
            *by = square - pixels;
        }
        (total, by_log_sd)
    }
}
