use dfdx::tensor::{Cpu, Gradients};

use super::{POSE, SpatialDecoder};
use crate::bf16::{self, HalfPanels};
use crate::blocks::{HIGH, Panels};
use crate::dense::shape;
use crate::maths::dot;
use crate::{Activation, Dense, Matrix, Precision, values};

/// Most pixels of a block: whole tiles of 12 rows.
const BLOCK: usize = 264;

/// Bytes of a block's activations, so that they stay in L2 beside the weights; 264 pixels with layers of 128 fit.
const ROOM: usize = 700_000;

/// The decoder's numbers on the host. Widths of layers are filled up with zeros for bf16.
pub(super) struct Plan {
    pub(super) grid: Vec<f32>,
    pub(super) channels: usize,
    pub(super) content: usize,
    /// What coordinates and content add to the first layer, and with skips to every hidden one.
    pub(super) inputs: Vec<Input>,
    pub(super) hidden: Vec<Hidden>,
    /// O, channel by channel.
    pub(super) output: Layer,
    pub(super) activation: Activation,
    /// Most pixels of a block.
    pub(super) block: usize,
}

/// q·Q + z·Z + b.
pub(super) struct Input {
    pub(super) width: usize,
    /// wx, then wy.
    pub(super) coordinate: Vec<f32>,
    pub(super) latent: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// A hidden layer, ready for blocks.
pub(super) struct Hidden {
    pub(super) layer: Layer,
    pub(super) weight: Weight,
    pub(super) transposed: Weight,
}

/// Weights in panels.
pub(super) enum Weight {
    Single(Panels),
    Half(HalfPanels),
}

pub(super) struct Layer {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) activation: Activation,
}

/// Width of a layer in blocks.
fn whole(width: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => width,
        Precision::Bf16 => width.next_multiple_of(bf16::WHOLE),
    }
}

/// A matrix filled up with zeros.
fn filled(matrix: &Matrix<Cpu>, rows: usize, columns: usize) -> Vec<f32> {
    let (found, (found_rows, found_columns)) = (values(matrix), shape(matrix));
    if (found_rows, found_columns) == (rows, columns) {
        return found;
    }
    let mut all = vec![0.0; rows * columns];
    for (to, from) in all.chunks_exact_mut(columns).zip(found.chunks_exact(found_columns)) {
        to[..found_columns].copy_from_slice(from);
    }
    all
}

impl Layer {
    fn new(layer: &Dense<Cpu>, precision: Precision) -> Self {
        let (inputs, outputs) = shape(&layer.weight);
        let (inputs, outputs) = (whole(inputs, precision), whole(outputs, precision));
        Self {
            inputs,
            outputs,
            weight: filled(&layer.weight, inputs, outputs),
            bias: filled(&layer.bias, 1, outputs),
            activation: layer.activation,
        }
    }
}

impl Hidden {
    fn new(layer: &Dense<Cpu>, precision: Precision) -> Self {
        let layer = Layer::new(layer, precision);
        let (inputs, outputs, w) = (layer.inputs, layer.outputs, &layer.weight);
        let (weight, transposed) = match precision {
            Precision::F32 => (
                Weight::Single(Panels::new(w, inputs, outputs)),
                Weight::Single(Panels::transposed(w, inputs, outputs)),
            ),
            Precision::Bf16 => (
                Weight::Half(HalfPanels::new(w, inputs, outputs)),
                Weight::Half(HalfPanels::transposed(w, inputs, outputs)),
            ),
        };
        Self { layer, weight, transposed }
    }
}

impl Input {
    fn new(coordinate: &Matrix<Cpu>, latent: &Matrix<Cpu>, bias: &Matrix<Cpu>, precision: Precision) -> Self {
        let (content, width) = shape(latent);
        let width = whole(width, precision);
        Self {
            width,
            coordinate: filled(coordinate, 2, width),
            latent: filled(latent, content, width),
            bias: filled(bias, 1, width),
        }
    }

    /// b + z·Z.
    pub(super) fn base(&self, z: &[f32], base: &mut [f32]) {
        base.copy_from_slice(&self.bias);
        for (z, w) in z.iter().zip(self.latent.chunks_exact(self.width)) {
            base.iter_mut().zip(w).for_each(|(b, w)| *b += z * w);
        }
    }

