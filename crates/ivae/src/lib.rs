#![doc = include_str!("../README.md")]

mod embed;
mod error;
mod model;
mod params;
mod represent;
mod run;

pub use embed::Manifold;
pub use error::{Error, Result};
pub use model::Ivae;
pub use params::{Invariances, Noise, Params, Prior};
pub use represent::{IvaeEstimator, train};
pub use run::{Config, ScalingConfig, load_config};
