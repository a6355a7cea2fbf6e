//! The spatial decoder block by block: coordinates → layers → likelihood → gradients without ever writing the
//! activations of a whole batch to memory. A block is a few hundred pixels of one row, whose activations stay in L2.

use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use rayon::prelude::*;

use super::kernels::{first, first_back, output, output_back, score};
use super::{POSE, SpatialDecoder};
use crate::blocks::{Finish, HIGH, Panels, Start, add_rows, add_transposed, product};
use crate::error::device;
use crate::likelihood::MAX_CHANNELS;
use crate::maths::dot;
use crate::{Activation, Dense, Likelihood, Matrix, Result, Scored, Target};

/// Most pixels of a block; with 128 units its activations take 132 kB a layer. Whole tiles of 12 rows.
const BLOCK: usize = 264;

/// Pixels of a block such that all blocks of a patch are about as large: 784 pixels are 264, 264 and 256.
fn even_block(pixels: usize) -> usize {
    let blocks = pixels.div_ceil(BLOCK).max(1);
    pixels.div_ceil(blocks).next_multiple_of(HIGH).max(1)
}

/// Groups of rows with gradient sums of their own, added in order at the end: a number that does not depend on
/// threads, so that neither do the results.
const GROUPS: usize = 16;

/// The decoder's numbers on the host.
#[derive(Clone)]
struct Plan {
    grid: Vec<f32>,
    channels: usize,
    content: usize,
    first: usize,
    activation: Activation,
    /// wx, wy and b of the first layer, then Z.
    coordinate: Vec<f32>,
    bias: Vec<f32>,
    latent: Vec<f32>,
    hidden: Vec<Hidden>,
    output: Layer,
}

/// A hidden layer, ready for blocks.
#[derive(Clone)]
struct Hidden {
    layer: Layer,
    weight: Panels,
    transposed: Panels,
}

impl Hidden {
    fn new(layer: &Dense<Cpu>) -> Self {
        let layer = Layer::new(layer);
        let (inputs, outputs) = (layer.inputs, layer.outputs);
        Self {
            weight: Panels::new(&layer.weight, inputs, outputs),
            transposed: Panels::transposed(&layer.weight, inputs, outputs),
            layer,
        }
    }
}

