#![doc = include_str!("../README.md")]

mod arithmetic;
mod axis;
mod dataset;
mod embedding;
mod error;
mod image;
mod neighbours;
mod patches;
mod scaling;
mod sites;
mod spectra;
mod traits;

pub use axis::Axis;
pub use dataset::{Dataset, Scene};
pub use embedding::{Column, Embedding};
pub use error::{BoxError, Error, Result};
pub use image::{Image, Metadata, Movie};
pub use neighbours::{NeighbourGraph, Pair};
pub use patches::Patches;
pub use scaling::{Normalise, Range, Scaling};
pub use sites::{Refinement, Site, Sites};
pub use spectra::{Spectra, SpectrumImage};
pub use traits::{Classify, Describe, Detect, Embed, Generate, Represent};
