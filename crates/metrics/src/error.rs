use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no score.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Two lengths or shapes that must agree differ.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which data.
        what: &'static str,
        /// What was found.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
    /// Nothing to score.
    #[error("{what}: nothing to score, at least {needed} must be there")]
    TooFew {
        /// Of what there is too little.
        what: &'static str,
        /// The least number.
        needed: usize,
    },
    /// A NaN or an infinity.
    #[error("{what} holds a value that is NaN or infinite at index {index}")]
    NotFinite {
        /// Which data.
        what: &'static str,
        /// Index of the first, in row-major order.
        index: usize,
    },
    /// A parameter outside its range.
    #[error("{name} is {value}, accepted are {accepted}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// The offending value.
        value: f64,
        /// The accepted range, in words.
        accepted: String,
    },
    /// A spectrum of zeros, which has no direction.
    #[error("{what}: row {row} is zero in every channel, so that there is no angle to it")]
    Zero {
        /// Which spectra.
        what: &'static str,
        /// The first such row.
        row: usize,
    },
    /// The spatial index cannot be built.
    #[error("the nearest-neighbour index cannot be built: {0}")]
    Index(String),
    /// A column is missing, or the like.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}

pub(crate) fn same_shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Shape { what, found: found.to_vec(), expected: expected.to_vec() })
}

pub(crate) fn all_finite(what: &'static str, values: impl IntoIterator<Item = f64>) -> Result<()> {
    match values.into_iter().position(|v| !v.is_finite()) {
        Some(index) => Err(Error::NotFinite { what, index }),
        None => Ok(()),
    }
}
