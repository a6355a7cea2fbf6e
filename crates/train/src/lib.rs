#![doc = include_str!("../README.md")]

mod checkpoint;
mod error;
mod fit;
mod history;
mod options;
mod progress;

pub use checkpoint::{load_checkpoint, save_checkpoint};
pub use error::{Error, Result};
pub use fit::{Fitted, Loss, Model, Progress, State, evaluate, fit};
pub use history::{Epoch, Terms, write_history};
pub use options::{Options, Split, Step};
pub use progress::Bar;
