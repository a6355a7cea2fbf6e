#![doc = include_str!("../README.md")]

mod cut;
mod error;
mod interpolate;
mod window;

pub use cut::{Cut, Params, Reason, cut, cut_movie};
pub use error::{Error, Result};
pub use window::{automatic_window, check_window};
