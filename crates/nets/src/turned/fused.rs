//! By way of the frequencies of a turn: between those no products are needed, and a turn is a phase.
//!
//! With the real orthonormal Fourier basis Q along the steps, x̂ = Q·x and Ŵ = Q·W, a turn by k steps gives
//!
//! ```text
//! y(k) = x̂₀Ŵ₀ + Σ_f cos(2πfk/n)·(x̂_c Ŵ_c + x̂_s Ŵ_s) + sin(2πfk/n)·(x̂_s Ŵ_c − x̂_c Ŵ_s) + (−1)ᵏ x̂_{n/2} Ŵ_{n/2},
//! ```
//!
//! so that n steps take about 2n products of the parts of a step in place of n².

use std::f64::consts::TAU;

use dfdx::tensor::{Cpu, PutTape, Tape};
use rayon::prelude::*;

use super::Turns;
use crate::blocks::{Finish, Panels, Start, add_rows, add_transposed, chain, product};
use crate::buffer::Buffer;
use crate::compute::read;
use crate::dense::shape;
use crate::{Activation, Data, Dense, Matrix, Result, Rows, matrix};

/// Rows of a block, and rows of weights whose gradients one task sums: a number that does not depend on threads.
const ROWS: usize = 12;

const PLAIN: Finish<'static> = Finish::Activate(Activation::Identity);

/// A frequency: which numbers of x̂ it has, one or two for each of a step.
#[derive(Debug, Clone, Copy)]
struct Frequency {
    first: usize,
    pair: bool,
}

/// What does not depend on the rows.
struct Plan {
    turns: Turns,
    each: usize,
    outputs: usize,
    frequencies: Vec<Frequency>,
    /// Q, (steps, steps).
    basis: Vec<f32>,
    /// Phases, (views, steps), and their transpose.
    phases: [Vec<f32>; 2],
}

impl Plan {
    fn new(turns: Turns, columns: usize, outputs: usize) -> Self {
        let Turns { steps, views, .. } = turns;
        let pair = |first: usize| first > 0 && first + 1 < steps;
        let mut frequencies = Vec::new();
        let mut first = 0;
        while first < steps {
            frequencies.push(Frequency { first, pair: pair(first) });
            first += if pair(first) { 2 } else { 1 };
        }
        let angle = |f: usize, k: usize| TAU * ((f * k) % steps) as f64 / steps as f64;
        let mut basis = vec![0.0; steps * steps];
        let mut phases = [vec![0.0; views * steps], vec![0.0; steps * views]];
        for (f, frequency) in frequencies.iter().enumerate() {
            let length = (if frequency.pair { 2.0 } else { 1.0 } / steps as f64).sqrt();
            for (j, wave) in [f64::cos, f64::sin].into_iter().take(1 + usize::from(frequency.pair)).enumerate() {
                let row = frequency.first + j;
                (0..steps).for_each(|k| basis[row * steps + k] = (length * wave(angle(f, k))) as f32);
                for k in 0..views {
                    let phase = wave(angle(f, k)) as f32;
                    (phases[0][k * steps + row], phases[1][row * views + k]) = (phase, phase);
                }
            }
        }
        Self { turns, each: turns.each(columns), outputs, frequencies, basis, phases }
    }

    /// Numbers of a row at a frequency: what is still does not turn, so it goes with the first.
    fn inputs(&self, Frequency { first, pair }: Frequency) -> usize {
        if pair { 2 * self.each } else { self.each + if first == 0 { self.turns.still } else { 0 } }
    }

    /// Rows at a frequency for each of x.
    fn height(&self, Frequency { pair, .. }: Frequency) -> usize {
        1 + usize::from(pair)
    }

    /// Numbers along the steps (steps, n) → at the frequencies.
    fn analysed(&self, x: &[f32]) -> Buffer {
        let steps = self.turns.steps;
        let mut found = Buffer::stale(x.len());
        let x = Panels::new(x, steps, x.len() / steps);
        product(&self.basis, &x, Start::Zero, (&mut found, &mut []), PLAIN);
        found
    }

    /// Ŵ, frequency after frequency, which of a pair is [Ŵ_c; Ŵ_s].
    fn weights(&self, weight: &[f32]) -> Vec<Panels> {
        let (rings, still) = weight.split_at(self.turns.steps * self.each * self.outputs);
        let found = self.analysed(rings);
        let part = |frequency: &Frequency| {
            let numbers = self.height(*frequency) * self.each * self.outputs;
            let own = &found[frequency.first * self.each * self.outputs..][..numbers];
            if frequency.first == 0 {
                Panels::new(&[own, still].concat(), self.inputs(*frequency), self.outputs)
            } else {
                Panels::new(own, self.inputs(*frequency), self.outputs)
            }
        };
        self.frequencies.par_iter().map(part).collect()
    }