    /// Gradients of b, Z and z from that of the base.
    pub(super) fn base_back(&self, z: &[f32], by_base: &[f32], by_z: &mut [f32], sums: &mut InputSums) {
        sums.bias.iter_mut().zip(by_base).for_each(|(s, b)| *s += b);
        let latent = self.latent.chunks_exact(self.width).zip(sums.latent.chunks_exact_mut(self.width));
        for ((z, by_z), (w, dw)) in z.iter().zip(by_z).zip(latent) {
            *by_z += dot(by_base, w);
            dw.iter_mut().zip(by_base).for_each(|(s, b)| *s += z * b);
        }
    }
}

impl Plan {
    pub(super) fn new(decoder: &SpatialDecoder<Cpu>, precision: Precision) -> Self {
        let (units, channels) = shape(&decoder.output.weight);
        let units = whole(units, precision);
        let mut weight = vec![0.0; units * channels];
        for (u, row) in values(&decoder.output.weight).chunks_exact(channels).enumerate() {
            row.iter().enumerate().for_each(|(c, w)| weight[c * units + u] = *w);
        }
        let (activation, bias) = (decoder.output.activation, values(&decoder.output.bias));
        let output = Layer { inputs: units, outputs: channels, weight, bias, activation };
        let first = &decoder.coordinate;
        let mut inputs = vec![Input::new(&first.weight, &decoder.content, &first.bias, precision)];
        for (skip, layer) in decoder.skips.iter().zip(&decoder.hidden) {
            inputs.push(Input::new(&skip.coordinate, &skip.content, &layer.bias, precision));
        }
        let hidden: Vec<Hidden> = decoder.hidden.iter().map(|h| Hidden::new(h, precision)).collect();
        let widths = || hidden.iter().map(|h| h.layer.outputs).chain([inputs[0].width]);
        let extra = if decoder.skips.is_empty() { 2 } else { 3 };
        let pixel = 4 * (widths().sum::<usize>() + extra * widths().max().unwrap_or(0));
        let block = (ROOM / pixel.max(1) / HIGH * HIGH).clamp(HIGH, BLOCK);
        Self {
            grid: values(&decoder.grid),
            channels,
            content: decoder.content_size(),
            activation: first.activation,
            inputs,
            hidden,
            output,
            block,
        }
    }

    /// Width of the first layer, or of hidden layer i − 1.
    pub(super) fn width(&self, i: usize) -> usize {
        if i == 0 { self.inputs[0].width } else { self.hidden[i - 1].layer.outputs }
    }

    pub(super) fn widest(&self) -> usize {
        (0..=self.hidden.len()).map(|i| self.width(i)).max().unwrap_or(0)
    }

    /// Of the first layer, or of hidden layer i − 1.
    pub(super) fn activation_of(&self, i: usize) -> Activation {
        if i == 0 { self.activation } else { self.hidden[i - 1].layer.activation }
    }

    /// What coordinates and content add to hidden layer `i`, if anything.
    pub(super) fn skip(&self, i: usize) -> Option<&Input> {
        self.inputs.get(i + 1)
    }

    pub(super) fn pixels(&self) -> usize {
        self.grid.len() / 2
    }

    /// Pixels of a block such that all blocks of a patch are about as large: 784 pixels are 264, 264 and 256.
    pub(super) fn even_block(&self, pixels: usize) -> usize {
        let blocks = pixels.div_ceil(self.block).max(1);
        pixels.div_ceil(blocks).next_multiple_of(HIGH).clamp(1, self.block)
    }
}

/// Sums of gradients, in the order of [`Plan`].
pub(super) struct Sums {
    pub(super) inputs: Vec<InputSums>,
    /// Weights and biases; with skips the biases are those of the inputs.
    pub(super) hidden: Vec<(Vec<f32>, Vec<f32>)>,
    pub(super) output: (Vec<f32>, Vec<f32>),
    pub(super) log_sd: Vec<f32>,
}

