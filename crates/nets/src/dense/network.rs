//! Dense layers one after the other, a block of rows at a time, so that numbers are still in the cache where they are used
//! next.

use dfdx::tensor::{Cpu, CpuError, Gradients, PutTape, SplitTape, Tape};
use rayon::prelude::*;

use super::{Dense, Input, shape};
use crate::blocks::{Finish, Panels, Start, add_rows, add_transposed, chain, product};
use crate::buffer::{Buffer, parts};
use crate::compute::read;
use crate::likelihood::{Score, summed, weighed, weighted_score};
use crate::{Activation, Data, Matrix, Result, Rows, Scored, Target, values};

/// Rows of a block, and rows of weights whose gradients one task sums: whole tiles, and a number that does not depend on
/// threads.
const ROWS: usize = 24;

const PLAIN: Finish<'static> = Finish::Activate(Activation::Identity);

/// A layer's numbers on the host.
struct Layer {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    bias: Buffer,
    weight: Panels,
    /// For the way back, if there is one.
    transposed: Option<Panels>,
}

impl Layer {
    fn new(layer: &Dense<Cpu>, back: bool) -> Self {
        let ((inputs, outputs), weight) = (shape(&layer.weight), read(&layer.weight));
        Self {
            inputs,
            outputs,
            activation: layer.activation,
            bias: read(&layer.bias),
            weight: Panels::new(&weight, inputs, outputs),
            transposed: back.then(|| Panels::transposed(&weight, inputs, outputs)),
        }
    }
}

/// Layers one after the other, the trunk, and then heads side by side.
struct Network {
    layers: Vec<Layer>,
    trunk: usize,
}

impl Network {
    /// `into` is the first level whose gradient is wanted on the way back: 0 for the input's.
    fn new(trunk: &[Dense<Cpu>], heads: &[&Dense<Cpu>], into: Option<usize>) -> Self {
        let all: Vec<&Dense<Cpu>> = trunk.iter().chain(heads.iter().copied()).collect();
        let back = |l: usize| into.is_some_and(|into| l.min(trunk.len()) >= into);
        let layers = all.par_iter().enumerate().map(|(l, layer)| Layer::new(layer, back(l))).collect();
        Self { layers, trunk: trunk.len() }
    }
}

/// Some rows on their way.
struct Block {
    /// Outputs of every layer.
    outputs: Vec<Buffer>,
    /// Their slopes, of layers that keep them, else empty.
    slopes: Vec<Buffer>,
    /// Gradients of every layer before its activation.
    deltas: Vec<Buffer>,
}

impl Block {
    fn forward(network: &Network, x: &[f32], rows: usize, back: bool) -> Self {
        let mut block = Self { outputs: Vec::new(), slopes: Vec::new(), deltas: Vec::new() };
        for (l, layer) in network.layers.iter().enumerate() {
            let mut out = Buffer::stale(rows * layer.outputs);
            let mut slopes = Buffer::stale(if back && layer.activation.keeps_slope() { out.len() } else { 0 });
            let (start, finish) = (Start::Row(&layer.bias), Finish::Activate(layer.activation));
            product(block.below(network, l, x), &layer.weight, start, (&mut out, &mut slopes), finish);
            block.outputs.push(out);
            block.slopes.push(slopes);
        }
        block
    }

    /// What goes into a layer.
    fn below<'a>(&'a self, network: &Network, layer: usize, x: &'a [f32]) -> &'a [f32] {
        match layer.min(network.trunk) {
            0 => x,
            level => &self.outputs[level - 1],
        }
    }

