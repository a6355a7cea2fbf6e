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
    /// The linear algebra failed.
    #[error("the eigenvalue problem could not be solved: {0}")]
    Solver(String),
    /// A column is missing, or the like.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}
