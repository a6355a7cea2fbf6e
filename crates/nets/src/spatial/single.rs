use super::fused::Layers;
use super::kernels::{first, first_back, output, output_back};
use super::plan::{Hidden, Plan, Scratch, Sums, Weight};
use crate::Activation;
use crate::blocks::{Finish, Panels, Start, add_rows, add_transposed, product};

/// Layers of a block in f32.
pub(super) struct Single {
    /// Activations of the first and of every hidden layer.
    layers: Vec<Vec<f32>>,
    /// Their slopes, where they are kept, else empty.
    slopes: Vec<Vec<f32>>,
    delta: Vec<f32>,
    next: Vec<f32>,
    /// What skips add, if there are any.
    start: Vec<f32>,
}

fn panels(weight: &Weight) -> &Panels {
    match weight {
        Weight::Single(panels) => panels,
        Weight::Half(_) => unreachable!("a plan in f32 has weights in f32"),
    }
}

impl Layers for Single {
    fn new(plan: &Plan) -> Self {
        let numbers = |width: usize| vec![0.0; plan.block * width];
        let keeps = |i: usize| plan.activation_of(i).keeps_slope();
        let all = || 0..=plan.hidden.len();
        Self {
            layers: all().map(|i| numbers(plan.width(i))).collect(),
            slopes: all().map(|i| numbers(if keeps(i) { plan.width(i) } else { 0 })).collect(),
            delta: numbers(plan.widest()),
            next: numbers(plan.widest()),
            start: numbers(if plan.inputs.len() > 1 { plan.widest() } else { 0 }),
        }
    }

    fn forward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch) {
        let (qx, qy) = (&scratch.q.0[..n], &scratch.q.1[..n]);
        let input = &plan.inputs[0];
        let w = input.coordinate.split_at(input.width);
        let out = (&mut self.layers[0][..n * input.width], &mut self.slopes[0][..]);
        first(plan.activation, (qx, qy), w, &scratch.bases[0], out);
        for (i, Hidden { layer, weight, .. }) in plan.hidden.iter().enumerate() {
            let start = match plan.skip(i) {
                None => Start::Row(&layer.bias),
                Some(skip) => {
                    let start = &mut self.start[..n * layer.outputs];
                    let w = skip.coordinate.split_at(layer.outputs);
                    first(Activation::Identity, (qx, qy), w, &scratch.bases[i + 1], (start, &mut []));
                    Start::Each(start)
                }
            };
            let (below, above) = self.layers.split_at_mut(i + 1);
            let out = (&mut above[0][..n * layer.outputs], &mut self.slopes[i + 1][..]);
            let finish = Finish::Activate(layer.activation);
            product(&below[i][..n * layer.inputs], panels(weight), start, out, finish);
        }
        let last = &self.layers[plan.hidden.len()][..n * plan.output.inputs];
        output(last, &plan.output.weight, &plan.output.bias, &mut scratch.outputs[..n * plan.channels]);
    }

    fn backward(&mut self, plan: &Plan, n: usize, scratch: &mut Scratch, sums: &mut Sums) {
        let Self { layers, slopes, delta, next, .. } = self;
        let Scratch { q, dq, outputs, by_bases, .. } = scratch;
        let (q, dq) = ((&q.0[..n], &q.1[..n]), (&mut dq.0[..n], &mut dq.1[..n]));
        dq.0.fill(0.0);
        dq.1.fill(0.0);
        let kept = |i: usize, size: usize| if slopes[i].is_empty() { &layers[i][..size] } else { &slopes[i][..size] };
        let top = plan.hidden.len();
        let size = n * plan.width(top);
        output_back(
            plan.activation_of(top),
            &outputs[..n * plan.channels],
            (&layers[top][..size], kept(top, size)),
            &plan.output.weight,
            (&mut sums.output.0, &mut sums.output.1),
            &mut delta[..size],
        );
        for (i, Hidden { layer, transposed, .. }) in plan.hidden.iter().enumerate().rev() {
            let (above, size_below) = (&delta[..n * layer.outputs], n * layer.inputs);
            let (dw, db) = &mut sums.hidden[i];
            add_transposed(&layers[i][..size_below], layer.inputs, above, layer.outputs, dw);
            match plan.skip(i) {
                None => add_rows(above, db),
                Some(skip) => {
                    let w = skip.coordinate.split_at(layer.outputs);
                    let dw = sums.inputs[i + 1].coordinate.split_at_mut(layer.outputs);
                    first_back(above, q, w, (&mut *dq.0, &mut *dq.1), dw, &mut by_bases[i + 1]);
                }
            }
            let finish = Finish::Chain(plan.activation_of(i), kept(i, size_below));
            product(above, panels(transposed), Start::Zero, (&mut next[..size_below], &mut []), finish);
            std::mem::swap(delta, next);
        }
        let input = &plan.inputs[0];
        let w = input.coordinate.split_at(input.width);
        let dw = sums.inputs[0].coordinate.split_at_mut(input.width);
        first_back(&delta[..n * input.width], q, w, dq, dw, &mut by_bases[0]);
    }
}
