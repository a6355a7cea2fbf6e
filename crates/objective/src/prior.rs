//! Priors of latents.

use std::f32::consts::{PI, TAU};

use dfdx::prelude::{Axis, LogSumExpTo, SumTo};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{TryAdd, TryMatMul, TryMul, TrySub};
use parsimon_nets::{Compute, Error, Matrix, Parameters, Result, Rows, Scored, matrix, values};
use rand::Rng;
use rand_distr::StandardNormal;

use crate::{Posterior, device};

/// What is believed of latents u before a sample is seen.
pub trait Prior<D: Compute> {
    /// KL(q‖p), summed over latents: in closed form where there is one, else ln q(u) − ln p(u) at the draw u = mean + sd·noise,
    /// whose expectation it is.
    ///
    /// # Shapes
    /// `noise` (rows, latents), standard normal numbers; `rows` of the result one value per row, in nats.
    ///
    /// # Errors
    /// If the device fails.
    fn divergence<T: Tape<f32, D>>(&self, q: &Posterior<D, T>, noise: &Matrix<D>) -> Result<Scored<D, T>>;
}

/// N(0, 1), of latents in units of their prior widths; in closed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normal;

impl<D: Compute> Prior<D> for Normal {
    fn divergence<T: Tape<f32, D>>(&self, q: &Posterior<D, T>, _noise: &Matrix<D>) -> Result<Scored<D, T>> {
        q.divergence()
    }
}

/// A distribution on the circle, of one latent in rad: p(γ) = 1/n Σ N(γ; 2πk/n, width²) over whole k, which is even for an
/// infinite width, and the same after an n-th of a turn. q is wrapped around the circle likewise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Standard deviation in rad about each of the n directions; above 0.
    pub width: f32,
    /// n, from 1.
    pub fold: usize,
}

/// Turns either way that are counted when a normal distribution is wrapped.
const TURNS: i32 = 5;

const HALF_LN_TAU: f32 = 0.918_938_5;

/// Sums of the rows.
fn scored<D: Compute, T: Tape<f32, D>>(kl: dfdx::tensor::Tensor<(usize,), f32, D, T>) -> Result<Scored<D, T>> {
    let rows = kl.as_vec();
    Ok(Scored { total: kl.try_sum::<(), _>().map_err(device)?, rows })
}

/// ln(1 + Σ exp(−step·k·(off + ½·step·k))) over k ≠ 0: what wrapping adds to −½ off² of a standard normal distribution.
fn wrapped<D: Compute, T: Tape<f32, D>>(off: Rows<D, T>, step: Rows<D, T>) -> Result<Rows<D, T>> {
    let (again, steps) = (off.retaped::<T>(), step.retaped::<T>());
    // The first term alone carries the way back of both.
    let term = |k: i32, off: Rows<D, T>, step: Rows<D, T>| -> Result<Rows<D, T>> {
        let far = step.try_mul(k as f32).map_err(device)?;
        let middle = far.retaped::<T>().try_mul(0.5).map_err(device)?.try_add(off).map_err(device)?;
        far.try_mul(middle).map_err(device)?.try_negate().map_err(device)?.try_exp().map_err(device)
    };
    let mut sum = term(1, off, step)?;
    for k in (-TURNS..=TURNS).filter(|k| *k != 0 && *k != 1) {
        sum = sum.try_add(term(k, again.retaped(), steps.retaped())?).map_err(device)?;
    }
    sum.try_add(1.0).map_err(device)?.try_ln().map_err(device)
}

