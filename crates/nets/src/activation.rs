#![allow(unsafe_code, reason = "vector instructions")]

use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device, TryAdd, TryMul};
use serde::{Deserialize, Serialize};

use crate::error::device;
use crate::maths;
use crate::simd::Simd;
use crate::{Result, Rows};

/// Non-linearity after a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
    Gelu,
}

const LEAK: f32 = 0.01;

/// √(2/π), and the weight of the cube, of [`Activation::Gelu`].
const GELU: (f32, f32) = (0.797_884_6, 0.044_715);

impl Activation {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Identity, Self::Tanh, Self::Relu, Self::LeakyRelu, Self::Softplus, Self::Gelu];

    /// Whether its slope is no function of its values, so that the way forward has to keep the slopes.
    pub(crate) fn keeps_slope(self) -> bool {
        self == Self::Gelu
    }

    /// Applies it with the device's own operations.
    pub(crate) fn composed<D: Device<f32>, T: Tape<f32, D>>(self, x: Rows<D, T>) -> Result<Rows<D, T>> {
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
            Self::Gelu => x.try_fast_gelu().map_err(device),
        }
    }

    /// Turns values into f of them, in place; slopes go where f keeps them.
    pub(crate) fn apply(self, values: &mut [f32], slopes: &mut [f32]) {
        applied(self, values, slopes);
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
                Self::Gelu => {
                    let half = V::splat(0.5).mul(x);
                    half.fused(gelu_turn(x), half)
                }
            }
        }
    }

    /// Its slope at x, for those that keep it.
    ///
    /// # Safety
    /// As [`Simd`] says.
    #[inline(always)]
    pub(crate) unsafe fn slope_at<V: Simd>(self, x: V) -> V {
        // SAFETY: as the caller vouches.
        unsafe {
            let (half, one, t) = (V::splat(0.5), V::splat(1.0), gelu_turn(x));
            let inner = x.mul(x).fused(V::splat(3.0 * GELU.0 * GELU.1), V::splat(GELU.0));
            // ½(1 + t) + ½x(1 − t²)·inner; where the cube has overflowed, 1 − t² is 0 and x·inner must be finite.
            let x = x.at_least(V::splat(-20.0)).at_most(V::splat(20.0));
            let bend = x.mul(inner.at_most(V::splat(1e6))).mul(one.sub(t.mul(t)));
            half.fused(t.add(bend), half)
        }
    }

    /// Its slope, written as a function of its own values, or the slope itself if that is kept.
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
                Self::Gelu => y,
            }
        }
    }
}

#[inline(always)]
unsafe fn applied_body<V: Simd>(activation: Activation, values: &mut [f32], slopes: &mut [f32]) {
    for at in (0..values.len()).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let x = V::get(&values[at..]);
            if !slopes.is_empty() {
                activation.slope_at(x).put(&mut slopes[at..]);
            }
            activation.of(x).put(&mut values[at..]);
        }
    }
}

maths::dispatch!(fn applied(activation: Activation, values: &mut [f32], slopes: &mut [f32]) = applied_body);

/// Room for the slopes of so many values, if a way back will need them.
pub(crate) fn keep_slopes(activation: Activation, back: bool, values: usize) -> Vec<f32> {
    vec![0.0; if back && activation.keeps_slope() { values } else { 0 }]
}

/// tanh(√(2/π)(x + 0.044715x³)).
#[inline(always)]
unsafe fn gelu_turn<V: Simd>(x: V) -> V {
    // SAFETY: as the caller vouches.
    unsafe {
        let scale = x.mul(x).fused(V::splat(GELU.0 * GELU.1), V::splat(GELU.0));
        maths::tanh(x.mul(scale))
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