#[derive(Clone)]
struct Layer {
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

impl Layer {
    fn new(layer: &Dense<Cpu>) -> Self {
        let (inputs, outputs) = crate::dense::shape(&layer.weight);
        let (weight, bias) = (layer.weight.as_vec(), layer.bias.as_vec());
        Self { inputs, outputs, weight, bias, activation: layer.activation }
    }
}

/// Sums of gradients, in the order of [`Plan`].
#[derive(Clone)]
struct Sums {
    coordinate: Vec<f32>,
    bias: Vec<f32>,
    latent: Vec<f32>,
    hidden: Vec<(Vec<f32>, Vec<f32>)>,
    output: (Vec<f32>, Vec<f32>),
    log_sd: Vec<f32>,
}

impl Sums {
    fn new(plan: &Plan) -> Self {
        let layer = |l: &Layer| (vec![0.0; l.weight.len()], vec![0.0; l.bias.len()]);
        Self {
            coordinate: vec![0.0; 2 * plan.first],
            bias: vec![0.0; plan.first],
            latent: vec![0.0; plan.latent.len()],
            hidden: plan.hidden.iter().map(|h| layer(&h.layer)).collect(),
            output: layer(&plan.output),
            log_sd: vec![0.0; plan.channels],
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let hidden = self.hidden.iter_mut().flat_map(|(w, b)| [w, b]);
        let first = [&mut self.coordinate, &mut self.bias, &mut self.latent];
        first.into_iter().chain(hidden).chain([&mut self.output.0, &mut self.output.1, &mut self.log_sd])
    }

    fn add(&mut self, other: &mut Self) {
        for (sum, part) in self.parts().zip(other.parts()) {
            sum.iter_mut().zip(part.iter()).for_each(|(s, p)| *s += p);
        }
    }
}

/// Buffers of one worker.
struct Scratch {
    /// Object coordinates, all x then all y.
    q: Vec<f32>,
    dq: Vec<f32>,
    /// Activations of the first and of every hidden layer.
    layers: Vec<Vec<f32>>,
    outputs: Vec<f32>,
    delta: Vec<f32>,
    next: Vec<f32>,
    base: Vec<f32>,
    by_base: Vec<f32>,
}

impl Scratch {
    fn new(plan: &Plan) -> Self {
        let widths: Vec<usize> =
            std::iter::once(plan.first).chain(plan.hidden.iter().map(|h| h.layer.outputs)).collect();
        let widest = widths.iter().copied().max().unwrap_or(0);
        Self {
            q: vec![0.0; 2 * BLOCK],
            dq: vec![0.0; 2 * BLOCK],
            layers: widths.iter().map(|w| vec![0.0; BLOCK * w]).collect(),
            outputs: vec![0.0; BLOCK * plan.channels],
            delta: vec![0.0; BLOCK * widest],
            next: vec![0.0; BLOCK * widest],
            base: vec![0.0; plan.first],
            by_base: vec![0.0; plan.first],
        }
    }
}

impl Plan {
    fn new(decoder: &SpatialDecoder<Cpu>) -> Self {
        let mut output = Layer::new(&decoder.output);
        output.weight = transposed(&output.weight, output.inputs, output.outputs);
        Self {
            grid: decoder.grid.as_vec(),
            channels: output.outputs,
            content: decoder.content_size(),
            first: crate::dense::shape(&decoder.content).1,
            activation: decoder.coordinate.activation,
            coordinate: decoder.coordinate.weight.as_vec(),
            bias: decoder.coordinate.bias.as_vec(),
            latent: decoder.content.as_vec(),
            hidden: decoder.hidden.iter().map(Hidden::new).collect(),
            output,
        }
    }

    /// Of the first layer, or of hidden layer i − 1.
    fn activation_of(&self, i: usize) -> Activation {
        if i == 0 { self.activation } else { self.hidden[i - 1].layer.activation }
    }

    fn pixels(&self) -> usize {
        self.grid.len() / 2
    }

    /// Places the pixels of a block: those at `from..from + n` of the patch, or of the pixels picked.
    fn place(&self, pose: &Pose, picked: Option<&[u32]>, from: usize, n: usize, scratch: &mut Scratch) {
        let (qx, qy) = scratch.q.split_at_mut(BLOCK);
        let at = |pixel: usize| [self.grid[2 * pixel], self.grid[2 * pixel + 1]];
        match picked {
            Some(picked) => pose.object(picked[from..from + n].iter().map(|p| at(*p as usize)), qx, qy),
            None => pose.object((from..from + n).map(at), qx, qy),
        }
    }

    /// Outputs of the `n` pixels placed in `scratch.q` into `scratch.outputs`; activations stay in `scratch`.
    fn forward(&self, n: usize, scratch: &mut Scratch) {
        let (qx, qy) = scratch.q.split_at(BLOCK);
        let w = self.coordinate.split_at(self.first);
        let out = &mut scratch.layers[0][..n * self.first];
        first(self.activation, (&qx[..n], &qy[..n]), w, &scratch.base, out);
        for (i, hidden) in self.hidden.iter().enumerate() {
            let Layer { inputs, outputs, activation, ref bias, .. } = hidden.layer;
            let (below, above) = scratch.layers.split_at_mut(i + 1);
            let out = &mut above[0][..n * outputs];
            product(&below[i][..n * inputs], &hidden.weight, Start::Row(bias), out, Finish::Activate(activation));
        }
        let last = scratch.layers.last().map_or(&[][..], |l| l);
        let out = &mut scratch.outputs[..n * self.channels];
        output(&last[..n * self.output.inputs], &self.output.weight, &self.output.bias, out);
    }