impl<D: Compute> Prior<D> for Circle {
    fn divergence<T: Tape<f32, D>>(&self, q: &Posterior<D, T>, noise: &Matrix<D>) -> Result<Scored<D, T>> {
        let host = values(noise);
        let rows = host.len();
        let constant = |values: Vec<f32>| matrix(noise.device(), values, rows, 1);
        // Wider than a turn it is even, and a few turns would no longer hold it all.
        let log_sd = q.log_sd.retaped::<T>().try_clamp(f32::MIN, TAU.ln()).map_err(device)?;
        let steps = log_sd.retaped::<T>().try_negate().map_err(device)?.try_exp().map_err(device)?;
        let steps = steps.try_mul(TAU).map_err(device)?;
        let log_q = wrapped(noise.retaped::<T>(), steps)?.try_sub(log_sd).map_err(device)?;
        let half_squares = host.iter().map(|e| -0.5 * e * e - HALF_LN_TAU).collect();
        let log_q = log_q.try_add(constant(half_squares)?).map_err(device)?;
        let part = TAU / self.fold as f32;
        let kl = if self.width >= part {
            // So wide that nothing is left of its n directions.
            log_q.try_add((2.0 * PI).ln()).map_err(device)?
        } else {
            let draw = q
                .mean
                .retaped::<T>()
                .try_add(q.log_sd.retaped::<T>().try_exp().map_err(device)?.try_mul(noise.clone()).map_err(device)?);
            let draw = draw.map_err(device)?;
            let nearest = draw.as_vec().iter().map(|u| -part * (u / part).round()).collect();
            let off = draw.try_add(constant(nearest)?).map_err(device)?.try_mul(1.0 / self.width).map_err(device)?;
            let half_square = off.retaped::<T>().try_square().map_err(device)?.try_mul(0.5).map_err(device)?;
            let step = constant(vec![part / self.width; rows])?.retaped::<T>();
            let log_p = wrapped(off, step)?.try_sub(half_square).map_err(device)?;
            let norm = (self.fold as f32 * self.width).ln() + HALF_LN_TAU;
            log_q.try_sub(log_p).map_err(device)?.try_add(norm).map_err(device)?
        };
        scored(kl.try_sum::<(usize,), Axis<1>>().map_err(device)?)
    }
}

/// A mixture of Gaussians with diagonal covariances that is learned with the model: p(u) = Σ πₖ N(u; mₖ, sₖ²).
///
/// Reference: Jiang et al. 2017, arXiv 1611.05148.
#[derive(Debug, Clone)]
pub struct Mixture<D: Compute> {
    /// Means, (latents, components).
    means: Matrix<D>,
    /// ln of the standard deviations, (latents, components).
    log_sds: Matrix<D>,
    /// Log-odds of the components, (1, components).
    odds: Matrix<D>,
}

/// Standard deviation of a component at first.
const FIRST_SD: f32 = 0.5;

impl<D: Compute> Mixture<D> {
    /// Equally likely components about random places.
    ///
    /// # Errors
    /// If there is no latent or no component, or the device fails.
    pub fn new(device: &D, latents: usize, components: usize, rng: &mut impl Rng) -> Result<Self> {
        if latents == 0 || components == 0 {
            let value = format!("{components} in {latents} latents");
            return Err(Error::Parameter { what: "components of a mixture", value, accepted: "1 and more of each" });
        }
        let means = (0..latents * components).map(|_| rng.sample::<f32, _>(StandardNormal)).collect();
        Ok(Self {
            means: matrix(device, means, latents, components)?,
            log_sds: matrix(device, vec![FIRST_SD.ln(); latents * components], latents, components)?,
            odds: matrix(device, vec![0.0; components], 1, components)?,
        })
    }

    fn log_p<T: Tape<f32, D>>(&self, u: Rows<D, T>, rows: usize) -> Result<dfdx::tensor::Tensor<(usize,), f32, D, T>> {
        let latents = values(&self.means).len() / values(&self.odds).len();
        let ones = |columns: usize| -> Result<Rows<D, T>> {
            Ok(matrix(self.means.device(), vec![1.0; rows * columns], rows, columns)?.retaped::<T>())
        };
        let log_sds = || self.log_sds.retaped::<T>();
        let precision = || log_sds().try_mul(-2.0).map_err(device)?.try_exp().map_err(device);
        let means = || self.means.retaped::<T>();
        // Σ ((u − m)/s)² as products of matrices.
        let pull = means().try_mul(precision()?).map_err(device)?;
        let own = means().try_square().map_err(device)?.try_mul(precision()?).map_err(device)?;
        let squares = u.retaped::<T>().try_square().map_err(device)?.try_matmul(precision()?).map_err(device)?;
        let across = u.try_matmul(pull).map_err(device)?.try_mul(-2.0).map_err(device)?;
        let distance = squares.try_add(across).map_err(device)?;
        let distance = distance.try_add(ones(latents)?.try_matmul(own).map_err(device)?).map_err(device)?;
        let norm = ones(latents)?.try_matmul(log_sds()).map_err(device)?;
        let odds = self.odds.retaped::<T>().try_log_softmax::<Axis<1>>().map_err(device)?;
        let odds = ones(1)?.try_matmul(odds).map_err(device)?;
        let each = odds.try_sub(distance.try_mul(0.5).map_err(device)?).map_err(device)?;
        let each = each.try_sub(norm).map_err(device)?.try_sub(HALF_LN_TAU * latents as f32).map_err(device)?;
        each.try_logsumexp::<(usize,), Axis<1>>().map_err(device)
    }
}

