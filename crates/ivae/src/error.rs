use std::path::PathBuf;

use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with an invariant VAE.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter outside its range.
    #[error("{what} is {value}, accepted are {accepted}")]
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// The offending value.
        value: String,
        /// The accepted range, in words.
        accepted: &'static str,
    },
    /// Data of another size than the model's.
    #[error("the data are {found:?} (height, width, channels), the model expects {expected:?}")]
    Size {
        /// What was found.
        found: (usize, usize, usize),
        /// What the model was trained on.
        expected: (usize, usize, usize),
    },
    /// Goals that do not fit the patches or the model.
    #[error("the goals are {found:?} (number, then height, width, channels), expected {expected:?}")]
    Goals {
        /// What was found.
        found: (usize, (usize, usize, usize)),
        /// What they must be.
        expected: (usize, (usize, usize, usize)),
    },
    /// Labels or factors that are not those the model is conditioned on.
    #[error("the model is conditioned on {expected}, found {found}")]
    Condition {
        /// What was found.
        found: String,
        /// What the model expects.
        expected: String,
    },
    /// A run directory that does not hold a sound model.
    #[error("{path}: {reason}")]
    Run {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// From the data types.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
    /// From the network.
    #[error(transparent)]
    Nets(#[from] parsimon_nets::Error),
    /// From training.
    #[error(transparent)]
    Train(#[from] parsimon_train::Error),
}
