//! The layers on the CPU, image by image, so that what they gather stays in the cache.

use std::ops::Range;

use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape};
use rayon::prelude::*;

use super::{Convolution, Extent, GroupNorm, LEAST_VARIANCE, Pool, Pooling, Upsample, Window};
use crate::activation::keep_slopes;
use crate::blocks::{Finish, Panels, Start, add_rows, add_transposed, chain, product};
use crate::buffer::parts;
use crate::dense::shape;
use crate::{Activation, Data, Matrix, Result, Rows, values};

/// Most pixels whose windows are gathered at once.
const BLOCK: usize = 240;

/// Groups of images with sums of their own, added in order: a number that does not depend on threads.
const GROUPS: usize = 8;

impl Window {
    /// The numbers in the windows of some pixels of the output, one after the other.
    fn gather(self, image: &[f32], (input, output): (Extent, Extent), of: Range<usize>, windows: &mut [f32]) {
        let size = self.size.0 * self.size.1 * input.channels;
        for (o, window) in of.zip(windows.chunks_exact_mut(size)) {
            for (line, window) in window.chunks_exact_mut(self.size.1 * input.channels).enumerate() {
                match self.overlap(input, output, o, line) {
                    Some((from, to)) => {
                        let end = to.start + from.len();
                        window[..to.start].fill(0.0);
                        window[to.start..end].copy_from_slice(&image[from]);
                        window[end..].fill(0.0);
                    }
                    None => window.fill(0.0),
                }
            }
        }
    }

    /// Adds what stands in windows to the image they came from.
    fn scatter(self, image: &mut [f32], (input, output): (Extent, Extent), of: Range<usize>, windows: &[f32]) {
        let size = self.size.0 * self.size.1 * input.channels;
        for (o, window) in of.zip(windows.chunks_exact(size)) {
            for (line, window) in window.chunks_exact(self.size.1 * input.channels).enumerate() {
                if let Some((from, to)) = self.overlap(input, output, o, line) {
                    image[from].iter_mut().zip(&window[to]).for_each(|(sum, part)| *sum += part);
                }
            }
        }
    }

    /// Where a line of the window of pixel `o` of the output lies on the image, and which part of the line does.
    fn overlap(self, input: Extent, output: Extent, o: usize, line: usize) -> Option<(Range<usize>, Range<usize>)> {
        let y = (o / output.width * self.stride.0 + line).checked_sub(self.padding.0).filter(|y| *y < input.height)?;
        let begin = o % output.width * self.stride.1;
        let skip = self.padding.1.saturating_sub(begin);
        let first = begin + skip - self.padding.1;
        let count = (self.size.1 - skip).min(input.width.saturating_sub(first));
        let from = (y * input.width + first) * input.channels;
        (count > 0).then(|| {
            let (numbers, skip) = (count * input.channels, skip * input.channels);
            (from..from + numbers, skip..skip + numbers)
        })
    }
}

