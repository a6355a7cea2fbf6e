#![doc = include_str!("../README.md")]

mod error;
mod mixture;
mod pca;
mod solve;

pub use error::{Error, Result};
pub use mixture::{GaussianMixture, GaussianMixtureModel};
pub use pca::{Pca, PcaModel};
