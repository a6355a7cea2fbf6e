//! Spectra as mixtures of a few: y = Σ aᵣ mᵣ + noise, of abundances aᵣ ≥ 0 that sum to 1.

mod blu;
mod blu_model;
mod chain;
mod fcls;
mod histograms;
mod least_squares;
mod noise;
mod pixels;
#[cfg(test)]
mod scene;
mod space;
#[cfg(test)]
mod tests;
mod truncated;
mod vertices;

pub use blu::Blu;
pub use blu_model::BluModel;
pub use fcls::{Fcls, FclsModel};
pub use noise::Noise;
pub use vertices::Extraction;
