#![doc = include_str!("../README.md")]

mod animation;
mod axes;
mod bars;
mod canvas;
pub mod colour;
mod curve;
mod density;
mod error;
mod field;
mod figure;
pub mod html;
mod legend;
mod lines;
mod maps;
mod mounted;
mod scatter;
mod scree;
mod text;
mod ticks;
mod tiles;
mod view;

/// Everything that can be drawn; each function gives one [`Figure`].
pub mod figures {
    pub use crate::bars::ScaleBar;
    pub use crate::curve::{LearningCurve, learning_curve};
    pub use crate::field::{class_field, field};
    pub use crate::figure::{grid, side_by_side};
    pub use crate::lines::{Line, Steps, lines, losses};
    pub use crate::maps::{MapStyle, class_map, image, site_map};
    pub use crate::scatter::{Colour, scatter, scatter_over};
    pub use crate::scree::scree;
    pub use crate::tiles::{components, manifold, patches};
}

pub use animation::Animation;
pub use error::{Error, Result};
pub use figure::Figure;
