use super::fused::Layers;
use super::kernels::{first, first_back, output, output_back};
use super::plan::{Hidden, Plan, Scratch, Sums, Weight};
use crate::Activation;
use crate::bf16::{Half, HalfFinish, HalfPanels, add_rows, add_transposed, pack, product, unpack};
use crate::blocks::Start;

/// Layers of a block whose large products are of bf16. The first and the last layer are computed in f32, a few pixels at
/// a time.
pub(super) struct Paired {
    /// Activations of the first and of every hidden layer.
    layers: Vec<Half>,
    delta: Vec<Half>,
    /// What skips add, if there are any.
    start: Vec<f32>,
    few: Vec<f32>,
    few_slopes: Vec<f32>,
    few_delta: Vec<f32>,
}

/// Pixels that stay in L1 between two kernels; an even number.
const FEW: usize = 24;

fn panels(weight: &Weight) -> &HalfPanels {
    match weight {
        Weight::Half(panels) => panels,
        Weight::Single(_) => unreachable!("a plan in bf16 has weights in bf16"),
    }
}

impl Layers for Paired {
    fn new(plan: &Plan) -> Self {
        let rows = plan.block.next_multiple_of(2);
        let all = || 0..=plan.hidden.len();
        Self {
            layers: all().map(|i| Half::new(rows, plan.width(i), plan.activation_of(i))).collect(),
            delta: all().map(|i| Half::new(rows, plan.width(i), Activation::Identity)).collect(),
            start: vec![0.0; if plan.inputs.len() > 1 { rows * plan.widest() } else { 0 }],
            few: vec![0.0; FEW * plan.widest()],
            few_slopes: vec![0.0; FEW * plan.widest()],
            few_delta: vec![0.0; FEW * plan.widest()],
        }
    }

    fn forward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch) {
        let (qx, qy) = (&scratch.q.0[..n], &scratch.q.1[..n]);
        let even = n.next_multiple_of(2);
        let input = &plan.inputs[0];
        let w = input.coordinate.split_at(input.width);
        for at in (0..n).step_by(FEW) {
            let end = n.min(at + FEW);
            let few = &mut self.few[..(end - at) * input.width];
            let slopes = if plan.activation.keeps_slope() { few.len() } else { 0 };
            let slopes = &mut self.few_slopes[..slopes];
            first(plan.activation, (&qx[at..end], &qy[at..end]), w, &scratch.bases[0], (&mut *few, &mut *slopes));
            pack(few, slopes, at, &mut self.layers[0]);
        }
        for (i, Hidden { layer, weight, .. }) in plan.hidden.iter().enumerate() {
            let start = match plan.skip(i) {
                None => Start::Row(&layer.bias),
                Some(skip) => {
                    let start = &mut self.start[..even * layer.outputs];
                    let w = skip.coordinate.split_at(layer.outputs);
                    let all = &mut start[..n * layer.outputs];
                    first(Activation::Identity, (qx, qy), w, &scratch.bases[i + 1], (all, &mut []));
                    Start::Each(start)
                }
            };
            let (below, above) = self.layers.split_at_mut(i + 1);
            let finish = HalfFinish::Activate(layer.activation);
            product((&below[i], even), panels(weight), start, finish, &mut above[0]);
        }
        let units = plan.output.inputs;
        for at in (0..n).step_by(FEW) {
            let end = n.min(at + FEW);
            let few = &mut self.few[..(end - at) * units];
            unpack(&self.layers[plan.hidden.len()], at, few, &mut []);
            let out = &mut scratch.outputs[at * plan.channels..end * plan.channels];
            output(few, &plan.output.weight, &plan.output.bias, out);
        }
    }

    fn backward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch, sums: &mut Sums) {
        let Self { layers, delta, few, few_slopes, few_delta, .. } = self;
        let Scratch { q, dq, outputs, by_bases, .. } = scratch;
        let even = n.next_multiple_of(2);
        dq.0[..n].fill(0.0);
        dq.1[..n].fill(0.0);
        let top = plan.hidden.len();
        let (units, channels, activation) = (plan.output.inputs, plan.channels, plan.activation_of(top));
        for at in (0..n).step_by(FEW) {
            let end = n.min(at + FEW);
            let size = (end - at) * units;
            let slopes = if activation.keeps_slope() { size } else { 0 };
            let (h, slopes, back) = (&mut few[..size], &mut few_slopes[..slopes], &mut few_delta[..size]);
            unpack(&layers[top], at, h, slopes);
            output_back(
                activation,
                &outputs[at * channels..end * channels],
                (h, if slopes.is_empty() { h } else { slopes }),
                &plan.output.weight,
                (&mut sums.output.0, &mut sums.output.1),
                back,
            );
            pack(back, &[], at, &mut delta[top]);
        }
        let mut inject = |i: usize, above: &Half, width: usize, sums: &mut Sums| {
            let w = plan.inputs[i].coordinate.split_at(width);
            for at in (0..n).step_by(FEW) {
                let end = n.min(at + FEW);
                let few = &mut few_delta[..(end - at) * width];
                unpack(above, at, few, &mut []);
                let (q, dq) = ((&q.0[at..end], &q.1[at..end]), (&mut dq.0[at..end], &mut dq.1[at..end]));
                let dw = sums.inputs[i].coordinate.split_at_mut(width);
                first_back(few, q, w, dq, dw, &mut by_bases[i]);
            }
        };
        for (i, Hidden { layer, transposed, .. }) in plan.hidden.iter().enumerate().rev() {
            let (below, above) = delta.split_at_mut(i + 1);
            let (dw, db) = &mut sums.hidden[i];
            add_transposed(&layers[i], &above[0], even, dw);
            match plan.skip(i) {
                None => add_rows(&above[0], even, db),
                Some(_) => inject(i + 1, &above[0], layer.outputs, sums),
            }
            let finish = HalfFinish::Chain(plan.activation_of(i), &layers[i]);
            product((&above[0], even), panels(transposed), Start::Zero, finish, &mut below[i]);
        }
        inject(0, &delta[0], plan.width(0), sums);
    }
}
