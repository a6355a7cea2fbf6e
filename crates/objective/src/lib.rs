#![doc = include_str!("../README.md")]

mod physics;
mod prior;

pub use physics::{Boundary, Energy, Neighbouring, Physics, Schedule, Traced};
pub use prior::{Circle, Mixture, Normal, Prior};

use dfdx::prelude::{Axis, SumTo};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{TryAdd, TryMatMul, TryMul, TrySub};
use parsimon_nets::{Compute, Error, Matrix, Result, Rows, Scored};

fn device<E: std::fmt::Display>(error: E) -> Error {
    Error::Device(error.to_string())
}

/// A diagonal Gaussian per row, q(u|x) = N(mean, e^{2·log_sd}), of latents u in units of their prior widths.
///
/// # Shapes
/// Both (rows, latents).
#[derive(Debug, Clone)]
pub struct Posterior<D: Compute, T: Tape<f32, D>> {
    /// Mean.
    pub mean: Rows<D, T>,
    /// ln of the standard deviation.
    pub log_sd: Rows<D, T>,
}

impl<D: Compute, T: Tape<f32, D>> Posterior<D, T> {
    /// KL(q‖N(0,1)) = Σ ½(mean² + sd² − 1) − ln sd, summed over latents. A latent w = s·u whose prior is N(0, s²) has
    /// the same divergence, so prior widths enter where u is put to use, not here.
    ///
    /// # Shapes
    /// `rows` holds one value per row, in nats; `total` their sum.
    ///
    /// # Errors
    /// If the device fails.
    pub fn divergence(&self) -> Result<Scored<D, T>> {
        let mean_square = self.mean.retaped::<T>().try_square().map_err(device)?;
        let variance = self.log_sd.retaped::<T>().try_mul(2.0).map_err(device)?.try_exp().map_err(device)?;
        let half = mean_square.try_add(variance).map_err(device)?.try_sub(1.0).map_err(device)?;
        let half = half.try_mul(0.5).map_err(device)?;
        let kl = half.try_sub(self.log_sd.retaped::<T>()).map_err(device)?;
        let kl = kl.try_sum::<(usize,), Axis<1>>().map_err(device)?;
        let rows = kl.as_vec();
        Ok(Scored { total: kl.try_sum::<(), _>().map_err(device)?, rows })
    }

    /// The same of some of so many latents.
    ///
    /// # Errors
    /// If the device fails.
    pub fn some(&self, latents: usize, columns: std::ops::Range<usize>) -> Result<Self> {
        let take = |x: &Rows<D, T>| some(&x.retaped::<T>(), latents, columns.clone());
        Ok(Self { mean: take(&self.mean)?, log_sd: take(&self.log_sd)? })
    }

    /// A draw u = mean + e^log_sd · noise, differentiable in both; `noise` holds standard normal numbers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn sample(self, noise: Matrix<D>) -> Result<Rows<D, T>> {
        let spread = self.log_sd.try_exp().map_err(device)?.try_mul(noise).map_err(device)?;
        self.mean.try_add(spread).map_err(device)
    }
}

/// Some of so many columns.
///
/// # Errors
/// If there are not so many, or the device fails.
pub fn some<D: Compute, T: Tape<f32, D>>(
    x: &Rows<D, T>,
    all: usize,
    columns: std::ops::Range<usize>,
) -> Result<Rows<D, T>> {
    if columns.end > all {
        let value = format!("{columns:?} of {all}");
        return Err(Error::Parameter { what: "columns", value, accepted: "those there are" });
    }
    let mut table = vec![0.0; all * columns.len()];
    columns.clone().enumerate().for_each(|(to, from)| table[from * columns.len() + to] = 1.0);
    let table = parsimon_nets::matrix(x.device(), table, all, columns.len())?;
    x.retaped::<T>().try_matmul(table).map_err(device)
}

/// How the divergence weighs in the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    /// β; 1: the ELBO itself.
    pub beta: f32,
    /// The divergence that is free, in nats a row; the loss then holds β·|KL − capacity|. None: β·KL.
    ///
    /// Reference: Burgess et al. 2018, arXiv 1804.03599.
    pub capacity: Option<f32>,
}

