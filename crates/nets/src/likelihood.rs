#![allow(unsafe_code, reason = "vector instructions")]

use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, SumTo};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{TryAdd, TryMul, TrySub};
use rayon::prelude::*;

use crate::activation::composed_softplus;
use crate::dense::shape;
use crate::error::device;
use crate::maths;
use crate::simd::Simd;
use crate::{Compute, Data, Error, Matrix, Precision, Result, values};

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
    pub fn mean(self, outputs: &mut [f32]) {
        if self == Self::Bernoulli {
            sigmoids(outputs);
        }
    }

    /// Log-likelihood of pixels, channels fastest, and, in place of each output, its derivative. Returns Σ log p and
    /// ∂Σ log p/∂ ln σ of each channel.
    ///
    /// # Safety
    /// As [`Simd`] says.
    #[inline(always)]
    pub(crate) unsafe fn score<V: Simd>(
        self,
        outputs: &mut [f32],
        target: &[f32],
        log_sd: &[f32],
    ) -> (f32, [f32; MAX_CHANNELS]) {
        // SAFETY: as the caller vouches.
        unsafe {
            match self {
                Self::Bernoulli => (bernoulli::<V>(outputs, target), [0.0; MAX_CHANNELS]),
                Self::Gaussian => gaussian::<V>(outputs, target, log_sd),
            }
        }
    }
}

#[inline(always)]
unsafe fn sigmoids_body<V: Simd>(values: &mut [f32]) {
    for at in (0..values.len()).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe { maths::sigmoid(V::get(&values[at..])).put(&mut values[at..]) }
    }
}

maths::dispatch!(fn sigmoids(values: &mut [f32]) = sigmoids_body);

#[inline(always)]
unsafe fn bernoulli<V: Simd>(outputs: &mut [f32], target: &[f32]) -> f32 {
    // SAFETY: as the caller vouches.
    unsafe {
        let (mut total, mut rest) = (V::splat(0.0), 0.0);
        for at in (0..outputs.len()).step_by(V::LANES) {
            let (o, x) = (V::get(&outputs[at..]), V::get(&target[at..]));
            let log_p = x.mul(o).sub(maths::softplus(o));
            if outputs.len() - at >= V::LANES {
                total = total.add(log_p);
            } else {
                let mut last = [0.0; MAX_LANES];
                log_p.put(&mut last[..outputs.len() - at]);
                rest = last.iter().sum();
            }
            x.sub(maths::sigmoid(o)).put(&mut outputs[at..]);
        }
        total.sum() + rest
    }
}

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

/// No vector has more numbers.
const MAX_LANES: usize = 16;

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
    pub data: &'a Data<'a>,
    /// Which pixels of the patch the data of each row hold, row after row, equally many in each; none: all, in order.
    /// Only a decoder that is a function of coordinates can decode some.
    pub pixels: Option<&'a [u32]>,
    /// Weight wᵢ of each row.
    pub weights: &'a [f32],
    /// Distribution of a pixel.
    pub likelihood: Likelihood,
    /// ln σ of each channel, (1, channels); used by the Gaussian only.
    pub log_sd: &'a Matrix<D>,
    /// Numbers of the large products, where a device has a choice.
    pub precision: Precision,
}

#[inline(always)]
unsafe fn score_body<V: Simd>(
    likelihood: Likelihood,
    outputs: &mut [f32],
    target: &[f32],
    log_sd: &[f32],
) -> (f32, [f32; MAX_CHANNELS]) {
    // SAFETY: called by `dispatch!` only.
    unsafe { likelihood.score::<V>(outputs, target, log_sd) }
}

maths::dispatch!(
    /// See [`Likelihood::score`].
    pub(crate) fn score(
        likelihood: Likelihood, outputs: &mut [f32], target: &[f32], log_sd: &[f32],
    ) -> (f32, [f32; MAX_CHANNELS]) = score_body
);

