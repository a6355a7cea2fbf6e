#![doc = include_str!("../README.md")]

mod anscombe;
mod background;
mod binning;
mod crop;
mod error;
mod keenan_kotula;
mod normalise;
mod preparation;
pub mod steps;
mod window;

pub use anscombe::{anscombe, anscombe_inverse};
pub use background::{Background, PowerLaw};
pub use binning::Bin;
pub use crop::{Crop, Pixels};
pub use error::{Error, Result};
pub use keenan_kotula::KeenanKotula;
pub use normalise::Normalise;
pub use preparation::{Preparation, apply};
pub use steps::{PoissonScaling, Step};
pub use window::Window;
