#![doc = include_str!("../README.md")]

mod embed;
mod encoder;
mod error;
mod model;
mod params;
mod pixels;
mod represent;
mod run;
mod turning;
mod views;

pub use embed::Manifold;
pub use error::{Error, Result};
pub use model::Ivae;
pub use params::{Inference, Invariances, Noise, Params, Prior};
pub use represent::{IvaeEstimator, train};
pub use run::{Config, ScalingConfig, load_config};
