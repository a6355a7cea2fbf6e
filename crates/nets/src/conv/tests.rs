use dfdx::prelude::SumTo;
use dfdx::tensor::{Cpu, OwnedTape, Trace};
use dfdx::tensor_ops::{Backward, TryMul};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::oracle;

type Taped = Rows<Cpu, OwnedTape<f32, Cpu>>;

fn drawn(rows: usize, columns: usize, seed: u64) -> Matrix<Cpu> {
    uniform(&Cpu::default(), rows, columns, 1.0, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
}

/// The outputs, and the gradients of Σ g·y, with g random, of these inputs.
fn all(inputs: &[&Matrix<Cpu>], y: Taped) -> Vec<Vec<f32>> {
    let (rows, columns) = shape(&y);
    let mut found = vec![y.as_vec()];
    let mut gradients = y.try_mul(drawn(rows, columns, 99)).unwrap().try_sum::<(), _>().unwrap().backward();
    for input in inputs {
        gradients.get_or_alloc_mut(*input).unwrap();
        found.push(gradients.get(*input).as_vec());
    }
    found
}

fn agree(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) -> std::result::Result<(), TestCaseError> {
    for (part, (found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (a, b) in found.iter().zip(expected) {
            prop_assert!((a - b).abs() < 1e-4 * largest, "{}, part {}: {} {}", what, part, a, b);
        }
    }
    Ok(())
}

fn extents() -> impl Strategy<Value = Extent> {
    (1usize..9, 1usize..9, 1usize..7).prop_map(|(height, width, channels)| Extent { height, width, channels })
}

fn windows() -> impl Strategy<Value = Window> {
    let two = || (1usize..5, 1usize..5);
    (two(), (1usize..4, 1usize..4), (0usize..3, 0usize..3)).prop_map(|(size, stride, padding)| Window {
        size,
        stride,
        padding,
    })
}

fn activations() -> impl Strategy<Value = Activation> {
    // Those without a kink, where rounding would choose the side.
    (0usize..3).prop_map(|i| [Activation::Tanh, Activation::Softplus, Activation::Gelu][i])
}

/// Σ g·y of the definition of a convolution, in f64.
fn convolved(layer: &Convolution<Cpu>, x: &[f64], w: &[f64], b: &[f64], g: &[f32]) -> f64 {
    let (Extent { height, width, channels: depth }, output, window) = (layer.input, layer.output, layer.window);
    let mut total = 0.0;
    for (i, g) in g.iter().enumerate() {
        let (row, number) = (i / output.numbers(), i % output.numbers());
        let (pixel, to) = (number / output.channels, number % output.channels);
        let mut sum = b[to];
        for p in 0..window.size.0 * window.size.1 {
            let y = pixel / output.width * window.stride.0 + p / window.size.1;
            let x_at = pixel % output.width * window.stride.1 + p % window.size.1;
            let (Some(y), Some(across)) = (y.checked_sub(window.padding.0), x_at.checked_sub(window.padding.1)) else {
                continue;
            };
            if y < height && across < width {
                for c in 0..depth {
                    let value = x[row * layer.input.numbers() + (y * width + across) * depth + c];
                    sum += value * w[(p * depth + c) * output.channels + to];
                }
            }
        }
        let value = oracle::activation(layer.activation, sum);
        total += f64::from(*g) * value;
    }
    total
}

/// Σ g·y of the definition of pooling, in f64; none where two values of a window nearly tie.
fn pooled(layer: &Pool, x: &[f64], g: &[f32]) -> Option<f64> {
    let (input, output, window) = (layer.input, layer.output, layer.window);
    let (mut total, size) = (0.0, window.size.0 * window.size.1);
    for (i, g) in g.iter().enumerate() {
        let (row, number) = (i / output.numbers(), i % output.numbers());
        let (pixel, channel) = (number / output.channels, number % output.channels);
        let values = (0..size).filter_map(|p| {
            let y = (pixel / output.width * window.stride.0 + p / window.size.1).checked_sub(window.padding.0)?;
            let across = (pixel % output.width * window.stride.1 + p % window.size.1).checked_sub(window.padding.1)?;
            let inside = y < input.height && across < input.width;
            inside.then(|| x[row * input.numbers() + (y * input.width + across) * input.channels + channel])
        });
        let mut values: Vec<f64> = values.collect();
        values.sort_by(|a, b| b.total_cmp(a));
        if layer.kind == Pooling::Max && values.len() > 1 && values[0] - values[1] < 1e-3 {
            return None;
        }
        total += f64::from(*g)
            * match layer.kind {
                Pooling::Max => values[0],
                Pooling::Mean => values.iter().sum::<f64>() / size as f64,
            };
    }
    Some(total)
}

/// Σ g·y of the definition of group normalisation, in f64.
fn normalised(layer: &GroupNorm<Cpu>, x: &[f64], scale: &[f64], shift: &[f64], g: &[f32]) -> f64 {
    let (channels, numbers) = (layer.extent.channels, layer.extent.numbers());
    let depth = channels / layer.groups;
    let mut total = 0.0;
    for (x, g) in x.chunks_exact(numbers).zip(g.chunks_exact(numbers)) {
        for group in 0..layer.groups {
            let of_group: Vec<usize> = (0..numbers).filter(|i| i % channels / depth == group).collect();
            let n = of_group.len() as f64;
            let mean = of_group.iter().map(|i| x[*i]).sum::<f64>() / n;
            let variance = of_group.iter().map(|i| (x[*i] - mean).powi(2)).sum::<f64>() / n;
            for i in of_group {
                let normal = (x[i] - mean) / (variance + f64::from(LEAST_VARIANCE)).sqrt();
                let c = i % channels;
                total += f64::from(g[i]) * oracle::activation(layer.activation, scale[c] * normal + shift[c]);
            }
        }
    }
    total
}

/// Fails unless a gradient is the slope of `at`, the value with an input moved by a step.
fn is_slope(gradient: f32, at: impl Fn(f64) -> f64, what: &str) -> std::result::Result<(), TestCaseError> {
    let slope = (at(1e-4) - at(-1e-4)) / 2e-4;
    prop_assert!((f64::from(gradient) - slope).abs() < 1e-3 * (1.0 + slope.abs()), "{}: {} {}", what, gradient, slope);
    Ok(())
}

fn moved(base: &[f64], index: usize, step: f64) -> Vec<f64> {
    base.iter().enumerate().map(|(i, v)| if i == index { v + step } else { *v }).collect()
}

fn exact(m: &Matrix<Cpu>) -> Vec<f64> {
    m.as_vec().into_iter().map(f64::from).collect()
}

proptest! {
    #[test]
    fn convolutions_agree_with_the_reference_and_with_central_differences(
        input in extents(), window in windows(), channels in 1usize..40, rows in 1usize..12, activation in activations(),
        seed: u64, pick: usize,
    ) {
        prop_assume!(window.over(input).is_ok());
        let (cpu, mut rng) = (Cpu::default(), ChaCha8Rng::seed_from_u64(seed));
        let layer = Convolution::new(&cpu, input, window, channels, activation, &mut rng).unwrap();
        let x = drawn(rows, input.numbers(), seed);
        let inputs = [&x, &layer.weight, &layer.bias];
        let fused = all(&inputs, layer.forward(x.leaky_trace()).unwrap());
        agree(&fused, &all(&inputs, convolution(x.leaky_trace(), &layer).unwrap()), "convolution")?;
        let of_data = all(&inputs, layer.forward_data(&Data::new(x.as_vec(), input.numbers()).unwrap()).unwrap());
        prop_assert!(of_data[1].iter().all(|v| *v == 0.0), "no gradient of data");
        prop_assert_eq!(&of_data[2..], &fused[2..]);

        let g = drawn(rows, layer.output().numbers(), 99).as_vec();
        let base = inputs.map(exact);
        for which in 0..3 {
            let index = pick % base[which].len();
            let at = |step: f64| {
                let part = |i: usize| if i == which { moved(&base[i], index, step) } else { base[i].clone() };
                convolved(&layer, &part(0), &part(1), &part(2), &g)
            };
            is_slope(fused[which + 1][index], at, "convolution")?;
        }
    }

    #[test]
    fn pooling_and_upsampling_agree_with_the_reference_and_with_central_differences(
        input in extents(), window in windows(), rows in 1usize..6, factor in (1usize..4, 1usize..4), seed: u64,
        pick: usize,
    ) {
        let x = drawn(rows, input.numbers(), seed);
        let (base, index) = (exact(&x), pick % (rows * input.numbers()));
        for kind in [Pooling::Max, Pooling::Mean] {
            let Ok(layer) = Pool::new(kind, input, window) else { continue };
            let fused = all(&[&x], layer.forward(x.leaky_trace()).unwrap());
            agree(&fused, &all(&[&x], pooling(x.leaky_trace(), &layer).unwrap()), "pooling")?;
            let g = drawn(rows, layer.output().numbers(), 99).as_vec();
            if pooled(&layer, &base, &g).is_some() {
                let at = |step: f64| pooled(&layer, &moved(&base, index, step), &g).unwrap_or(f64::NAN);
                is_slope(fused[1][index], at, "pooling")?;
            }
        }
        let layer = Upsample::new(input, factor).unwrap();
        let fused = all(&[&x], layer.forward(x.leaky_trace()).unwrap());
        agree(&fused, &all(&[&x], upsampling(x.leaky_trace(), &layer).unwrap()), "up-sampling")?;
        let (g, sources) = (drawn(rows, layer.output().numbers(), 99).as_vec(), layer.sources());
        let at = |step: f64| {
            let x = moved(&base, index, step);
            let from = |i: usize| i / sources.len() * input.numbers() + sources[i % sources.len()];
            g.iter().enumerate().map(|(i, g)| f64::from(*g) * x[from(i)]).sum()
        };
        is_slope(fused[1][index], at, "up-sampling")?;
        let back = Pool::new(Pooling::Mean, layer.output(), Window { size: factor, stride: factor, padding: (0, 0) });
        let returned = back.unwrap().forward(layer.forward(x.clone()).unwrap()).unwrap().as_vec();
        agree(&[returned], &[x.as_vec()], "the mean of repeated pixels")?;
    }

    #[test]
    fn normalisation_agrees_with_the_reference_and_with_central_differences(
        input in extents(), depth in 1usize..4, rows in 1usize..6, activation in activations(), seed: u64, pick: usize,
    ) {
        let extent = Extent { channels: input.channels * depth, ..input };
        // A group of one number is its own mean, and its gradient nothing but rounding.
        prop_assume!(extent.pixels() * depth > 2);
        let mut layer = GroupNorm::new(&Cpu::default(), extent, input.channels, activation).unwrap();
        layer.scale = drawn(1, extent.channels, seed ^ 1);
        layer.shift = drawn(1, extent.channels, seed ^ 2);
        let x = drawn(rows, extent.numbers(), seed);
        let inputs = [&x, &layer.scale, &layer.shift];
        let fused = all(&inputs, layer.forward(x.leaky_trace()).unwrap());
        let expected = all(&inputs, normalisation(x.leaky_trace(), &layer).unwrap());
        for (part, (found, expected)) in fused.iter().zip(&expected).enumerate() {
            let largest = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (a, b) in found.iter().zip(expected) {
                prop_assert!((a - b).abs() < 1e-3 * largest, "part {}: {} {}", part, a, b);
            }
        }
        let (g, base) = (drawn(rows, extent.numbers(), 99).as_vec(), inputs.map(exact));
        for which in 0..3 {
            let index = pick % base[which].len();
            let at = |step: f64| {
                let part = |i: usize| if i == which { moved(&base[i], index, step) } else { base[i].clone() };
                normalised(&layer, &part(0), &part(1), &part(2), &g)
            };
            is_slope(fused[which + 1][index], at, "normalisation")?;
        }
    }
}

#[test]
fn a_normalised_group_has_mean_0_and_variance_1() {
    let extent = Extent { height: 6, width: 5, channels: 4 };
    let layer = GroupNorm::new(&Cpu::default(), extent, 2, Activation::Identity).unwrap();
    let y = layer.forward(drawn(3, extent.numbers(), 4)).unwrap().as_vec();
    for image in y.chunks_exact(extent.numbers()) {
        for group in 0..2 {
            let values: Vec<f64> =
                (0..image.len()).filter(|i| i % 4 / 2 == group).map(|i| f64::from(image[i])).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        }
    }
}

#[test]
fn spectra_are_images_of_height_1() {
    let spectrum = Extent { height: 1, width: 9, channels: 1 };
    let same = Window::same(3, spectrum);
    assert_eq!(same.over(spectrum).unwrap(), (1, 9));
    assert_eq!(Window::tiles(2, spectrum).over(spectrum).unwrap(), (1, 4));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut layer = Convolution::new(&Cpu::default(), spectrum, same, 1, Activation::Identity, &mut rng).unwrap();
    layer.weight = crate::matrix(&Cpu::default(), vec![1.0, 2.0, 4.0], 3, 1).unwrap();
    layer.bias = crate::matrix(&Cpu::default(), vec![0.5], 1, 1).unwrap();
    let x = crate::matrix(&Cpu::default(), vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1, 9).unwrap();
    let y = layer.forward(x).unwrap().as_vec();
    assert_eq!(y, [0.5, 4.5, 2.5, 1.5, 0.5, 0.5, 0.5, 4.5, 2.5]);
}

#[test]
fn layers_that_cannot_be_are_refused() {
    let cpu = Cpu::default();
    let input = Extent { height: 4, width: 4, channels: 2 };
    let window = |size, stride, padding| Window { size: (size, size), stride: (stride, stride), padding: (padding, 0) };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for wrong in [window(0, 1, 0), window(5, 1, 0), window(2, 0, 0), window(2, 1, 2)] {
        let new = Convolution::new(&cpu, input, wrong, 3, Activation::Tanh, &mut rng);
        assert!(new.unwrap_err().to_string().contains("4×4 pixels"), "{wrong:?}");
        assert!(Pool::new(Pooling::Mean, input, wrong).is_err());
    }
    assert!(Convolution::new(&cpu, input, window(2, 1, 0), 0, Activation::Tanh, &mut rng).is_err());
    assert!(Pool::new(Pooling::Max, input, window(3, 1, 1)).is_err());
    assert!(Upsample::new(input, (0, 2)).is_err());
    assert!(Upsample::to(input, (input.height, input.width - 1)).is_err());
    let three = Upsample::to(Extent { height: 1, width: 2, channels: 1 }, (1, 3)).unwrap();
    assert_eq!(three.sources(), [0, 0, 1]);
    assert!(GroupNorm::new(&cpu, input, 3, Activation::Tanh).is_err());
    let layer = Convolution::new(&cpu, input, window(2, 1, 0), 3, Activation::Tanh, &mut rng).unwrap();
    assert!(layer.forward(drawn(2, 31, 0)).unwrap_err().to_string().contains("convolution"));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let input = Extent { height: 14, width: 14, channels: 8 };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let layer =
        Convolution::new(&Cpu::default(), input, Window::same(3, input), 16, Activation::Tanh, &mut rng).unwrap();
    let x = drawn(37, input.numbers(), 1);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| all(&[&x, &layer.weight, &layer.bias], layer.forward(x.leaky_trace()).unwrap()))
    };
    assert_eq!(run(1), run(3));
}