/// As [`Input`].
pub(super) struct InputSums {
    pub(super) coordinate: Vec<f32>,
    pub(super) latent: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Sums {
    pub(super) fn new(plan: &Plan) -> Self {
        let zeros = |like: &Vec<f32>| vec![0.0; like.len()];
        let layer = |l: &Layer| (zeros(&l.weight), zeros(&l.bias));
        let input =
            |i: &Input| InputSums { coordinate: zeros(&i.coordinate), latent: zeros(&i.latent), bias: zeros(&i.bias) };
        Self {
            inputs: plan.inputs.iter().map(input).collect(),
            hidden: plan.hidden.iter().map(|h| layer(&h.layer)).collect(),
            output: layer(&plan.output),
            log_sd: vec![0.0; plan.channels],
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let inputs = self.inputs.iter_mut().flat_map(|i| [&mut i.coordinate, &mut i.latent, &mut i.bias]);
        let hidden = self.hidden.iter_mut().flat_map(|(w, b)| [w, b]);
        inputs.chain(hidden).chain([&mut self.output.0, &mut self.output.1, &mut self.log_sd])
    }

    pub(super) fn add(&mut self, other: &mut Self) {
        for (sum, part) in self.parts().zip(other.parts()) {
            sum.iter_mut().zip(part.iter()).for_each(|(s, p)| *s += p);
        }
    }

    /// Adds the sums, times `by`, to the gradients of the decoder's weights.
    pub(super) fn give(
        &self,
        decoder: &SpatialDecoder<Cpu>,
        by: f32,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<(), <Cpu as dfdx::tensor::HasErr>::Err> {
        // Parts have rows of `filled` numbers, of which the parameter's come first, and maybe more rows.
        let mut add = |parameter: &Matrix<Cpu>, part: &[f32], filled: usize| -> Result<(), _> {
            let columns = shape(parameter).1;
            let gradient = gradients.get_or_alloc_mut(parameter)?;
            for (gradient, part) in gradient.chunks_exact_mut(columns).zip(part.chunks_exact(filled)) {
                gradient.iter_mut().zip(part).for_each(|(g, p)| *g += by * p);
            }
            Ok(())
        };
        let first = &self.inputs[0];
        let width = first.bias.len();
        add(&decoder.coordinate.weight, &first.coordinate, width)?;
        add(&decoder.coordinate.bias, &first.bias, width)?;
        add(&decoder.content, &first.latent, width)?;
        for (i, (layer, (weight, bias))) in decoder.hidden.iter().zip(&self.hidden).enumerate() {
            let width = bias.len();
            add(&layer.weight, weight, width)?;
            let (Some(skip), Some(sums)) = (decoder.skips.get(i), self.inputs.get(i + 1)) else {
                add(&layer.bias, bias, width)?;
                continue;
            };
            add(&layer.bias, &sums.bias, width)?;
            add(&skip.coordinate, &sums.coordinate, width)?;
            add(&skip.content, &sums.latent, width)?;
        }
        let (units, channels) = shape(&decoder.output.weight);
        let filled = self.output.0.len() / channels;
        let untransposed: Vec<f32> =
            (0..units * channels).map(|i| self.output.0[i % channels * filled + i / channels]).collect();
        add(&decoder.output.weight, &untransposed, channels)?;
        add(&decoder.output.bias, &self.output.1, channels)
    }
}

/// What the layers of a block read and write, whatever their precision.
pub(super) struct Scratch {
    /// Object coordinates: x and y.
    pub(super) q: (Vec<f32>, Vec<f32>),
    /// Their gradients.
    pub(super) dq: (Vec<f32>, Vec<f32>),
    pub(super) outputs: Vec<f32>,
    /// b + z·Z of each input of the plan, and its gradient.
    pub(super) bases: Vec<Vec<f32>>,
    pub(super) by_bases: Vec<Vec<f32>>,
}

impl Scratch {
    pub(super) fn new(plan: &Plan) -> Self {
        let (coordinate, bases) = (vec![0.0; plan.block], plan.inputs.iter().map(|i| vec![0.0; i.width]));
        let bases: Vec<Vec<f32>> = bases.collect();
        Self {
            q: (coordinate.clone(), coordinate.clone()),
            dq: (coordinate.clone(), coordinate),
            outputs: vec![0.0; plan.block * plan.channels],
            by_bases: bases.clone(),
            bases,
        }
    }

    /// Begins a row.
    pub(super) fn begin(&mut self, plan: &Plan, z: &[f32]) {
        plan.inputs.iter().zip(&mut self.bases).for_each(|(input, base)| input.base(z, base));
        self.by_bases.iter_mut().for_each(|b| b.fill(0.0));
    }

    /// Ends a row: gradients of its latents, pose first, and of what the bases are made of.
    pub(super) fn end(&self, plan: &Plan, z: &[f32], by_pose: [f32; POSE], by_placed: &mut [f32], sums: &mut Sums) {
        by_placed[..POSE].copy_from_slice(&by_pose);
        for ((input, by_base), sums) in plan.inputs.iter().zip(&self.by_bases).zip(&mut sums.inputs) {
            input.base_back(z, by_base, &mut by_placed[POSE..], sums);
        }
    }
}