/// The loss to minimise: the mean over rows of −ELBO, (β·KL − log p)/rows, in nats; with a capacity C, β·|KL/rows − C| in
/// place of the divergence.
///
/// # Errors
/// If the device fails.
pub fn negative_elbo<D: Compute, T: Tape<f32, D>>(
    log_p: Tensor<(), f32, D, T>,
    divergence: Tensor<(), f32, D, T>,
    weight: Weight,
    rows: usize,
) -> Result<Tensor<(), f32, D, T>> {
    let share = 1.0 / rows.max(1) as f32;
    let divergence = divergence.try_mul(share).map_err(device)?;
    let divergence = match weight.capacity {
        Some(capacity) => divergence.try_sub(capacity).map_err(device)?.try_abs().map_err(device)?,
        None => divergence,
    };
    let loss = divergence.try_mul(weight.beta).map_err(device)?;
    loss.try_sub(log_p.try_mul(share).map_err(device)?).map_err(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::{AsArray, Cpu, Trace};
    use dfdx::tensor_ops::Backward;
    use parsimon_nets::matrix;
    use proptest::prelude::*;

    fn kl(mean: f64, log_sd: f64) -> f64 {
        0.5 * (mean * mean + (2.0 * log_sd).exp() - 1.0) - log_sd
    }

    proptest! {
        #[test]
        fn divergence_and_its_gradient_follow_the_definition(
            values in proptest::collection::vec((-3.0f32..3.0, -2.0f32..1.0), 6),
        ) {
            let cpu = Cpu::default();
            let column = |f: fn(&(f32, f32)) -> f32| matrix(&cpu, values.iter().map(f).collect(), 2, 3).unwrap();
            let (mean, log_sd) = (column(|v| v.0), column(|v| v.1));
            let posterior = Posterior { mean: mean.leaky_trace(), log_sd: log_sd.leaky_trace() };
            let scored = posterior.divergence().unwrap();
            let exact: Vec<f64> = values.iter().map(|v| kl(v.0.into(), v.1.into())).collect();
            for (row, found) in scored.rows.iter().enumerate() {
                let expected: f64 = exact[3 * row..][..3].iter().sum();
                prop_assert!((f64::from(*found) - expected).abs() < 1e-4, "{} {}", found, expected);
            }
            let gradients = scored.total.backward();
            let (by_mean, by_log_sd) = (gradients.get(&mean).as_vec(), gradients.get(&log_sd).as_vec());
            for (i, &(m, s)) in values.iter().enumerate() {
                let (m, s, h) = (f64::from(m), f64::from(s), 1e-5);
                let slope_m = (kl(m + h, s) - kl(m - h, s)) / (2.0 * h);
                let slope_s = (kl(m, s + h) - kl(m, s - h)) / (2.0 * h);
                prop_assert!((f64::from(by_mean[i]) - slope_m).abs() < 1e-3);
                prop_assert!((f64::from(by_log_sd[i]) - slope_s).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_sample_is_mean_plus_scaled_noise_and_the_loss_is_a_mean() {
        let cpu = Cpu::default();
        let row = |v: [f32; 2]| matrix(&cpu, v.to_vec(), 1, 2).unwrap();
        let posterior = Posterior { mean: row([1.0, 2.0]), log_sd: row([0.0, 2.0f32.ln()]) };
        let sample = posterior.sample(row([-1.0, 0.5])).unwrap().as_vec();
        assert!((sample[0]).abs() < 1e-6 && (sample[1] - 3.0).abs() < 1e-6);
        let scalar = |v: f32| dfdx::tensor::TensorFrom::tensor(&cpu, v);
        let loss = |capacity| -> f32 {
            negative_elbo(scalar(-8.0), scalar(2.0), Weight { beta: 2.0, capacity }, 5).unwrap().array()
        };
        assert!((loss(None) - 2.4).abs() < 1e-6);
        // A divergence of 0.4 nats a row is 0.6 short of 1, and 0.3 above 0.1.
        assert!((loss(Some(1.0)) - 2.8).abs() < 1e-6 && (loss(Some(0.1)) - 2.2).abs() < 1e-6);
    }
}
