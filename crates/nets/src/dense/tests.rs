use dfdx::prelude::SumTo;
use dfdx::tensor::{Cpu, Gradients, NoneTape, OwnedTape, Trace};
use dfdx::tensor_ops::{Backward, TryAdd, TryMul};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::oracle::{activation, kinked, log_p};
use crate::{Likelihood, Precision, matrix};

type Taped = Rows<Cpu, OwnedTape<f32, Cpu>>;

fn drawn(rows: usize, columns: usize, low: f32, high: f32, rng: &mut ChaCha8Rng) -> Matrix<Cpu> {
    let values = (0..rows * columns).map(|_| rng.gen_range(low..high)).collect();
    matrix(&Cpu::default(), values, rows, columns).unwrap()
}

/// Rows, widths from the input to the last layer of the trunk, widths of two heads, and the activation.
#[derive(Debug, Clone)]
struct Setting {
    seed: u64,
    rows: usize,
    widths: Vec<usize>,
    heads: [usize; 2],
    activation: Activation,
}

fn settings() -> impl Strategy<Value = Setting> {
    let activation = (0..Activation::ALL.len()).prop_map(|i| Activation::ALL[i]);
    let (widths, heads) = (proptest::collection::vec(1usize..40, 1..4), [1usize..40, 1usize..4]);
    (any::<u64>(), 1usize..60, widths, heads, activation).prop_map(|(seed, rows, widths, heads, activation)| Setting {
        seed,
        rows,
        widths,
        heads,
        activation,
    })
}

struct Case {
    x: Matrix<Cpu>,
    trunk: Vec<Dense<Cpu>>,
    heads: [Dense<Cpu>; 2],
    /// Weights of the heads' outputs in the sum that is differentiated.
    g: [Matrix<Cpu>; 2],
    rng: ChaCha8Rng,
}

impl Case {
    fn new(s: &Setting) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(s.seed);
        let layer = |inputs: usize, outputs: usize, activation, rng: &mut ChaCha8Rng| Dense {
            weight: drawn(inputs, outputs, -1.0, 1.0, rng),
            bias: drawn(1, outputs, -1.0, 1.0, rng),
            activation,
        };
        let trunk = s.widths.windows(2).map(|w| layer(w[0], w[1], s.activation, &mut rng)).collect();
        let top = s.widths[s.widths.len() - 1];
        // One head has an activation too.
        let heads = [(s.heads[0], s.activation), (s.heads[1], Activation::Identity)];
        let heads = heads.map(|(outputs, activation)| layer(top, outputs, activation, &mut rng));
        let g = s.heads.map(|outputs| drawn(s.rows, outputs, -1.0, 1.0, &mut rng));
        Self { x: drawn(s.rows, s.widths[0], -1.0, 1.0, &mut rng), trunk, heads, g, rng }
    }

    fn layers(&self) -> Vec<Dense<Cpu>> {
        self.trunk.iter().chain(&self.heads).cloned().collect()
    }

    fn inputs(&self, layers: &[Dense<Cpu>]) -> Vec<Matrix<Cpu>> {
        let weights = layers.iter().flat_map(|l| [l.weight.clone(), l.bias.clone()]);
        std::iter::once(self.x.clone()).chain(weights).collect()
    }

    /// Outputs of the heads, and the gradients of Σ g·y.
    fn all(&self, [first, second]: [Taped; 2]) -> Vec<Vec<f32>> {
        let outputs = [first.as_vec(), second.as_vec()];
        let sum = |y: Taped, g: &Matrix<Cpu>| y.try_mul(g.clone()).unwrap().try_sum::<(), _>().unwrap();
        let total = sum(first, &self.g[0]).try_add(sum(second, &self.g[1])).unwrap();
        outputs.into_iter().chain(read(total.backward(), &self.inputs(&self.layers()))).collect()
    }

    /// Σ g·y in f64 with an input moved, and how near to a kink a sum before an activation comes.
    fn oracle(&self, which: usize, index: usize, step: f64) -> (f64, f64) {
        let (numbers, mut nearest, mut total) = (self.numbers(&self.layers(), which, index, step), f64::INFINITY, 0.0);
        for (row, x) in numbers[0].chunks_exact(shape(&self.x).1).enumerate() {
            let mut h = x.to_vec();
            for (l, layer) in self.trunk.iter().enumerate() {
                h = one(layer.activation, &h, &numbers[1 + 2 * l..], &mut nearest);
            }
            for (j, (head, g)) in self.heads.iter().zip(&self.g).enumerate() {
                let y = one(head.activation, &h, &numbers[1 + 2 * (self.trunk.len() + j)..], &mut nearest);
                let g = &g.as_vec()[row * y.len()..];
                total += y.iter().zip(g).map(|(y, g)| y * f64::from(*g)).sum::<f64>();
            }
        }
        (total, nearest)
    }

    /// All inputs, one of them moved.
    fn numbers(&self, layers: &[Dense<Cpu>], which: usize, index: usize, step: f64) -> Vec<Vec<f64>> {
        let exact = |m: &Matrix<Cpu>| m.as_vec().into_iter().map(f64::from).collect();
        let mut all: Vec<Vec<f64>> = self.inputs(layers).iter().map(exact).collect();
        if which < all.len() {
            all[which][index] += step;
        }
        all
    }
}

