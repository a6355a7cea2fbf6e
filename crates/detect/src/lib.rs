#![doc = include_str!("../README.md")]

mod classes;
mod detection;
mod error;
mod filter;
mod flatten;
mod gaussian;
mod lattice;
mod neighbours;
mod params;
mod peaks;
mod polarity;
mod refine;
mod threshold;
mod work;

pub use classes::{Classes, brightness_classes};
pub use detection::{Detection, Detector, Used, detect};
pub use error::{Error, Result};
pub use flatten::flattened;
pub use lattice::{LatticeEstimate, lattice};
pub use neighbours::{nearest_neighbour_distances, neighbour_graph};
pub use params::{Method, Params, Polarity};
