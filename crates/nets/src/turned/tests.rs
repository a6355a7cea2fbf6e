use dfdx::prelude::SumTo;
use dfdx::tensor::{Cpu, NoneTape, OwnedTape};
use dfdx::tensor_ops::{Backward, TryMul};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::oracle::activation;
use crate::{Activation, Matrix, matrix, values};

struct Case {
    x: Data<'static>,
    turns: Turns,
    layer: Dense<Cpu>,
    /// Weights of the outputs in the sum that is differentiated.
    g: Matrix<Cpu>,
}

impl Case {
    fn new(seed: u64, rows: usize, turns: Turns, each: usize, outputs: usize, activation: Activation) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.gen_range(-1.0..1.0)).collect() };
        let inputs = turns.steps * each + turns.still;
        let cpu = Cpu::default();
        let mut drawn = |rows: usize, columns: usize| matrix(&cpu, draw(rows * columns), rows, columns).unwrap();
        let layer = Dense { weight: drawn(inputs, outputs), bias: drawn(1, outputs), activation };
        let g = drawn(rows * turns.views, outputs);
        Self { x: Data::new(values(&drawn(rows, inputs)), inputs).unwrap(), turns, layer, g }
    }

    /// Outputs, and gradients of Σ g·y by weight and bias.
    fn all(&self, y: Rows<Cpu, OwnedTape<f32, Cpu>>) -> [Vec<f32>; 3] {
        let found = y.as_vec();
        let mut gradients = y.try_mul(self.g.clone()).unwrap().try_sum::<(), _>().unwrap().backward();
        let mut of = |parameter: &Matrix<Cpu>| {
            gradients.get_or_alloc_mut(parameter).unwrap();
            gradients.get(parameter).as_vec()
        };
        [found, of(&self.layer.weight), of(&self.layer.bias)]
    }
}

proptest! {
    #[test]
    fn fused_follows_composed(
        seed in any::<u64>(),
        rows in 1usize..30,
        (steps, views) in (1usize..18).prop_flat_map(|steps| (Just(steps), 1..=steps)),
        (each, still, outputs) in (1usize..9, 0usize..4, 1usize..40),
        f in 0..Activation::ALL.len(),
    ) {
        let case = Case::new(seed, rows, Turns { steps, views, still }, each, outputs, Activation::ALL[f]);
        let fast = case.all(turned(&case.x, case.turns, &case.layer).unwrap());
        let slow = case.all(composed(&case.x, case.turns, &case.layer).unwrap());
        for (fast, slow) in fast.iter().zip(&slow) {
            prop_assert_eq!(fast.len(), slow.len());
            let largest = slow.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (a, b) in fast.iter().zip(slow) {
                // A slope that jumps may be taken on either side where a sum is 0 but for rounding.
                prop_assert!((a - b).abs() < 1e-4 * largest, "{} {}", a, b);
            }
        }
    }
}

#[test]
fn outputs_are_those_of_the_definition() {
    let (turns, each) = (Turns { steps: 6, views: 4, still: 2 }, 3);
    let Case { x, layer, .. } = Case::new(1, 3, turns, each, 5, Activation::Tanh);
    let y: Rows<Cpu, NoneTape> = turned(&x, turns, &layer).unwrap();
    let (y, w, b) = (values(&y), values(&layer.weight), values(&layer.bias));
    for (i, found) in y.iter().enumerate() {
        let (output, view, row) = (i % 5, i / 5 % 4, i / 20);
        let at = |input: usize| if input < 18 { (input + each * view) % 18 } else { input };
        let sum: f64 = (0..20).map(|i| f64::from(x.values()[row * 20 + at(i)]) * f64::from(w[i * 5 + output])).sum();
        let expected = activation(Activation::Tanh, sum + f64::from(b[output]));
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let case = Case::new(2, 40, Turns { steps: 16, views: 16, still: 1 }, 7, 24, Activation::Gelu);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.all(turned(&case.x, case.turns, &case.layer).unwrap()))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn what_does_not_fit_is_refused() {
    let turns = Turns { steps: 4, views: 4, still: 1 };
    let Case { x, layer, .. } = Case::new(1, 2, turns, 3, 5, Activation::Tanh);
    let refused = |x: &Data<'_>, turns: Turns, word: &str| {
        let error = turned::<_, NoneTape>(x, turns, &layer).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(x.shape() != (2, 13) || turns.views_of(x).unwrap_err().to_string().contains(word));
    };
    for (wrong, word) in [
        (Turns { views: 5, ..turns }, "5 of 4"),
        (Turns { views: 0, ..turns }, "0 of 4"),
        (Turns { steps: 0, views: 0, ..turns }, "0 of 0"),
        (Turns { still: usize::MAX, ..turns }, "rings"),
        (Turns { steps: 5, ..turns }, "rings"),
        (Turns { still: 12, ..turns }, "rings"),
    ] {
        refused(&x, wrong, word);
    }
    refused(&Data::new(vec![0.0; 34], 17).unwrap(), turns, "17");
}
