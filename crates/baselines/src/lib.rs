#![doc = include_str!("../README.md")]

mod cholesky;
mod error;
mod kernels;
mod kmeans;
mod mixture;
mod neighbours;
mod params;
mod pca;
mod products;
mod rows;
mod solve;
mod unmix;

pub use error::{Error, Result};
pub use kmeans::{KMeans, KMeansModel};
pub use mixture::{Covariance, GaussianMixture, GaussianMixtureModel};
pub use params::{Check, Method, Params};
pub use pca::{Pca, PcaModel};
pub use rows::{OnPatches, RowEmbedding, RowModel};
pub use unmix::{Blu, BluModel, Extraction, Fcls, FclsModel, Noise};
