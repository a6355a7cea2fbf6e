use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in nets.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed, for instance for want of memory.
    #[error("the device failed: {0}")]
    Device(String),
    /// Two shapes that must agree differ.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which tensor.
        what: String,
        /// What was found.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
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
    /// A file of weights that lacks a tensor or is damaged.
    #[error("weights: {0}")]
    Weights(String),
}

/// Turns a failure of the device, whose type differs from device to device, into ours.
pub(crate) fn device<E: std::fmt::Display>(error: E) -> Error {
    Error::Device(error.to_string())
}
