use dfdx::prelude::ReshapeTo;
use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, Gradients, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::Device;

use crate::buffer::Buffer;
use crate::error::device;
use crate::likelihood::{self, Scored, Target};
use crate::spatial::{self, SpatialDecoder};
use crate::{
    Convolution, Data, Dense, Error, GroupNorm, Input, Pool, Result, Turns, Upsample, conv, dense, groups, turned,
};

/// A matrix of the network, with its size known at run time only.
pub type Matrix<D> = Tensor<(usize, usize), f32, D>;

/// As [`Matrix`], with a tape.
pub type Rows<D, T> = Tensor<(usize, usize), f32, D, T>;

/// A device with the hot operations of the models.
///
/// Each operation has a composed form, made of dfdx's own operations, which is the reference, the oracle of the tests
/// and what CUDA runs; a device may replace it by a fused one.
pub trait Compute: Device<f32> + TensorFromVec<usize> {
    /// The gradient of a parameter, row by row, which then is no longer there.
    ///
    /// # Errors
    /// If the device fails.
    fn take_gradient(parameter: &Matrix<Self>, gradients: &mut Gradients<f32, Self>) -> Result<Vec<f32>> {
        gradients.get_or_alloc_mut(parameter).map_err(device)?;
        Ok(values(&gradients.get(parameter)))
    }

    /// See [`heads`](crate::heads).
    ///
    /// # Errors
    /// If the device fails.
    fn heads<T: Tape<f32, Self>, const N: usize>(
        x: Input<'_, Self, T>,
        trunk: &[Dense<Self>],
        heads: [&Dense<Self>; N],
    ) -> Result<[Rows<Self, T>; N]> {
        match trunk.first().or(heads.first().copied()).map(|layer| layer.weight.device().clone()) {
            Some(device) => dense::composed_heads(x.on(&device)?, trunk, heads),
            None => Err(Error::Device("neither layers nor heads".to_owned())),
        }
    }

    /// See [`turned`](crate::turned).
    ///
    /// # Errors
    /// If the device fails.
    fn turned<T: Tape<f32, Self>>(x: &Data<'_>, turns: Turns, layer: &Dense<Self>) -> Result<Rows<Self, T>> {
        turned::composed(x, turns, layer)
    }

    /// See [`dense_score`](crate::dense_score).
    ///
    /// # Errors
    /// If the device fails.
    fn dense_score<T: Tape<f32, Self>>(
        mut x: Rows<Self, T>,
        layers: &[Dense<Self>],
        target: &Target<'_, Self>,
    ) -> Result<Scored<Self, T>> {
        for layer in layers {
            x = dense::composed(x, layer)?;
        }
        likelihood::composed(x, target)
    }

    /// See [`Convolution`].
    ///
    /// # Errors
    /// If the device fails.
    fn convolution<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Convolution<Self>) -> Result<Rows<Self, T>> {
        conv::convolution(x, layer)
    }

    /// As [`Compute::convolution`], of data that need no gradient.
    ///
    /// # Errors
    /// If the device fails.
    fn convolution_of_data<T: Tape<f32, Self>>(x: &Data<'_>, layer: &Convolution<Self>) -> Result<Rows<Self, T>> {
        conv::convolution(x.on(layer.weight.device())?.retaped(), layer)
    }

    /// See [`GroupNorm`].
    ///
    /// # Errors
    /// If the device fails.
    fn normalisation<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &GroupNorm<Self>) -> Result<Rows<Self, T>> {
        conv::normalisation(x, layer)
    }

    /// See [`Pool`].
    ///
    /// # Errors
    /// If the device fails.
    fn pooling<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Pool) -> Result<Rows<Self, T>> {
        conv::pooling(x, layer)
    }

    /// See [`Upsample`].
    ///
    /// # Errors
    /// If the device fails.
    fn upsampling<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Upsample) -> Result<Rows<Self, T>> {
        conv::upsampling(x, layer)
    }

    /// See [`mean_and_max`](crate::mean_and_max).
    ///
    /// # Errors
    /// If the device fails.
    fn mean_and_max<T: Tape<f32, Self>>(x: Rows<Self, T>, size: usize) -> Result<Rows<Self, T>> {
        groups::composed(x, size)
    }

    /// Weighted log-likelihood of decoder outputs (rows, pixels·channels).
    ///
    /// # Errors
    /// If the device fails.
    fn score<T: Tape<f32, Self>>(outputs: Rows<Self, T>, target: &Target<'_, Self>) -> Result<Scored<Self, T>> {
        likelihood::composed(outputs, target)
    }

    /// Weighted log-likelihood of data given placed latents; see [`SpatialDecoder::score`].
    ///
    /// # Errors
    /// If the device fails.
    fn spatial_score<T: Tape<f32, Self>>(
        decoder: &SpatialDecoder<Self>,
        placed: Rows<Self, T>,
        target: &Target<'_, Self>,
    ) -> Result<Scored<Self, T>> {
        Self::score(spatial::composed(decoder, placed, target.pixels)?, target)
    }

    /// Decoder outputs (rows, pixels·channels) of placed latents, without gradients.
    ///
    /// # Errors
    /// If the device fails.
    fn spatial_outputs(decoder: &SpatialDecoder<Self>, placed: &Matrix<Self>) -> Result<Vec<f32>> {
        Ok(spatial::composed(decoder, placed.clone(), None)?.as_vec())
    }
}

