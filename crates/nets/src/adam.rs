#![allow(unsafe_code, reason = "vector instructions, run by functions compiled for them")]

use std::collections::BTreeMap;

use dfdx::tensor::Gradients;
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::compute::read;
use crate::maths::dispatch;
use crate::simd::Simd;
use crate::{Compute, Parameters, Result, values};

/// Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − η·m̂/(√v̂ + ε), with bias-corrected m̂, v̂.
///
/// Reference: Kingma & Ba 2014, arXiv 1412.6980.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// η; above 0, default 10⁻³.
    pub learning_rate: f32,
    /// β₁ and β₂; in \[0,1), default 0.9 and 0.999.
    pub betas: (f32, f32),
    /// ε, default 10⁻⁸.
    pub epsilon: f32,
    /// Steps taken so far.
    pub steps: i32,
    /// First and second moment of each parameter, by its name.
    pub moments: BTreeMap<String, Moments>,
}

/// Running means of a parameter's gradient and of its square.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// m.
    pub first: Vec<f32>,
    /// v.
    pub second: Vec<f32>,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: (0.9, 0.999), epsilon: 1e-8, steps: 0, moments: BTreeMap::new() }
    }
}

impl Adam {
    /// One step along the gradients, which it uses up. A parameter without one has a gradient of 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step<D: Compute>(&mut self, model: &mut dyn Parameters<D>, mut gradients: Gradients<f32, D>) -> Result<()> {
        let (mut outcome, mut taken) = (Ok(()), Vec::new());
        model.visit("", &mut |name, parameter| match D::take_gradient(parameter, &mut gradients) {
            Ok(gradient) => taken.push((name, gradient, read(parameter))),
            Err(error) => outcome = Err(error),
        });
        outcome?;
        self.steps += 1;
        let (b1, b2) = self.betas;
        let rate = self.learning_rate / (1.0 - b1.powi(self.steps));
        let spread = (1.0 - b2.powi(self.steps)).sqrt().recip();
        let constants = [b1, b2, rate, spread, self.epsilon];
        let parts = taken.into_iter().map(|(name, gradient, weights)| {
            let mut moments = self.moments.remove(&name).unwrap_or_default();
            moments.first.resize(weights.len(), 0.0);
            moments.second.resize(weights.len(), 0.0);
            Part { name, weights, gradient, moments }
        });
        let mut parts: Vec<Part> = parts.collect();
        parts.par_iter_mut().for_each(|part| part.step(constants));
        let mut moved = BTreeMap::<String, Buffer>::new();
        for Part { name, weights, moments, .. } in parts {
            self.moments.insert(name.clone(), moments);
            moved.insert(name, weights);
        }
        model.visit_mut("", &mut |name, parameter| {
            if let Some(weights) = moved.get(&name) {
                parameter.copy_from(weights);
            }
        });
        Ok(())
    }
}

/// A parameter while it moves.
struct Part {
    name: String,
    weights: Buffer,
    gradient: Vec<f32>,
    moments: Moments,
}

impl Part {
    fn step(&mut self, constants: [f32; 5]) {
        let parts = self.gradient.par_chunks(PART).zip(self.weights.par_chunks_mut(PART));
        let moments = self.moments.first.par_chunks_mut(PART).zip(self.moments.second.par_chunks_mut(PART));
        parts.zip(moments).for_each(|((g, w), (m, v))| update(constants, g, w, m, v));
    }
}

/// Moves the parameters of `average` towards those of `model` by a share of the way: repeated after each step, an
/// exponential mean of the weights, whose noise is less than that of the last.
///
/// Reference: Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407.
pub fn approach<D: Compute>(average: &mut dyn Parameters<D>, model: &dyn Parameters<D>, share: f32) {
    let mut targets = BTreeMap::new();
    model.visit("", &mut |name, parameter| drop(targets.insert(name, values(parameter))));
    average.visit_mut("", &mut |name, parameter| {
        if let Some(target) = targets.get(&name) {
            let mut mean = values(parameter);
            mean.iter_mut().zip(target).for_each(|(m, t)| *m += share * (t - *m));
            parameter.copy_from(&mean);
        }
    });
}

