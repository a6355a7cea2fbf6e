#![doc = include_str!("../README.md")]

mod alignment;
mod condition;
mod embed;
mod encoder;
mod error;
mod examples;
mod model;
mod params;
mod pixels;
mod represent;
mod run;
mod turning;
mod usual;
mod views;

pub use condition::{Condition, Factor};
pub use embed::{Grid, steps};
pub use error::{Error, Result};
pub use examples::Examples;
pub use model::Ivae;
pub use params::{Inference, Invariances, Noise, Params, Prior};
pub use represent::{IvaeEstimator, train};
pub use run::{Config, ScalingConfig, load_config};
pub use usual::{Outside, Usual};