/// See [`Convolution`].
pub(crate) fn fused_convolution<T: Tape<f32, Cpu>>(
    x: &Data<'_>,
    tensor: Option<Matrix<Cpu>>,
    mut tape: T,
    layer: &Convolution<Cpu>,
) -> Result<Rows<Cpu, T>> {
    let &Convolution { input, output, window, activation, .. } = layer;
    let (rows, (numbers, channels)) = (x.shape().0, shape(&layer.weight));
    let panels = Panels::new(&values(&layer.weight), numbers, channels);
    let bias = values(&layer.bias);
    let mut y = vec![0.0; rows * output.numbers()];
    let mut kept = keep_slopes(activation, T::OWNS_TAPE, y.len());
    let slopes = parts(&mut kept, output.numbers(), rows);
    let images = y.par_chunks_mut(output.numbers()).zip(x.values().par_chunks(input.numbers())).zip(slopes);
    images.for_each_init(Vec::new, |windows: &mut Vec<f32>, ((y, x), slopes)| {
        for of in blocks(output.pixels()) {
            windows.resize(of.len() * numbers, 0.0);
            window.gather(x, (input, output), of.clone(), windows);
            let part = of.start * channels..of.end * channels;
            let slopes = if slopes.is_empty() { &mut slopes[..] } else { &mut slopes[part.clone()] };
            product(windows, &panels, Start::Row(&bias), (&mut y[part], slopes), Finish::Activate(activation));
        }
    });
    let out = crate::matrix(layer.weight.device(), y.clone(), rows, output.numbers())?;
    if T::OWNS_TAPE {
        let (x, layer, ghost) = (x.keep(), layer.clone(), out.clone());
        tape.add_backward_op(move |gradients| {
            let mut delta = std::mem::take(&mut **gradients.get_or_alloc_mut(&ghost)?);
            chain(activation, &mut delta, if kept.is_empty() { &y } else { &kept });
            let by_input = tensor.is_some();
            let mut by_x = vec![0.0; if by_input { x.values().len() } else { 0 }];
            let size = rows.div_ceil(GROUPS).max(1);
            let of_x = parts(&mut by_x, size * input.numbers(), rows.div_ceil(size));
            let transposed = Panels::transposed(&values(&layer.weight), numbers, channels);
            let work = x.values().par_chunks(size * input.numbers()).zip(delta.par_chunks(size * output.numbers()));
            let sums: Vec<(Vec<f32>, Vec<f32>)> = work
                .zip(of_x)
                .map(|((x, delta), by_x)| {
                    let (mut dw, mut db) = (vec![0.0; numbers * channels], vec![0.0; channels]);
                    let (mut windows, mut back) = (Vec::new(), Vec::new());
                    let images = x.chunks_exact(input.numbers()).zip(delta.chunks_exact(output.numbers()));
                    for (i, (x, delta)) in images.enumerate() {
                        for of in blocks(output.pixels()) {
                            let delta = &delta[of.start * channels..of.end * channels];
                            windows.resize(of.len() * numbers, 0.0);
                            window.gather(x, (input, output), of.clone(), &mut windows);
                            add_transposed(&windows, numbers, delta, channels, &mut dw);
                            if by_input {
                                back.resize(of.len() * numbers, 0.0);
                                let finish = Finish::Activate(Activation::Identity);
                                product(delta, &transposed, Start::Zero, (&mut back, &mut []), finish);
                                let by_x = &mut by_x[i * input.numbers()..][..input.numbers()];
                                window.scatter(by_x, (input, output), of, &back);
                            }
                        }
                        add_rows(delta, &mut db);
                    }
                    (dw, db)
                })
                .collect();
            for (dw, db) in &sums {
                add(gradients.get_or_alloc_mut(&layer.weight)?, dw);
                add(gradients.get_or_alloc_mut(&layer.bias)?, db);
            }
            if let Some(x) = &tensor {
                add(gradients.get_or_alloc_mut(x)?, &by_x);
            }
            Ok(())
        });
    }
    Ok(out.put_tape(tape))
}

fn blocks(pixels: usize) -> impl Iterator<Item = Range<usize>> {
    let size = pixels.div_ceil(pixels.div_ceil(BLOCK).max(1)).max(1);
    (0..pixels).step_by(size).map(move |from| from..pixels.min(from + size))
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
}

/// An operation without parameters on rows: `forward` makes the values of an image from those of its input, `backward`
/// adds to the gradient of its input, given that of its values, and its input.
fn operation<T: Tape<f32, Cpu>>(
    x: Rows<Cpu, T>,
    columns: usize,
    forward: impl Fn(&[f32], &mut [f32]) + Sync,
    backward: impl Fn(&[f32], &[f32], &mut [f32]) + Sync + 'static,
) -> Result<Rows<Cpu, T>> {
    let (x, mut tape) = x.split_tape();
    let (rows, inputs) = shape(&x);
    let mut y = vec![0.0; rows * columns];
    let data = values(&x);
    let images = y.par_chunks_mut(columns.max(1)).zip(data.par_chunks(inputs.max(1)));
    images.for_each(|(y, x)| forward(x, y));
    let out = crate::matrix(x.device(), y, rows, columns)?;
    if T::OWNS_TAPE {
        let (x, ghost): (Matrix<Cpu>, Matrix<Cpu>) = (x.clone(), out.clone());
        tape.add_backward_op(move |gradients| {
            let delta = std::mem::take(&mut **gradients.get_or_alloc_mut(&ghost)?);
            let by_x = gradients.get_or_alloc_mut(&x)?;
            let images = by_x.par_chunks_mut(inputs.max(1)).zip(delta.par_chunks(columns.max(1)));
            images.zip(data.par_chunks(inputs.max(1))).for_each(|((by_x, delta), x)| backward(delta, x, by_x));
            Ok(())
        });
    }
    Ok(out.put_tape(tape))
}

