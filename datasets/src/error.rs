use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why data could not be made.
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
    /// More values than memory can hold.
    #[error("{count} images of {size}×{size} pixels do not fit in memory: make fewer or smaller ones")]
    TooLarge {
        /// Number of images.
        count: usize,
        /// Their side in pixels.
        size: usize,
    },
    /// The data do not make a valid type of `parsimon-core`.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}

/// Fails unless `ok`; callers write `ok` so that NaN makes it false.
pub(crate) fn require(ok: bool, name: &'static str, value: f64, accepted: &'static str) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::Parameter { name, value, accepted }) }
}
