#![doc = include_str!("../README.md")]

mod activation;
mod adam;
mod bf16;
mod blocks;
mod buffer;
mod compute;
mod conv;
mod data;
mod dense;
mod error;
mod groups;
mod likelihood;
mod maths;
#[cfg(test)]
mod oracle;
mod parameters;
mod precision;
mod rate;
mod simd;
mod spatial;
mod turned;
pub mod weights;

pub use activation::Activation;
pub use adam::{Adam, Moments, approach};
pub use compute::{Compute, Matrix, Rows, matrix, values};
pub use conv::{Convolution, Extent, GroupNorm, Pool, Pooling, Upsample, Window};
pub use data::Data;
pub use dense::{Dense, Input, dense_score, heads};
pub use error::{Error, Result};
pub use groups::mean_and_max;
pub use likelihood::{Likelihood, Scored, Target};
pub use parameters::Parameters;
pub use precision::Precision;
pub use rate::product_rate;
pub use spatial::{POSE, Skip, SpatialDecoder, grid};
pub use turned::{Turns, turned};