impl Compute for Cpu {
    fn take_gradient(parameter: &Matrix<Self>, gradients: &mut Gradients<f32, Self>) -> Result<Vec<f32>> {
        Ok(std::mem::take(&mut **gradients.get_or_alloc_mut(parameter).map_err(device)?))
    }

    fn heads<T: Tape<f32, Self>, const N: usize>(
        x: Input<'_, Self, T>,
        trunk: &[Dense<Self>],
        heads: [&Dense<Self>; N],
    ) -> Result<[Rows<Self, T>; N]> {
        dense::fused_heads(x, trunk, heads)
    }

    fn turned<T: Tape<f32, Self>>(x: &Data<'_>, turns: Turns, layer: &Dense<Self>) -> Result<Rows<Self, T>> {
        turned::fused(x, turns, layer)
    }

    fn dense_score<T: Tape<f32, Self>>(
        x: Rows<Self, T>,
        layers: &[Dense<Self>],
        target: &Target<'_, Self>,
    ) -> Result<Scored<Self, T>> {
        dense::fused_score(x, layers, target)
    }

    fn score<T: Tape<f32, Self>>(outputs: Rows<Self, T>, target: &Target<'_, Self>) -> Result<Scored<Self, T>> {
        likelihood::fused(outputs, target)
    }

    fn convolution<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Convolution<Self>) -> Result<Rows<Self, T>> {
        let (x, tape) = x.split_tape();
        conv::fused_convolution(&Data::new(values(&x), dense::shape(&x).1)?, Some(x), tape, layer)
    }

    fn convolution_of_data<T: Tape<f32, Self>>(x: &Data<'_>, layer: &Convolution<Self>) -> Result<Rows<Self, T>> {
        conv::fused_convolution(x, None, T::default(), layer)
    }

    fn normalisation<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &GroupNorm<Self>) -> Result<Rows<Self, T>> {
        conv::fused_normalisation(x, layer)
    }

    fn pooling<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Pool) -> Result<Rows<Self, T>> {
        conv::fused_pooling(x, layer)
    }

    fn upsampling<T: Tape<f32, Self>>(x: Rows<Self, T>, layer: &Upsample) -> Result<Rows<Self, T>> {
        conv::fused_upsampling(x, layer)
    }

    fn mean_and_max<T: Tape<f32, Self>>(x: Rows<Self, T>, size: usize) -> Result<Rows<Self, T>> {
        groups::fused(x, size)
    }

    fn spatial_score<T: Tape<f32, Self>>(
        decoder: &SpatialDecoder<Self>,
        placed: Rows<Self, T>,
        target: &Target<'_, Self>,
    ) -> Result<Scored<Self, T>> {
        spatial::fused_score(decoder, placed, target)
    }

    fn spatial_outputs(decoder: &SpatialDecoder<Self>, placed: &Matrix<Self>) -> Result<Vec<f32>> {
        Ok(spatial::fused_outputs(decoder, placed))
    }
}

#[cfg(feature = "cuda")]
impl Compute for dfdx::tensor::Cuda {}

/// A matrix of these values, row by row.
///
/// # Errors
/// If there are not rows × columns values, or the device fails.
pub fn matrix<D: Compute>(on: &D, values: Vec<f32>, rows: usize, columns: usize) -> Result<Matrix<D>> {
    if values.len() != rows * columns {
        let what = "values of a matrix".to_owned();
        return Err(Error::Shape { what, found: vec![values.len()], expected: vec![rows, columns] });
    }
    TensorFromVec::<f32>::try_tensor_from_vec(on, values, (rows, columns)).map_err(device)
}

/// The values of a matrix, row by row.
pub fn values<D: Compute>(of: &Matrix<D>) -> Vec<f32> {
    let (rows, columns) = *of.shape();
    let mut values = vec![0.0; rows * columns];
    copy(of, &mut values);
    values
}

/// As [`values`], in a room used before.
pub(crate) fn read<D: Compute>(of: &Matrix<D>) -> Buffer {
    let (rows, columns) = *of.shape();
    let mut values = Buffer::stale(rows * columns);
    copy(of, &mut values);
    values
}

fn copy<D: Compute>(of: &Matrix<D>, to: &mut [f32]) {
    // Laid out row by row if it is not yet, and copied whole: `as_vec` follows the strides of every element.
    match of.clone().try_reshape_like(&(to.len(),)) {
        Ok(flat) => flat.copy_into(to),
        Err(_) => to.copy_from_slice(&of.as_vec()),
    }
}
