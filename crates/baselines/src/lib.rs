#![doc = include_str!("../README.md")]

mod error;
mod pca;
mod solve;

pub use error::{Error, Result};
pub use pca::{Pca, PcaModel};