    /// How a gradient of a layer's outputs becomes one of the sums before its activation.
    fn before(&self, network: &Network, layer: usize) -> Finish<'_> {
        match network.layers[layer].activation {
            Activation::Identity => PLAIN,
            activation if self.slopes[layer].is_empty() => Finish::Chain(activation, &self.outputs[layer]),
            activation => Finish::Chain(activation, &self.slopes[layer]),
        }
    }

    /// Brings a gradient of a layer's outputs before its activation.
    fn chain(&self, network: &Network, layer: usize, delta: &mut [f32]) {
        if let Finish::Chain(activation, kept) = self.before(network, layer) {
            chain(activation, delta, kept);
        }
    }

    /// Gradients of the trunk, and what they add to those of the input if `by_input` has room for it, given those of the
    /// heads before their activations.
    fn backward(&mut self, network: &Network, rows: usize, by_heads: Vec<Buffer>, by_input: &mut [f32]) {
        let trunk = network.trunk;
        let mut deltas: Vec<Buffer> = network.layers[..trunk].iter().map(|l| Buffer::stale(rows * l.outputs)).collect();
        deltas.extend(by_heads);
        for level in (0..=trunk).rev() {
            let (below, above) = deltas.split_at_mut(level);
            let (to, mut start, finish) = match below.last_mut() {
                Some(delta) => (&mut delta[..], Start::Zero, self.before(network, level - 1)),
                None if by_input.is_empty() => break,
                None => (&mut *by_input, Start::There, PLAIN),
            };
            // Heads side by side come together.
            let sources = if level == trunk { level..network.layers.len() } else { level..level + 1 };
            for l in sources.clone() {
                let Some(transposed) = &network.layers[l].transposed else { continue };
                let finish = if l + 1 == sources.end { finish } else { PLAIN };
                product(&above[l - level], transposed, start, (&mut *to, &mut []), finish);
                start = Start::There;
            }
        }
        self.deltas = deltas;
    }
}

/// Adds the gradients of weights and biases from all blocks, given the input.
fn add_gradients(
    network: &Network,
    layers: &[Dense<Cpu>],
    x: &[f32],
    blocks: &[Block],
    gradients: &mut Gradients<f32, Cpu>,
) -> std::result::Result<(), CpuError> {
    // Taken out, so that all can be worked on at once.
    let mut sums = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut take = |p: &Matrix<Cpu>| -> std::result::Result<Vec<f32>, CpuError> {
            let taken = std::mem::take(&mut **gradients.get_or_alloc_mut(p)?);
            // That of a layer used twice is gone already.
            Ok(if taken.is_empty() { vec![0.0; shape(p).0 * shape(p).1] } else { taken })
        };
        sums.push((take(&layer.weight)?, take(&layer.bias)?));
    }
    let mut work = Vec::new();
    for (l, (dw, db)) in sums.iter_mut().enumerate() {
        let part = (ROWS * network.layers[l].outputs).max(1);
        work.extend(dw.chunks_mut(part).enumerate().map(|(task, dw)| (l, Some(task * ROWS), dw)));
        work.push((l, None, db));
    }
    work.into_par_iter().for_each(|(l, first, sums)| {
        let Layer { inputs, outputs, .. } = network.layers[l];
        for (block, x) in blocks.iter().zip(x.chunks(ROWS * network.layers[0].inputs)) {
            match first {
                Some(first) => {
                    add_transposed(&block.below(network, l, x)[first..], inputs, &block.deltas[l], outputs, sums);
                }
                None => add_rows(&block.deltas[l], sums),
            }
        }
    });
    for (layer, (dw, db)) in layers.iter().zip(sums) {
        for (parameter, sum) in [(&layer.weight, dw), (&layer.bias, db)] {
            let gradient = &mut **gradients.get_or_alloc_mut(parameter)?;
            if gradient.is_empty() {
                *gradient = sum;
            } else {
                gradient.iter_mut().zip(sum).for_each(|(g, s)| *g += s);
            }
        }
    }
    Ok(())
}

