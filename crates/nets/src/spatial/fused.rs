//! The spatial decoder block by block: coordinates → layers → likelihood → gradients without ever writing the
//! activations of a whole batch to memory. A block is a few hundred pixels of one row, whose activations stay in L2.

use dfdx::tensor::{Cpu, SplitTape, Tape};
use rayon::prelude::*;

use super::paired::Paired;
use super::plan::{Plan, Scratch, Sums};
use super::pose::Pose;
use super::single::Single;
use super::{POSE, SpatialDecoder};
use crate::buffer::parts;
use crate::likelihood::{MAX_CHANNELS, score, weighed};
use crate::{Likelihood, Matrix, Precision, Result, Rows, Scored, Target, values};

/// The layers of a block: their buffers, and how they are computed.
pub(super) trait Layers {
    fn new(plan: &Plan) -> Self;

    /// Outputs of the `n` pixels at `scratch.q` into `scratch.outputs`; activations are kept.
    fn forward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch);

    /// Adds the gradients of a block whose `scratch.outputs` hold ∂/∂output. Gradients of the bases gather in
    /// `scratch.by_bases`, those of the object coordinates are set in `scratch.dq`.
    fn backward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch, sums: &mut Sums);
}

/// Most groups of rows with gradient sums of their own, added in order at the end.
const GROUPS: usize = 16;

/// Least pixels of a group, so that its sums are worth their while.
const GROUP: usize = 600;

/// Places the pixels of a block: those at `from..from + n` of the patch, or of the pixels picked.
fn place(plan: &Plan, pose: &Pose, picked: Option<&[u32]>, from: usize, n: usize, scratch: &mut Scratch) {
    let (qx, qy) = &mut scratch.q;
    let at = |pixel: usize| [plan.grid[2 * pixel], plan.grid[2 * pixel + 1]];
    match picked {
        Some(picked) => pose.object(picked[from..from + n].iter().map(|p| at(*p as usize)), qx, qy),
        None => pose.object((from..from + n).map(at), qx, qy),
    }
}

/// What one pass found: per row log p and gradient of the placed latents, and the summed gradients.
struct Pass {
    log_p: Vec<f32>,
    by_placed: Vec<f32>,
    sums: Sums,
}

/// Rows of each group: a split that does not depend on the number of threads, so that neither do the results.
fn group(rows: usize, pixels: usize) -> usize {
    let groups = (rows * pixels / GROUP).clamp(2, GROUPS);
    rows.div_ceil(groups).max(1)
}

fn pass<L: Layers>(plan: &Plan, placed: &[f32], target: &Host<'_>, gradients: bool) -> Pass {
    let width = POSE + plan.content;
    let rows = placed.len() / width;
    let pixels = target.pixels.map_or(plan.pixels(), |p| p.len() / rows.max(1));
    let (size, block) = (group(rows, pixels), plan.even_block(pixels));
    let mut log_p = vec![0.0; rows];
    let mut by_placed = vec![0.0; if gradients { placed.len() } else { 0 }];
    let by_rows = parts(&mut by_placed, size * width, rows.div_ceil(size));
    let work = log_p.par_chunks_mut(size).zip(by_rows).enumerate();
    let mut sums: Vec<Sums> = work
        .map(|(g, (log_p, by_placed))| {
            let (mut layers, mut scratch, mut sums) = (L::new(plan), Scratch::new(plan), Sums::new(plan));
            for (i, log_p) in log_p.iter_mut().enumerate() {
                let row = g * size + i;
                let (latents, weight) = (&placed[row * width..][..width], target.weights[row]);
                let (pose, z) = (Pose::new(latents), &latents[POSE..]);
                scratch.begin(plan, z);
                let mut by_pose = [0.0; POSE];
                let mut by_log_sd = [0.0; MAX_CHANNELS];
                let picked = target.pixels.map(|p| &p[row * pixels..][..pixels]);
                for from in (0..pixels).step_by(block) {
                    let n = block.min(pixels - from);
                    place(plan, &pose, picked, from, n, &mut scratch);
                    layers.forward(plan, n, &mut scratch);
                    let x = &target.data[(row * pixels + from) * plan.channels..][..n * plan.channels];
                    let outputs = &mut scratch.outputs[..n * plan.channels];
                    let (sum, by) = score(target.likelihood, outputs, x, target.log_sd);
                    *log_p += sum;
                    by_log_sd.iter_mut().zip(by).for_each(|(s, b)| *s += b);
                    if gradients {
                        outputs.iter_mut().for_each(|o| *o *= weight);
                        layers.backward(plan, n, &mut scratch, &mut sums);
                        let (q, dq) = (&scratch.q, &scratch.dq);
                        let by = pose.gradient((&q.0[..n], &q.1[..n]), (&dq.0[..n], &dq.1[..n]));
                        by_pose.iter_mut().zip(by).for_each(|(s, b)| *s += b);
                    }
                }
                if gradients {
                    sums.log_sd.iter_mut().zip(by_log_sd).for_each(|(s, b)| *s += weight * b);
                    scratch.end(plan, z, by_pose, &mut by_placed[i * width..][..width], &mut sums);
                }
            }
            sums
        })
        .collect();
    let mut first = sums.remove(0);
    sums.iter_mut().for_each(|s| first.add(s));
    Pass { log_p, by_placed, sums: first }
}