    /// Adds the gradients of a block whose `scratch.outputs` hold ∂/∂output. Gradients of the base gather in
    /// `scratch.by_base`; the gradient of the pose is returned.
    fn backward(&self, pose: &Pose, n: usize, scratch: &mut Scratch, sums: &mut Sums) -> [f32; POSE] {
        let Scratch { q, dq, layers, outputs, delta, next, by_base, .. } = scratch;
        let top = layers.len() - 1;
        let width = |i: usize| if i == 0 { self.first } else { self.hidden[i - 1].layer.outputs };
        let size = n * width(top);
        let (dw, db) = &mut sums.output;
        output_back(
            self.activation_of(top),
            &outputs[..n * self.channels],
            &layers[top][..size],
            &self.output.weight,
            (dw, db),
            &mut delta[..size],
        );
        for (i, hidden) in self.hidden.iter().enumerate().rev() {
            let (size, size_below) = (n * hidden.layer.outputs, n * hidden.layer.inputs);
            let (dw, db) = &mut sums.hidden[i];
            let below = &layers[i][..size_below];
            add_transposed(below, hidden.layer.inputs, &delta[..size], hidden.layer.outputs, dw);
            add_rows(&delta[..size], db);
            let finish = Finish::Chain(self.activation_of(i), below);
            product(&delta[..size], &hidden.transposed, Start::Zero, &mut next[..size_below], finish);
            std::mem::swap(delta, next);
        }
        let size = n * self.first;
        let (qx, qy) = q.split_at(BLOCK);
        let (dx, dy) = dq.split_at_mut(BLOCK);
        let (dx, dy) = (&mut dx[..n], &mut dy[..n]);
        let w = self.coordinate.split_at(self.first);
        let dw = sums.coordinate.split_at_mut(self.first);
        first_back(&delta[..size], (&qx[..n], &qy[..n]), w, (&mut *dx, &mut *dy), dw, by_base);
        pose.gradient((&qx[..n], &qy[..n]), (dx, dy))
    }
}

fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| values[(i % rows) * columns + i / rows]).collect()
}

/// Where the object of one row lies.
struct Pose {
    cos: f32,
    sin: f32,
    dx: f32,
    dy: f32,
    shrink: f32,
}

impl Pose {
    fn new(placed: &[f32]) -> Self {
        let (sin, cos) = placed[0].sin_cos();
        Self { cos, sin, dx: placed[1], dy: placed[2], shrink: (-placed[3]).exp() }
    }

    /// Object coordinates of pixels: q = e^−λ R(−γ) (p − Δ).
    fn object(&self, pixels: impl Iterator<Item = [f32; 2]>, qx: &mut [f32], qy: &mut [f32]) {
        for ((p, qx), qy) in pixels.zip(qx).zip(qy) {
            let (x, y) = (p[0] - self.dx, p[1] - self.dy);
            *qx = (self.cos * x - self.sin * y) * self.shrink;
            *qy = (self.sin * x + self.cos * y) * self.shrink;
        }
    }

    /// Gradient of γ, Δx, Δy, λ from that of the object coordinates.
    fn gradient(&self, q: (&[f32], &[f32]), dq: (&[f32], &[f32])) -> [f32; POSE] {
        let (along_x, along_y): (f32, f32) = (dq.0.iter().sum(), dq.1.iter().sum());
        let turn = dot(dq.1, q.0) - dot(dq.0, q.1);
        let grow = -(dot(dq.0, q.0) + dot(dq.1, q.1));
        let right = -(self.cos * along_x + self.sin * along_y) * self.shrink;
        let down = (self.sin * along_x - self.cos * along_y) * self.shrink;
        [turn, right, down, grow]
    }
}

