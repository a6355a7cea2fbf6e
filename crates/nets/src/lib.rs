#![doc = include_str!("../README.md")]

mod activation;
mod adam;
mod blocks;
mod compute;
mod dense;
mod error;
mod likelihood;
mod maths;
mod parameters;
mod simd;
mod spatial;
pub mod weights;

pub use activation::Activation;
pub use adam::{Adam, Moments};
pub use compute::{Compute, Matrix, matrix};
pub use dense::Dense;
pub use error::{Error, Result};
pub use likelihood::{Likelihood, Scored, Target};
pub use parameters::Parameters;
pub use spatial::{SpatialDecoder, grid};