/// The target on the host.
struct Host<'a> {
    data: &'a [f32],
    pixels: Option<&'a [u32]>,
    weights: &'a [f32],
    likelihood: Likelihood,
    log_sd: &'a [f32],
}

/// Weighted log-likelihood with all gradients in one pass.
pub(crate) fn fused_score<T: Tape<f32, Cpu>>(
    decoder: &SpatialDecoder<Cpu>,
    placed: Rows<Cpu, T>,
    target: &Target<'_, Cpu>,
) -> Result<Scored<Cpu, T>> {
    let (placed, tape) = placed.split_tape();
    let plan = Plan::new(decoder, target.precision);
    let log_sd = values(target.log_sd);
    let &Target { pixels, weights, likelihood, .. } = target;
    let host = Host { data: target.data.values(), pixels, weights, likelihood, log_sd: &log_sd };
    let pass = match target.precision {
        Precision::F32 => pass::<Single>,
        Precision::Bf16 => pass::<Paired>,
    };
    let Pass { log_p, by_placed, sums } = pass(&plan, &values(&placed), &host, T::OWNS_TAPE);
    let by_inputs = [(placed, by_placed), (target.log_sd.clone(), sums.log_sd.clone())];
    let decoder = decoder.clone();
    weighed(log_p, target, tape, by_inputs, move |by, gradients| sums.give(&decoder, by, gradients))
}

/// Decoder outputs, row by row.
pub(crate) fn fused_outputs(decoder: &SpatialDecoder<Cpu>, placed: &Matrix<Cpu>) -> Vec<f32> {
    let plan = Plan::new(decoder, Precision::F32);
    let placed = values(placed);
    let (width, pixels) = (POSE + plan.content, plan.pixels());
    let block = plan.even_block(pixels);
    let mut out = vec![0.0; placed.len() / width * pixels * plan.channels];
    let rows = out.par_chunks_mut(pixels * plan.channels).zip(placed.par_chunks(width));
    rows.for_each_init(
        || (Single::new(&plan), Scratch::new(&plan)),
        |(layers, scratch), (out, latents)| {
            scratch.begin(&plan, &latents[POSE..]);
            let pose = Pose::new(latents);
            for from in (0..pixels).step_by(block) {
                let n = block.min(pixels - from);
                place(&plan, &pose, None, from, n, scratch);
                layers.forward(&plan, n, scratch);
                let size = n * plan.channels;
                out[from * plan.channels..][..size].copy_from_slice(&scratch.outputs[..size]);
            }
        },
    );
    out
}