/// The larger of two, channel by channel; a NaN is the largest, so that it is not lost.
fn keep_largest(largest: &mut [f32], pixel: &[f32]) {
    for (largest, x) in largest.iter_mut().zip(pixel) {
        *largest = if *largest >= *x { *largest } else { *x };
    }
}

/// See [`Pool`].
pub(crate) fn fused_pooling<T: Tape<f32, Cpu>>(x: Rows<Cpu, T>, layer: &Pool) -> Result<Rows<Cpu, T>> {
    let &Pool { kind, input, output, window } = layer;
    let depth = input.channels;
    // Where the pixels of a window begin.
    let of_window = move |o: usize| {
        let lines = (0..window.size.0).filter_map(move |line| window.overlap(input, output, o, line));
        lines.flat_map(move |(from, _)| from.step_by(depth))
    };
    let weight = 1.0 / (window.size.0 * window.size.1) as f32;
    let largest = move |x: &[f32], o: usize, y: &mut [f32]| {
        y.fill(f32::NEG_INFINITY);
        of_window(o).for_each(|at| keep_largest(y, &x[at..at + depth]));
    };
    match kind {
        Pooling::Mean => operation(
            x,
            output.numbers(),
            move |x, y| {
                for (o, y) in y.chunks_exact_mut(depth).enumerate() {
                    of_window(o).for_each(|at| add(y, &x[at..at + depth]));
                    y.iter_mut().for_each(|y| *y *= weight);
                }
            },
            move |delta, _, by_x| {
                for (o, delta) in delta.chunks_exact(depth).enumerate() {
                    for at in of_window(o) {
                        by_x[at..at + depth].iter_mut().zip(delta).for_each(|(g, d)| *g += weight * d);
                    }
                }
            },
        ),
        Pooling::Max => {
            operation(
                x,
                output.numbers(),
                move |x, y| y.chunks_exact_mut(depth).enumerate().for_each(|(o, y)| largest(x, o, y)),
                move |delta, x, by_x| {
                    let (mut best, mut left) = (vec![0.0; depth], vec![0.0; depth]);
                    for (o, delta) in delta.chunks_exact(depth).enumerate() {
                        largest(x, o, &mut best);
                        // The gradient goes to the first of equals.
                        left.copy_from_slice(delta);
                        for at in of_window(o) {
                            let pixel = by_x[at..at + depth].iter_mut().zip(&x[at..at + depth]);
                            for ((g, x), (best, left)) in pixel.zip(best.iter().zip(&mut left)) {
                                let part = if x == best { *left } else { 0.0 };
                                *g += part;
                                *left -= part;
                            }
                        }
                    }
                },
            )
        }
    }
}

/// See [`Upsample`].
pub(crate) fn fused_upsampling<T: Tape<f32, Cpu>>(x: Rows<Cpu, T>, layer: &Upsample) -> Result<Rows<Cpu, T>> {
    let sources = layer.sources();
    let back = sources.clone();
    operation(
        x,
        layer.output().numbers(),
        move |x, y| y.iter_mut().zip(&sources).for_each(|(y, from)| *y = x[*from]),
        move |delta, _, by_x| delta.iter().zip(&back).for_each(|(d, to)| by_x[*to] += d),
    )
}

