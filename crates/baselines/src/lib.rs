#![doc = include_str!("../README.md")]

mod affinities;
mod cholesky;
mod error;
mod kernels;
mod kmeans;
mod mixture;
mod neighbours;
mod params;
mod pca;
mod placed;
mod products;
mod rows;
mod solve;
mod tsne;
mod umap;

pub use error::{Error, Result};
pub use kmeans::{KMeans, KMeansModel};
pub use mixture::{Covariance, GaussianMixture, GaussianMixtureModel};
pub use params::{Check, Method, Params};
pub use pca::{Pca, PcaModel};
pub use rows::{OnPatches, RowEmbedding, RowModel};
pub use tsne::{TSne, TSneModel};
pub use umap::{Umap, UmapModel};
