//! The layers from the device's own operations: the reference, and what CUDA runs. All of them gather numbers first, so
//! that what is left are products and sums.

use dfdx::prelude::{Axis, BroadcastTo, MaxTo, MeanTo, ReshapeTo, TryMatMul};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{GatherTo, TryAdd, TryMul, TrySub};

use super::{Convolution, Extent, GroupNorm, LEAST_VARIANCE, Pool, Pooling, Upsample, Window};
use crate::dense::{add_row, shape};
use crate::error::device;
use crate::{Compute, Result, Rows};

/// In each row, the numbers of these places, and zeros where there is none.
fn gather<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, places: &[Option<usize>]) -> Result<Rows<D, T>> {
    let ((rows, columns), n) = (shape(&x), places.len());
    let on = x.device().clone();
    let index = (0..rows).flat_map(|row| places.iter().map(move |p| row * columns + p.unwrap_or(0))).collect();
    let index = on.try_tensor_from_vec::<(usize,)>(index, (rows * n,)).map_err(device)?;
    let flat = x.try_reshape_like(&(rows * columns,)).map_err(device)?;
    let found: Tensor<(usize,), f32, D, T> = flat.try_gather(index).map_err(device)?;
    let found = found.try_reshape_like(&(rows, n)).map_err(device)?;
    if places.iter().all(Option::is_some) {
        return Ok(found);
    }
    let mask = places.iter().map(|p| if p.is_some() { 1.0 } else { 0.0 }).collect();
    let mask = on.try_tensor_from_vec::<(usize,)>(mask, (n,)).map_err(device)?.retaped::<T>();
    let mask = mask.try_broadcast_like::<_, Axis<0>>(&(rows, n)).map_err(device)?;
    found.try_mul(mask).map_err(device)
}

/// The pixel of the input at each pixel of each window, none outside of the image.
fn pixels(window: Window, input: Extent, output: Extent) -> impl Iterator<Item = Vec<Option<usize>>> {
    (0..output.pixels()).map(move |o| {
        let begin = (o / output.width * window.stride.0, o % output.width * window.stride.1);
        let at = |p: usize| {
            let y = (begin.0 + p / window.size.1).checked_sub(window.padding.0).filter(|y| *y < input.height)?;
            let x = (begin.1 + p % window.size.1).checked_sub(window.padding.1).filter(|x| *x < input.width)?;
            Some(y * input.width + x)
        };
        (0..window.size.0 * window.size.1).map(at).collect()
    })
}

/// See [`Convolution`].
pub(crate) fn convolution<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, layer: &Convolution<D>) -> Result<Rows<D, T>> {
    let ((rows, _), (numbers, channels)) = (shape(&x), shape(&layer.weight));
    let of_window = pixels(layer.window, layer.input, layer.output).flatten();
    let depth = layer.input.channels;
    let places: Vec<_> = of_window.flat_map(|p| (0..depth).map(move |c| p.map(|p| p * depth + c))).collect();
    let windows = gather(x, &places)?.try_reshape_like(&(rows * layer.output.pixels(), numbers)).map_err(device)?;
    let y = windows.try_matmul(layer.weight.clone()).map_err(device)?;
    let y = layer.activation.composed(add_row(y, &layer.bias)?)?;
    y.try_reshape_like(&(rows, layer.output.pixels() * channels)).map_err(device)
}

/// See [`GroupNorm`].
pub(crate) fn normalisation<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, layer: &GroupNorm<D>) -> Result<Rows<D, T>> {
    let ((rows, columns), channels) = (shape(&x), layer.extent.channels);
    let depth = channels / layer.groups;
    let size = layer.extent.pixels() * depth;
    // Numbers of one group lie together while it is normalised.
    let place = |i: usize| (i % size / depth) * channels + i / size * depth + i % depth;
    let order: Vec<usize> = (0..columns).map(place).collect();
    let mut back = vec![None; columns];
    order.iter().enumerate().for_each(|(i, o)| back[*o] = Some(i));
    let order: Vec<Option<usize>> = order.into_iter().map(Some).collect();
    let groups = (rows * layer.groups, size);
    let x = gather(x, &order)?.try_reshape_like(&groups).map_err(device)?;
    let mean = x.retaped::<T>().try_mean::<(usize,), Axis<1>>().map_err(device)?;
    let centred = x.try_sub(mean.try_broadcast_like::<_, Axis<1>>(&groups).map_err(device)?).map_err(device)?;
    let variance = centred.retaped::<T>().try_square().map_err(device)?.try_mean::<(usize,), Axis<1>>();
    let sd = variance.map_err(device)?.try_add(LEAST_VARIANCE).map_err(device)?.try_sqrt().map_err(device)?;
    let sd = sd.try_recip().map_err(device)?.try_broadcast_like::<_, Axis<1>>(&groups).map_err(device)?;
    let normal = centred.try_mul(sd).map_err(device)?.try_reshape_like(&(rows, columns)).map_err(device)?;
    let normal = gather(normal, &back)?;
    let normal = normal.try_reshape_like(&(rows * layer.extent.pixels(), channels)).map_err(device)?;
    let scale = layer.scale.retaped::<T>().try_reshape_like(&(channels,)).map_err(device)?;
    let scale = scale.try_broadcast_like::<_, Axis<0>>(shape_of(&normal)).map_err(device)?;
    let y = add_row(normal.try_mul(scale).map_err(device)?, &layer.shift)?;
    layer.activation.composed(y)?.try_reshape_like(&(rows, columns)).map_err(device)
}

fn shape_of<D: Compute, T>(x: &Rows<D, T>) -> &(usize, usize) {
    dfdx::shapes::HasShape::shape(x)
}

/// See [`Pool`].
pub(crate) fn pooling<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, layer: &Pool) -> Result<Rows<D, T>> {
    let ((rows, _), depth) = (shape(&x), layer.input.channels);
    let of_window = pixels(layer.window, layer.input, layer.output);
    let of_number = |window: Vec<Option<usize>>| {
        (0..depth).flat_map(move |c| window.clone().into_iter().map(move |p| p.map(|p| p * depth + c)))
    };
    let places: Vec<_> = of_window.flat_map(of_number).collect();
    let (outputs, size) = (layer.output.numbers(), layer.window.size.0 * layer.window.size.1);
    let windows = gather(x, &places)?.try_reshape_like(&(rows * outputs, size)).map_err(device)?;
    let y = match layer.kind {
        Pooling::Max => windows.try_max::<(usize,), Axis<1>>().map_err(device)?,
        Pooling::Mean => windows.try_mean::<(usize,), Axis<1>>().map_err(device)?,
    };
    y.try_reshape_like(&(rows, outputs)).map_err(device)
}

/// See [`Upsample`].
pub(crate) fn upsampling<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, layer: &Upsample) -> Result<Rows<D, T>> {
    gather(x, &layer.sources().into_iter().map(Some).collect::<Vec<_>>())
}
