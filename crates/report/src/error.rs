use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a figure or a report cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to draw.
    #[error("{what} is empty, at least one is needed")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
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
    /// A NaN or an infinity where only finite values make sense.
    #[error(
        "{what} holds {count} values that are NaN or infinite, the first at index {first}; accepted are finite numbers"
    )]
    NotFinite {
        /// Which values.
        what: String,
        /// How many such values.
        count: usize,
        /// Index of the first.
        first: usize,
    },
    /// Colour limits that are not an increasing pair of finite numbers.
    #[error("colour limits are {low} to {high}, accepted are finite numbers with low < high")]
    Limits {
        /// Lower limit.
        low: f64,
        /// Upper limit.
        high: f64,
    },
    /// More than the whole.
    #[error("a {what} is {value}, accepted are numbers up to 1")]
    Share {
        /// Of what.
        what: &'static str,
        /// The share.
        value: f64,
    },
    /// A figure of a size that cannot be drawn.
    #[error("the figure would be {width} by {height} pixels, accepted are 1 to 20000 each")]
    Size {
        /// Width asked for.
        width: u64,
        /// Height asked for.
        height: u64,
    },
    /// The bundled font cannot be read.
    #[error("the bundled font cannot be read: {0}")]
    Font(#[from] ab_glyph::InvalidFont),
    /// A range that does not rise.
    #[error("a range goes from {low} to {high}, accepted are ranges that rise")]
    Range {
        /// Its begin.
        low: f64,
        /// Its end.
        high: f64,
    },
    /// The encoder of an animation failed.
    #[error("the animation cannot be written as {kind}: {reason}")]
    Animation {
        /// GIF or APNG.
        kind: &'static str,
        /// What the encoder says.
        reason: String,
    },
    /// The PNG encoder failed.
    #[error("figure `{name}` cannot be written as PNG: {source}")]
    Png {
        /// The figure's name.
        name: String,
        /// What the encoder says.
        source: image::ImageError,
    },
}

/// Fails unless `found` is `expected`.
pub(crate) fn check_length(what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Length { what: what.into(), found, expected }) }
}

/// Fails if a value is NaN or infinite.
pub(crate) fn check_finite<T: Copy + Into<f64>>(what: &str, values: impl IntoIterator<Item = T>) -> Result<()> {
    let mut first = None;
    let mut count = 0;
    for (index, value) in values.into_iter().enumerate() {
        if !value.into().is_finite() {
            first.get_or_insert(index);
            count += 1;
        }
    }
    first.map_or(Ok(()), |first| Err(Error::NotFinite { what: what.into(), count, first }))
}
