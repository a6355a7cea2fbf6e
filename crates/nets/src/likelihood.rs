use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, SumTo};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{TryAdd, TryMul, TrySub};

use crate::activation::composed_softplus;
use crate::dense::shape;
use crate::error::device;
use crate::maths;
use crate::{Compute, Matrix, Result};

/// Distribution of a pixel's value x given the decoder's output ℓ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Likelihood {
    /// log p = x·ℓ − ln(1 + e^ℓ), the cross entropy of x from 0 to 1; the mean is 1/(1 + e^−ℓ). The default.
    #[default]
    Bernoulli,
    /// log p = −(x − ℓ)²/2σ² − ln σ − ½ ln 2π; the mean is ℓ, σ is one number per channel.
    Gaussian,
}

/// ½ ln 2π.
const HALF_LN_TAU: f32 = 0.918_938_5;

impl Likelihood {
    /// Turns decoder outputs into means, in place.
    #[inline(always)]
    pub fn mean(self, outputs: &mut [f32]) {
        if self == Self::Bernoulli {
            outputs.iter_mut().for_each(|v| *v = maths::sigmoid(*v));
        }
    }

    /// Log-likelihood of pixels of one channel, which lie `channels` apart, and, in place of each output, its
    /// derivative. Returns Σ log p and ∂Σ log p/∂ ln σ.
    #[inline(always)]
    pub(crate) fn score(self, outputs: &mut [f32], target: &[f32], log_sd: &[f32]) -> (f32, [f32; MAX_CHANNELS]) {
        let channels = log_sd.len();
        let mut by_log_sd = [0.0; MAX_CHANNELS];
        let mut total = 0.0;
        match self {
            Self::Bernoulli => {
                for (o, x) in outputs.iter_mut().zip(target) {
                    total += x * *o - maths::softplus(*o);
                    *o = x - maths::sigmoid(*o);
                }
            }
            Self::Gaussian => {
                for (o, x) in outputs.chunks_exact_mut(channels).zip(target.chunks_exact(channels)) {
                    for c in 0..channels {
                        let precision = maths::exp(-2.0 * log_sd[c]);
                        let residual = x[c] - o[c];
                        let square = residual * residual * precision;
                        total -= 0.5 * square + log_sd[c] + HALF_LN_TAU;
                        by_log_sd[c] += square - 1.0;
                        o[c] = residual * precision;
                    }
                }
            }
        }
        (total, by_log_sd)
    }
}

/// More channels than any detector has.
pub(crate) const MAX_CHANNELS: usize = 16;

/// A weighted log-likelihood: the differentiable sum, and the value of each row for the record.
pub struct Scored<D: Compute, T> {
    /// Σ wᵢ log p(xᵢ).
    pub total: Tensor<(), f32, D, T>,
    /// log p(xᵢ).
    pub rows: Vec<f32>,
}

/// What the decoder's outputs are compared with.
#[derive(Debug, Clone)]
pub struct Target<'a, D: Compute> {
    /// Data, (rows, pixels·channels), channels fastest.
    pub data: &'a Matrix<D>,
    /// Weight wᵢ of each row.
    pub weights: &'a [f32],
    /// Distribution of a pixel.
    pub likelihood: Likelihood,
    /// ln σ of each channel, (1, channels); used by the Gaussian only.
    pub log_sd: &'a Matrix<D>,
}

/// Weighted log-likelihood of outputs (rows, pixels·channels), from the device's own operations.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    outputs: Tensor<(usize, usize), f32, D, T>,
    target: &Target<'_, D>,
) -> Result<Scored<D, T>> {
    let (rows, columns) = shape(&outputs);
    let x = target.data.retaped::<T>();
    let log_p = match target.likelihood {
        Likelihood::Bernoulli => {
            let agreement = x.try_mul(outputs.retaped::<T>()).map_err(device)?;
            composed_softplus(outputs)?.try_negate().map_err(device)?.try_add(agreement).map_err(device)?
        }
        Likelihood::Gaussian => {
            let channels = shape(target.log_sd).1;
            let log_sd = target.log_sd.retaped::<T>().try_reshape_like(&(channels,)).map_err(device)?;
            let pixels = columns / channels;
            let log_sd = log_sd.try_broadcast_like::<_, Axis<0>>(&(rows * pixels, channels));
            let log_sd = log_sd.map_err(device)?.try_reshape_like(&(rows, columns)).map_err(device)?;
            let precision = log_sd.retaped::<T>().try_mul(-2.0).map_err(device)?.try_exp().map_err(device)?;
            // The residual carries the tape of the outputs, log σ its own; they merge here.
            let square = outputs.try_sub(x).map_err(device)?.try_square().map_err(device)?;
            let square = square.try_mul(precision).map_err(device)?.try_mul(-0.5).map_err(device)?;
            square.try_sub(log_sd).map_err(device)?.try_sub(HALF_LN_TAU).map_err(device)?
        }
    };
    let log_p = log_p.try_sum::<(usize,), Axis<1>>().map_err(device)?;
    let rows_log_p = log_p.as_vec();
    let weights = log_p.device().try_tensor_from_vec(target.weights.to_vec(), (rows,)).map_err(device)?;
    let total = log_p.try_mul(weights).map_err(device)?.try_sum::<(), _>().map_err(device)?;
    Ok(Scored { total, rows: rows_log_p })
}