/// Weighted log-likelihood of outputs (rows, pixels·channels), in one pass.
pub(crate) fn fused<T: Tape<f32, Cpu>>(
    outputs: Tensor<(usize, usize), f32, Cpu, T>,
    target: &Target<'_, Cpu>,
) -> Result<Scored<Cpu, T>> {
    let (outputs, mut tape) = outputs.split_tape();
    let ((rows, columns), log_sd) = (shape(&outputs), values(target.log_sd));
    let (data, weights, channels) = (target.data.shape(), target.weights.len(), log_sd.len());
    let fits = data == (rows, columns) && weights == rows && channels > 0 && columns.is_multiple_of(channels);
    if !fits || channels > MAX_CHANNELS {
        let found = vec![data.0, data.1, weights, channels];
        let expected = vec![rows, columns, rows, channels.clamp(1, MAX_CHANNELS)];
        return Err(Error::Shape { what: "target (rows, columns), weights and ln σ".to_owned(), found, expected });
    }
    let mut slopes = values(&outputs);
    let work = slopes.par_chunks_mut(columns).zip(target.data.values().par_chunks(columns));
    let scores: Vec<(f32, [f32; MAX_CHANNELS])> =
        work.map(|(outputs, x)| score(target.likelihood, outputs, x, &log_sd)).collect();
    let rows: Vec<f32> = scores.iter().map(|s| s.0).collect();
    let sum: f64 = rows.iter().zip(target.weights).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
    let total = outputs.device().try_tensor_from_vec(vec![sum as f32], ()).map_err(device)?;
    if T::OWNS_TAPE {
        let mut by_log_sd = vec![0.0; channels];
        for ((_, by), weight) in scores.iter().zip(target.weights) {
            by_log_sd.iter_mut().zip(by).for_each(|(sum, by)| *sum += weight * by);
        }
        let (out, log_sd, weights) = (total.clone(), target.log_sd.clone(), target.weights.to_vec());
        tape.add_backward_op(move |gradients| {
            gradients.get_or_alloc_mut(&out)?;
            let by = gradients.get(&out).as_vec()[0];
            let by_outputs = gradients.get_or_alloc_mut(&outputs)?.chunks_exact_mut(columns);
            for ((by_outputs, slopes), weight) in by_outputs.zip(slopes.chunks_exact(columns)).zip(&weights) {
                by_outputs.iter_mut().zip(slopes).for_each(|(g, slope)| *g += by * weight * slope);
            }
            let by_noise = gradients.get_or_alloc_mut(&log_sd)?;
            by_noise.iter_mut().zip(&by_log_sd).for_each(|(g, part)| *g += by * part);
            Ok(())
        });
    }
    Ok(Scored { total: total.put_tape(tape), rows })
}

/// Weighted log-likelihood of outputs (rows, pixels·channels), from the device's own operations.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    outputs: Tensor<(usize, usize), f32, D, T>,
    target: &Target<'_, D>,
) -> Result<Scored<D, T>> {
    let (rows, columns) = shape(&outputs);
    let x = target.data.on(outputs.device())?.retaped::<T>();
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

#[cfg(test)]
mod tests {
    use dfdx::tensor::NoneTape;

    use super::*;

    #[test]
    fn a_target_of_another_shape_is_refused() {
        let cpu = Cpu::default();
        let outputs = crate::matrix(&cpu, vec![0.0; 6], 2, 3).unwrap();
        let scored = |columns: usize, weights: &[f32], channels: usize| {
            let data = Data::new(vec![0.5; 6], columns).unwrap();
            let log_sd = crate::matrix(&cpu, vec![0.0; channels], 1, channels).unwrap();
            let (likelihood, precision) = (Likelihood::Gaussian, Precision::F32);
            let target = Target { data: &data, pixels: None, weights, likelihood, log_sd: &log_sd, precision };
            fused::<NoneTape>(outputs.clone(), &target).map(|s| s.rows.len())
        };
        assert_eq!(scored(3, &[1.0, 1.0], 1).unwrap(), 2);
        for (columns, weights, channels) in [(2, &[1.0, 1.0][..], 1), (3, &[1.0], 1), (3, &[1.0, 1.0], 2)] {
            assert!(scored(columns, weights, channels).is_err(), "{columns} {weights:?} {channels}");
        }
    }
}
