use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a classical representation could not be made or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of components that the data cannot support.
    #[error(
        "{components} components asked for, accepted are 1 to {largest} for {patches} patches of {values} values each"
    )]
    Components {
        /// What was asked for.
        components: usize,
        /// The most there can be.
        largest: usize,
        /// Number of patches.
        patches: usize,
        /// Values in each: height × width × channels.
        values: usize,
    },
    /// Data that vary along fewer directions than components are asked for.
    #[error("{components} components asked for, but the patches vary along {rank} directions only")]
    Rank {
        /// What was asked for.
        components: usize,
        /// Directions along which the data vary.
        rank: usize,
    },
    /// Patches unlike those of the fit.
    #[error("patches are {found:?} (height, width, channels), the model was fitted on {expected:?}")]
    Shape {
        /// What was found.
        found: (usize, usize, usize),
        /// What it must be.
        expected: (usize, usize, usize),
    },
    /// Points that cannot make a mixture.
    #[error(
        "{components} components asked for, of {points} points in {columns} columns; accepted are 1 to one below the number of points, in one column and more"
    )]
    Points {
        /// What was asked for.
        components: usize,
        /// Number of points.
        points: usize,
        /// Numbers of each.
        columns: usize,
    },
    /// A number of starts that ends in no mixture.
    #[error("no mixture after {0} starts; accepted are 1 to 10000 starts, and points that are not all alike")]
    Starts(usize),
    /// A NaN or an infinity.
    #[error("row {row} of the points holds a value that is NaN or infinite")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// The linear algebra failed.
    #[error("the eigenvalue problem could not be solved: {0}")]
    Solver(String),
    /// A column is missing, or the like.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}
