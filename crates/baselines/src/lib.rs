//! Classical representations, for an honest comparison.