/// Numbers that one task updates.
const PART: usize = 1 << 14;

/// One step of one parameter; the constants are β₁, β₂, the corrected η, the correction of √v, and ε.
#[inline(always)]
unsafe fn update_body<V: Simd>(constants: [f32; 5], gradient: &[f32], w: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let [b1, b2, rate, spread, epsilon] = constants;
    for at in (0..w.len()).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let g = V::get(&gradient[at..]);
            let first = V::splat(b1).fused(V::get(&m[at..]), V::splat(1.0 - b1).mul(g));
            let second = V::splat(b2).fused(V::get(&v[at..]), V::splat(1.0 - b2).mul(g.mul(g)));
            first.put(&mut m[at..]);
            second.put(&mut v[at..]);
            let step = V::splat(rate).mul(first).div(second.sqrt().fused(V::splat(spread), V::splat(epsilon)));
            V::get(&w[at..]).sub(step).put(&mut w[at..]);
        }
    }
}

dispatch!(fn update(constants: [f32; 5], gradient: &[f32], w: &mut [f32], m: &mut [f32], v: &mut [f32]) = update_body);

#[cfg(test)]
mod tests {
    use dfdx::tensor::{Cpu, Trace};
    use dfdx::tensor_ops::{Backward, SumTo, TryMul};

    use super::*;
    use crate::{Matrix, matrix};

    struct One(Matrix<Cpu>);

    impl Parameters<Cpu> for One {
        fn visit(&self, _: &str, f: &mut dyn FnMut(String, &Matrix<Cpu>)) {
            f("w".into(), &self.0);
        }
        fn visit_mut(&mut self, _: &str, f: &mut dyn FnMut(String, &mut Matrix<Cpu>)) {
            f("w".into(), &mut self.0);
        }
    }

    #[test]
    fn an_average_goes_a_share_of_the_way() {
        let one = |v: Vec<f32>| One(matrix(&Cpu::default(), v, 1, 2).unwrap());
        let (mut average, model) = (one(vec![0.0, 4.0]), one(vec![1.0, 0.0]));
        approach(&mut average, &model, 0.25);
        assert_eq!(average.0.as_vec(), [0.25, 3.0]);
        assert_eq!(model.0.as_vec(), [1.0, 0.0]);
    }

    #[test]
    fn steps_agree_with_those_of_dfdx() {
        let cpu = Cpu::default();
        let start = vec![-0.5f32, -0.25, 0.1, 0.6, 1.0];
        let slope = |w: &Matrix<Cpu>| w.leaky_trace().try_mul(0.3).unwrap().square().sum::<(), _>().backward();
        let mut ours = One(matrix(&cpu, start.clone(), 1, 5).unwrap());
        let mut adam = Adam { learning_rate: 1e-2, ..Adam::default() };
        let mut theirs = matrix(&cpu, start, 1, 5).unwrap();
        let config = dfdx::tensor_ops::AdamConfig { lr: 1e-2, ..Default::default() };
        let (mut m, mut v) = (Gradients::leaky(), Gradients::leaky());
        let anchor = theirs.clone();
        for step in 1..=20 {
            let gradients = slope(&ours.0);
            adam.step(&mut ours, gradients).unwrap();
            let mut gradients = slope(&theirs);
            let (m, v) = (m.get_or_alloc_mut(&anchor).unwrap(), v.get_or_alloc_mut(&anchor).unwrap());
            config.try_update(step, &mut theirs, m, v, gradients.get_or_alloc_mut(&anchor).unwrap()).unwrap();
        }
        for (a, b) in ours.0.as_vec().iter().zip(theirs.as_vec()) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
