#![doc = include_str!("../README.md")]

mod cards;
mod endmembers;
mod error;
mod graphene;
mod lattice;
mod peaks;
mod perovskite;
mod recipes;
mod scan;
mod spectrum_image;
mod suits;
mod turned;

pub use cards::{CardsParams, cards};
pub use error::{Error, Result};
pub use graphene::{GrapheneParams, graphene};
pub use lattice::{LatticeImages, LatticeParams, lattice};
pub use peaks::{PeaksParams, peaks};
pub use perovskite::{PerovskiteParams, perovskite};
pub use recipes::{REAL, Recipe, real};
pub use spectrum_image::{Mixture, SpectrumImageParams, spectrum_image};
pub use suits::Suit;
pub use turned::{TurnedParams, turned};