    /// x̂ of some rows, frequency after frequency; of a pair each row gives [x̂_c, x̂_s] and [x̂_s, −x̂_c].
    fn data(&self, x: &[f32]) -> Vec<Buffer> {
        let columns = self.turns.steps * self.each + self.turns.still;
        let rows = x.len() / columns;
        let room = |f: &Frequency| Buffer::stale(rows * self.height(*f) * self.inputs(*f));
        let mut found: Vec<Buffer> = self.frequencies.iter().map(room).collect();
        for (r, row) in x.chunks_exact(columns).enumerate() {
            let (rings, still) = row.split_at(columns - self.turns.still);
            let waves = self.analysed(rings);
            for (frequency, found) in self.frequencies.iter().zip(&mut found) {
                let (inputs, from) = (self.inputs(*frequency), &waves[frequency.first * self.each..]);
                let to = &mut found[r * self.height(*frequency) * inputs..][..self.height(*frequency) * inputs];
                if frequency.pair {
                    let (upper, lower) = to.split_at_mut(inputs);
                    upper.copy_from_slice(&from[..inputs]);
                    let (cos, sin) = from[..inputs].split_at(self.each);
                    lower[..self.each].copy_from_slice(sin);
                    lower[self.each..].iter_mut().zip(cos).for_each(|(l, c)| *l = -c);
                } else {
                    to[..self.each].copy_from_slice(&from[..self.each]);
                    if frequency.first == 0 {
                        to[self.each..].copy_from_slice(still);
                    }
                }
            }
        }
        found
    }
}

/// Some rows on their way.
struct Block {
    /// x̂.
    data: Vec<Buffer>,
    outputs: Buffer,
    /// Slopes of the outputs, if the layer keeps them.
    slopes: Buffer,
    /// Gradient of the products at each frequency, once it is known, and of the outputs before their activation.
    deltas: Vec<Buffer>,
    delta: Buffer,
}

impl Block {
    fn forward(plan: &Plan, x: &[f32], weights: &[Panels], bias: &[f32], activation: Activation, back: bool) -> Self {
        let Turns { steps, views, still } = plan.turns;
        let (rows, n) = (x.len() / (steps * plan.each + still), plan.outputs);
        let data = plan.data(x);
        let mut waves = Buffer::stale(rows * steps * n);
        for ((frequency, data), weights) in plan.frequencies.iter().zip(&data).zip(weights) {
            let height = plan.height(*frequency);
            let mut found = Buffer::stale(rows * height * n);
            product(data, weights, Start::Zero, (&mut found, &mut []), PLAIN);
            for (waves, found) in waves.chunks_exact_mut(steps * n).zip(found.chunks_exact(height * n)) {
                waves[frequency.first * n..][..height * n].copy_from_slice(found);
            }
        }
        // Without a way back nobody asks for them.
        let data = if back { data } else { Vec::new() };
        let mut outputs = Buffer::stale(rows * views * n);
        let mut slopes = Buffer::stale(if back && activation.keeps_slope() { outputs.len() } else { 0 });
        let kept = if slopes.is_empty() { 0 } else { views * n };
        for (r, waves) in waves.chunks_exact(steps * n).enumerate() {
            let to = (&mut outputs[r * views * n..][..views * n], &mut slopes[r * kept..][..kept]);
            let waves = Panels::new(waves, steps, n);
            product(&plan.phases[0], &waves, Start::Row(bias), to, Finish::Activate(activation));
        }
        Self { data, outputs, slopes, deltas: Vec::new(), delta: Buffer::stale(0) }
    }

    fn backward(&mut self, plan: &Plan, by: &[f32], activation: Activation) {
        let Turns { steps, views, .. } = plan.turns;
        let (rows, n) = (by.len() / (views * plan.outputs), plan.outputs);
        let mut delta = Buffer::stale(by.len());
        delta.copy_from_slice(by);
        if activation != Activation::Identity {
            chain(activation, &mut delta, if self.slopes.is_empty() { &self.outputs } else { &self.slopes });
        }
        let room = |f: &Frequency| Buffer::stale(rows * plan.height(*f) * n);
        let mut deltas: Vec<Buffer> = plan.frequencies.iter().map(room).collect();
        let mut waves = Buffer::stale(steps * n);
        for (r, delta) in delta.chunks_exact(views * n).enumerate() {
            let delta = Panels::new(delta, views, n);
            product(&plan.phases[1], &delta, Start::Zero, (&mut waves, &mut []), PLAIN);
            for (frequency, to) in plan.frequencies.iter().zip(&mut deltas) {
                let numbers = plan.height(*frequency) * n;
                to[r * numbers..][..numbers].copy_from_slice(&waves[frequency.first * n..][..numbers]);
            }
        }
        (self.deltas, self.delta) = (deltas, delta);
    }
}

