use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, Gradients, NoneTape, OwnedTape, Trace};
use dfdx::tensor_ops::Backward;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::oracle::{activation, kinked, log_p};
use crate::{Data, Likelihood, Matrix, Precision, matrix};

/// A decoder, placed latents and a target, all random.
struct Case {
    decoder: SpatialDecoder<Cpu>,
    placed: Matrix<Cpu>,
    data: Data<'static>,
    weights: Vec<f32>,
    log_sd: Matrix<Cpu>,
    likelihood: Likelihood,
    /// The pixels the data hold, of each row.
    pixels: Option<Vec<u32>>,
}

#[derive(Debug, Clone)]
struct Setting {
    seed: u64,
    size: (usize, usize, usize),
    rows: usize,
    content: usize,
    hidden: Vec<usize>,
    activation: Activation,
    likelihood: Likelihood,
    /// Pixels in the data of each row; none: all.
    picked: Option<usize>,
    skip: bool,
}

fn settings() -> impl Strategy<Value = Setting> {
    let activation = prop_oneof![
        Just(Activation::Tanh),
        Just(Activation::Softplus),
        Just(Activation::Relu),
        Just(Activation::LeakyRelu),
        Just(Activation::Gelu)
    ];
    let likelihood = prop_oneof![
        Just(Likelihood::Bernoulli),
        Just(Likelihood::ContinuousBernoulli),
        Just(Likelihood::Gaussian),
        (0.5f32..40.0).prop_map(Likelihood::Poisson)
    ];
    let hidden = proptest::collection::vec(1usize..20, 1..4);
    let picked = proptest::option::of(1usize..40);
    let size = (1usize..19, 1usize..19, 1usize..4);
    (0u64..1000, size, 1usize..20, 1usize..3, hidden, activation, likelihood, picked, any::<bool>()).prop_map(
        |(seed, size, rows, content, hidden, activation, likelihood, picked, skip)| Setting {
            seed,
            size,
            rows,
            content,
            hidden,
            activation,
            likelihood,
            picked,
            skip,
        },
    )
}

impl Case {
    fn new(s: &Setting) -> Self {
        let cpu = Cpu::default();
        let mut rng = ChaCha8Rng::seed_from_u64(s.seed);
        let mut decoder = SpatialDecoder::new(&cpu, s.size, s.content, &s.hidden, s.activation, &mut rng).unwrap();
        if s.skip {
            decoder = decoder.with_skips(&mut rng).unwrap();
        }
        let mut draw = |rows, columns, low: f32, high: f32| {
            matrix(&cpu, (0..rows * columns).map(|_| rng.gen_range(low..high)).collect(), rows, columns).unwrap()
        };
        let placed = draw(s.rows, POSE + s.content, -0.8, 0.8);
        let all = s.size.0 * s.size.1;
        let columns = s.picked.unwrap_or(all) * s.size.2;
        let data = Data::new(draw(s.rows, columns, 0.0, 1.0).as_vec(), columns).unwrap();
        let weights = draw(1, s.rows, 0.2, 1.5).as_vec();
        let log_sd = draw(1, s.size.2, -1.0, 0.5);
        let pixels = s.picked.map(|n| (0..s.rows * n).map(|_| rng.gen_range(0..all as u32)).collect());
        Self { decoder, placed, data, weights, log_sd, likelihood: s.likelihood, pixels }
    }