/// Mean and 1/√(σ² + ε) of each group of an image.
fn moments(x: &[f32], channels: usize, groups: usize) -> Vec<(f32, f32)> {
    let depth = channels / groups;
    let n = (x.len() / groups) as f64;
    let mut sums = vec![(0.0f64, 0.0f64); groups];
    for pixel in x.chunks_exact(channels) {
        for (sum, values) in sums.iter_mut().zip(pixel.chunks_exact(depth)) {
            sum.0 += values.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
    }
    sums.iter_mut().for_each(|s| s.0 /= n);
    for pixel in x.chunks_exact(channels) {
        for (sum, values) in sums.iter_mut().zip(pixel.chunks_exact(depth)) {
            sum.1 += values.iter().map(|v| (f64::from(*v) - sum.0).powi(2)).sum::<f64>();
        }
    }
    sums.iter().map(|s| (s.0 as f32, ((s.1 / n + f64::from(LEAST_VARIANCE)).sqrt().recip()) as f32)).collect()
}

/// See [`GroupNorm`].
pub(crate) fn fused_normalisation<T: Tape<f32, Cpu>>(x: Rows<Cpu, T>, layer: &GroupNorm<Cpu>) -> Result<Rows<Cpu, T>> {
    let (x, mut tape) = x.split_tape();
    let &GroupNorm { activation, extent, groups, .. } = layer;
    let (channels, numbers, depth) = (extent.channels, extent.numbers(), extent.channels / groups);
    let (rows, data) = (shape(&x).0, values(&x));
    let (scale, shift) = (values(&layer.scale), values(&layer.shift));
    let mut y = vec![0.0; data.len()];
    let mut kept = keep_slopes(activation, T::OWNS_TAPE, y.len());
    let images = y.par_chunks_mut(numbers).zip(data.par_chunks(numbers)).zip(parts(&mut kept, numbers, rows));
    let moments: Vec<Vec<(f32, f32)>> = images
        .map(|((y, x), slopes)| {
            let moments = moments(x, channels, groups);
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (c, (y, x)) in y.iter_mut().zip(x).enumerate() {
                    let (mean, precision) = moments[c / depth];
                    *y = scale[c] * (x - mean) * precision + shift[c];
                }
            }
            activation.apply(y, slopes);
            moments
        })
        .collect();
    let out = crate::matrix(x.device(), y.clone(), rows, numbers)?;
    if T::OWNS_TAPE {
        let (x, layer, ghost) = (x.clone(), layer.clone(), out.clone());
        tape.add_backward_op(move |gradients| {
            let mut delta = std::mem::take(&mut **gradients.get_or_alloc_mut(&ghost)?);
            chain(activation, &mut delta, if kept.is_empty() { &y } else { &kept });
            let by_x = gradients.get_or_alloc_mut(&x)?;
            let images = by_x.par_chunks_mut(numbers).zip(delta.par_chunks(numbers)).zip(data.par_chunks(numbers));
            let sums: Vec<(Vec<f32>, Vec<f32>)> = images
                .zip(&moments)
                .map(|(((by_x, delta), x), moments)| {
                    let normal = |i: usize| {
                        let (mean, precision) = moments[i % channels / depth];
                        (x[i] - mean) * precision
                    };
                    let (mut by_scale, mut by_shift) = (vec![0.0; channels], vec![0.0; channels]);
                    // Σ δγ and Σ δγx̂ of each group.
                    let mut along = vec![(0.0f32, 0.0f32); groups];
                    for (i, d) in delta.iter().enumerate() {
                        let (c, normal) = (i % channels, normal(i));
                        by_scale[c] += d * normal;
                        by_shift[c] += d;
                    }
                    for c in 0..channels {
                        along[c / depth].0 += scale[c] * by_shift[c];
                        along[c / depth].1 += scale[c] * by_scale[c];
                    }
                    let n = (x.len() / groups) as f32;
                    for (i, (by_x, d)) in by_x.iter_mut().zip(delta).enumerate() {
                        let group = i % channels / depth;
                        let (sum, turned) = along[group];
                        *by_x += moments[group].1 * (scale[i % channels] * d - (sum + normal(i) * turned) / n);
                    }
                    (by_scale, by_shift)
                })
                .collect();
            for (by_scale, by_shift) in &sums {
                add(gradients.get_or_alloc_mut(&layer.scale)?, by_scale);
                add(gradients.get_or_alloc_mut(&layer.shift)?, by_shift);
            }
            Ok(())
        });
    }
    Ok(out.put_tape(tape))
}