/// [`super::heads`], block by block.
pub(crate) fn fused_heads<T: Tape<f32, Cpu>, const N: usize>(
    x: Input<'_, Cpu, T>,
    trunk: &[Dense<Cpu>],
    heads: [&Dense<Cpu>; N],
) -> Result<[Rows<Cpu, T>; N]> {
    let (x, input, mut tape) = match x {
        Input::Data(x) => (x.clone(), None, T::default()),
        Input::Rows(x) => {
            let (x, tape) = x.split_tape();
            (Data::new(values(&x), shape(&x).1)?, Some(x), tape)
        }
    };
    let (rows, columns) = x.shape();
    let into = if input.is_some() { 0 } else { 1 };
    let network = Network::new(trunk, &heads, T::OWNS_TAPE.then_some(into));
    let forward = |x: &[f32]| Block::forward(&network, x, x.len() / columns, T::OWNS_TAPE);
    let mut blocks: Vec<Block> = x.values().par_chunks(ROWS * columns).map(forward).collect();
    let mut tensors = Vec::with_capacity(heads.len());
    for (l, head) in (trunk.len()..).zip(&heads) {
        let mut out = Vec::with_capacity(rows * network.layers[l].outputs);
        for block in &mut blocks {
            out.extend_from_slice(&block.outputs[l]);
            if head.activation == Activation::Identity {
                // On the way back nobody asks for them.
                block.outputs[l] = Buffer::stale(0);
            }
        }
        tensors.push(crate::matrix(head.weight.device(), out, rows, network.layers[l].outputs)?);
    }
    if T::OWNS_TAPE {
        let layers: Vec<Dense<Cpu>> = trunk.iter().chain(heads).cloned().collect();
        let (x, ghosts) = (x.keep(), tensors.clone());
        tape.add_backward_op(move |gradients| {
            // Nothing else reads the gradients of what this made.
            let mut by_heads = Vec::with_capacity(ghosts.len());
            for ghost in &ghosts {
                by_heads.push(std::mem::take(&mut **gradients.get_or_alloc_mut(ghost)?));
            }
            let mut by_input = match &input {
                Some(x) => std::mem::take(&mut **gradients.get_or_alloc_mut(x)?),
                None => Vec::new(),
            };
            let room = parts(&mut by_input, ROWS * columns, blocks.len());
            blocks.par_iter_mut().zip(room).enumerate().for_each(|(i, (block, by_input))| {
                let of_block = rows.min((i + 1) * ROWS) - i * ROWS;
                let before = |(l, by): (usize, &Vec<f32>)| {
                    let outputs = network.layers[l].outputs;
                    let mut delta = Buffer::stale(of_block * outputs);
                    delta.copy_from_slice(&by[i * ROWS * outputs..][..of_block * outputs]);
                    block.chain(&network, l, &mut delta);
                    delta
                };
                let by_heads = (network.trunk..).zip(&by_heads).map(before).collect();
                block.backward(&network, of_block, by_heads, by_input);
            });
            if let Some(x) = &input {
                **gradients.get_or_alloc_mut(x)? = by_input;
            }
            add_gradients(&network, &layers, x.values(), &blocks, gradients)
        });
    }
    let mut tensors = tensors.into_iter();
    let first = tensors.next().map(|first| first.put_tape(tape));
    super::all(first.into_iter().chain(tensors.map(|other| other.put_tape(T::default()))).collect())
}

/// [`super::dense_score`], block by block.
pub(crate) fn fused_score<T: Tape<f32, Cpu>>(
    x: Rows<Cpu, T>,
    layers: &[Dense<Cpu>],
    target: &Target<'_, Cpu>,
) -> Result<Scored<Cpu, T>> {
    let Some((last, trunk)) = layers.split_last() else { return crate::likelihood::fused(x, target) };
    let (x, tape) = x.split_tape();
    let ((rows, columns), log_sd, input) = (shape(&x), values(target.log_sd), values(&x));
    let outputs = shape(&last.weight).1;
    let network = Network::new(trunk, &[last], T::OWNS_TAPE.then_some(0));
    let mut by_input = vec![0.0; if T::OWNS_TAPE { input.len() } else { 0 }];
    let blocks = rows.div_ceil(ROWS);
    let work = input.par_chunks(ROWS * columns).zip(parts(&mut by_input, ROWS * columns, blocks)).enumerate();
    let (mut blocks, scores): (Vec<Block>, Vec<Vec<Score>>) = work
        .map(|(i, (x, by_input))| {
            let (first, rows) = (i * ROWS, x.len() / columns);
            let mut block = Block::forward(&network, x, rows, T::OWNS_TAPE);
            let mut out = Buffer::stale(rows * outputs);
            out.copy_from_slice(&block.outputs[network.trunk]);
            let data = target.data.values()[first * outputs..].chunks_exact(outputs);
            let scored = out.chunks_exact_mut(outputs).zip(data).zip(&target.weights[first..]);
            let scored = scored.map(|((out, x), weight)| weighted_score(target.likelihood, out, x, &log_sd, *weight));
            let scores = scored.collect();
            if T::OWNS_TAPE {
                block.chain(&network, network.trunk, &mut out);
                block.backward(&network, rows, vec![out], by_input);
            }
            (block, scores)
        })
        .unzip();
    let (log_p, by_log_sd) = summed(&scores.concat(), target);
    let (by_inputs, layers) = ([(x, by_input), (target.log_sd.clone(), by_log_sd)], layers.to_vec());
    weighed(log_p, target, tape, by_inputs, move |by, gradients| {
        blocks.par_iter_mut().flat_map_iter(|block| &mut block.deltas).for_each(|delta| {
            delta.iter_mut().for_each(|d| *d *= by);
        });
        add_gradients(&network, &layers, &input, &blocks, gradients)
    })
}