    fn target(&self) -> Target<'_, Cpu> {
        Target {
            data: &self.data,
            pixels: self.pixels.as_deref(),
            weights: &self.weights,
            likelihood: self.likelihood,
            log_sd: &self.log_sd,
            precision: Precision::F32,
        }
    }

    /// Everything that has a gradient, in a fixed order.
    fn inputs(&self) -> Vec<Matrix<Cpu>> {
        let mut all = vec![self.placed.clone()];
        self.decoder.visit("", &mut |_, m| all.push(m.clone()));
        if self.likelihood == Likelihood::Gaussian {
            all.push(self.log_sd.clone());
        }
        all
    }

    fn gradients(&self, scored: Scored<Cpu, OwnedTape<f32, Cpu>>) -> Vec<Vec<f32>> {
        let mut gradients: Gradients<f32, Cpu> = scored.total.backward();
        let read = |m: &Matrix<Cpu>| {
            gradients.get_or_alloc_mut(m).unwrap();
            gradients.get(m).as_vec()
        };
        self.inputs().iter().map(read).collect()
    }

    /// The definition, in f64: Σ wᵢ log p(xᵢ) with input `which` moved at `index` by `step`.
    fn oracle(&self, which: usize, index: usize, step: f64) -> f64 {
        self.pass(which, index, step).0
    }

    /// As [`Case::oracle`], and how near to a kink the sum before an activation with one comes.
    fn pass(&self, which: usize, index: usize, step: f64) -> (f64, f64) {
        let nearest = std::cell::Cell::new(f64::INFINITY);
        let mut inputs: Vec<(usize, Vec<f64>)> =
            self.inputs().iter().map(|m| (m.shape().1, m.as_vec().into_iter().map(f64::from).collect())).collect();
        inputs[which].1[index] += step;
        let mut parts = inputs.into_iter();
        let mut next = || parts.next().unwrap();
        let (width, placed) = next();
        let ((first, q), (_, b), (_, z)) = (next(), next(), next());
        let hidden: Vec<_> = self.decoder.hidden.iter().map(|l| (l.activation, next(), next())).collect();
        let skips: Vec<_> = self.decoder.skips.iter().map(|_| (next().1, next().1)).collect();
        let ((channels, o), (_, o_bias)) = (next(), next());
        let log_sd = parts.next().map_or(vec![0.0; channels], |(_, v)| v);
        let layer = |a, h: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
            let sum = |j: usize| h.iter().enumerate().map(|(i, h)| h * w[i * b.len() + j]).sum::<f64>() + b[j];
            if kinked(a) {
                (0..b.len()).for_each(|j| nearest.set(nearest.get().min(sum(j).abs())));
            }
            (0..b.len()).map(|j| activation(a, sum(j))).collect()
        };
        let grid: Vec<f64> = self.decoder.grid.as_vec().into_iter().map(f64::from).collect();
        let data = self.data.values();
        let mut total = 0.0;
        for (row, latents) in placed.chunks_exact(width).enumerate() {
            let (sin, cos) = latents[0].sin_cos();
            let in_row = data.len() / channels / self.weights.len();
            for at in 0..in_row {
                let pixel = self.pixels.as_ref().map_or(at, |p| p[row * in_row + at] as usize);
                let p = &grid[2 * pixel..];
                let (x, y) = (p[0] - latents[1], p[1] - latents[2]);
                let shrink = (-latents[3]).exp();
                let mut inputs = vec![(cos * x - sin * y) * shrink, (sin * x + cos * y) * shrink];
                inputs.extend(&latents[POSE..]);
                let mut h = layer(self.decoder.coordinate.activation, &inputs, &[&q[..], &z[..]].concat(), &b);
                assert_eq!(h.len(), first);
                for (i, (a, (_, w), (_, b))) in hidden.iter().enumerate() {
                    h = match skips.get(i) {
                        None => layer(*a, &h, w, b),
                        Some((q, z)) => layer(*a, &[&h[..], &inputs].concat(), &[&w[..], q, z].concat(), b),
                    };
                }
                for (c, l) in layer(Activation::Identity, &h, &o, &o_bias).into_iter().enumerate() {
                    let v = f64::from(data[(row * in_row + at) * channels + c]);
                    let log_p = log_p(self.likelihood, l, v, log_sd[c]);
                    total += f64::from(self.weights[row]) * log_p;
                }
            }
        }
        (total, nearest.get())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fused_agrees_with_composed(setting in settings()) {
        let case = Case::new(&setting);
        // Within rounding of a kink either slope is right.
        prop_assume!(!kinked(setting.activation) || case.pass(0, 0, 0.0).1 > 2e-5);
        let fused = fused_score(&case.decoder, case.placed.leaky_trace(), &case.target()).unwrap();
        let outputs = composed(&case.decoder, case.placed.leaky_trace(), None).unwrap();
        for (a, b) in fused_outputs(&case.decoder, &case.placed).iter().zip(outputs.as_vec()) {
            prop_assert!((a - b).abs() < 2e-5, "output {} {}", a, b);
        }
        let outputs = composed(&case.decoder, case.placed.leaky_trace(), case.pixels.as_deref()).unwrap();
        let composed = crate::likelihood::composed(outputs, &case.target()).unwrap();
        for (a, b) in fused.rows.iter().zip(&composed.rows) {
            prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "log p {} {}", a, b);
        }
        let outputs = super::composed(&case.decoder, case.placed.leaky_trace(), case.pixels.as_deref()).unwrap();
        let scored = crate::likelihood::fused(outputs, &case.target()).unwrap();
        let composed = case.gradients(composed);
        for found in [case.gradients(fused), case.gradients(scored)] {
        for (which, (a, b)) in found.iter().zip(&composed).enumerate() {
            let largest = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (a, b) in a.iter().zip(b) {
                prop_assert!((a - b).abs() < 2e-4 * largest, "gradient of input {which}: {a} {b}, largest {largest}");
            }
        }
        }
    }

    #[test]
    fn bf16_is_near_f32(setting in settings()) {
        // A kink makes a rounded sum choose another slope.
        prop_assume!(!kinked(setting.activation));
        let case = Case::new(&setting);
        let exact = fused_score(&case.decoder, case.placed.leaky_trace(), &case.target()).unwrap();
        let target = Target { precision: Precision::Bf16, ..case.target() };
        let rounded = fused_score(&case.decoder, case.placed.leaky_trace(), &target).unwrap();
        let pixels = (case.data.shape().1) as f32;
        for (a, b) in rounded.rows.iter().zip(&exact.rows) {
            prop_assert!((a - b).abs() < 0.03 * (pixels + b.abs()), "log p {} {}", a, b);
        }
        for (which, (a, b)) in case.gradients(rounded).iter().zip(case.gradients(exact)).enumerate() {
            let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
            let apart: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            // Sums over pixels of either sign cancel; their rounding, the same where activations are alike, does not.
            let scale = length(&b) + 0.1 * pixels * case.weights.len() as f32;
            prop_assert!(length(&apart) < 0.06 * scale, "input {}: off by {} of {}", which, length(&apart), scale);
        }
    }

    #[test]
    fn gradients_agree_with_central_differences(setting in settings(), pick in 0usize..10_000) {
        // ReLU has no derivative at 0, where a difference quotient straddles it.
        prop_assume!(!kinked(setting.activation));
        let case = Case::new(&setting);
        let fused = fused_score(&case.decoder, case.placed.leaky_trace(), &case.target()).unwrap();
        for (which, gradient) in case.gradients(fused).iter().enumerate() {
            let index = pick % gradient.len();
            let step = 1e-4;
            let slope = (case.oracle(which, index, step) - case.oracle(which, index, -step)) / (2.0 * step);
            let found = f64::from(gradient[index]);
            let largest = gradient.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            prop_assert!((found - slope).abs() < 3e-4 * f64::from(largest), "input {which}[{index}]: {found} {slope}");
        }
    }
}