/// What one pass found: per row log p and gradient of the placed latents, and the summed gradients.
struct Pass {
    log_p: Vec<f32>,
    by_placed: Vec<f32>,
    sums: Sums,
}

fn base(plan: &Plan, z: &[f32], base: &mut [f32]) {
    base.copy_from_slice(&plan.bias);
    for (z, w) in z.iter().zip(plan.latent.chunks_exact(plan.first)) {
        base.iter_mut().zip(w).for_each(|(b, w)| *b += z * w);
    }
}

/// Rows of each group: the same split whatever the number of threads.
fn group(rows: usize) -> usize {
    rows.div_ceil(GROUPS).max(1)
}

fn pass(plan: &Plan, placed: &[f32], target: &Host<'_>, gradients: bool) -> Pass {
    let width = POSE + plan.content;
    let rows = placed.len() / width;
    let pixels = target.pixels.map_or(plan.pixels(), |p| p.len() / rows.max(1));
    let (size, block) = (group(rows), even_block(pixels));
    let mut log_p = vec![0.0; rows];
    let mut by_placed = vec![0.0; if gradients { placed.len() } else { 0 }];
    let mut by_rows: Vec<&mut [f32]> = by_placed.chunks_mut(size * width).collect();
    by_rows.resize_with(rows.div_ceil(size), Default::default);
    let work = log_p.par_chunks_mut(size).zip(by_rows).enumerate();
    let mut sums: Vec<Sums> = work
        .map(|(g, (log_p, by_placed))| {
            let (mut scratch, mut sums) = (Scratch::new(plan), Sums::new(plan));
            for (i, log_p) in log_p.iter_mut().enumerate() {
                let row = g * size + i;
                let latents = &placed[row * width..][..width];
                let (pose, weight) = (Pose::new(latents), target.weights[row]);
                base(plan, &latents[POSE..], &mut scratch.base);
                scratch.by_base.fill(0.0);
                let mut by_pose = [0.0; POSE];
                let mut by_log_sd = [0.0; MAX_CHANNELS];
                let picked = target.pixels.map(|p| &p[row * pixels..][..pixels]);
                for from in (0..pixels).step_by(block) {
                    let n = block.min(pixels - from);
                    plan.place(&pose, picked, from, n, &mut scratch);
                    plan.forward(n, &mut scratch);
                    let x = &target.data[(row * pixels + from) * plan.channels..][..n * plan.channels];
                    let outputs = &mut scratch.outputs[..n * plan.channels];
                    let (sum, by) = score(target.likelihood, outputs, x, target.log_sd);
                    *log_p += sum;
                    by_log_sd.iter_mut().zip(by).for_each(|(s, b)| *s += b);
                    if gradients {
                        outputs.iter_mut().for_each(|o| *o *= weight);
                        let by = plan.backward(&pose, n, &mut scratch, &mut sums);
                        by_pose.iter_mut().zip(by).for_each(|(s, b)| *s += b);
                    }
                }
                if gradients {
                    sums.log_sd.iter_mut().zip(by_log_sd).for_each(|(s, b)| *s += weight * b);
                    let by_placed = &mut by_placed[i * width..][..width];
                    by_placed[..POSE].copy_from_slice(&by_pose);
                    finish_row(plan, &latents[POSE..], &scratch.by_base, &mut by_placed[POSE..], &mut sums);
                }
            }
            sums
        })
        .collect();
    let mut first = sums.remove(0);
    sums.iter_mut().for_each(|s| first.add(s));
    Pass { log_p, by_placed, sums: first }
}

/// Gradients of bias, Z and z from the gradient of base = b + z·Z.
fn finish_row(plan: &Plan, z: &[f32], by_base: &[f32], by_z: &mut [f32], sums: &mut Sums) {
    sums.bias.iter_mut().zip(by_base).for_each(|(s, b)| *s += b);
    let latent = plan.latent.chunks_exact(plan.first).zip(sums.latent.chunks_exact_mut(plan.first));
    for ((z, by_z), (w, dw)) in z.iter().zip(by_z).zip(latent) {
        *by_z = dot(by_base, w);
        dw.iter_mut().zip(by_base).for_each(|(s, b)| *s += z * b);
    }
}

