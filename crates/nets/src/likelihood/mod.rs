mod kernels;

use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, SumTo};
use dfdx::tensor::{Cpu, CpuError, Gradients, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::{ChooseFrom, TryAdd, TryLt, TryMul, TrySub};
use rayon::prelude::*;

use crate::activation::composed_softplus;
use crate::dense::shape;
use crate::error::device;
use crate::{Compute, Data, Error, Matrix, Precision, Result, Rows, values};

pub(crate) use kernels::score;
use kernels::{HALF_LN_TAU, MOST_LN_MEAN, means, poisson_constants};

/// Distribution of a pixel's value x given the decoder's output ℓ.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Likelihood {
    /// log p = x·ℓ − ln(1 + e^ℓ), the cross entropy of x from 0 to 1; the mean is 1/(1 + e^−ℓ). The default.
    #[default]
    Bernoulli,
    /// log p = x·ℓ − ln((e^ℓ − 1)/ℓ), which is a density of x over 0 to 1; the mean is 1/(1 − e^−ℓ) − 1/ℓ.
    ///
    /// Reference: Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845.
    ContinuousBernoulli,
    /// log p = −(x − ℓ)²/2σ² − ln σ − ½ ln 2π; the mean is ℓ, σ is one number per channel.
    Gaussian,
    /// log p = n ln μ − μ − ln n! of n = c·x counts, whose mean is μ = c·e^ℓ; c, above 0, tells how many counts a value of 1
    /// stands for, and x is not below 0. ℓ is limited to 30.
    Poisson(f32),
}

impl Likelihood {
    /// Turns decoder outputs into means, in place.
    pub fn mean(self, outputs: &mut [f32]) {
        means(self, outputs);
    }