#[test]
fn a_positive_angle_turns_the_object_counter_clockwise_and_shifts_follow_the_axes() {
    // One sigmoid-like unit that answers to q_x only: bright where the object's x is positive.
    let cpu = Cpu::default();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut decoder = SpatialDecoder::new(&cpu, (9, 9, 1), 1, &[1], Activation::Identity, &mut rng).unwrap();
    let set = |rows: usize, columns: usize, values: &[f32]| matrix(&cpu, values.to_vec(), rows, columns).unwrap();
    decoder.coordinate.weight = set(2, 1, &[1.0, 0.0]);
    decoder.coordinate.bias = set(1, 1, &[0.0]);
    for layer in decoder.hidden.iter_mut().chain([&mut decoder.output]) {
        layer.weight = set(1, 1, &[1.0]);
        layer.bias = set(1, 1, &[0.0]);
    }
    let at = |pose: [f32; 4], y: usize, x: usize| {
        decoder.outputs(&set(1, 5, &[&pose[..], &[0.0]].concat())).unwrap()[y * 9 + x]
    };
    let quarter = std::f32::consts::FRAC_PI_2;
    assert!((at([0.0, 0.0, 0.0, 0.0], 4, 8) - 1.0).abs() < 1e-6, "right edge of the upright object");
    assert!((at([quarter, 0.0, 0.0, 0.0], 0, 4) - 1.0).abs() < 1e-6, "after a quarter turn it is at the top");
    assert!(at([0.0, 0.25, 0.0, 0.0], 4, 5).abs() < 1e-6, "shifted right by a pixel, the middle moves right");
    assert!(at([quarter, 0.0, 0.25, 0.0], 5, 4).abs() < 1e-6, "shifted down by a pixel, the middle moves down");
    assert!((at([0.0, 0.0, 0.0, 2.0f32.ln()], 4, 8) - 0.5).abs() < 1e-6, "twice as large");
}