impl<D: Compute> Prior<D> for Mixture<D> {
    fn divergence<T: Tape<f32, D>>(&self, q: &Posterior<D, T>, noise: &Matrix<D>) -> Result<Scored<D, T>> {
        let host = values(noise);
        let latents = values(&self.means).len() / values(&self.odds).len();
        let rows = host.len() / latents;
        let q = || Posterior { mean: q.mean.retaped::<T>(), log_sd: q.log_sd.retaped::<T>() };
        let log_p = self.log_p(q().sample(noise.clone())?, rows)?;
        let half_squares: Vec<f32> = host.iter().map(|e| -0.5 * e * e - HALF_LN_TAU).collect();
        let half_squares = matrix(noise.device(), half_squares, rows, latents)?;
        let log_q = q().log_sd.try_negate().map_err(device)?.try_add(half_squares).map_err(device)?;
        let log_q = log_q.try_sum::<(usize,), Axis<1>>().map_err(device)?;
        scored(log_q.try_sub(log_p).map_err(device)?)
    }
}

impl<D: Compute> Parameters<D> for Mixture<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        f(format!("{prefix}means"), &self.means);
        f(format!("{prefix}log_sds"), &self.log_sds);
        f(format!("{prefix}odds"), &self.odds);
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        f(format!("{prefix}means"), &mut self.means);
        f(format!("{prefix}log_sds"), &mut self.log_sds);
        f(format!("{prefix}odds"), &mut self.odds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::{AsArray, Cpu, Trace};
    use dfdx::tensor_ops::Backward;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const LN_TAU: f64 = 1.837_877_066_409_345_3;

    fn normal(x: f64, mean: f64, sd: f64) -> f64 {
        (-0.5 * ((x - mean) / sd).powi(2) - sd.ln() - 0.5 * LN_TAU).exp()
    }

    /// Mean of the divergence of (mean, ln sd) over many draws.
    fn found(prior: &impl Prior<Cpu>, mean: &[f32], log_sd: &[f32]) -> f64 {
        let cpu = Cpu::default();
        let (n, d) = (40_000, mean.len());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let noise = (0..n * d).map(|_| rng.sample::<f32, _>(StandardNormal)).collect();
        let rows = |v: &[f32]| matrix(&cpu, v.repeat(n), n, d).unwrap();
        let q = Posterior { mean: rows(mean), log_sd: rows(log_sd) };
        let kl = prior.divergence(&q, &matrix(&cpu, noise, n, d).unwrap()).unwrap();
        let sum: f64 = kl.rows.iter().map(|v| f64::from(*v)).sum();
        let total: f32 = kl.total.array();
        assert!((f64::from(total) - sum).abs() < 1e-2 * sum.abs().max(1.0), "{total} {sum}");
        sum / n as f64
    }

    /// The gradients agree with central differences at fixed noise.
    fn check_gradients(prior: &impl Prior<Cpu>, mean: &[f32], log_sd: &[f32]) {
        let cpu = Cpu::default();
        let d = mean.len();
        let noise: Vec<f32> = (0..d).map(|i| 0.7 - 0.9 * i as f32).collect();
        let row = |v: &[f32]| matrix(&cpu, v.to_vec(), 1, d).unwrap();
        let value = |mean: &[f32], log_sd: &[f32]| {
            let q = Posterior { mean: row(mean), log_sd: row(log_sd) };
            f64::from(prior.divergence(&q, &row(&noise)).unwrap().rows[0])
        };
        let (m, l) = (row(mean), row(log_sd));
        let q = Posterior { mean: m.leaky_trace(), log_sd: l.leaky_trace() };
        // An even prior does not look at the mean, whose gradient is then none at all.
        let nothing = m.leaky_trace().try_sum::<(), _>().unwrap().try_mul(0.0).unwrap();
        let total = prior.divergence(&q, &row(&noise)).unwrap().total;
        let gradients = total.try_add(nothing).unwrap().backward();
        let h = 3e-3;
        for i in 0..d {
            let moved = |of: &[f32], by: f32| {
                let mut v = of.to_vec();
                v[i] += by;
                v
            };
            let by_mean = (value(&moved(mean, h), log_sd) - value(&moved(mean, -h), log_sd)) / f64::from(2.0 * h);
            let by_log_sd = (value(mean, &moved(log_sd, h)) - value(mean, &moved(log_sd, -h))) / f64::from(2.0 * h);
            for (found, slope) in [(gradients.get(&m).as_vec()[i], by_mean), (gradients.get(&l).as_vec()[i], by_log_sd)]
            {
                assert!((f64::from(found) - slope).abs() < 5e-3 * (1.0 + slope.abs()), "{i}: {found} {slope}");
            }
        }
    }

    #[test]
    fn circles_have_the_divergence_of_wrapped_densities() {
        for (width, fold) in [(f32::INFINITY, 1), (0.5, 1), (0.1, 4), (2.0, 1), (7.0, 1), (2.0, 6)] {
            let circle = Circle { width, fold };
            let wide = found(&circle, &[0.3], &[1000f32.ln()]);
            assert!(wide > -0.02, "{circle:?}: {wide}");
            for (mean, sd) in [(0.2f32, 0.1f32), (3.0, 0.4), (-9.0, 1.5), (40.0, 0.05)] {
                // ∫ q ln q/p over one turn.
                let wrap = |x: f64, centre: f64, sd: f64, step: f64| -> f64 {
                    (-400..=400).map(|k| normal(x + step * f64::from(k), centre, sd)).sum()
                };
                let steps = 4000;
                let turn = std::f64::consts::TAU;
                let kl: f64 = (0..steps)
                    .map(|i| {
                        let x = turn * (f64::from(i) + 0.5) / f64::from(steps);
                        let q = wrap(x, mean.into(), sd.into(), turn);
                        let n = fold as f64;
                        let p = if width.is_finite() { wrap(x, 0.0, width.into(), turn / n) / n } else { 1.0 / turn };
                        if q > 0.0 { q * (q / p.max(1e-300)).ln() * turn / f64::from(steps) } else { 0.0 }
                    })
                    .sum();
                let found = found(&circle, &[mean], &[sd.ln()]);
                assert!((found - kl).abs() < 0.03 * (1.0 + kl), "{circle:?} {mean} {sd}: {found} {kl}");
                if mean < 30.0 {
                    check_gradients(&circle, &[mean], &[sd.ln()]);
                }
            }
        }
    }

    #[test]
    fn a_mixture_has_its_density_and_one_standard_component_is_the_normal_prior() {
        let cpu = Cpu::default();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut mixture = Mixture::new(&cpu, 2, 3, &mut rng).unwrap();
        let set = |mixture: &mut Mixture<Cpu>, name: &str, v: &[f32]| {
            mixture.visit_mut("", &mut |found, m| {
                if found == name {
                    let (rows, columns) = (v.len() / if name == "odds" { v.len() } else { 3 }, v.len());
                    let columns = if name == "odds" { columns } else { 3 };
                    *m = matrix(&cpu, v.to_vec(), rows, columns).unwrap();
                }
            });
        };
        let (means, sds, odds) = ([-1.0, 0.5, 2.0, 1.0, -1.0, 0.0], [0.3, 0.8, 1.1, 0.5, 0.4, 0.9], [0.2f64, 0.5, 0.3]);
        set(&mut mixture, "means", &means);
        set(&mut mixture, "log_sds", &sds.map(f32::ln));
        set(&mut mixture, "odds", &odds.map(|o| o.ln() as f32));
        let density = |u: [f64; 2]| -> f64 {
            let of = |k: usize, l: usize| normal(u[l], f64::from(means[3 * l + k]), f64::from(sds[3 * l + k]));
            (0..3).map(|k| odds[k] * of(k, 0) * of(k, 1)).sum()
        };
        let u = matrix(&cpu, vec![0.3, -0.4, 2.5, 0.1], 2, 2).unwrap();
        let log_p = mixture.log_p(u, 2).unwrap().as_vec();
        for (found, u) in log_p.iter().zip([[0.3, -0.4], [2.5, 0.1]]) {
            assert!((f64::from(*found) - density(u).ln()).abs() < 1e-4, "{found} {}", density(u).ln());
        }
        check_gradients(&mixture, &[0.4, -0.2], &[-0.5, 0.1]);
        let mut one = Mixture::new(&cpu, 2, 1, &mut rng).unwrap();
        one.visit_mut("", &mut |name, m| {
            let (rows, columns) = if name == "odds" { (1, 1) } else { (2, 1) };
            *m = matrix(&cpu, vec![0.0; rows * columns], rows, columns).unwrap();
        });
        let (mean, log_sd) = ([0.7, -1.0], [-0.5f32, 0.3]);
        let exact: f64 = (0..2)
            .map(|i| {
                let (m, l) = (f64::from(mean[i]), f64::from(log_sd[i]));
                0.5 * (m * m + (2.0 * l).exp() - 1.0) - l
            })
            .sum();
        let sampled = found(&one, &mean, &log_sd);
        assert!((sampled - exact).abs() < 0.03, "{sampled} {exact}");
        assert!((found(&Normal, &mean, &log_sd) - exact).abs() < 1e-4);
    }
}
