use std::path::PathBuf;

use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in training.
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
    /// Fewer rows than a batch.
    #[error(
        "{rows} rows are left for training after holding out {held_out}, fewer than one batch of {batch}: give a batch of at most {rows}, or more data"
    )]
    TooFewRows {
        /// Rows for training.
        rows: usize,
        /// Rows held out.
        held_out: usize,
        /// Rows of a batch.
        batch: usize,
    },
    /// A part of the loss became NaN or infinite.
    #[error(
        "the {term} is {value} in epoch {epoch}, batch {batch} of {batches} (whose first row is {first}): lower the learning rate (now {learning_rate}), or look at the scaling of the data"
    )]
    NotFinite {
        /// Which part.
        term: &'static str,
        /// Its value.
        value: f32,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// Batches of an epoch.
        batches: usize,
        /// First row of the batch, from 0.
        first: usize,
        /// η.
        learning_rate: f32,
    },
    /// A checkpoint that does not fit.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// From the network.
    #[error(transparent)]
    Nets(#[from] parsimon_nets::Error),
}