#[test]
fn the_grid_has_one_unit_along_both_sides() {
    let points = grid(3, 5);
    let at = |y: usize, x: usize| [points[2 * (y * 5 + x)], points[2 * (y * 5 + x) + 1]];
    assert_eq!((at(0, 0), at(1, 2), at(2, 4)), ([-1.0, -0.5], [0.0, 0.0], [1.0, 0.5]));
    assert_eq!(grid(1, 1), [0.0, 0.0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let setting = Setting {
        seed: 1,
        size: (20, 20, 2),
        rows: 37,
        content: 2,
        hidden: vec![24, 24],
        activation: Activation::Tanh,
        likelihood: Likelihood::Bernoulli,
        picked: None,
        skip: true,
    };
    let case = Case::new(&setting);
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let target = Target { precision, ..case.target() };
                let scored = fused_score(&case.decoder, case.placed.leaky_trace(), &target).unwrap();
                (scored.rows.clone(), case.gradients(scored))
            })
        };
        assert_eq!(run(1), run(3), "{precision:?}");
    }
}

#[test]
fn extreme_inputs_give_finite_numbers() {
    for activation in Activation::ALL {
        for (likelihood, precision) in [
            (Likelihood::Bernoulli, Precision::F32),
            (Likelihood::ContinuousBernoulli, Precision::F32),
            (Likelihood::Gaussian, Precision::F32),
            (Likelihood::Poisson(100.0), Precision::F32),
            (Likelihood::Bernoulli, Precision::Bf16),
        ] {
            let setting = Setting {
                seed: 5,
                size: (5, 4, 1),
                rows: 3,
                content: 2,
                hidden: vec![17, 9],
                activation,
                likelihood,
                picked: None,
                skip: true,
            };
            let mut case = Case::new(&setting);
            // Far outside of what an encoder gives: a thousand turns and half-widths, content of a thousand.
            let far = [1e3, -1e3, 1e3, 5.0, 1e3, -1e3, 0.0, 0.0, 0.0, -5.0, -1e3, 1e3, 1e3, 1e3, 1e3, 0.0, 0.0, 0.0];
            case.placed = matrix(&Cpu::default(), far.to_vec(), 3, 6).unwrap();
            let target = Target { precision, ..case.target() };
            let scored = fused_score(&case.decoder, case.placed.leaky_trace(), &target).unwrap();
            assert!(scored.rows.iter().all(|v| v.is_finite()), "{activation:?} {likelihood:?} {:?}", scored.rows);
            let gradients = case.gradients(scored);
            assert!(gradients.iter().flatten().all(|v| v.is_finite()), "{activation:?} {likelihood:?} {precision:?}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_rejected() {
    let cpu = Cpu::default();
    let rng = ChaCha8Rng::seed_from_u64(0);
    let new = |size, hidden: &[usize]| SpatialDecoder::new(&cpu, size, 2, hidden, Activation::Tanh, &mut rng.clone());
    assert!(new((4, 4, 0), &[8]).is_err() && new((4, 4, 17), &[8]).is_err());
    assert!(SpatialDecoder::new(&cpu, (4, 4, 1), 0, &[8], Activation::Tanh, &mut rng.clone()).is_err());
    assert!(new((0, 4, 1), &[8]).is_err() && new((4, 4, 1), &[]).is_err() && new((4, 4, 1), &[8, 0]).is_err());
    let decoder = new((4, 4, 1), &[8]).unwrap();
    let placed = |columns| matrix(&cpu, vec![0.0; 2 * columns], 2, columns).unwrap();
    assert!(decoder.outputs(&placed(5)).is_err());
    let (data, log_sd) = (Data::new(vec![0.0; 32], 16).unwrap(), matrix(&cpu, vec![0.0], 1, 1).unwrap());
    let score = |weights: &[f32]| {
        let target = Target {
            data: &data,
            pixels: None,
            weights,
            likelihood: Likelihood::Bernoulli,
            log_sd: &log_sd,
            precision: Precision::F32,
        };
        decoder.score::<NoneTape>(placed(6), &target).map(|s| s.rows.len())
    };
    assert!(score(&[1.0]).is_err());
    for counts in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let target = Target {
            data: &data,
            pixels: None,
            weights: &[1.0, 1.0],
            likelihood: Likelihood::Poisson(counts),
            log_sd: &log_sd,
            precision: Precision::F32,
        };
        let message = decoder.score::<NoneTape>(placed(6), &target).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("counts of the Poisson likelihood"), "{message}");
    }
    assert_eq!(score(&[1.0, 1.0]).unwrap(), 2);
    let data = Data::new(vec![0.0; 6], 3).unwrap();
    assert!(Data::new(vec![0.0; 6], 4).is_err() && Data::new(vec![], 0).is_err());
    let some = |pixels: &[u32]| {
        let (likelihood, weights) = (Likelihood::Bernoulli, &[1.0, 1.0]);
        let target = Target {
            data: &data,
            pixels: Some(pixels),
            weights,
            likelihood,
            log_sd: &log_sd,
            precision: Precision::F32,
        };
        decoder.score::<NoneTape>(placed(6), &target).map(|s| s.rows.len())
    };
    assert_eq!(some(&[0, 7, 15, 3, 3, 3]).unwrap(), 2);
    for wrong in [&[][..], &[0, 1, 2, 3, 4], &[0, 1, 2, 3], &[0, 1, 2, 3, 4, 16]] {
        assert!(some(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn pixels_drawn_at_random_score_on_average_as_all() {
    let setting = Setting {
        seed: 3,
        size: (6, 5, 2),
        rows: 2,
        content: 2,
        hidden: vec![7],
        activation: Activation::Tanh,
        likelihood: Likelihood::Gaussian,
        picked: None,
        skip: false,
    };
    let case = Case::new(&setting);
    let all = case.decoder.score(case.placed.leaky_trace(), &case.target()).unwrap();
    let (all_rows, expected) = (all.rows.clone(), case.gradients(all));
    // Every pixel once, three of them at a time, is a mean over all draws.
    let (mut rows, mut mean) = (vec![0.0; 2], expected.iter().map(|g| vec![0.0; g.len()]).collect::<Vec<_>>());
    for from in 0..10 {
        let pixels: Vec<u32> = (0..2).flat_map(|_| (0..3).map(|i| 10 * i + from)).collect();
        let data = case.data.values();
        let held: Vec<f32> =
            pixels.iter().enumerate().flat_map(|(i, p)| data[(i / 3 * 30 + *p as usize) * 2..][..2].to_vec()).collect();
        let data = Data::new(held, 6).unwrap();
        let target = Target { data: &data, pixels: Some(&pixels), ..case.target() };
        let scored = case.decoder.score(case.placed.leaky_trace(), &target).unwrap();
        rows.iter_mut().zip(&scored.rows).for_each(|(m, r)| *m += r / 10.0);
        for (mean, part) in mean.iter_mut().flatten().zip(case.gradients(scored).into_iter().flatten()) {
            *mean += part / 10.0;
        }
    }
    for (found, expected) in rows.iter().zip(all_rows).chain(mean.iter().flatten().zip(expected.into_iter().flatten()))
    {
        assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{found} {expected}");
    }
}
