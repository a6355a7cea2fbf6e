#![doc = include_str!("../README.md")]

mod after;
mod cholesky;
mod dbscan;
mod divergence;
mod error;
mod forest;
mod geodesics;
mod grid;
mod isomap;
mod kernels;
mod kmeans;
mod krylov;
mod mixture;
mod neighbours;
mod nmf;
mod params;
mod pca;
mod products;
mod rows;
mod solve;
mod som;
mod svd;
mod within;

pub use after::{AfterPca, AfterPcaModel};
pub use dbscan::{Dbscan, DbscanModel};
pub use error::{Error, Result};
pub use grid::Grid;
pub use isomap::{Isomap, IsomapModel};
pub use kmeans::{KMeans, KMeansModel};
pub use mixture::{Covariance, GaussianMixture, GaussianMixtureModel};
pub use nmf::{Loss, Nmf, NmfModel, NmfStart};
pub use params::{Check, Method, Params};
pub use pca::{Pca, PcaModel};
pub use rows::{OnPatches, RowEmbedding, RowModel};
pub use som::{Som, SomModel};