fn read(mut gradients: Gradients<f32, Cpu>, of: &[Matrix<Cpu>]) -> Vec<Vec<f32>> {
    let of = of.iter().map(|p| {
        gradients.get_or_alloc_mut(p).unwrap();
        gradients.get(p).as_vec()
    });
    of.collect()
}

/// A layer of one row, from weight and bias in f64.
fn one(f: Activation, h: &[f64], parts: &[Vec<f64>], nearest: &mut f64) -> Vec<f64> {
    let (w, b) = (&parts[0], &parts[1]);
    let sums = (0..b.len()).map(|j| h.iter().enumerate().map(|(i, h)| h * w[i * b.len() + j]).sum::<f64>() + b[j]);
    let sums: Vec<f64> = sums.collect();
    if kinked(f) {
        *nearest = sums.iter().fold(*nearest, |n, s| n.min(s.abs()));
    }
    sums.into_iter().map(|s| activation(f, s)).collect()
}

fn agree(found: &[Vec<f32>], expected: &[Vec<f32>]) -> std::result::Result<(), TestCaseError> {
    for (part, (found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (a, b) in found.iter().zip(expected) {
            prop_assert!((a - b).abs() < 1e-4 * largest, "part {}: {} {}", part, a, b);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn heads_agree_with_the_reference_and_with_central_differences(setting in settings(), pick: usize) {
        let case = Case::new(&setting);
        // Within rounding of a kink either slope is right.
        let nearest = case.oracle(usize::MAX, 0, 0.0).1;
        prop_assume!(nearest > 1e-4);
        let [first, second] = &case.heads;
        let found = case.all(heads(Input::Rows(case.x.leaky_trace()), &case.trunk, [first, second]).unwrap());
        let expected = composed_heads(case.x.leaky_trace(), &case.trunk, [first, second]).unwrap();
        agree(&found, &case.all(expected))?;
        let data = Data::new(case.x.as_vec(), shape(&case.x).1).unwrap();
        let of_data = case.all(heads(Input::Data(&data), &case.trunk, [first, second]).unwrap());
        prop_assert!(of_data[2].iter().all(|v| *v == 0.0), "no gradient of data");
        prop_assert_eq!(&of_data[..2], &found[..2]);
        prop_assert_eq!(&of_data[3..], &found[3..]);
        for (which, gradient) in found[2..].iter().enumerate() {
            let index = pick % gradient.len();
            let step = 1e-5f64.min(0.01 * nearest);
            let slope = (case.oracle(which, index, step).0 - case.oracle(which, index, -step).0) / (2.0 * step);
            let largest = gradient.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            let (found, allowed) = (f64::from(gradient[index]), 1e-3 * f64::from(largest));
            prop_assert!((found - slope).abs() < allowed, "input {}: {} {}", which, found, slope);
        }
    }

    #[test]
    fn scores_agree_with_the_reference_and_with_central_differences(setting in settings(), kind in 0usize..4, pick: usize) {
        let likelihood = [
            Likelihood::Bernoulli, Likelihood::ContinuousBernoulli, Likelihood::Gaussian, Likelihood::Poisson(9.0),
        ][kind];
        let smooth = if kinked(setting.activation) { Activation::Tanh } else { setting.activation };
        let mut case = Case::new(&Setting { activation: smooth, ..setting });
        let mut layers = case.trunk.clone();
        // The last layer gives outputs of two channels, small enough for a mean of e^ℓ.
        let (outputs, inputs) = (2 * setting.heads[0], shape(&case.heads[0].weight).0);
        let limit = 1.0 / inputs as f32;
        layers.push(Dense {
            weight: drawn(inputs, outputs, -limit, limit, &mut case.rng),
            bias: drawn(1, outputs, -1.0, 1.0, &mut case.rng),
            activation: if pick.is_multiple_of(2) { Activation::Identity } else { Activation::Softplus },
        });
        let rows = setting.rows;
        let data = Data::new(drawn(rows, outputs, 0.0, 1.0, &mut case.rng).as_vec(), outputs).unwrap();
        let weights = drawn(1, rows, 0.2, 1.5, &mut case.rng).as_vec();
        let log_sd = drawn(1, 2, -1.0, 0.5, &mut case.rng);
        let precision = Precision::F32;
        let target = Target { data: &data, pixels: None, weights: &weights, likelihood, log_sd: &log_sd, precision };
        let mut inputs = case.inputs(&layers);
        inputs.push(log_sd.clone());
        let found = dense_score(case.x.leaky_trace(), &layers, &target).unwrap();
        let mut y = case.x.leaky_trace();
        for layer in &layers {
            y = composed(y, layer).unwrap();
        }
        let expected = crate::likelihood::composed(y, &target).unwrap();
        for (a, b) in found.rows.iter().zip(&expected.rows) {
            prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "log p {} {}", a, b);
        }
        let log_p_found: f64 = found.rows.iter().zip(&weights).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
        let gradients = read(found.total.backward(), &inputs);
        agree(&gradients, &read(expected.total.backward(), &inputs))?;
        for (which, gradient) in gradients.iter().enumerate() {
            let index = pick % gradient.len();
            let at = |step: f64| {
                let numbers = case.numbers(&layers, which, index, step);
                let sd = |c: usize| f64::from(log_sd.as_vec()[c]);
                let sd = [0, 1].map(|c| sd(c) + if which + 1 == inputs.len() && index == c { step } else { 0.0 });
                let (mut total, mut nearest) = (0.0, f64::INFINITY);
                for (row, x) in numbers[0].chunks_exact(shape(&case.x).1).enumerate() {
                    let mut h = x.to_vec();
                    for (l, layer) in layers.iter().enumerate() {
                        h = one(layer.activation, &h, &numbers[1 + 2 * l..], &mut nearest);
                    }
                    let data = &data.values()[row * outputs..];
                    let pixels = h.iter().zip(data).enumerate();
                    let sum: f64 = pixels.map(|(i, (l, x))| log_p(likelihood, *l, f64::from(*x), sd[i % 2])).sum();
                    total += f64::from(weights[row]) * sum;
                }
                total
            };
            let value = at(0.0);
            prop_assert!((log_p_found - value).abs() < 1e-4 * (1.0 + value.abs()), "{} {}", log_p_found, value);
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            let largest = gradient.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            let (found, allowed) = (f64::from(gradient[index]), 1e-3 * f64::from(largest));
            prop_assert!((found - slope).abs() < allowed, "input {}: {} {}", which, found, slope);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let setting =
        Setting { seed: 3, rows: 131, widths: vec![50, 40, 30], heads: [40, 3], activation: Activation::Gelu };
    let case = Case::new(&setting);
    let data = Data::new(drawn(131, 40, 0.0, 1.0, &mut case.rng.clone()).as_vec(), 40).unwrap();
    let (log_sd, weights) = (matrix(&Cpu::default(), vec![0.0], 1, 1).unwrap(), vec![1.0; 131]);
    let (likelihood, precision) = (Likelihood::Gaussian, Precision::F32);
    let target = Target { data: &data, pixels: None, weights: &weights, likelihood, log_sd: &log_sd, precision };
    let [first, second] = &case.heads;
    let layers: Vec<Dense<Cpu>> = case.trunk.iter().chain([first]).cloned().collect();
    let both = || {
        let found = case.all(heads(Input::Rows(case.x.leaky_trace()), &case.trunk, [first, second]).unwrap());
        let scored = dense_score(case.x.leaky_trace(), &layers, &target).unwrap();
        (found, scored.rows, read(scored.total.backward(), &case.inputs(&layers)))
    };
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(both);
    assert_eq!(run(1), run(3));
}

#[test]
fn a_layer_used_twice_has_both_gradients() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let layer = Dense::new(&Cpu::default(), 4, 4, Activation::Tanh, &mut rng).unwrap();
    let (x, trunk) = (drawn(7, 4, -1.0, 1.0, &mut rng), [layer.clone(), layer.clone()]);
    let of = |[first, second]: [Taped; 2]| {
        let total = first.try_add(second).unwrap().try_sum::<(), _>().unwrap();
        read(total.backward(), &[x.clone(), layer.weight.clone(), layer.bias.clone()])
    };
    let found = of(heads(Input::Rows(x.leaky_trace()), &trunk, [&layer, &layer]).unwrap());
    agree(&found, &of(composed_heads(x.leaky_trace(), &trunk, [&layer, &layer]).unwrap())).unwrap();
}

#[test]
fn widths_that_do_not_fit_are_refused() {
    let cpu = Cpu::default();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut new = |i, o| Dense::new(&cpu, i, o, Activation::Tanh, &mut rng).unwrap();
    let (layer, wide, narrow) = (new(3, 2), new(2, 5), new(4, 1));
    let x = |columns| matrix(&cpu, vec![0.5; 2 * columns], 2, columns).unwrap();
    let refused = |message: String| assert!(message.contains("input of a dense layer"), "{message}");
    refused(layer.forward(x(4)).unwrap_err().to_string());
    assert!(layer.forward_data::<NoneTape>(&Data::new(vec![0.0; 8], 4).unwrap()).is_err());
    let trunk = [layer, wide];
    refused(heads(Input::Rows(x(3)), &trunk, [&narrow]).unwrap_err().to_string());
    let (data, log_sd) = (Data::new(vec![0.5; 10], 5).unwrap(), matrix(&cpu, vec![0.0], 1, 1).unwrap());
    let (likelihood, precision) = (Likelihood::Bernoulli, Precision::F32);
    let target = |weights| Target { data: &data, pixels: None, weights, likelihood, log_sd: &log_sd, precision };
    assert_eq!(dense_score(x(3), &trunk, &target(&[1.0, 1.0])).map(|s| s.rows.len()).unwrap(), 2);
    assert!(dense_score(x(4), &trunk, &target(&[1.0, 1.0])).is_err());
    assert!(dense_score(x(3), &trunk, &target(&[1.0])).is_err());
    let some = Target { pixels: Some(&[0, 1]), ..target(&[1.0, 1.0]) };
    assert!(dense_score(x(3), &trunk, &some).map(|s| s.rows).unwrap_err().to_string().contains("pixels"));
    let lame = Dense { bias: matrix(&cpu, vec![0.0], 1, 1).unwrap(), ..trunk[0].clone() };
    assert!(lame.forward(x(3)).unwrap_err().to_string().contains("bias of a dense layer"));
    let empty = Dense::new(&cpu, 0, 2, Activation::Tanh, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    assert!(empty.forward(matrix(&cpu, vec![], 2, 0).unwrap()).is_err());
}
