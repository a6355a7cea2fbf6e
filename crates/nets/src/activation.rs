use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device, TryAdd, TryMul};

use crate::Result;
use crate::error::device;
use crate::maths;

/// Non-linearity after a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// None.
    Identity,
    /// tanh x; the default, smooth enough for decoders of coordinates.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
    /// x, or x/100 below zero.
    LeakyRelu,
    /// ln(1 + eˣ).
    Softplus,
}

const LEAK: f32 = 0.01;

impl Activation {
    /// Applies it with the device's own operations.
    pub(crate) fn composed<D: Device<f32>, T: Tape<f32, D>>(
        self,
        x: Tensor<(usize, usize), f32, D, T>,
    ) -> Result<Tensor<(usize, usize), f32, D, T>> {
        match self {
            Self::Identity => Ok(x),
            Self::Tanh => x.try_tanh().map_err(device),
            Self::Relu => x.try_relu().map_err(device),
            Self::LeakyRelu => {
                // x = relu(x) − relu(−x), and only the second part is damped.
                let damped = x.retaped::<T>().try_negate().map_err(device)?.try_relu().map_err(device)?;
                let damped = damped.try_mul(-LEAK).map_err(device)?;
                x.try_relu().map_err(device)?.try_add(damped).map_err(device)
            }
            Self::Softplus => composed_softplus(x),
        }
    }

    /// Applies it to every element.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Tanh => values.iter_mut().for_each(|v| *v = maths::tanh(*v)),
            Self::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            Self::LeakyRelu => values.iter_mut().for_each(|v| *v = v.max(LEAK * *v)),
            Self::Softplus => values.iter_mut().for_each(|v| *v = maths::softplus(*v)),
        }
    }

    /// Multiplies each gradient by the derivative, written as a function of the activation's own output.
    #[inline(always)]
    pub(crate) fn chain(self, gradient: &mut [f32], output: &[f32]) {
        let pairs = gradient.iter_mut().zip(output);
        match self {
            Self::Identity => {}
            Self::Tanh => pairs.for_each(|(g, y)| *g *= 1.0 - y * y),
            Self::Relu => pairs.for_each(|(g, y)| *g *= if *y > 0.0 { 1.0 } else { 0.0 }),
            Self::LeakyRelu => pairs.for_each(|(g, y)| *g *= if *y > 0.0 { 1.0 } else { LEAK }),
            Self::Softplus => pairs.for_each(|(g, y)| *g *= 1.0 - maths::exp(-y)),
        }
    }
}

/// ln(1 + eˣ) = relu(x) + ln(1 + e^−|x|), with the device's own operations.
pub(crate) fn composed_softplus<S: dfdx::shapes::Shape, D: Device<f32>, T: Tape<f32, D>>(
    x: Tensor<S, f32, D, T>,
) -> Result<Tensor<S, f32, D, T>> {
    let tail = x.retaped::<T>().try_abs().map_err(device)?.try_negate().map_err(device)?;
    let tail = tail.try_exp().map_err(device)?.try_add(1.0).map_err(device)?.try_ln().map_err(device)?;
    x.try_relu().map_err(device)?.try_add(tail).map_err(device)
}
