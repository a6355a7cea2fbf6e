use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Any error, as the traits pass it on: each implementation keeps its own enum.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What can be wrong with data handed to the types of this crate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// An array without elements.
    #[error("{what} is empty: its shape is {shape:?}, every dimension must be at least 1")]
    Empty {
        /// Which array.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A dataset without samples.
    #[error("the dataset is empty: it holds neither images nor spectra")]
    NoSamples,
    /// Two lengths that must agree differ.
    #[error("{what} has length {found}, expected {expected}")]
    Length {
        /// Which length.
        what: String,
        /// What was found.
        found: usize,
        /// What it must be.
        expected: usize,
    },
    /// A shape that differs from the one required.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// What was found.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
    /// A NaN or an infinity where only finite values make sense.
    #[error("{what} holds {count} values that are NaN or infinite, the first at {first:?}")]
    NotFinite {
        /// Which array.
        what: String,
        /// How many such values.
        count: usize,
        /// Index of the first.
        first: Vec<usize>,
    },
    /// A value outside its range.
    #[error("{what} is {value}, accepted are {accepted}")]
    Range {
        /// Which quantity.
        what: String,
        /// The offending value.
        value: f64,
        /// The accepted range, in words.
        accepted: &'static str,
    },
    /// A column that an embedding lacks.
    #[error("no column named `{name}`; there are {present}")]
    NoColumn {
        /// The name asked for.
        name: String,
        /// The names there are.
        present: String,
    },
    /// A column added twice.
    #[error("column `{0}` is there already")]
    DuplicateColumn(String),
}
