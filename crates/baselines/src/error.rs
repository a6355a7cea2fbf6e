use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a classical representation could not be made or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter outside its range.
    #[error("{what} is {value}, accepted are {accepted}")]
    Parameter {
        /// The parameter.
        what: &'static str,
        /// What it was.
        value: String,
        /// What it may be, for these data.
        accepted: String,
    },
    /// Data that vary along fewer directions than components are asked for: a direction counts where the squares along it are more
    /// than 2·10⁻¹³ of those along the first, or N·2.2·10⁻¹⁶ for the lesser N of rows and columns if that is more.
    #[error("{components} components asked for, but the data vary along {rank} directions only")]
    Rank {
        /// What was asked for.
        components: usize,
        /// Directions along which the data vary.
        rank: usize,
    },
    /// More clusters than different rows.
    #[error("{clusters} clusters asked for, but only {distinct} of the rows differ")]
    Distinct {
        /// What was asked for.
        clusters: usize,
        /// Different rows.
        distinct: usize,
    },
    /// Patches unlike those of the fit.
    #[error("patches are {found:?} (height, width, channels), the model was fitted on {expected:?}")]
    Shape {
        /// What was found.
        found: (usize, usize, usize),
        /// What it must be.
        expected: (usize, usize, usize),
    },
    /// Rows unlike those of the fit.
    #[error("rows of {found} numbers, the model was fitted on rows of {expected}")]
    Width {
        /// What was found.
        found: usize,
        /// What it must be.
        expected: usize,
    },
    /// Columns unlike those of the model.
    #[error("{found} columns, the model has {expected}")]
    Columns {
        /// What was found.
        found: usize,
        /// What it must be.
        expected: usize,
    },
    /// No data.
    #[error("no data: {rows} rows of {columns} numbers")]
    Empty {
        /// Number of rows.
        rows: usize,
        /// Numbers of each.
        columns: usize,
    },
    /// A NaN or an infinity.
    #[error("row {row} holds a value that is NaN or infinite")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// A negative number, where amounts are asked for.
    #[error("row {row} holds {value}, accepted are numbers not below 0")]
    Negative {
        /// The first such row.
        row: usize,
        /// The number.
        value: f64,
    },
    /// A mean spectrum that no mixture of spectra above 0 can have.
    #[error(
        "the mean spectrum is negative, down to {value} in channel {channel}, {share:.3} of its sum, accepted are up to {accepted}"
    )]
    NegativeMean {
        /// The lowest channel.
        channel: usize,
        /// Its mean.
        value: f64,
        /// What is negative, as a share of the sum of magnitudes.
        share: f64,
        /// The largest share accepted.
        accepted: f64,
    },
    /// A model that cannot make data of its columns.
    #[error("this model leads from data to columns, not back")]
    OneWay,
    /// What a method says of principal components that it was given in place of the rows.
    #[error("in principal components: {0}")]
    InComponents(Box<Error>),
    /// The linear algebra failed.
    #[error("the linear algebra failed: {0}")]
    Solver(String),
    /// A column is missing, or the like.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}

impl Error {
    pub(crate) fn parameter(what: &'static str, value: impl ToString, accepted: impl Into<String>) -> Self {
        Self::Parameter { what, value: value.to_string(), accepted: accepted.into() }
    }
}

/// What linfa's traits ask of an error.
impl From<linfa::Error> for Error {
    fn from(error: linfa::Error) -> Self {
        Self::Solver(error.to_string())
    }
}
