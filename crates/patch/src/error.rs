use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why no patches could be cut.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The window is too small to hold a pattern.
    #[error("a window of {window} px is too small, accepted are 3 px and more")]
    WindowTooSmall {
        /// The window asked for, in pixels.
        window: usize,
    },
    /// The window does not fit into the image.
    #[error("a window of {window} px does not fit into an image of {rows}×{columns} px")]
    WindowTooLarge {
        /// The window, in pixels.
        window: usize,
        /// Rows of the image.
        rows: usize,
        /// Columns of the image.
        columns: usize,
    },
    /// There are too few sites to find the spacing that the automatic window follows.
    #[error("the window cannot follow the spacing of {sites} sites, 2 in one frame are needed: give a window")]
    NoSpacing {
        /// How many sites there are.
        sites: usize,
    },
    /// No image was given.
    #[error("0 channels given, accepted are 1 and more")]
    NoChannel,
    /// Aligned channels must have one shape.
    #[error("channel {channel} has {found:?} px, the first has {expected:?} px")]
    ChannelShape {
        /// Index of the odd channel.
        channel: usize,
        /// Its rows and columns.
        found: (usize, usize),
        /// Rows and columns of channel 0.
        expected: (usize, usize),
    },
    /// Every site was left out.
    #[error(
        "none of the {sites} sites can have a window of {window} px: \
         {border} are too near the border, {masked} touch masked pixels, {frame} name a frame that is not there"
    )]
    NothingLeft {
        /// How many sites there were.
        sites: usize,
        /// The window, in pixels.
        window: usize,
        /// How many were too near the border.
        border: usize,
        /// How many touched masked pixels.
        masked: usize,
        /// How many named a missing frame.
        frame: usize,
    },
    /// The values do not make patches.
    #[error(transparent)]
    Core(#[from] parsimon_core::Error),
}