/// A part of the gradients, and what it is of: a frequency and the first of its inputs, or else the bias.
type Task<'a> = (Option<(usize, usize)>, &'a mut [f32]);

/// Gradients of weight and bias from all blocks.
fn gradients(plan: &Plan, blocks: &[Block]) -> (Buffer, Vec<f32>) {
    let n = plan.outputs;
    let (rings, steps) = (plan.turns.steps * plan.each * n, plan.turns.steps);
    // Of Ŵ, laid out like W, with what is still in the first frequency in its place at the end.
    let mut waves = vec![0.0; rings];
    let mut still = vec![0.0; plan.turns.still * n];
    let mut bias = vec![0.0; n];
    let mut work: Vec<Task<'_>> = vec![(None, &mut bias)];
    let mut rest = &mut waves[..];
    for (f, frequency) in plan.frequencies.iter().enumerate() {
        let own;
        (own, rest) = rest.split_at_mut(plan.height(*frequency) * plan.each * n);
        let tasks = own.chunks_mut(2 * ROWS * n).enumerate();
        work.extend(tasks.map(|(task, sums)| (Some((f, 2 * ROWS * task)), sums)));
    }
    if !still.is_empty() {
        work.push((Some((0, plan.each)), &mut still));
    }
    work.into_par_iter().for_each(|(of, sums)| {
        for block in blocks {
            match of {
                Some((f, first)) => {
                    let inputs = plan.inputs(plan.frequencies[f]);
                    add_transposed(&block.data[f][first..], inputs, &block.deltas[f], n, sums);
                }
                None => add_rows(&block.delta, sums),
            }
        }
    });
    // The basis is orthonormal, so its transpose leads back.
    let back: Vec<f32> = (0..steps * steps).map(|i| plan.basis[i % steps * steps + i / steps]).collect();
    let mut weight = Buffer::stale(rings + still.len());
    let (to, end) = weight.split_at_mut(rings);
    product(&back, &Panels::new(&waves, steps, rings / steps), Start::Zero, (to, &mut []), PLAIN);
    end.copy_from_slice(&still);
    (weight, bias)
}

/// [`super::turned`], a block of rows at a time.
pub(crate) fn fused<T: Tape<f32, Cpu>>(x: &Data<'_>, turns: Turns, layer: &Dense<Cpu>) -> Result<Rows<Cpu, T>> {
    let ((rows, columns), outputs) = (x.shape(), shape(&layer.weight).1);
    let (plan, activation) = (Plan::new(turns, columns, outputs), layer.activation);
    let (weights, bias) = (plan.weights(&read(&layer.weight)), read(&layer.bias));
    let forward = |x: &[f32]| Block::forward(&plan, x, &weights, &bias, activation, T::OWNS_TAPE);
    let mut blocks: Vec<Block> = x.values().par_chunks(ROWS * columns).map(forward).collect();
    let mut all = Vec::with_capacity(rows * turns.views * outputs);
    blocks.iter().for_each(|block| all.extend_from_slice(&block.outputs));
    let y = matrix(layer.weight.device(), all, rows * turns.views, outputs)?;
    let mut tape = T::default();
    if T::OWNS_TAPE {
        let (out, weight, bias): (_, Matrix<Cpu>, Matrix<Cpu>) = (y.clone(), layer.weight.clone(), layer.bias.clone());
        tape.add_backward_op(move |found| {
            // Nothing else reads the gradient of what this made.
            let by = std::mem::take(&mut **found.get_or_alloc_mut(&out)?);
            let each = by.par_chunks(ROWS * turns.views * outputs);
            blocks.par_iter_mut().zip(each).for_each(|(block, by)| block.backward(&plan, by, activation));
            let (by_weight, by_bias) = gradients(&plan, &blocks);
            for (parameter, sum) in [(&weight, &by_weight[..]), (&bias, &by_bias)] {
                let gradient = &mut **found.get_or_alloc_mut(parameter)?;
                if gradient.is_empty() {
                    *gradient = vec![0.0; sum.len()];
                }
                gradient.iter_mut().zip(sum).for_each(|(g, s)| *g += s);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
