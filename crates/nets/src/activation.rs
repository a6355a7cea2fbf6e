#![allow(unsafe_code, reason = "vector instructions")]

use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device, TryAdd, TryMul};

use crate::Result;
use crate::error::device;
use crate::maths;
use crate::simd::Simd;

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
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Identity, Self::Tanh, Self::Relu, Self::LeakyRelu, Self::Softplus];

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

    /// Its values.
    ///
    /// # Safety
    /// As [`Simd`] says.
    #[inline(always)]
    pub(crate) unsafe fn of<V: Simd>(self, x: V) -> V {
        // SAFETY: as the caller vouches.
        unsafe {
            match self {
                Self::Identity => x,
                Self::Tanh => maths::tanh(x),
                Self::Relu => x.at_least(V::splat(0.0)),
                Self::LeakyRelu => x.at_least(V::splat(LEAK).mul(x)),
                Self::Softplus => maths::softplus(x),
            }
        }
    }

    /// Its slope, written as a function of its own values.
    ///
    /// # Safety
    /// As [`Simd`] says.
    #[inline(always)]
    pub(crate) unsafe fn slope<V: Simd>(self, y: V) -> V {
        // SAFETY: as the caller vouches.
        unsafe {
            let (zero, one) = (V::splat(0.0), V::splat(1.0));
            match self {
                Self::Identity => one,
                Self::Tanh => one.sub(y.mul(y)),
                Self::Relu => y.if_positive(one, zero),
                Self::LeakyRelu => y.if_positive(one, V::splat(LEAK)),
                Self::Softplus => one.sub(maths::exp(zero.sub(y))),
            }
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