    /// The output of which a value is the mean, to 1e-3 and within ±50.
    pub fn output(self, mean: f32) -> f32 {
        let (mut low, mut high) = (-50.0, 50.0);
        while high - low > 1e-3 {
            let middle = 0.5 * (low + high);
            let mut found = [middle];
            self.mean(&mut found);
            if found[0] < mean { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    /// Fails if a parameter is outside its range.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Poisson(counts) if !(counts.is_finite() && counts > 0.0) => {
                let accepted = "finite numbers above 0";
                Err(Error::Parameter { what: "counts of the Poisson likelihood", value: counts.to_string(), accepted })
            }
            _ => Ok(()),
        }
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

impl<D: Compute> Target<'_, D> {
    /// Fails unless it fits outputs of so many rows and columns.
    pub(crate) fn check(&self, (rows, columns): (usize, usize)) -> Result<()> {
        self.likelihood.check()?;
        let (data, weights, channels) = (self.data.shape(), self.weights.len(), shape(self.log_sd).1);
        let fits = data == (rows, columns) && weights == rows && columns.is_multiple_of(channels.max(1));
        if fits && (1..=MAX_CHANNELS).contains(&channels) {
            return Ok(());
        }
        let found = vec![data.0, data.1, weights, channels];
        let expected = vec![rows, columns, rows, channels.clamp(1, MAX_CHANNELS)];
        Err(Error::Shape { what: "target (rows, columns), weights and ln σ".to_owned(), found, expected })
    }
}

/// log p of a row, and ∂ log p/∂ ln σ of each channel.
pub(crate) type Score = (f32, [f32; MAX_CHANNELS]);

/// log p of the rows, and the gradient of their weighted sum in ln σ.
pub(crate) fn summed(scores: &[Score], target: &Target<'_, Cpu>) -> (Vec<f32>, Vec<f32>) {
    let mut by_log_sd = vec![0.0; shape(target.log_sd).1];
    for ((_, by), weight) in scores.iter().zip(target.weights) {
        by_log_sd.iter_mut().zip(by).for_each(|(sum, by)| *sum += weight * by);
    }
    (scores.iter().map(|s| s.0).collect(), by_log_sd)
}

/// The weighted sum of log p of the rows, given its gradients in some inputs, and what adds those of the rest when its own is
/// known.
pub(crate) fn weighed<T: Tape<f32, Cpu>>(
    rows: Vec<f32>,
    target: &Target<'_, Cpu>,
    mut tape: T,
    by_inputs: [(Matrix<Cpu>, Vec<f32>); 2],
    rest: impl FnOnce(f32, &mut Gradients<f32, Cpu>) -> std::result::Result<(), CpuError> + 'static,
) -> Result<Scored<Cpu, T>> {
    let sum: f64 = rows.iter().zip(target.weights).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
    let total = target.log_sd.device().try_tensor_from_vec(vec![sum as f32], ()).map_err(device)?;
    if T::OWNS_TAPE {
        let out = total.clone();
        tape.add_backward_op(move |gradients| {
            gradients.get_or_alloc_mut(&out)?;
            let by = gradients.get(&out).as_vec()[0];
            for (input, part) in by_inputs {
                gradients.get_or_alloc_mut(&input)?.iter_mut().zip(part).for_each(|(g, p)| *g += by * p);
            }
            rest(by, gradients)
        });
    }
    Ok(Scored { total: total.put_tape(tape), rows })
}

/// Weighted log-likelihood of outputs (rows, pixels·channels), in one pass.
pub(crate) fn fused<T: Tape<f32, Cpu>>(outputs: Rows<Cpu, T>, target: &Target<'_, Cpu>) -> Result<Scored<Cpu, T>> {
    target.check(shape(&outputs))?;
    let (outputs, tape) = outputs.split_tape();
    let (columns, log_sd, mut slopes) = (shape(&outputs).1, values(target.log_sd), values(&outputs));
    let work = slopes.par_chunks_mut(columns).zip(target.data.values().par_chunks(columns)).zip(target.weights);
    let scores: Vec<Score> =
        work.map(|((out, x), weight)| weighted_score(target.likelihood, out, x, &log_sd, *weight)).collect();
    let (rows, by_log_sd) = summed(&scores, target);
    weighed(rows, target, tape, [(outputs, slopes), (target.log_sd.clone(), by_log_sd)], |_, _| Ok(()))
}

/// As [`score`], of a row whose slopes are to have a weight.
pub(crate) fn weighted_score(likelihood: Likelihood, out: &mut [f32], x: &[f32], log_sd: &[f32], weight: f32) -> Score {
    let score = score(likelihood, out, x, log_sd);
    out.iter_mut().for_each(|slope| *slope *= weight);
    score
}

/// Weighted log-likelihood of outputs (rows, pixels·channels), from the device's own operations.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    outputs: Rows<D, T>,
    target: &Target<'_, D>,
) -> Result<Scored<D, T>> {
    target.check(shape(&outputs))?;
    let (rows, columns) = shape(&outputs);
    let x = target.data.on(outputs.device())?.retaped::<T>();
    let log_p = match target.likelihood {
        Likelihood::Bernoulli => {
            let agreement = x.try_mul(outputs.retaped::<T>()).map_err(device)?;
            composed_softplus(outputs)?.try_negate().map_err(device)?.try_add(agreement).map_err(device)?
        }
        Likelihood::ContinuousBernoulli => {
            let agreement = x.try_mul(outputs.retaped::<T>()).map_err(device)?;
            composed_ln_partition(outputs)?.try_negate().map_err(device)?.try_add(agreement).map_err(device)?
        }
        Likelihood::Poisson(counts) => {
            let l = outputs.try_clamp(f32::MIN, MOST_LN_MEAN).map_err(device)?;
            let mean = l.retaped::<T>().try_exp().map_err(device)?.try_mul(counts).map_err(device)?;
            let mut constants = target.data.values().to_vec();
            poisson_constants(counts, &mut constants);
            let constants = crate::matrix(l.device(), constants, rows, columns)?;
            let n = x.try_mul(counts).map_err(device)?;
            n.try_mul(l).map_err(device)?.try_sub(mean).map_err(device)?.try_add(constants).map_err(device)?
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

/// ln((e^ℓ − 1)/ℓ), from the device's own operations: ℓ/2 + ℓ²/24 − ℓ⁴/2880 + … where |ℓ| < 1, since differences cancel there,
/// and max(ℓ, 0) + ln(1 − e^−|ℓ|) − ln |ℓ| elsewhere.
fn composed_ln_partition<D: Compute, T: Tape<f32, D>>(l: Rows<D, T>) -> Result<Rows<D, T>> {
    let near = l.retaped::<T>().try_clamp(-1.0, 1.0).map_err(device)?;
    let square = near.retaped::<T>().try_square().map_err(device)?;
    let mut even = square.retaped::<T>().try_mul(-1.0 / 9_676_800.0).map_err(device)?;
    for coefficient in [1.0 / 181_440.0, -1.0 / 2880.0] {
        even = even.try_add(coefficient).map_err(device)?.try_mul(square.retaped::<T>()).map_err(device)?;
    }
    let even = even.try_add(1.0 / 24.0).map_err(device)?.try_mul(square).map_err(device)?;
    let near = near.try_mul(0.5).map_err(device)?.try_add(even).map_err(device)?;
    let size = l.retaped::<T>().try_abs().map_err(device)?;
    let is_near = size.try_lt(1.0).map_err(device)?;
    let size = size.try_clamp(1.0, f32::MAX).map_err(device)?;
    let ln_size = size.retaped::<T>().try_ln().map_err(device)?;
    let room = size.try_negate().map_err(device)?.try_exp().map_err(device)?.try_negate().map_err(device)?;
    let room = room.try_add(1.0).map_err(device)?.try_ln().map_err(device)?.try_sub(ln_size).map_err(device)?;
    let far = l.try_relu().map_err(device)?.try_add(room).map_err(device)?;
    is_near.try_choose(near, far).map_err(device)
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::NoneTape;

    use super::*;

    #[test]
    fn an_output_is_found_of_which_a_value_is_the_mean() {
        for likelihood in
            [Likelihood::Bernoulli, Likelihood::ContinuousBernoulli, Likelihood::Gaussian, Likelihood::Poisson(20.0)]
        {
            for mean in [0.03f32, 0.3, 0.9] {
                let mut found = [likelihood.output(mean)];
                likelihood.mean(&mut found);
                assert!((found[0] - mean).abs() < 2e-3, "{likelihood:?}: {mean} {found:?}");
            }
        }
    }

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
