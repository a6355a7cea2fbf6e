use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why no sites could be found.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter outside its range.
    #[error("{name} is {value}, accepted are {accepted}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// The offending value.
        value: f64,
        /// The accepted range, in words.
        accepted: &'static str,
    },
    /// The image cannot hold one blob of the smallest width.
    #[error("the image has {rows}×{columns} px, atoms of σ = {sigma:.2} px need at least {needed}×{needed} px")]
    TooSmall {
        /// Rows of the image.
        rows: usize,
        /// Columns of the image.
        columns: usize,
        /// Smallest blob width.
        sigma: f64,
        /// Smallest side.
        needed: usize,
    },
    /// The image shows nothing that can be told from noise.
    #[error("no atoms found: {reason}")]
    NoAtoms {
        /// What was seen instead.
        reason: String,
    },
    /// The sites are not valid.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}
