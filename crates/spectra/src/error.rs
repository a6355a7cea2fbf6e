use ndarray::ArrayView2;
use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why spectra could not be prepared, or not be brought back.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Ends of a window that enclose nothing.
    #[error("the window {window} encloses nothing, accepted are finite ends of which the first is not the greater")]
    Ends {
        /// The window as text.
        window: String,
    },
    /// A window without channels, or with too few.
    #[error(
        "the window {window} holds {found} of the channels from {low} to {high} {unit}, at least {needed} are needed"
    )]
    Window {
        /// The window as text.
        window: String,
        /// Channels in it.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// Lowest value of the axis, in its unit.
        low: f64,
        /// Highest value of the axis, in its unit.
        high: f64,
        /// The unit of the axis.
        unit: String,
    },
    /// A unit that is not that of the axis, nor converts to it.
    #[error("the window is in `{found}`, accepted are `{expected}` as on the axis, and units that convert to it")]
    Unit {
        /// The unit of the window.
        found: String,
        /// The unit of the axis.
        expected: String,
    },
    /// Rows or columns that the image does not have.
    #[error("{what} {from}..{to} are not there, accepted are rising ends from 0 to {size}")]
    Pixels {
        /// Rows or columns.
        what: &'static str,
        /// The first.
        from: usize,
        /// The one after the last.
        to: usize,
        /// How many the image has.
        size: usize,
    },
    /// A factor that does not fit.
    #[error("{what} cannot be binned by {factor}, accepted are 1 to {size}")]
    Factor {
        /// Channels, rows or columns.
        what: &'static str,
        /// The factor.
        factor: usize,
        /// How many there are.
        size: usize,
    },
    /// A spectrum that cannot be divided by its total, maximum or window.
    #[error("{by} of spectrum {spectrum} is {value}, accepted are finite numbers above 0, or a spectrum of zeros")]
    Divisor {
        /// What it was to be divided by.
        by: &'static str,
        /// Index of the spectrum, pixels counted row by row.
        spectrum: usize,
        /// The offending value.
        value: f64,
    },
    /// A count below zero.
    #[error("channel {channel} of spectrum {spectrum} is {value}, accepted are counts, which are 0 and more")]
    Negative {
        /// Index of the spectrum, pixels counted row by row.
        spectrum: usize,
        /// The channel.
        channel: usize,
        /// The offending value.
        value: f64,
    },
    /// No spectrum holds a count.
    #[error("the mean of all counts is {mean}, accepted are finite numbers above 0")]
    NoCounts {
        /// Mean of all values.
        mean: f64,
    },
    /// A power law where the axis is not positive.
    #[error("the window begins at {energy} {unit}, accepted for a power law are values above 0")]
    Energy {
        /// Where it begins, in the unit of the axis.
        energy: f64,
        /// The unit of the axis.
        unit: String,
    },
    /// An array that does not belong to the prepared spectra.
    #[error("{what} are {found:?}, accepted are {expected:?}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// What was found.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
    /// A step that makes no sense after another.
    #[error("`{step}` stands after `{after}`, accepted is the order crop, bin, poisson or background, normalise")]
    Order {
        /// The step.
        step: String,
        /// The one before it.
        after: &'static str,
    },
    /// Components or loadings of square roots of counts.
    #[error(
        "a {what} cannot go back by itself through `poisson=anscombe`, which is not linear: restore the sum of all"
    )]
    NotLinear {
        /// Component or loading.
        what: &'static str,
    },
    /// A text that is no step.
    #[error("`{step}` is no step: {problem}, accepted are {accepted}")]
    Text {
        /// The step as given.
        step: String,
        /// What is wrong with it.
        problem: String,
        /// The accepted forms.
        accepted: &'static str,
    },
    /// The values do not make spectra.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}

/// Fails with the first value below zero.
pub(crate) fn counts(values: ArrayView2<'_, f64>) -> Result<()> {
    match values.indexed_iter().find(|(_, v)| **v < 0.0) {
        Some(((spectrum, channel), &value)) => Err(Error::Negative { spectrum, channel, value }),
        None => Ok(()),
    }
}

/// Fails unless the array has the shape that belongs to the spectra.
pub(crate) fn shaped(what: &'static str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Shape { what, found: found.to_vec(), expected: expected.to_vec() })
}