/// The target on the host.
struct Host<'a> {
    data: Vec<f32>,
    pixels: Option<&'a [u32]>,
    weights: &'a [f32],
    likelihood: Likelihood,
    log_sd: &'a [f32],
}

/// Weighted log-likelihood with all gradients in one pass.
pub(crate) fn fused_score<T: Tape<f32, Cpu>>(
    decoder: &SpatialDecoder<Cpu>,
    placed: Tensor<(usize, usize), f32, Cpu, T>,
    target: &Target<'_, Cpu>,
) -> Result<Scored<Cpu, T>> {
    let (placed, mut tape) = placed.split_tape();
    let plan = Plan::new(decoder);
    let log_sd = target.log_sd.as_vec();
    let &Target { pixels, weights, likelihood, .. } = target;
    let host = Host { data: target.data.as_vec(), pixels, weights, likelihood, log_sd: &log_sd };
    let Pass { log_p, by_placed, mut sums } = pass(&plan, &placed.as_vec(), &host, T::OWNS_TAPE);
    let sum: f64 = log_p.iter().zip(target.weights).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
    let total = placed.device().try_tensor_from_vec(vec![sum as f32], ()).map_err(device)?;
    if T::OWNS_TAPE {
        let output_width = (plan.channels, plan.output.inputs);
        sums.output.0 = transposed(&sums.output.0, output_width.0, output_width.1);
        let (decoder, out, log_sd) = (decoder.clone(), total.clone(), target.log_sd.clone());
        tape.add_backward_op(move |gradients| {
            gradients.get_or_alloc_mut(&out)?;
            let by = gradients.get(&out).as_vec()[0];
            let mut add = |parameter: &Matrix<Cpu>, part: &[f32]| {
                let gradient = gradients.get_or_alloc_mut(parameter)?;
                gradient.iter_mut().zip(part).for_each(|(g, p)| *g += by * p);
                Ok(())
            };
            add(&placed, &by_placed)?;
            add(&decoder.coordinate.weight, &sums.coordinate)?;
            add(&decoder.coordinate.bias, &sums.bias)?;
            add(&decoder.content, &sums.latent)?;
            for (layer, (weight, bias)) in decoder.hidden.iter().zip(&sums.hidden) {
                add(&layer.weight, weight)?;
                add(&layer.bias, bias)?;
            }
            add(&decoder.output.weight, &sums.output.0)?;
            add(&decoder.output.bias, &sums.output.1)?;
            add(&log_sd, &sums.log_sd)
        });
    }
    Ok(Scored { total: total.put_tape(tape), rows: log_p })
}

/// Decoder outputs, row by row.
pub(crate) fn fused_outputs(decoder: &SpatialDecoder<Cpu>, placed: &Matrix<Cpu>) -> Vec<f32> {
    let plan = Plan::new(decoder);
    let placed = placed.as_vec();
    let (width, pixels) = (POSE + plan.content, plan.pixels());
    let block = even_block(pixels);
    let mut out = vec![0.0; placed.len() / width * pixels * plan.channels];
    let rows = out.par_chunks_mut(pixels * plan.channels).zip(placed.par_chunks(width));
    rows.for_each_init(
        || Scratch::new(&plan),
        |scratch, (out, latents)| {
            base(&plan, &latents[POSE..], &mut scratch.base);
            let pose = Pose::new(latents);
            for from in (0..pixels).step_by(block) {
                let n = block.min(pixels - from);
                plan.place(&pose, None, from, n, scratch);
                plan.forward(n, scratch);
                let size = n * plan.channels;
                out[from * plan.channels..][..size].copy_from_slice(&scratch.outputs[..size]);
            }
        },
    );
    out
}
