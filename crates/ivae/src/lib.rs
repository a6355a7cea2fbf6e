#![doc = include_str!("../README.md")]

mod alignment;
mod centring;
mod condition;
mod decoder;
mod embed;
mod encoder;
mod error;
mod examples;
mod invariances;
mod model;
mod modes;
mod noise;
mod params;
mod physics;
mod pixels;
mod prior;
mod represent;
mod run;
mod straight;
mod turning;
mod usual;
mod views;

pub use condition::{Condition, Factor};
pub use embed::{Grid, steps};
pub use error::{Error, Result};
pub use examples::Examples;
pub use invariances::Invariances;
pub use model::Ivae;
pub use noise::Noise;
pub use params::{DecoderKind, Inference, Params, ViewGrid};
pub use physics::{BoundaryCost, Term};
pub use prior::Prior;
pub use represent::{IvaeEstimator, train, train_with};
pub use run::{Config, ScalingConfig, load_config};
pub use usual::{Outside, Usual};
